"""Access to functions that numba compiles, for float32 on a CPU."""

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor


@cache
def kernels(name: str) -> Any:
    """The module ``name`` of this package, which has compiled functions; None if numba is not installed."""
    try:
        return import_module(f".{name}", __package__)
    except ImportError:
        return None


def is_compiled(name: str, values: Tensor) -> bool:
    """Whether the functions of the module ``name`` can compute ``values``."""
    return values.device.type == "cpu" and values.dtype == torch.float32 and kernels(name) is not None
