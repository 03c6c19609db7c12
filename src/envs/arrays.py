"""The arrays that copies write and the vector environment hands out: one block of memory, many views."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..types import EnvInfo, Observation


class Frame(NamedTuple):
    """What copies show at one moment: an ``Observation`` and who acts on it.

    Attributes:
        obs, state, avail, agent_mask: as in ``Observation``.
        acting: uint8 [E, N]; 1 where the agent's next action counts.

    The row of one copy is a Frame as well, without the leading E.
    """

    obs: NDArray[np.float32]
    state: NDArray[np.float32]
    avail: NDArray[np.uint8]
    agent_mask: NDArray[np.uint8]
    acting: NDArray[np.uint8]

    def observation(self) -> Observation:
        """The public part, without a copy."""
        return Observation(self.obs, self.state, self.avail, self.agent_mask)

    def rows(self, index: slice | int) -> Frame:
        """Views of some copies, or of one."""
        return Frame._make(array[index] for array in self)

    def copy_rows(self, source: Frame, where: NDArray[np.bool_]) -> None:
        """Takes over the rows of the copies ``where`` [E] from ``source``."""
        pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(self, source, strict=True)
        for own, other in pairs:
            own[where] = other[where]


class Arrays(NamedTuple):
    """All that passes between copies and the vector environment.

    Attributes:
        actions: int64 [E, N]; written before a step.
        final: what the step led to.
        first: the first observation of a new episode, valid in copies that have just begun one.
        reward: float32 [E, N].
        terminated: bool [E].
        truncated: bool [E].
    """

    actions: NDArray[np.int64]
    final: Frame
    first: Frame
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    def rows(self, index: slice | int) -> Arrays:
        """Views of some copies, or of one."""
        return Arrays(
            self.actions[index],
            self.final.rows(index),
            self.first.rows(index),
            self.reward[index],
            self.terminated[index],
            self.truncated[index],
        )


def n_bytes(info: EnvInfo, n_envs: int) -> int:
    """Memory that ``lay_out`` needs."""
    return sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in _specs(info, n_envs))


def lay_out(info: EnvInfo, n_envs: int, memory: Any = None) -> Arrays:
    """Lays the arrays of ``n_envs`` copies into ``memory``, a buffer of ``n_bytes``, or into fresh memory."""
    memory = bytearray(n_bytes(info, n_envs)) if memory is None else memory
    views: list[NDArray[Any]] = []
    offset = 0
    for shape, dtype in _specs(info, n_envs):
        view: NDArray[Any] = np.ndarray(shape, dtype, memory, offset)
        views.append(view)
        offset += view.nbytes
    actions, obs, state, obs_0, state_0, reward, *rest = views
    avail, mask, acting, avail_0, mask_0, acting_0, terminated, truncated = rest
    return Arrays(
        actions,
        Frame(obs, state, avail, mask, acting),
        Frame(obs_0, state_0, avail_0, mask_0, acting_0),
        reward,
        terminated,
        truncated,
    )


def _specs(info: EnvInfo, n_envs: int) -> list[tuple[tuple[int, ...], type]]:
    """Shapes and types in memory: wide types first, so that each array is aligned."""
    agents = (n_envs, info.n_agents)
    floats: list[tuple[int, ...]] = [(*agents, info.obs_shape), (n_envs, info.state_shape)]
    flags: list[tuple[int, ...]] = [(*agents, info.n_actions), agents, agents]
    return [
        (agents, np.int64),
        *((shape, np.float32) for shape in (*floats, *floats, agents)),
        *((shape, np.uint8) for shape in (*flags, *flags)),
        ((n_envs,), np.bool_),
        ((n_envs,), np.bool_),
    ]
