"""Access to functions that numba compiles, for float32 on a CPU, and the threads that they run in."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]


@cache
def kernels(name: str) -> Any:
    """The module ``name`` of this package, which has compiled functions; None if numba is not installed."""
    try:
        return import_module(f".{name}", __package__)
    except ImportError:
        return None


def is_compiled(name: str, values: Tensor) -> bool:
    """Whether the functions of the module ``name`` can compute ``values``."""
    return values.is_cpu and values.dtype == torch.float32 and kernels(name) is not None


class Arrays:
    """NumPy views of parameters, made again only for a parameter that has moved to other memory.

    A view keeps its memory alive, so another parameter cannot have the same address.
    """

    def __init__(self) -> None:
        self.addresses: list[int] = []
        self.views: list[Array] = []

    def of(self, parameters: Sequence[Tensor]) -> list[Array]:
        """The views of ``parameters``, in the same order at each call."""
        addresses = [parameter.data_ptr() for parameter in parameters]
        if addresses != self.addresses:
            self.addresses, self.views = addresses, [parameter.detach().numpy() for parameter in parameters]
        return self.views

    def __deepcopy__(self, memo: Any) -> "Arrays":
        return Arrays()


class _Threads:
    """The number of threads of this process's compiled functions."""

    count = 1


@contextmanager
def threads_set(count: int) -> Iterator[None]:
    """Sets the number of threads of compiled functions, the calling one included. It changes no result."""
    before, _Threads.count = _Threads.count, count
    try:
        yield
    finally:
        _Threads.count = before


def threads() -> int:
    """See ``threads_set``."""
    return _Threads.count


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    """The threads that work next to the calling one."""
    return ThreadPoolExecutor(count, "compiled")


def for_groups(call: Callable[[int], None], groups: int) -> None:
    """Calls ``call`` with each group, in up to ``threads()`` threads. ``call`` must release the GIL.

    The calling thread takes over what no helper has begun, as when other processes use the cores.
    """
    count = min(groups, threads())
    waiting = [] if count == 1 else [(_helpers(count - 1).submit(call, group), group) for group in range(1, groups)]
    call(0)
    if count == 1:
        for group in range(1, groups):
            call(group)
    for helper, group in reversed(waiting):
        if helper.cancel():
            call(group)
    for helper, _ in waiting:
        if not helper.cancelled():
            helper.result()
