"""Level-based foraging (lbforaging; Christianos, Schäfer and Albrecht 2020)."""

from ...types import EnvInfo
from ..game import Game
from .layout import food_slots, layout, offsets_size


class Foraging(Game):
    """A grid of players and foods; each has a level."""

    environments = ("lbforaging:Foraging-*", "Foraging-*")
    scripts = ".games.foraging.scripts:ForagingScripts"
    observer = ".games.foraging.observer:ForagingObserver"
    offsets = ".games.foraging.observer:offsets"
    original = "lbforaging.foraging.environment:ForagingEnv"
    batched = ".games.foraging.batched:Foraging"
    layout = staticmethod(layout)

    @staticmethod
    def sizes(info: EnvInfo) -> dict[str, int]:
        """See ``Game``; a goal is one of the listed foods, one-hot."""
        slots = food_slots(info)
        return {"goal": slots, "belief": slots, "offsets": offsets_size(info) * slots}


GAME = Foraging
