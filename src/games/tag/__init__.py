"""Predators and prey: simple_tag (mpe2; Lowe et al. 2017)."""

from ...types import EnvInfo
from ..game import Game
from .layout import layout
from .observer import PreyObserver
from .scripts import STOPS, TagScripts


class Tag(Game):
    """Slow predators are rewarded for touching fast prey."""

    environments = ("mpe2.simple_tag_v3",)
    scripts = TagScripts
    observer = PreyObserver
    original = "mpe2.simple_tag.simple_tag:raw_env"
    batched = ".games.tag.batched:Tag"
    layout = staticmethod(layout)

    @staticmethod
    def sizes(info: EnvInfo) -> dict[str, int]:
        """See ``Game``; a goal is a point, a belief a probability for each stop of the prey."""
        return {"goal": 2, "belief": len(STOPS)}


GAME = Tag
