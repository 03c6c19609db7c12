"""The positions of agents and objects in a state."""

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
    """How to read positions from a state [..., S]."""

    # int64 [N, 2], the indices in the state of each agent's two coordinates: row and column on a grid, else x and y
    places: Ints
    near: float  # the largest distance, on each axis, at which two positions count as the same place
    is_grid: bool = False  # whether positions are rows and columns
    # low, high: the smallest and the largest coordinate of the board, on both axes; None: unknown
    low: float = 0.0
    high: float | None = None
    # from one state [S] to first and second coordinate and label of each object on the board
    objects: Callable[[NDArray[Any]], Sequence[Object]] = lambda state: ()


def is_all_observations(info: EnvInfo) -> bool:
    """Whether the state is the concatenation of all agents' observations."""
    return info.state_shape == sum(info.obs_sizes)


def observation_starts(info: EnvInfo) -> Ints:
    """Index of the start of each agent's observation in a state that is the concatenation of all: [N]."""
    return np.cumsum([0, *info.obs_sizes[:-1]])


def observation_indices(info: EnvInfo, names: Sequence[str]) -> list[int]:
    """Indices in the state of the observations of the agents ``names``; all indices in any other kind of state."""
    if not is_all_observations(info):
        return list(range(info.state_shape))
    starts = observation_starts(info)
    agents = [info.agents.index(name) for name in names]
    return [int(starts[i]) + at for i in agents for at in range(info.obs_sizes[i])]


def particle_layout(info: EnvInfo, n_landmarks: int) -> Layout | None:
    """Layout of simple_tag's and simple_spread's states; None unless they are the concatenation of all observations.

    These begin with velocity [2], position [2] and offsets of landmarks [L, 2].
    """
    if not is_all_observations(info):
        return None
    if any(info.arguments.get(name) for name in ("num_agent_neighbors", "num_landmark_neighbors")):
        n_landmarks = 0  # only the nearest ones are observed
    places = observation_starts(info)[:, None] + 2 + np.arange(2)
    landmarks = 4 + np.arange(n_landmarks)[:, None] * 2 + np.arange(2)

    def objects(state: NDArray[Any]) -> list[Object]:
        return [(float(x), float(y), "") for x, y in state[landmarks] + state[places[0]]]

    return Layout(places, near=0.1, low=-1.2, high=1.2, objects=objects)
