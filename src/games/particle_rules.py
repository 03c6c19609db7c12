"""The physics that simple_tag and simple_spread share (mpe2; Lowe et al. 2017), for E copies at once.

Point masses on a plane, in double precision as in the package: forces push colliding bodies apart, the velocity
decays, and positions move by the velocity before the forces of this step are applied.

An edit of this file does not invalidate numba's caches of the games' kernels: delete ``games/*/__pycache__``.
"""

import math
from typing import Any, ClassVar

import numpy as np
from numba import njit

from ..types import Arrays, EnvInfo
from .game import Batched
from .random import generators, uniform

SENSITIVITY = 5.0  # force of an action, for bodies without an acceleration of their own
NO_CONTACT = 60.0  # contact margins apart, at which the force is below 1e-23


class Particles(Batched):
    """See ``Batched``; subclasses name the compiled function and the parameter of their game."""

    changing = ("position", "velocity", "clock", "random")
    kernel: ClassVar[Any]  # steps all copies, compiled
    landmarks_within: ClassVar[float] = 1.0  # half the side of the square where landmarks start

    def __init__(self, original: Any, info: EnvInfo, arrays: Arrays, seed: int) -> None:
        super().__init__(original, info, arrays, seed)
        n_envs, world = len(arrays.actions), original.world
        self.position = np.zeros((n_envs, len(world.entities), 2))  # float64 [E, N + L, 2], agents before landmarks
        self.velocity = np.zeros((n_envs, len(world.agents), 2))  # float64 [E, N, 2]
        self.clock = np.zeros(n_envs, np.int64)  # int64 [E], steps of the episode
        self.random = generators(seed, n_envs)
        fast = [np.inf if a.max_speed is None else a.max_speed for a in world.agents]
        self._bodies = (
            np.array([entity.size for entity in world.entities], np.float64),
            np.array([entity.collide for entity in world.entities], np.bool_),
            np.array([SENSITIVITY if a.accel is None else a.accel for a in world.agents], np.float64),
            np.array(fast, np.float64),
        )
        self._laws = float(world.dt), float(world.damping), float(world.contact_force), float(world.contact_margin)
        stops_on_success = bool(original.scenario.terminate_on_success)
        self._limits = stops_on_success, int(original.max_cycles), int(info.episode_limit)
        self._shown = np.array(info.obs_sizes, np.int64), self.shows_velocity(original), self.landmarks_within
        self._parameter = self.parameter(original)
        arrays.final.obs[...] = arrays.first.obs[...] = 0.0  # the kernels do not write padding and communication

    @staticmethod
    def parameter(original: Any) -> Any:
        """The parameter of the game's rewards, passed to ``kernel``."""
        raise NotImplementedError

    @staticmethod
    def shows_velocity(original: Any) -> Any:
        """Whether the other agents observe an agent's velocity, bool [N]."""
        return np.zeros(len(original.world.agents), np.bool_)

    @staticmethod
    def unknown_setting(original: Any) -> str:
        """See ``game.Batched``."""
        scenario = original.scenario
        settings = {
            "curriculum": scenario.curriculum,
            "num_agent_neighbors": scenario.num_agent_neighbors,
            "num_landmark_neighbors": scenario.num_landmark_neighbors,
            "benchmark_data": original.benchmark_data,
        }
        return next((name for name, value in settings.items() if value), "")

    def reset(self) -> None:
        """Begins an episode in every copy."""
        first = self.arrays.first
        _reset(self.position, self.velocity, self.clock, self.random, first.obs, first.state, *self._shown)

    def step(self) -> None:
        """Steps every copy with ``actions``."""
        a = self.arrays
        final, first = a.final, a.first
        type(self).kernel(
            self.position, self.velocity, a.actions, a.reward, a.terminated, self._bodies, self._laws,
            self._parameter, self.clock, self.random, a.truncated, final.acting, final.obs, final.state, first.obs,
            first.state, self._limits, *self._shown,
        )  # fmt: skip


@njit(cache=True)
def _reset(positions, velocities, clock, random, obs, state, obs_sizes, shows_velocity, landmarks_within):
    for e in range(len(positions)):
        _scatter(e, positions, velocities, clock, random, landmarks_within)
        _show(positions[e], velocities[e], obs[e], state[e], obs_sizes, shows_velocity)


