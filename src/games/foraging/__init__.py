"""Level-based foraging (lbforaging; Christianos, Schäfer and Albrecht 2020)."""

from __future__ import annotations

from ...types import EnvInfo
from ..game import Game
from ..layout import Layout
from .layout import food_slots, layout, offsets_size


class Foraging(Game):
    """A grid of players and foods; each has a level."""

    environments = ("lbforaging:Foraging-*", "Foraging-*")
    scripts = ".games.foraging.scripts:ForagingScripts"
    observer = ".games.foraging.observer:ForagingObserver"
    offsets = ".games.foraging.offsets:offsets"
    original = "lbforaging.foraging.environment:ForagingEnv"
    batched = ".games.foraging.batched:Foraging"

    @staticmethod
    def layout(info: EnvInfo) -> Layout | None:
        """See ``Game``; None unless every player sees the whole board and all levels."""
        return layout(info)

    @staticmethod
    def sizes(info: EnvInfo) -> dict[str, int]:
        """See ``Game``; a goal is one of the listed foods, one-hot."""
        slots = food_slots(info)
        return {"goal": slots, "belief": slots, "offsets": offsets_size(info) * slots}


GAME = Foraging
