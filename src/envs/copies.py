"""A group of copies in one process: stepped one after another, and reset when their episode ends."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..types import EnvError, EnvInfo
from .adapter import Adapter
from .arrays import Arrays, Frame
from .one_copy import Copy
from .watch import Progress, TimeLimit

LARGEST = 1e18  # of the numbers that environments return; float32 holds the squares of their sums
NOT_FINITE = "is not finite (NaN or infinity)"

# Missing from NumPy's type stubs.
_get_generator: Callable[[], Any] = np.random.get_bit_generator  # type: ignore[attr-defined]
_set_generator: Callable[[Any], None] = np.random.set_bit_generator  # type: ignore[attr-defined]


class Ledger(NamedTuple):
    """What the parent of a worker process reads: the number of each copy's episode, [copies], and the latest call."""

    episodes: NDArray[np.int64]
    progress: Progress


class Copies:
    """Copies ``indices`` of an environment, writing their rows of the shared arrays.

    An episode depends only on ``seed``, its copy and its number: not on other copies, the process, or (unless the
    environment ignores the seed of ``reset``) earlier episodes.

    With a ``ledger`` this process is a worker: its parent limits the time of calls, and no other code draws from the
    process's global generators. Without one, ``timeout`` limits the seconds of a call, and they are restored.

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
        timeout: float = 0.0,
        ledger: Ledger | None = None,
    ) -> None:
        self._info = info
        self._arrays = arrays
        episodes, progress = ledger or Ledger(np.zeros(len(indices), np.int64), Progress())
        self._limit = TimeLimit(info.key, timeout, progress)
        self._guard = nullcontext if ledger else partial(_guarded, self._limit)
        with self._guard():
            self._copies = [
                Copy(make, index, arrays.rows(row), seed, episodes[row : row + 1], progress)
                for row, index in enumerate(indices)
            ]
        if any(copy.info != info for copy in self._copies):
            raise EnvError(f"environment {info.key}: copies differ in agents or sizes")

    def reset(self, chosen: list[bool] | None = None) -> None:
        """Begins an episode in the ``chosen`` copies [E], or in all: fills ``first``."""
        with self._guard():
            for copy, is_chosen in zip(self._copies, chosen or [True] * len(self._copies), strict=True):
                if is_chosen:
                    copy.reset()
        self._check(self._arrays.first)

    def step(self) -> None:
        """Steps every copy with its ``actions``: fills all arrays, ``first`` only in copies whose episode ended."""
        arrays = self._arrays
        with self._guard():
            for row, copy in enumerate(self._copies):
                arrays.terminated[row], arrays.truncated[row] = copy.step()
        self._check(arrays.final)
        self._check_size(arrays.reward, "reward")
        if (arrays.terminated | arrays.truncated).any():
            self._check(arrays.first)

    def watch(self, look: Callable[[Any], None]) -> None:
        """Calls ``look`` with the first copy's environment after each of its resets and steps."""
        self._copies[0].watch(look)

    def state(self) -> list[dict[str, Any]]:
        """For each copy, the number of its episode and the actions [steps, N] of the episode."""
        return [copy.state() for copy in self._copies]

    def replay(self, states: list[dict[str, Any]]) -> list[bool]:
        """Repeats the episodes of ``state``: fills ``first`` with their last observations.

        Returns, for each copy, False if the episode ended before its last action or the environment failed.
        """
        with self._guard():
            return [copy.replay(state) for copy, state in zip(self._copies, states, strict=True)]

    def close(self) -> None:
        """Closes every copy, also if another one fails; then raises the first EnvError."""
        errors = []
        with self._limit:
            for copy in self._copies:
                try:
                    copy.close()
                except EnvError as error:
                    errors.append(error)
        self._limit.release()
        if errors:
            raise errors[0]

    def _check(self, frame: Frame) -> None:
        """Raises EnvError if values are not finite or absurdly large, or an agent has no available action."""
        self._check_size(frame.obs, "observation")
        self._check_size(frame.state, "state")
        if self._info.actions.name != "continuous" and not frame.avail.any(-1).all():
            row, agent = np.argwhere(~frame.avail.any(-1))[0]
            raise EnvError(f"{self._where(row)}: no action is available to {self._info.agents[agent]}")

    def _check_size(self, values: NDArray[Any], what: str) -> None:
        if values.dtype == np.uint8 or np.abs(values).max(initial=0) <= LARGEST:  # false for NaN
            return
        place = np.argwhere(~(np.abs(values) <= LARGEST))[0]
        value = values[tuple(place)]
        whose = "" if what == "state" else f" of {self._info.agents[place[1]]}"
        fault = f"has the value {value:.3g}; the limit is {LARGEST:g}" if np.isfinite(value) else NOT_FINITE
        raise EnvError(f"{self._where(place[0])}: the {what}{whose} {fault}")

    def _where(self, row: int) -> str:
        return f"environment {self._info.key} (copy {self._copies[row].index})"


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


@contextmanager
def _guarded(limit: TimeLimit) -> Iterator[None]:
    """The conditions of calls in the main process."""
    with generators_kept(), limit:
        yield
