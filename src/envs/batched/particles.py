"""Simple Tag and Simple Spread (mpe2; Lowe et al. 2017), E copies at once.

Point masses on a plane, in double precision as the package has them: forces push colliding bodies apart, the
velocity decays, positions move by the velocity before the forces of this step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ...types import EnvInfo
from ..arrays import Arrays
from .random import generators, uniform

TAG, SPREAD = 0, 1
SENSITIVITY = 5.0  # force of an action, for bodies without an acceleration of their own
NO_CONTACT = 60.0  # contact margins apart, at which the force is below 1e-23
CAPTURE_RADIUS = 0.1  # of spread: a landmark this close to an agent is covered


class Particles:
    """A backend of ``VectorEnv``.

    Args:
        original: mpe2's ``raw_env`` of simple_tag or simple_spread, for its settings.
        info: what the copies show.
        arrays: where they show it.
        seed: of all copies.

    Attributes:
        position: float64 [E, N + L, 2], agents before landmarks.
        velocity: float64 [E, N, 2].
        clock: int64 [E], steps of the episode.
    """

    def __init__(self, original: Any, info: EnvInfo, arrays: Arrays, seed: int) -> None:
        n_envs, world = len(arrays.actions), original.world
        self.arrays = arrays
        self.position = np.zeros((n_envs, len(world.entities), 2))
        self.velocity = np.zeros((n_envs, len(world.agents), 2))
        self.clock = np.zeros(n_envs, np.int64)
        self.random = generators(seed, n_envs)
        is_tag = hasattr(original.scenario, "adversaries")
        fast = [np.inf if a.max_speed is None else a.max_speed for a in world.agents]
        self._bodies = (
            np.array([entity.size for entity in world.entities], np.float64),
            np.array([entity.collide for entity in world.entities], np.bool_),
            np.array([SENSITIVITY if a.accel is None else a.accel for a in world.agents], np.float64),
            np.array(fast, np.float64),
            np.array([getattr(a, "adversary", False) for a in world.agents], np.bool_),
        )
        self._laws = (
            float(world.dt), float(world.damping), float(world.contact_force), float(world.contact_margin),
        )  # fmt: skip
        self._rules = (
            TAG if is_tag else SPREAD,
            0.0 if original.local_ratio is None else float(original.local_ratio),
            bool(original.scenario.terminate_on_success),
            int(original.max_cycles),
            int(info.episode_limit),
        )
        self._obs_sizes = np.array(info.obs_sizes, np.int64)
        for frame in (arrays.final, arrays.first):  # nothing is masked, and nobody dies
            frame.avail[...] = np.arange(info.n_actions) < np.array(info.action_sizes)[:, None]
            frame.agent_mask[...] = 1
            frame.acting[...] = 1
            frame.obs[...] = 0.0

    @staticmethod
    def unknown_setting(original: Any) -> str:
        """The setting that is not known here, or nothing."""
        scenario = original.scenario
        settings = {
            "continuous_actions": original.continuous_actions,
            "curriculum": scenario.curriculum,
            "num_agent_neighbors": scenario.num_agent_neighbors,
            "num_landmark_neighbors": scenario.num_landmark_neighbors,
            "benchmark_data": original.benchmark_data,
        }
        return next((name for name, value in settings.items() if value), "")

    def reset(self) -> None:
        """Begins an episode in every copy."""
        first = self.arrays.first
        _reset(
            self.position, self.velocity, self.clock, self.random, first.obs, first.state, self._bodies[4],
            self._obs_sizes, self._rules[0],
        )  # fmt: skip

    def step(self) -> None:
        """Steps every copy with ``actions``."""
        a = self.arrays
        _step(
            self.position, self.velocity, self.clock, self.random, a.actions, a.reward, a.terminated, a.truncated,
            a.final.obs, a.final.state, a.final.acting, a.first.obs, a.first.state, self._obs_sizes,
            *self._bodies, *self._laws, *self._rules,
        )  # fmt: skip

    def close(self) -> None:
        """Nothing to free."""


@njit(cache=True)
def _step(
    positions, velocities, clock, random, actions, rewards, terminated, truncated, obs, state, acting, first_obs,
    first_state, obs_sizes, sizes, collides, accelerations, max_speeds, adversaries, dt, damping, contact_force,
    margin, game, local_ratio, stops_on_success, max_steps, limit,
):  # fmt: skip
    n = velocities.shape[1]
    force = np.empty((n, 2))
    for e in range(len(positions)):
        position, velocity = positions[e], velocities[e]
        _push(force, actions[e], accelerations)
        _collide(force, position, sizes, collides, contact_force, margin)
        _integrate(force, position, velocity, max_speeds, dt, damping)
        clock[e] += 1
        if game == TAG:
            success = _reward_tag(position, sizes, adversaries, rewards[e])
        else:
            success = _reward_spread(position, sizes, local_ratio, rewards[e])
        out_of_time = clock[e] >= max_steps
        terminated[e] = stops_on_success and success and not out_of_time
        truncated[e] = not terminated[e] and (out_of_time or clock[e] >= limit)
        _show(position, velocity, adversaries, obs[e], state[e], obs_sizes, game)
        ended = terminated[e] or truncated[e]
        acting[e] = 0 if ended else 1
        if ended:
            _begin(e, positions, velocities, clock, random, game)
            _show(position, velocity, adversaries, first_obs[e], first_state[e], obs_sizes, game)


@njit(cache=True)
def _push(force, action, accelerations):
    """Actions 1 to 4 are left, right, down, up."""
    for i in range(len(force)):
        a = action[i]
        force[i, 0] = accelerations[i] * ((a == 2) - (a == 1))
        force[i, 1] = accelerations[i] * ((a == 4) - (a == 3))


@njit(cache=True)
def _collide(force, position, sizes, collides, contact_force, margin):
    """Adds to the agents' forces what pushes overlapping bodies apart: margin * log(1 + e^(depth / margin))."""
    n = len(force)
    for a in range(n):
        for b in range(a + 1, len(position)):
            if not (collides[a] and collides[b]):
                continue
            distance = _distance(position, a, b)
            gap = (distance - (sizes[a] + sizes[b])) / margin
            if gap > NO_CONTACT:
                continue
            dx, dy = position[a, 0] - position[b, 0], position[a, 1] - position[b, 1]
            depth = (max(0.0, -gap) + math.log1p(math.exp(-abs(gap)))) * margin
            fx, fy = contact_force * dx / distance * depth, contact_force * dy / distance * depth
            force[a, 0] += fx
            force[a, 1] += fy
            if b < n:
                force[b, 0] -= fx
                force[b, 1] -= fy


