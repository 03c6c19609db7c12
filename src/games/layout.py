"""Where agents and objects stand in a state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import EnvInfo

Ints = NDArray[np.int64]
Object = tuple[float, float, str]


@dataclass(frozen=True)
class Layout:
    """How to read positions from a state [..., S].

    Attributes:
        places: int64 [N, 2], the indices in the state of each agent's two coordinates: row and column on a grid, else
            x and y.
        near: the largest distance, on each axis, at which two positions count as the same place.
        is_grid: whether positions are rows and columns.
        low, high: the smallest and the largest coordinate of the board, on both axes; None: unknown.
        objects: from one state [S] to first and second coordinate and label of each object on the board.
    """

    places: Ints
    near: float
    is_grid: bool = False
    low: float = 0.0
    high: float | None = None
    objects: Callable[[NDArray[Any]], Sequence[Object]] = lambda state: ()


def is_all_observations(info: EnvInfo) -> bool:
    """Whether the state is the concatenation of all agents' observations."""
    return info.state_shape == sum(info.obs_sizes)


def observation_starts(info: EnvInfo) -> Ints:
    """Where each agent's observation begins in a state that is the concatenation of all: [N]."""
    return np.cumsum([0, *info.obs_sizes[:-1]])


def observation_indices(info: EnvInfo, names: Sequence[str]) -> list[int]:
    """Indices in the state of the observations of the agents ``names``; all indices in any other kind of state."""
    if not is_all_observations(info):
        return list(range(info.state_shape))
    starts = observation_starts(info)
    agents = [info.agents.index(name) for name in names]
    return [int(starts[i]) + at for i in agents for at in range(info.obs_sizes[i])]
