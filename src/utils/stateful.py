"""Saves and restores the attributes of an object that change during a run.

torch is imported only when a state is saved or restored: games use this module in processes that do without it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np


class UnsavedError(Exception):
    """An object cannot be saved. The message names it."""


class Stateful:
    """An object with state for checkpoints: the attributes ``changing`` of its class and of its base classes.

    A value may be a number, a text, None, an array, a tensor, a random generator of NumPy or torch, another
    ``Stateful``, or a list, tuple or dictionary of these. The state has only what
    ``torch.load(..., weights_only=True)`` reads. A class without state declares ``changing = ()``.
    """

    changing: ClassVar[tuple[str, ...]]

    def state_dict(self) -> dict[str, Any]:
        """The state, which later changes of the object do not alter.

        Raises:
            UnsavedError: neither the class nor a base class declares ``changing``.
        """
        return {name: packed(getattr(self, name)) for name in self._names()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state. Arrays, generators and objects stay the same objects, so that views remain valid.

        Raises:
            KeyError: an attribute is missing in ``state``.
            ValueError: an array has another shape, or a number another type.
        """
        for name in self._names():
            setattr(self, name, restored(getattr(self, name), state[name]))

    def _names(self) -> list[str]:
        """Every class states only what it adds."""
        if not hasattr(self, "changing"):
            raise UnsavedError(f"{type(self).__name__} does not declare `changing`")
        return [name for cls in reversed(type(self).__mro__) for name in vars(cls).get("changing", ())]


def packed(value: Any) -> Any:
    """A copy of ``value`` in the form in which it is saved."""
    import torch

    if isinstance(value, Stateful):
        return value.state_dict()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if _is_generator(value):
        return _generator_state(value)
    if isinstance(value, Mapping):
        return {key: packed(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [packed(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UnsavedError(f"{type(value).__name__} is not a Stateful")


def restored(current: Any, saved: Any) -> Any:
    """The value that ``packed`` saved. ``current`` is changed in place if possible, and gives the type."""
    import torch

    if isinstance(current, Stateful):
        current.load_state_dict(saved)
        return current
    if _is_generator(current):
        _set_generator(current, saved)
        return current
    if isinstance(current, np.ndarray):
        if current.shape != tuple(saved.shape):
            raise ValueError(f"an array of shape {current.shape} cannot be restored from {tuple(saved.shape)}")
        current[...] = saved.numpy()
        return current
    if isinstance(current, torch.Tensor):
        if current.numel() and current.shape != saved.shape:
            raise ValueError(f"a tensor of shape {tuple(current.shape)} cannot be restored from {tuple(saved.shape)}")
        return saved.to(current.device)
    if isinstance(current, Mapping):
        return {key: restored(current.get(key), each) for key, each in saved.items()}
    if isinstance(current, list | tuple) and len(current) == len(saved):
        parts = [restored(old, new) for old, new in zip(current, saved, strict=True)]
        return type(current)(parts)
    if isinstance(current, int | float | str) and not isinstance(saved, _SAME.get(type(current), type(current))):
        raise ValueError(f"{saved!r} is not {type(current).__name__}")
    return saved


_SAME: dict[type, Any] = {float: (int, float)}  # types that stand for another one


def _is_generator(value: Any) -> bool:
    import torch

    return isinstance(value, np.random.Generator | np.random.BitGenerator | torch.Generator)


def _generator_state(generator: Any) -> Any:
    if hasattr(generator, "get_state"):  # torch's
        return generator.get_state()
    return packed(getattr(generator, "bit_generator", generator).state)


def _set_generator(generator: Any, state: Any) -> None:
    if hasattr(generator, "set_state"):  # torch's
        generator.set_state(state.cpu())
    else:
        getattr(generator, "bit_generator", generator).state = _arrays(state)


def _arrays(state: Any) -> Any:
    """A generator's state with NumPy arrays in place of tensors."""
    if isinstance(state, Mapping):
        return {key: _arrays(each) for key, each in state.items()}
    return state.numpy() if hasattr(state, "numpy") else state