@njit(cache=True)
def _integrate(force, position, velocity, max_speeds, dt, damping):
    for i in range(len(force)):
        for d in range(2):
            position[i, d] += velocity[i, d] * dt
            velocity[i, d] = velocity[i, d] * (1 - damping) + force[i, d] * dt
        speed = math.sqrt(velocity[i, 0] * velocity[i, 0] + velocity[i, 1] * velocity[i, 1])
        if speed > max_speeds[i]:
            for d in range(2):
                velocity[i, d] = velocity[i, d] / speed * max_speeds[i]


@njit(cache=True)
def _distance(position, a, b):
    dx, dy = position[a, 0] - position[b, 0], position[a, 1] - position[b, 1]
    return math.sqrt(dx * dx + dy * dy)


@njit(cache=True)
def _reward_tag(position, sizes, adversaries, reward):
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
                own += _distance(position, prey, predator) < sizes[prey] + sizes[predator]
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


@njit(cache=True)
def _reward_spread(position, sizes, local_ratio, reward):
    """All pay every landmark's distance to the nearest agent; each pays 1 for each agent it touches.

    Returns:
        Whether every landmark is covered.
    """
    n = len(reward)
    shared, covered = 0.0, True
    for landmark in range(n, len(position)):
        nearest = np.inf
        for i in range(n):
            nearest = min(nearest, _distance(position, i, landmark))
        shared -= nearest
        covered = covered and nearest < CAPTURE_RADIUS
    for i in range(n):
        own = 0
        for j in range(n):
            if j != i:
                own -= _distance(position, i, j) < sizes[i] + sizes[j]
        reward[i] = shared * (1 - local_ratio) + own * local_ratio
    return covered


@njit(cache=True)
def _show(position, velocity, adversaries, obs, state, obs_sizes, game):
    """Own velocity and position, landmarks and others from there; then the prey's velocities, or silence."""
    n = len(velocity)
    start = 0
    for i in range(n):
        own = obs[i]
        x, y = position[i, 0], position[i, 1]
        own[0], own[1], own[2], own[3] = velocity[i, 0], velocity[i, 1], x, y
        at = 4
        for k in range(n, len(position)):
            own[at], own[at + 1] = position[k, 0] - x, position[k, 1] - y
            at += 2
        for j in range(n):
            if j != i:
                own[at], own[at + 1] = position[j, 0] - x, position[j, 1] - y
                at += 2
        if game == TAG:
            for j in range(n):
                if j != i and not adversaries[j]:
                    own[at], own[at + 1] = velocity[j, 0], velocity[j, 1]
                    at += 2
        else:
            own[at : obs_sizes[i]] = 0.0
        state[start : start + obs_sizes[i]] = own[: obs_sizes[i]]
        start += obs_sizes[i]


@njit(cache=True)
def _reset(positions, velocities, clock, random, obs, state, adversaries, obs_sizes, game):
    for e in range(len(positions)):
        _begin(e, positions, velocities, clock, random, game)
        _show(positions[e], velocities[e], adversaries, obs[e], state[e], obs_sizes, game)


@njit(cache=True)
def _begin(e, positions, velocities, clock, random, game):
    """Agents anywhere at rest; tag's landmarks a little inside the field."""
    n = velocities.shape[1]
    clock[e] = 0
    velocities[e] = 0.0
    for k in range(positions.shape[1]):
        reach = 0.9 if game == TAG and k >= n else 1.0
        for d in range(2):
            positions[e, k, d] = reach * (2.0 * uniform(random, e) - 1.0)
