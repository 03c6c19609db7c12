"""Allocates the arrays of ``types.Arrays``: views of one block of memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import Arrays, EnvInfo, Frame


def n_bytes(info: EnvInfo, n_envs: int) -> int:
    """Memory that ``lay_out`` needs."""
    return sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in _specs(info, n_envs))


def lay_out(info: EnvInfo, n_envs: int, memory: Any = None) -> Arrays:
    """The arrays of ``n_envs`` copies, as views of ``memory``, a buffer of ``n_bytes``, or of new memory."""
    memory = bytearray(n_bytes(info, n_envs)) if memory is None else memory
    views: list[NDArray[Any]] = []
    offset = 0
    for shape, dtype in _specs(info, n_envs):
        view: NDArray[Any] = np.ndarray(shape, dtype, memory, offset)
        views.append(view)
        offset += view.nbytes
    actions, obs, state, obs_0, state_0, reward, *rest = views
    avail, mask, acting, avail_0, mask_0, acting_0, terminated, truncated = rest
    final, first = Frame(obs, state, avail, mask, acting), Frame(obs_0, state_0, avail_0, mask_0, acting_0)
    return Arrays(actions, final, first, reward, terminated, truncated)


def _specs(info: EnvInfo, n_envs: int) -> list[tuple[tuple[int, ...], type]]:
    """Shapes and types in memory: wide types first, so that each array is aligned."""
    agents = (n_envs, info.n_agents)
    floats: list[tuple[int, ...]] = [(*agents, info.obs_shape), (n_envs, info.state_shape)]
    flags: list[tuple[int, ...]] = [(*agents, info.n_actions), agents, agents]
    return [
        ((*agents, *info.actions.shape), info.actions.dtype),
        *((shape, np.float32) for shape in (*floats, *floats, agents)),
        *((shape, np.uint8) for shape in (*flags, *flags)),
        ((n_envs,), np.bool_),
        ((n_envs,), np.bool_),
    ]
