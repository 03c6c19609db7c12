"""A group of copies in one process: stepped one after another, and reset when their episode ends."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from ..types import EnvError, EnvInfo
from .adapter import Adapter
from .arrays import Arrays, Frame
from .factories import describe

# Missing from NumPy's type stubs.
_get_generator: Callable[[], Any] = np.random.get_bit_generator  # type: ignore[attr-defined]
_set_generator: Callable[[Any], None] = np.random.set_bit_generator  # type: ignore[attr-defined]


class Copies:
    """Copies ``indices`` of an environment, writing their rows of the shared arrays.

    An episode depends only on ``seed``, its copy and its number: not on other copies, the process, or (unless the
    environment ignores the seed of ``reset``) earlier episodes. With ``own_process``, no other code draws from the
    process's global generators, so they are not restored.

    Raises:
        ConfigError, EnvError: a copy cannot be made, or is not as ``info`` describes.
    """

    def __init__(
        self,
        make: Callable[[], Adapter],
        info: EnvInfo,
        indices: range,
        arrays: Arrays,
        seed: int,
        own_process: bool = False,
    ) -> None:
        self._info = info
        self._arrays = arrays
        self._guard = nullcontext if own_process else generators_kept
        with self._guard():
            self._copies = [_Copy(make, index, arrays.rows(row), seed) for row, index in enumerate(indices)]
        if any(copy.info != info for copy in self._copies):
            raise EnvError(f"environment {info.key}: copies differ in agents or sizes")

    def reset(self) -> None:
        """Begins an episode in every copy: fills ``first``."""
        with self._guard():
            for copy in self._copies:
                copy.reset()
        self._check(self._arrays.first)

    def step(self) -> None:
        """Steps every copy with its ``actions``: fills all arrays, ``first`` only in copies whose episode ended."""
        arrays = self._arrays
        with self._guard():
            for row, copy in enumerate(self._copies):
                arrays.terminated[row], arrays.truncated[row] = copy.step()
        self._check(arrays.final)
        self._check_finite(arrays.reward, "reward")
        if (arrays.terminated | arrays.truncated).any():
            self._check(arrays.first)

    def close(self) -> None:
        """Closes every copy."""
        for copy in self._copies:
            copy.close()

    def _check(self, frame: Frame) -> None:
        """Raises EnvError if values are not finite or an agent has no available action."""
        self._check_finite(frame.obs, "observation")
        self._check_finite(frame.state, "state")
        if not frame.avail.any(-1).all():
            row, agent = np.argwhere(~frame.avail.any(-1))[0]
            raise EnvError(f"{self._where(row)}: no action is available to {self._info.agents[agent]}")

    def _check_finite(self, values: np.ndarray, what: str) -> None:
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0][:2]
            whose = "" if what == "state" else f" of {self._info.agents[column]}"
            raise EnvError(f"{self._where(row)}: the {what}{whose} is not finite (NaN or infinity)")

    def _where(self, row: int) -> str:
        return f"environment {self._info.key} (copy {self._copies[row].index})"


class _Copy:
    """One copy with its own rows, and generators that are seeded anew in each episode.

    An episode depends only on ``seed``, the index of the copy and the number of the episode.
    """

    def __init__(self, make: Callable[[], Adapter], index: int, row: Arrays, seed: int) -> None:
        self.index, self.episode = index, 0  # the first episode is number 1
        self._row, self._seed = row, seed
        # MT19937, so that an environment may call np.random.seed without effect on other copies.
        self._numpy = np.random.MT19937()
        self._seed_generators()
        self._adapter = make()
        self.info = self._adapter.info

    def reset(self) -> None:
        """Begins the next episode, by its own seed."""
        self.episode += 1
        env_seed, actions_seed = self._seed_generators()
        try:
            self._adapter.seed_actions(actions_seed)
            self._adapter.reset(env_seed, self._row.first)
        except Exception as error:
            raise self._blame("reset", error) from error
        self._steps = 0

    def step(self) -> tuple[bool, bool]:
        self._take_over_generators()
        row = self._row
        try:
            terminated, truncated = self._adapter.step(row.actions.tolist(), row.final, row.reward)
        except Exception as error:
            raise self._blame("step", error) from error
        self._steps += 1
        if not terminated and self._steps >= self.info.episode_limit:
            truncated = True
        if terminated or truncated:
            self.reset()
        return terminated, truncated

    def close(self) -> None:
        self._adapter.close()

    def _seed_generators(self) -> tuple[int, int]:
        """Sets the global generators to the start of the episode; returns seeds for environment and action spaces."""
        seeds = episode_seeds(self._seed, self.index, self.episode)
        _set_generator(self._numpy)
        np.random.seed(seeds.numpy)  # a tenth of the time that a new generator takes
        self._calls = seeds.python
        random.seed(self._calls)
        return seeds.env, seeds.actions

    def _take_over_generators(self) -> None:
        """Sets the global generators for this copy, which may share the process with others.

        NumPy's is swapped. Python's is seeded by the episode and its number of steps, which costs less than a swap.
        """
        _set_generator(self._numpy)
        self._calls += 1
        random.seed(self._calls)

    def _blame(self, what: str, error: Exception) -> EnvError:
        return EnvError(f"environment {self.info.key} raised in {what} (copy {self.index}): {describe(error)}")


class Seeds(NamedTuple):
    """The seeds of one episode: of the environment, its action spaces, and the global generators."""

    env: int
    actions: int
    numpy: int
    python: int


def episode_seeds(seed: int, copy: int, episode: int) -> Seeds:
    """Derives the seeds of an episode, which are independent of those of all other copies and episodes."""
    sequence = np.random.SeedSequence(seed, spawn_key=(copy, episode))
    word, python, high, low = sequence.generate_state(4, np.uint64).tolist()
    return Seeds(word >> 33, high << 64 | low, word & 0xFFFFFFFF, python)  # 31 bits suit all environments


@contextmanager
def generators_kept(substitute: np.random.BitGenerator | None = None) -> Iterator[None]:
    """Restores the global generators afterwards; ``substitute`` is NumPy's until then.

    A normal number that NumPy's legacy functions drew in advance is dropped: to keep it would take 0.2 ms a step.
    """
    numpy_generator, python_state = _get_generator(), random.getstate()
    try:
        if substitute is not None:
            _set_generator(substitute)
        yield
    finally:
        _set_generator(numpy_generator)
        random.setstate(python_state)
