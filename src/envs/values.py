"""Checks of the values that environments return. An error names the agent; ``one_copy`` adds environment and copy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import EnvError
from .messages import describe, one_line

RESET = ("observations", "infos")
ALL = "__all__"  # a key of flags, as in RLlib
STEP = ("observations", "rewards", "terminations", "truncations", "infos")


def unpacked(result: Any, names: Sequence[str]) -> Any:
    """The result of ``reset`` or ``step``, if it has as many values as ``names``."""
    if isinstance(result, tuple | list) and len(result) == len(names):
        return result
    what = f"{len(result)} values" if isinstance(result, tuple | list) else f"a {type(result).__name__}"
    call = "reset" if names is RESET else "step"
    raise EnvError(f"{call} returned {what}; it must return {len(names)}: {', '.join(names)}")


def check_dictionaries(parts: Sequence[Any], names: Sequence[str]) -> None:
    """Raises EnvError if a part of the result of ``reset`` or ``step`` is no dictionary."""
    for name, part in zip(names, parts, strict=True):
        if not isinstance(part, Mapping):
            raise EnvError(f"the {name} are a {type(part).__name__}; they must be a dictionary by agent") from None


def for_each(agents: Sequence[Any], flags: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Flags by agent; the key ``__all__`` counts for all of them."""
    return dict.fromkeys(agents, True) if flags.get(ALL) else flags


def numbers(values: Any) -> NDArray[Any]:
    """An array of the values; TypeError if they are not numbers (a text, None, complex, lists of unequal lengths)."""
    array = np.array(values)
    if array.dtype.kind not in "fiub":
        raise TypeError
    return array


def reward_fault(rewards: Any, agents: Sequence[Any]) -> EnvError:
    """The error about rewards of which one is missing, or is not a number."""
    if not isinstance(rewards, Mapping):
        return EnvError(f"the rewards are a {type(rewards).__name__}; they must be a dictionary by agent")
    for agent in agents:
        if agent not in rewards:
            return EnvError(f"there is no reward of {agent}")
        value = rewards[agent]
        try:
            if numbers(value).ndim:
                shape = np.shape(value)
                hint = f"reward_weights={[1.0] * shape[0]}" if len(shape) == 1 and shape[0] <= 8 else "reward_weights"
                return EnvError(f"the reward of {agent} has shape {shape}; set {hint} for a weighted sum")
        except (TypeError, ValueError):
            return EnvError(f"the reward of {agent} is {one_line(repr(value))}, which is not a number")
    return EnvError("the rewards are not finite numbers")


def observation_fault(observations: Mapping[Any, Any], agent: Any, space: Any, error: Exception) -> EnvError:
    """The error about an observation that cannot be written."""
    if agent not in observations:
        return EnvError(f"there is no observation of {agent}")
    value = observations[agent]
    if value is None:
        return EnvError(f"the observation of {agent} is None")
    shape = getattr(value, "shape", None)
    has = f"has shape {shape}, which does not fit" if shape is not None else "does not fit"
    return EnvError(f"the observation of {agent} {has} its space {one_line(space)}: {describe(error)}")


def checked_mask(mask: Any, n_actions: int, agent: Any) -> NDArray[np.bool_]:
    """The action mask of an agent, [n_actions]."""
    try:
        array = numbers(mask) != 0
    except (TypeError, ValueError):
        raise EnvError(f"the action mask of {agent} is {one_line(repr(mask))}, not an array of numbers") from None
    if array.shape != (n_actions,):
        raise EnvError(f"the action mask of {agent} has shape {array.shape}; the agent has {n_actions} actions")
    return array