@njit(cache=True)
def move(positions, velocities, actions, bodies, laws):
    """Moves the agents of all copies. Actions 1 to 4 are left, right, down, up.

    Continuous actions [E, N, 5] have the strength of each, with -1 to 1 for 0 to 1 (``envs.actions``).
    """
    sizes, collides, accelerations, max_speeds = bodies  # passed on separately, which is faster than as a tuple
    dt, damping, contact_force, margin = laws
    force = np.empty((velocities.shape[1], 2))
    for e in range(len(positions)):
        position, action = positions[e], actions[e]
        for i in range(len(force)):
            if actions.ndim == 3:
                force[i, 0] = accelerations[i] * (_strength(action[i, 2]) - _strength(action[i, 1]))
                force[i, 1] = accelerations[i] * (_strength(action[i, 4]) - _strength(action[i, 3]))
            else:
                a = action[i]
                force[i, 0] = accelerations[i] * ((a == 2) - (a == 1))
                force[i, 1] = accelerations[i] * ((a == 4) - (a == 3))
        _collide(force, position, sizes, collides, contact_force, margin)
        _integrate(force, position, velocities[e], max_speeds, dt, damping)


@njit(cache=True)
def _strength(number):
    """A continuous action's number as the package receives it: float32, within its bounds."""
    return np.float32(min(max(0.5 + 0.5 * float(number), 0.0), 1.0))


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
def conclude(
    positions, velocities, terminated, clock, random, truncated, acting, obs, state, first_obs, first_state, limits,
    obs_sizes, shows_velocity, landmarks_within,
):  # fmt: skip
    """Writes flags and observations of all copies and starts new episodes; ``terminated`` has each copy's success."""
    stops_on_success, max_steps, limit = limits
    for e in range(len(positions)):
        position, velocity = positions[e], velocities[e]
        clock[e] += 1
        out_of_time = clock[e] >= max_steps
        terminated[e] = terminated[e] and stops_on_success and not out_of_time
        truncated[e] = not terminated[e] and (out_of_time or clock[e] >= limit)
        ended = terminated[e] or truncated[e]
        acting[e] = 0 if ended else 1
        _show(position, velocity, obs[e], state[e], obs_sizes, shows_velocity)
        if ended:
            _scatter(e, positions, velocities, clock, random, landmarks_within)
            _show(position, velocity, first_obs[e], first_state[e], obs_sizes, shows_velocity)


@njit(cache=True)
def _collide(force, position, sizes, collides, contact_force, margin):
    """Adds the forces between overlapping bodies: margin * log(1 + e^(depth / margin))."""
    n = len(force)
    for a in range(n):
        for b in range(a + 1, len(position)):
            if not (collides[a] and collides[b]):
                continue
            distance = distance_of(position, a, b)
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
def distance_of(position, a, b):
    dx, dy = position[a, 0] - position[b, 0], position[a, 1] - position[b, 1]
    return math.sqrt(dx * dx + dy * dy)


@njit(cache=True)
def _show(position, velocity, obs, state, obs_sizes, shows_velocity):
    """Writes each agent's velocity, position, offsets of landmarks and agents, and others' velocities."""
    n, start = len(velocity), 0
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
        for j in range(n):
            if j != i and shows_velocity[j]:
                own[at], own[at + 1] = velocity[j, 0], velocity[j, 1]
                at += 2
        for k in range(obs_sizes[i]):  # three times faster than an assignment of slices
            state[start + k] = own[k]
        start += obs_sizes[i]


@njit(cache=True)
def _scatter(e, positions, velocities, clock, random, landmarks_within):
    """Starts an episode of copy ``e``: bodies rest at uniform positions in the square; landmarks in a smaller one."""
    n = velocities.shape[1]
    clock[e] = 0
    velocities[e] = 0.0
    for k in range(positions.shape[1]):
        reach = landmarks_within if k >= n else 1.0
        for d in range(2):
            positions[e, k, d] = reach * (2.0 * uniform(random, e) - 1.0)
