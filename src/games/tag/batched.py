"""The rules of simple_tag (mpe2; Lowe et al. 2017) for E copies at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..particle_rules import Particles, collide, distance_of, ending, integrate, push, scatter, show


@njit(cache=True)
def _reset(positions, velocities, clock, random, obs, state, obs_sizes, adversaries):
    for e in range(len(positions)):
        scatter(e, positions, velocities, clock, random, 0.9)
        _show(positions[e], velocities[e], obs[e], state[e], obs_sizes, adversaries)


@njit(cache=True)
def _step(
    positions, velocities, clock, random, actions, rewards, terminated, truncated, acting, obs, state, first_obs,
    first_state, obs_sizes, bodies, laws, limits, adversaries,
):  # fmt: skip
    sizes, collides, accelerations, max_speeds = bodies  # passed on one by one, which is faster than as a tuple
    dt, damping, contact_force, margin = laws
    force = np.empty((velocities.shape[1], 2))
    for e in range(len(positions)):
        position, velocity = positions[e], velocities[e]
        push(force, actions[e], accelerations)
        collide(force, position, sizes, collides, contact_force, margin)
        integrate(force, position, velocity, max_speeds, dt, damping)
        success = _reward(position, sizes, adversaries, rewards[e])
        clock[e] += 1
        terminated[e], truncated[e] = ending(clock[e], success, limits)
        ended = terminated[e] or truncated[e]
        acting[e] = 0 if ended else 1
        _show(position, velocity, obs[e], state[e], obs_sizes, adversaries)
        if ended:
            scatter(e, positions, velocities, clock, random, 0.9)
            _show(position, velocity, first_obs[e], first_state[e], obs_sizes, adversaries)


@njit(cache=True)
def _show(position, velocity, obs, state, obs_sizes, adversaries):
    """Own velocity and position, offsets of landmarks and of other agents, velocities of prey."""
    show(position, velocity, obs)
    n, start = len(velocity), 0
    for i in range(n):
        own, at = obs[i], 2 + 2 * len(position)
        for j in range(n):
            if j != i and not adversaries[j]:
                own[at], own[at + 1] = velocity[j, 0], velocity[j, 1]
                at += 2
        state[start : start + obs_sizes[i]] = own[: obs_sizes[i]]
        start += obs_sizes[i]


@njit(cache=True)
def _reward(position, sizes, adversaries, reward):
    """Every predator gets 10 for each touch of a prey by any; a prey pays 10 for each, and for leaving the field.

    Returns:
        Whether every prey is touched.
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

    kernels = _reset, _step

    @staticmethod
    def parameter(original: Any) -> Any:
        """Who is a predator, bool [N]."""
        return np.array([agent.adversary for agent in original.world.agents], np.bool_)
