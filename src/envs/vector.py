"""The vector environment: E copies in array form, over any backend."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..games.game import Batched
from ..types import EnvError, EnvInfo, Observation, Step
from .actions import permitted
from .arrays import Arrays, Frame
from .copies import Copies
from .workers import Workers

log = logging.getLogger(__name__)

IDENTICAL = (
    "environment %s: all %d copies begin with the same observations and state. Either the start is fixed, or reset "
    "ignores its seed (it has a fixed one, or uses a generator made in the constructor): then the episodes are equal"
)

NOT_REPEATED = (
    "environment %s: the episodes of copies %s cannot be repeated with their seeds and actions (reset ignores its "
    "seed, or the environment depends on earlier episodes or on the time); new episodes begin there"
)


class VectorEnv:
    """A ``VecEnv`` over a backend (``Copies``, ``Workers`` or a game's ``Batched``) that reads and writes ``arrays``.

    An error or an interrupt inside a call closes it, as copies may then be at different steps. ``how`` describes the
    backend in a few words; ``lost`` [E] is where it marks copies whose episode was dropped in the last step.
    """

    def __init__(
        self,
        info: EnvInfo,
        n_envs: int,
        arrays: Arrays,
        backend: Copies | Workers | Batched,
        how: str = "",
        lost: NDArray[np.bool_] | None = None,
    ) -> None:
        self.info, self.how = info, how
        self.n_envs = n_envs
        self._arrays, self._lost = arrays, lost
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

    def step(self, actions: NDArray[Any]) -> Step:
        """Steps every copy with ``actions`` (see ``types.ActionKind``); those of dead or waiting agents are ignored.

        Raises:
            EnvError: an action is not available, an environment fails or returns numbers that are not finite, or a
                worker has died.
        """
        if not self._admit(actions):
            self._arrays.actions[...] = self._checked(actions)
        assert self._current is not None
        before = None if self._lost is None else Frame._make(array.copy() for array in self._current)
        self._run("step")
        arrays, lost = self._arrays, None
        if before is not None and self._lost is not None and self._lost.any():
            lost = self._lost
            arrays.final.copy_rows(before, lost)
        ended = arrays.terminated | arrays.truncated
        final = observation = arrays.final.observation()
        self._current = arrays.final
        if ended.any():
            self._complete_first(~ended)
            self._current = arrays.first
            observation = arrays.first.observation()
        return Step(final, observation, arrays.reward, arrays.terminated, arrays.truncated, lost)

    def _complete_first(self, ongoing: NDArray[np.bool_]) -> None:
        """Writes the last frames of copies whose episode goes on, ``ongoing`` [E], beside the first of the others."""
        self._arrays.first.copy_rows(self._arrays.final, ongoing)

    def observation(self) -> Observation:
        """The current observation; EnvError before the first ``reset``."""
        if self._current is None:
            raise EnvError(f"environment {self.info.key} has no observation before reset")
        return self._current.observation()

    def state_dict(self) -> dict[str, Any]:
        """The current observation, and the state of array games; of other copies the actions of their episodes."""
        from ..utils.stateful import packed  # with torch, which workers do without

        if self._current is None or self._backend is None:
            raise EnvError(f"environment {self.info.key} has no state before reset and after close")
        state = self._run("state_dict" if isinstance(self._backend, Batched) else "state")
        return {"current": packed(list(self._current)), "backend": packed(state)}

    def load_state_dict(self, state: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Restores ``state_dict``. Episodes of copies that are no arrays are repeated, and compared with the saved
        observation.

        Returns:
            bool [E]: True for copies that continue exactly; in the others, which a warning names, a new episode
            began.
        """
        current = Frame._make(array.numpy() for array in state["current"])
        if isinstance(self._backend, Batched):
            self._run("load_state_dict", state["backend"])
            same = np.ones(self.n_envs, np.bool_)
        else:
            copies = [{**copy, "actions": copy["actions"].numpy()} for copy in state["backend"]]
            same = np.array(self._run("replay", copies)) & _equal_rows(self._arrays.first, current)
            if not same.all():
                self._run("reset", (~same).tolist())
                log.warning(NOT_REPEATED, self.info.key, ", ".join(map(str, np.flatnonzero(~same))))
        first = self._arrays.first
        first.copy_rows(current, same)
        self._current = first
        return same

    def watch(self, look: Callable[[Any], None]) -> bool:
        """Calls ``look`` with the first copy's environment after each of its resets and steps.

        Returns False, and does not, where the copies are in other processes or are arrays.
        """
        if not isinstance(self._backend, Copies):
            return False
        self._backend.watch(look)
        return True

    def close(self) -> None:
        """Frees processes and memory. Safe to call twice. Raises EnvError if an environment cannot be closed."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def __enter__(self) -> VectorEnv:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _run(self, call: str, *arguments: Any) -> Any:
        if self._backend is None:
            raise EnvError(f"environment {self.info.key} is closed")
        try:
            return getattr(self._backend, call)(*arguments)
        except BaseException:
            with suppress(EnvError):
                self.close()
            raise

    def _admit(self, actions: NDArray[Any]) -> bool:
        """Takes over discrete actions that are all available, in one compiled call; False if it cannot."""
        to, now = self._arrays.actions, self._current
        if self.info.actions.shape or now is None or _admit() is None:
            return False
        alike = actions.shape == to.shape and actions.dtype == to.dtype and actions.flags.c_contiguous
        return bool(alike and _admit()(actions, now.acting, now.avail, to))

    def _checked(self, actions: NDArray[Any]) -> NDArray[Any]:
        """The actions, 0 for agents that do not act."""
        if self._current is None:
            raise EnvError("step was called before reset")
        kind = self.info.actions
        expected = (self.n_envs, self.info.n_agents, *kind.shape)
        if np.shape(actions) != expected:
            axes = "[E, N, A]" if kind.shape else "[E, N]"
            raise EnvError(f"actions have shape {np.shape(actions)}; they must be {axes} = {expected}")
        acting = self._current.acting
        chosen = actions * (acting[..., None] if kind.shape else acting)
        allowed: NDArray[Any]
        if kind.shape:
            allowed = permitted(kind, chosen, self._current.avail)
        elif chosen.min() < 0 or chosen.max() >= self.info.n_actions:
            allowed = (chosen >= 0) & (chosen < self.info.n_actions)
        else:
            allowed = self._current.avail.reshape(-1).take(self._rows + chosen)
        if np.count_nonzero(allowed) < allowed.size:
            copy, agent = np.argwhere(allowed == 0)[0]
            action = chosen[copy, agent].tolist()
            raise EnvError(
                f"environment {self.info.key} (copy {copy}): action {action} is not available "
                f"to {self.info.agents[agent]}"
            )
        return chosen


@cache
def _admit() -> Any:
    """The compiled check of actions; None without numba, which is imported here and not in workers."""
    with suppress(ImportError):
        from .action_kernels import admit

        return admit
    return None


def _all_equal(frame: Frame) -> bool:
    """Whether all copies observe the same."""
    return all((rows == rows[:1]).all() for rows in (frame.obs, frame.state))


def _equal_rows(frame: Frame, other: Frame) -> NDArray[np.bool_]:
    """Whether two frames have the same numbers, for each copy: bool [E]."""
    pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(frame, other, strict=True)
    return np.logical_and.reduce([(a == b).reshape(len(a), -1).all(axis=1) for a, b in pairs])
