"""Where players and things stand, read from the state of the environments whose states say so."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..types import EnvInfo

Floats = NDArray[np.float32]


class Board(NamedTuple):
    """How to read positions from a state [..., S] that is all agents' observations, one behind the other.

    Attributes:
        places: int [N, 2], of each agent's row and column (foraging) or x and y (MPE).
        near: the farthest, on each axis, that counts as the same place.
        foods: int [F, 3], of each food's row, column and level; F = 0 in MPE.
        landmarks: int [L, 2], of each landmark's offset from the first agent; L = 0 in foraging.
        low, high: the board's edges, of both axes, as far as they are known.
    """

    places: NDArray[np.int64]
    near: float
    foods: NDArray[np.int64]
    landmarks: NDArray[np.int64]
    low: float
    high: float | None

    @property
    def is_grid(self) -> bool:
        """Whether positions are rows and columns."""
        return bool(len(self.foods))

    def things(self, state: Floats) -> list[tuple[float, float, str]]:
        """First and second coordinate and label of what lies about in one state [S]; eaten food is left out."""
        foods = [(float(r), float(c), f"{level:g}") for r, c, level in state[self.foods] if level > 0]
        first = state[self.places[0]]
        return [*foods, *((float(x), float(y), "") for x, y in state[self.landmarks] + first)]


def board_of(whole: EnvInfo) -> Board | None:
    """The board of an environment, agents all included; None where its state is not known."""
    if not _is_all_observations(whole):
        return None
    starts = _starts(whole)
    axes, triple = np.arange(2), np.arange(3)
    nothing = np.zeros((0, 2), np.int64)
    if "oraging" in whole.key:
        own = whole.obs_sizes[0] - 3 * whole.n_agents
        size = re.search(r"(\d+)x(\d+)", whole.key)
        foods = np.arange(own // 3)[:, None] * 3 + triple
        high = float(max(int(size[1]), int(size[2])) - 1) if size else None
        return Board(starts[:, None] + own + axes, 0.5, foods, nothing, 0.0, high)
    if "simple_tag" in whole.key or "simple_spread" in whole.key:
        n_landmarks = whole.n_agents
        if "simple_tag" in whole.key:  # all see the others' offsets, and the velocities of the prey
            n_prey = sum(not name.startswith("adversary") for name in whole.agents)
            n_landmarks = (whole.obs_sizes[0] - 4 - 2 * (whole.n_agents - 1) - 2 * n_prey) // 2
        landmarks = 4 + np.arange(n_landmarks)[:, None] * 2 + axes
        return Board(starts[:, None] + 2 + axes, 0.1, np.zeros((0, 3), np.int64), landmarks, -1.2, 1.2)
    return None


def opponents_observations(info: Any, names: tuple[str, ...]) -> list[int]:
    """Places in the state of some of a ``PoolInfo``'s opponents' observations; all places in other states."""
    whole = info.whole
    if not _is_all_observations(whole):
        return list(range(whole.state_shape))
    starts = _starts(whole)
    seats = [whole.agents.index(name) for name in names]
    return [int(starts[i]) + at for i in seats for at in range(whole.obs_sizes[i])]


def _is_all_observations(whole: EnvInfo) -> bool:
    return whole.state_shape == sum(whole.obs_sizes)


def _starts(whole: EnvInfo) -> NDArray[np.int64]:
    """Where each agent's observation begins in such a state."""
    return np.cumsum([0, *whole.obs_sizes[:-1]])


def opponents_places(info: Any, names: tuple[str, ...]) -> tuple[list[int], float]:
    """Places in the state of some of a ``PoolInfo``'s opponents' positions, in a row, and how near is there."""
    board = board_of(info.whole)
    if board is None:
        return [], 0.0
    which = [info.whole.agents.index(name) for name in names]
    return board.places[which].flatten().tolist(), board.near
