"""The rules of simple_spread (mpe2; Lowe et al. 2017) for E copies at once."""

from typing import Any

import numpy as np
from numba import njit

from ..particle_rules import Particles, conclude, distance_of, move

CAPTURE_RADIUS = 0.1  # a landmark this close to an agent is covered


@njit(cache=True)
def _step(positions, velocities, actions, rewards, terminated, bodies, laws, local_ratio, *rest):
    move(positions, velocities, actions, bodies, laws)
    for e in range(len(positions)):
        terminated[e] = _reward(positions[e], bodies[0], local_ratio, rewards[e])
    conclude(positions, velocities, terminated, *rest)


@njit(cache=True)
def _reward(position, sizes, local_ratio, reward):
    """Shared: minus each landmark's distance to its nearest agent. Own: -1 for each agent that an agent touches.

    Returns whether every landmark is covered.
    """
    n = len(reward)
    shared, covered = 0.0, True
    for landmark in range(n, len(position)):
        nearest = np.inf
        for i in range(n):
            nearest = min(nearest, distance_of(position, i, landmark))
        shared -= nearest
        covered = covered and nearest < CAPTURE_RADIUS
    for i in range(n):
        own = 0
        for j in range(n):
            if j != i:
                own -= distance_of(position, i, j) < sizes[i] + sizes[j]
        reward[i] = shared * (1 - local_ratio) + own * local_ratio
    return covered


class Spread(Particles):
    """See ``Particles``."""

    kernel = _step

    @staticmethod
    def parameter(original: Any) -> Any:
        """The weight of an agent's own collisions against the shared reward, in [0, 1]."""
        return 0.0 if original.local_ratio is None else float(original.local_ratio)
