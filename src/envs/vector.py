"""The vector environment: E copies in array form, over any backend."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..games.game import Batched
from ..types import EnvError, EnvInfo, Observation, Step
from .arrays import Arrays, Frame
from .copies import Copies
from .workers import Workers

log = logging.getLogger(__name__)

IDENTICAL = (
    "environment %s: all %d copies begin with the same observations and state. Either the start is fixed, or reset "
    "ignores its seed (it has a fixed one, or uses a generator made in the constructor): then the episodes are equal"
)


class VectorEnv:
    """A ``VecEnv`` over a backend (``Copies``, ``Workers`` or a game's ``Batched``) that reads and writes ``arrays``.

    An error or an interrupt inside a call closes it, as copies may then be at different steps. ``how`` describes the
    backend in a few words.
    """

    def __init__(
        self, info: EnvInfo, n_envs: int, arrays: Arrays, backend: Copies | Workers | Batched, how: str = ""
    ) -> None:
        self.info, self.how = info, how
        self.n_envs = n_envs
        self._arrays = arrays
        self._backend: Copies | Workers | Batched | None = backend
        self._current: Frame | None = None
        self._rows = np.arange(n_envs * info.n_agents).reshape(n_envs, -1) * info.n_actions  # of avail, flattened

    def reset(self) -> Observation:
        """Begins a new episode in every copy; raises EnvError as ``step`` does."""
        self._run("reset")
        if self._current is None and self.n_envs > 1 and _all_equal(self._arrays.first):
            log.warning(IDENTICAL, self.info.key, self.n_envs)
        self._current = self._arrays.first
        return self._current.observation()

    def step(self, actions: NDArray[np.int64]) -> Step:
        """Steps every copy with ``actions`` [E, N]; those of dead or waiting agents are ignored.

        Raises:
            EnvError: an action is not available, an environment fails or returns numbers that are not finite, or a
                worker has died.
        """
        arrays = self._arrays
        arrays.actions[...] = self._checked(actions)
        self._run("step")
        ended = arrays.terminated | arrays.truncated
        final = observation = arrays.final.observation()
        self._current = arrays.final
        if ended.any():
            arrays.first.copy_rows(arrays.final, ~ended)
            self._current = arrays.first
            observation = arrays.first.observation()
        return Step(final, observation, arrays.reward, arrays.terminated, arrays.truncated)

    def close(self) -> None:
        """Frees processes and memory. Safe to call twice."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def __enter__(self) -> VectorEnv:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _run(self, call: str) -> None:
        if self._backend is None:
            raise EnvError(f"environment {self.info.key} is closed")
        try:
            getattr(self._backend, call)()
        except BaseException:
            self.close()
            raise

    def _checked(self, actions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Actions [E, N], 0 for agents that do not act."""
        if self._current is None:
            raise EnvError("step was called before reset")
        expected = (self.n_envs, self.info.n_agents)
        if np.shape(actions) != expected:
            raise EnvError(f"actions have shape {np.shape(actions)}; they must be [E, N] = {expected}")
        chosen = actions * self._current.acting
        allowed: NDArray[Any]
        if chosen.min() < 0 or chosen.max() >= self.info.n_actions:
            allowed = (chosen >= 0) & (chosen < self.info.n_actions)
        else:
            allowed = self._current.avail.reshape(-1).take(self._rows + chosen)
        if not allowed.all():
            copy, agent = np.argwhere(allowed == 0)[0]
            raise EnvError(
                f"environment {self.info.key} (copy {copy}): action {chosen[copy, agent]} is not available "
                f"to {self.info.agents[agent]}"
            )
        return chosen


def _all_equal(frame: Frame) -> bool:
    """Whether all copies observe the same."""
    return all((rows == rows[:1]).all() for rows in (frame.obs, frame.state))
