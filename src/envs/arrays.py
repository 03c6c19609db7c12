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
    specs = _specs(info, n_envs)
    views: dict[int, NDArray[Any]] = {}
    offset = 0
    for place in sorted(range(len(specs)), key=lambda place: -np.dtype(specs[place][1]).itemsize):
        shape, dtype = specs[place]  # wide types first, so that each array is aligned
        views[place] = np.ndarray(shape, dtype, memory, offset)
        offset += views[place].nbytes
    actions, reward, terminated, truncated, *frames = (views[place] for place in range(len(specs)))
    return Arrays(actions, Frame._make(frames[:5]), Frame._make(frames[5:]), reward, terminated, truncated)


def _specs(info: EnvInfo, n_envs: int) -> list[tuple[tuple[int, ...], type]]:
    """Shapes and types: actions, rewards, terminated, truncated, and the arrays of two frames."""
    agents = (n_envs, info.n_agents)
    frame: list[tuple[tuple[int, ...], type]] = [
        ((*agents, info.obs_shape), info.obs_dtype),
        ((n_envs, info.state_shape), info.state_dtype),
        ((*agents, info.n_actions), np.uint8),
        (agents, np.uint8),
        (agents, np.uint8),
    ]
    return [
        ((*agents, *info.actions.shape), info.actions.dtype),
        (agents, np.float32),
        ((n_envs,), np.bool_),
        ((n_envs,), np.bool_),
        *frame,
        *frame,
    ]
