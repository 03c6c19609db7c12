"""State families drawn from known distributions, and two small gridworlds: fast, with a known entropy.

Everything here is for tuning. A recorder takes a random generator and the progress of the stream, from 0 to 1, and
returns a function that returns one episode, float32 [T, S].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Episode = NDArray[np.float32]
Play = Callable[[], Episode]
Recorder = Callable[[np.random.Generator, float], Play]

LENGTH = 25  # steps of an episode
MEMORY = 0.8  # correlation of successive steps of the Gaussian families
STEPS = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)])


def _autoregressive(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Standard normal at every step, with correlation ``MEMORY`` between successive ones: [T, size]."""
    noise = rng.standard_normal((LENGTH, size))
    for t in range(1, LENGTH):
        noise[t] = MEMORY * noise[t - 1] + np.sqrt(1 - MEMORY**2) * noise[t]
    return noise


def gaussians(size: int) -> Recorder:
    """Independent Gaussian features with means and scales between 0.1 and 10 that differ from feature to feature."""
    layout = np.random.default_rng(size)  # the same for every seed
    means, scales = layout.normal(0, 3, size), 10 ** layout.uniform(-1, 1, size)
    return lambda rng, progress: lambda: (means + scales * _autoregressive(rng, size)).astype(np.float32)


def factors(size: int, n_factors: int, noise: float = 0.2) -> Recorder:
    """Features that are noisy linear mixtures of a few Gaussian factors; the noise is a share of the scale."""
    layout = np.random.default_rng(size)
    mixing = layout.standard_normal((n_factors, size)) / np.sqrt(n_factors)

    def begin(rng: np.random.Generator, progress: float) -> Play:
        def play() -> Episode:
            signal = _autoregressive(rng, n_factors) @ mixing
            return (signal + noise * rng.standard_normal(signal.shape)).astype(np.float32)

        return play

    return begin


def one_hot_groups(n_groups: int, n_values: int) -> Recorder:
    """Independent, uniform categorical variables, each one-hot."""

    def begin(rng: np.random.Generator, progress: float) -> Play:
        return lambda: np.eye(n_values, dtype=np.float32)[rng.integers(n_values, size=(LENGTH, n_groups))].reshape(
            LENGTH, -1
        )

    return begin


def bits(size: int) -> Recorder:
    """Independent fair bits."""
    return lambda rng, progress: lambda: rng.integers(2, size=(LENGTH, size)).astype(np.float32)


def positions(n_agents: int, side: int) -> Recorder:
    """Agents that walk on a torus, one one-hot plane each: uniform at every step for any preference."""

    def begin(rng: np.random.Generator, progress: float) -> Play:
        preference = rng.dirichlet(np.ones(len(STEPS)), size=n_agents)
        chances = (1 - progress) / len(STEPS) + progress * preference

        def play() -> Episode:
            place = rng.integers(side, size=(n_agents, 2))
            rows = np.zeros((LENGTH, n_agents, side * side), np.float32)
            for t in range(LENGTH):
                rows[t, np.arange(n_agents), place @ (side, 1)] = 1.0
                moves = [rng.choice(len(STEPS), p=chance) for chance in chances]
                place = (place + STEPS[moves]) % side
            return rows.reshape(LENGTH, -1)

        return play

    return begin


KEY_ROOM = 6  # cells along a side of the key-and-door world


def key_and_door(rng: np.random.Generator, progress: float) -> Play:
    """One agent, a key and a door on a 6x6 grid: three one-hot planes, the bits "has key" and "door open", a clock.

    The agent walks at random, with probability ``0.6 * progress`` towards the key or, once it has it, the door. The
    episode ends 3 steps after the door was opened, or after 40 steps.
    """

    def play() -> Episode:
        place, key, door = rng.integers(KEY_ROOM, size=(3, 2))
        has_key = is_open = False
        rows: list[NDArray[np.float64]] = []
        since = 0
        while len(rows) < 40 and since < 3:
            planes = np.zeros((3, KEY_ROOM**2))
            planes[np.arange(3), np.array([place, key, door]) @ (KEY_ROOM, 1)] = 1.0
            rows.append(np.concatenate([planes.reshape(-1), [has_key, is_open, len(rows) / 40]]))
            wanted = np.clip((door if has_key else key) - place, -1, 1) * rng.permutation([0, 1])
            move = wanted if rng.random() < 0.6 * progress else STEPS[rng.integers(len(STEPS))]
            place = np.clip(place + move, 0, KEY_ROOM - 1)
            has_key = has_key or bool(np.all(place == key))
            key = place if has_key else key
            is_open = is_open or (has_key and bool(np.all(place == door)))
            since += is_open
        return np.stack(rows).astype(np.float32)

    return play
