"""Saves and restores the attributes of an object that change during a run."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor


class Stateful:
    """An object with state for checkpoints: the attributes ``changing`` of its class and of its base classes.

    A value may be a number, a text, None, an array, a tensor, a random generator of NumPy or torch, another
    ``Stateful``, or a list, tuple or dictionary of these. The state has only what
    ``torch.load(..., weights_only=True)`` reads.
    """

    changing: ClassVar[tuple[str, ...]] = ()

    def state_dict(self) -> dict[str, Any]:
        """The state, which later changes of the object do not alter."""
        return {name: packed(getattr(self, name)) for name in self._names()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state. Arrays, generators and objects stay the same objects, so that views remain valid.

        Raises:
            KeyError: an attribute is missing in ``state``.
            ValueError: an array has another shape.
        """
        for name in self._names():
            setattr(self, name, restored(getattr(self, name), state[name]))

    def _names(self) -> list[str]:
        """Every class states only what it adds."""
        return [name for cls in reversed(type(self).__mro__) for name in vars(cls).get("changing", ())]


def packed(value: Any) -> Any:
    """A copy of ``value`` in the form in which it is saved."""
    if isinstance(value, Stateful):
        return value.state_dict()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.random.Generator):
        return packed(value.bit_generator.state)
    if isinstance(value, np.random.BitGenerator):
        return packed(value.state)
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, Mapping):
        return {key: packed(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [packed(each) for each in value]
    return value


def restored(current: Any, saved: Any) -> Any:
    """The value that ``packed`` saved. ``current`` is changed in place if possible, and gives the type."""
    if isinstance(current, Stateful):
        current.load_state_dict(saved)
        return current
    if isinstance(current, np.random.Generator):
        current.bit_generator.state = _arrays(saved)
        return current
    if isinstance(current, np.random.BitGenerator):
        current.state = _arrays(saved)
        return current
    if isinstance(current, torch.Generator):
        current.set_state(saved.cpu())
        return current
    if isinstance(current, np.ndarray):
        if current.shape != tuple(saved.shape):
            raise ValueError(f"an array of shape {current.shape} cannot be restored from {tuple(saved.shape)}")
        current[...] = saved.numpy()
        return current
    if isinstance(current, Tensor):
        return saved.to(current.device)
    if isinstance(current, tuple):
        parts = [restored(old, new) for old, new in zip(current, saved, strict=True)]
        return type(current)._make(parts) if hasattr(current, "_make") else tuple(parts)
    return saved


def _arrays(state: Any) -> Any:
    """A generator's state with NumPy arrays in place of tensors."""
    if isinstance(state, Mapping):
        return {key: _arrays(each) for key, each in state.items()}
    return state.numpy() if isinstance(state, Tensor) else state
