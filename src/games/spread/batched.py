"""The rules of simple_spread (mpe2; Lowe et al. 2017) for E copies at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ..particle_rules import Particles, collide, distance_of, ending, integrate, push, scatter, show

CAPTURE_RADIUS = 0.1  # a landmark this close to an agent is covered


@njit(cache=True)
def _reset(positions, velocities, clock, random, obs, state, obs_sizes, local_ratio):
    for e in range(len(positions)):
        scatter(e, positions, velocities, clock, random, 1.0)
        _show(positions[e], velocities[e], obs[e], state[e], obs_sizes, local_ratio)


@njit(cache=True)
def _step(
    positions, velocities, clock, random, actions, rewards, terminated, truncated, acting, obs, state, first_obs,
    first_state, obs_sizes, bodies, laws, limits, local_ratio,
):  # fmt: skip
    sizes, collides, accelerations, max_speeds = bodies  # passed on one by one, which is faster than as a tuple
    dt, damping, contact_force, margin = laws
    force = np.empty((velocities.shape[1], 2))
    for e in range(len(positions)):
        position, velocity = positions[e], velocities[e]
        push(force, actions[e], accelerations)
        collide(force, position, sizes, collides, contact_force, margin)
        integrate(force, position, velocity, max_speeds, dt, damping)
        success = _reward(position, sizes, local_ratio, rewards[e])
        clock[e] += 1
        terminated[e], truncated[e] = ending(clock[e], success, limits)
        ended = terminated[e] or truncated[e]
        acting[e] = 0 if ended else 1
        _show(position, velocity, obs[e], state[e], obs_sizes, local_ratio)
        if ended:
            scatter(e, positions, velocities, clock, random, 1.0)
            _show(position, velocity, first_obs[e], first_state[e], obs_sizes, local_ratio)


@njit(cache=True)
def _show(position, velocity, obs, state, obs_sizes, local_ratio):
    """Own velocity and position, offsets of landmarks and of other agents, silence (zeros)."""
    show(position, velocity, obs)
    n, start = len(velocity), 0
    for i in range(n):
        own, at = obs[i], 2 + 2 * len(position)
        own[at : obs_sizes[i]] = 0.0
        state[start : start + obs_sizes[i]] = own[: obs_sizes[i]]
        start += obs_sizes[i]


@njit(cache=True)
def _reward(position, sizes, local_ratio, reward):
    """All pay every landmark's distance to the nearest agent; each pays 1 for each agent it touches.

    Returns:
        Whether every landmark is covered.
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

    kernels = _reset, _step

    @staticmethod
    def parameter(original: Any) -> Any:
        """The weight of an agent's own collisions against the shared reward, in [0, 1]."""
        return 0.0 if original.local_ratio is None else float(original.local_ratio)
