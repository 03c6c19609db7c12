"""Features of the foods relative to the players, computed from what a player observes."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ...types import EnvInfo
from .layout import food_slots, offsets_size


def offsets(obs: NDArray[np.float32], agents: list[int], info: EnvInfo) -> NDArray[np.float32]:
    """Where foods lie relative to all players, for each of some agents in the order in which it observes them.

    For each food, of each player: rows and columns from the player to the food, in units of four cells, and whether
    the food is adjacent. Then whether the agent's own level suffices, and whether there is a food at all. A network
    can read these directly, and would else have to compute them from absolute positions.

    Args:
        obs: of all agents, [E, N, O].
        agents: indices of L agents.
        info: of the environment, with all agents.

    Returns:
        [E, L, F * D].
    """
    values = np.zeros((len(obs), len(agents), food_slots(info), offsets_size(info)), np.float32)
    for place, agent in enumerate(agents):
        _offsets(obs[:, agent], values.shape[2], values[:, place])
    return values.reshape(len(obs), len(agents), -1)


@njit(cache=True)
def _offsets(obs, n_foods, values):
    own = 3 * n_foods
    for e in range(len(obs)):
        seen = obs[e]
        for f in range(n_foods):
            y, x, level = seen[3 * f], seen[3 * f + 1], seen[3 * f + 2]
            if level <= 0:
                continue
            players = (values.shape[2] - 2) // 3
            for who in range(players):
                dy, dx = y - seen[own + 3 * who], x - seen[own + 3 * who + 1]
                values[e, f, 3 * who] = 0.25 * dy
                values[e, f, 3 * who + 1] = 0.25 * dx
                values[e, f, 3 * who + 2] = abs(dy) + abs(dx) == 1
            values[e, f, 3 * players] = seen[own + 2] >= level
            values[e, f, 3 * players + 1] = 1.0
