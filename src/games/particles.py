"""What simple_tag and simple_spread share: where particles stand in observations. Imports no compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import EnvInfo
from .layout import Layout, Object, is_all_observations, observation_starts


def particle_layout(info: EnvInfo, n_landmarks: int) -> Layout | None:
    """Layout of a state of observations that begin with velocity [2], position [2] and offsets of landmarks [L, 2].

    None where the state is not the concatenation of all observations.
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
