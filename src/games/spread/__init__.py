"""Covering landmarks together: simple_spread (mpe2; Lowe et al. 2017)."""

from ...types import EnvInfo
from ..game import Game
from ..layout import Layout, particle_layout


class Spread(Game):
    """Equal numbers of landmarks and agents; rewards for covering every landmark, penalties for collisions."""

    environments = ("mpe2.simple_spread_v3",)
    original = "mpe2.simple_spread.simple_spread:raw_env"
    batched = ".games.spread.batched:Spread"

    @staticmethod
    def layout(info: EnvInfo) -> Layout | None:
        """See ``Game``."""
        return particle_layout(info, n_landmarks=info.n_agents)


GAME = Spread
