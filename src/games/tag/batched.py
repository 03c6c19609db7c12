"""The rules of simple_tag (mpe2; Lowe et al. 2017) for E copies at once."""

import math
from typing import Any

import numpy as np
from numba import njit

from ..particle_rules import Particles, conclude, distance_of, move


@njit(cache=True)
def _step(positions, velocities, actions, rewards, terminated, bodies, laws, adversaries, *rest):
    move(positions, velocities, actions, bodies, laws)
    for e in range(len(positions)):
        terminated[e] = _reward(positions[e], bodies[0], adversaries, rewards[e])
    conclude(positions, velocities, terminated, *rest)


@njit(cache=True)
def _reward(position, sizes, adversaries, reward):
    """Predators: +10 for each touch of a prey by any predator. Prey: -10 for each touch, and minus a border cost.

    Returns whether every prey is touched.
    """
    n = len(adversaries)
    touches, free = 0, 0
    reward[:] = 0.0
    for prey in range(n):
        if adversaries[prey]:
            continue
        own = 0
        for predator in range(n):
            if adversaries[predator]:
                own += distance_of(position, prey, predator) < sizes[prey] + sizes[predator]
        touches += own
        free += own == 0
        cost = 10.0 * own
        for d in range(2):
            x = abs(position[prey, d])
            if x >= 1.0:
                cost += min(math.exp(2 * x - 2), 10.0)
            elif x >= 0.9:
                cost += (x - 0.9) * 10
        reward[prey] = -cost
    for predator in range(n):
        if adversaries[predator]:
            reward[predator] = 10.0 * touches
    return free == 0


class Tag(Particles):
    """See ``Particles``."""

    kernel = _step
    landmarks_within = 0.9

    @staticmethod
    def parameter(original: Any) -> Any:
        """Whether an agent is a predator, bool [N]."""
        return np.array([agent.adversary for agent in original.world.agents], np.bool_)

    @staticmethod
    def shows_velocity(original: Any) -> Any:
        """Whether an agent is prey, bool [N]: the others observe its velocity."""
        return ~Tag.parameter(original)
