"""Random numbers inside compiled functions: an independent generator for each copy.

SplitMix64 (Steele, Lea and Flood 2014): a 64-bit counter and a mixing function.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray


def generators(seed: int, n_envs: int) -> NDArray[np.uint64]:
    """A state for each copy, [E]; each depends only on ``seed`` and the copy's index."""
    sequences = (np.random.SeedSequence(seed, spawn_key=(index,)) for index in range(n_envs))
    return np.array([sequence.generate_state(1, np.uint64)[0] for sequence in sequences], dtype=np.uint64)


@njit(cache=True, inline="always")
def uniform(states: NDArray[np.uint64], e: int) -> float:
    """Uniform in [0, 1); advances the generator of copy ``e``."""
    states[e] += np.uint64(0x9E3779B97F4A7C15)
    z = states[e]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, inline="always")
def integer(states: NDArray[np.uint64], e: int, low: int, high: int) -> int:
    """Uniform in {low, ..., high - 1}."""
    return low + int(uniform(states, e) * (high - low))


@njit(cache=True)
def shuffle(states: NDArray[np.uint64], e: int, order: NDArray[np.int64]) -> None:
    """Writes a uniform permutation of 0, 1, ... into ``order`` (Fisher and Yates)."""
    for i in range(len(order)):
        order[i] = i
    for i in range(len(order) - 1, 0, -1):
        j = integer(states, e, 0, i + 1)
        order[i], order[j] = order[j], order[i]
