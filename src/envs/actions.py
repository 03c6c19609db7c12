"""Action spaces of agents: their common form in arrays, and the conversion to the environment's own actions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..types import DISCRETE, ActionKind, ConfigError

Convert = Callable[[Any], Any]
HEADS = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class Actions(NamedTuple):
    """The actions of N agents.

    Attributes:
        kind: their form.
        own: for each agent, the indices of its own actions among the U.
        available: bool [N, U], the availability for an agent that acts and has no mask.
        none: bool [U], the availability for an agent that does not act.
        convert: for each agent, the conversion of its action in arrays, as a number or list, to the environment's.
    """

    kind: ActionKind
    own: tuple[NDArray[np.int64], ...]
    available: NDArray[np.bool_]
    none: NDArray[np.bool_]
    convert: list[Convert]


def actions_of(given: Sequence[spaces.Space], names: Sequence[str]) -> Actions:
    """The common form of the action spaces of the agents ``names``.

    Raises:
        ConfigError: a space of another kind than Discrete, MultiDiscrete, MultiBinary and Box, or Box next to others.
    """
    for space, name in zip(given, names, strict=True):
        if not isinstance(space, (*HEADS, spaces.Box)):
            raise ConfigError(
                f"agent {name} has actions {space}; Discrete, MultiDiscrete, MultiBinary and Box are supported"
            )
    if all(isinstance(space, spaces.Discrete) for space in given):
        return _discrete(given)
    if all(isinstance(space, spaces.Box) for space in given):
        return _continuous(given)
    if all(isinstance(space, HEADS) for space in given):
        return _heads(given)
    kinds = ", ".join(f"{name} {space}" for name, space in zip(names, given, strict=True))
    raise ConfigError(f"continuous and discrete actions in one environment are not supported: {kinds}")


def _discrete(given: Sequence[Any]) -> Actions:
    sizes = [int(space.n) for space in given]
    most = np.arange(max(sizes))
    own = tuple(np.arange(size) for size in sizes)
    return Actions(DISCRETE, own, most < np.array(sizes)[:, None], most == 0, [int(s.start).__add__ for s in given])


def _heads(given: Sequence[spaces.Space]) -> Actions:
    """Heads are padded to the largest number of choices. Of a head that an agent lacks, choice 0 is available."""
    converts, sizes = [], []
    for space in given:
        choices, convert = _choices(space)
        sizes.append(choices)
        converts.append(convert)
    n_heads = max(map(len, sizes))
    padded = np.ones((len(given), n_heads), np.int64)
    for row, choices in zip(padded, sizes, strict=True):
        row[: len(choices)] = choices
    widths = padded.max(axis=0)
    place = np.concatenate([np.arange(width) for width in widths])  # [U], the choice within its head
    head = np.repeat(np.arange(n_heads), widths)  # [U]
    available = place < padded[:, head]
    own = tuple(np.flatnonzero(row & (head < len(choices))) for row, choices in zip(available, sizes, strict=True))
    kind = ActionKind("heads", heads=tuple(map(int, widths)))
    return Actions(kind, own, available, place == 0, converts)


def _choices(space: Any) -> tuple[NDArray[np.int64], Convert]:
    """The number of choices of each head, and the conversion of choices."""
    if isinstance(space, spaces.Discrete):
        return np.array([space.n]), lambda action: int(action[0]) + int(space.start)
    if isinstance(space, spaces.MultiBinary):
        start, sizes = np.zeros(space.shape, np.int64), np.full(int(np.prod(space.shape)), 2)
    else:
        start, sizes = space.start, space.nvec.reshape(-1)

    def convert(action: Any) -> Any:
        chosen = np.asarray(action, np.int64)[: len(sizes)].reshape(start.shape)
        return (chosen + start).astype(space.dtype)

    return sizes, convert


def _continuous(given: Sequence[spaces.Space]) -> Actions:
    """Numbers are scaled so that [-1, 1] is the range of the space, where it has two finite bounds."""
    boxes = [_box(space) for space in given]
    most = max(size for size, _, _ in boxes)
    limits = np.ones(most)
    for size, is_bounded, _ in boxes:
        limits[:size][~is_bounded] = np.inf
    sizes = np.array([size for size, _, _ in boxes])
    kind = ActionKind("continuous", limits=tuple(map(float, limits)))
    own = tuple(np.arange(size) for size in sizes)
    available = np.arange(most) < sizes[:, None]
    return Actions(kind, own, available, np.zeros(most, np.bool_), [convert for _, _, convert in boxes])


def _box(space: Any) -> tuple[int, NDArray[np.bool_], Convert]:
    """The number of numbers, which of them have two finite bounds, and the conversion."""
    low, high = (np.asarray(bound, np.float64).reshape(-1) for bound in (space.low, space.high))
    is_bounded = high - low < np.finfo(np.float32).max  # bounds at the limits of float32 bound nothing
    lowest, highest = np.where(is_bounded, low, -1.0), np.where(is_bounded, high, 1.0)
    centre, half = (highest + lowest) / 2, (highest - lowest) / 2
    is_integer = space.dtype.kind in "iub"

    def convert(action: Any) -> Any:
        values = np.clip(centre + half * np.asarray(action, np.float64)[: len(low)], low, high)
        return (np.rint(values) if is_integer else values).astype(space.dtype).reshape(space.shape)

    return len(low), is_bounded, convert


def permitted(kind: ActionKind, actions: NDArray[Any], avail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each agent's action is permitted, bool [E, N]: ``actions`` of ``kind`` under ``avail`` [E, N, U]."""
    if kind.name == "continuous":
        finite: NDArray[np.bool_] = np.isfinite(actions)
        return np.logical_and.reduce(finite, axis=-1)
    sizes = np.array(kind.heads or [avail.shape[-1]])
    chosen = actions.reshape(*actions.shape[:2], -1)  # [E, N, heads]
    in_range = (chosen >= 0) & (chosen < sizes)
    index = np.where(in_range, chosen, 0) + np.cumsum(sizes) - sizes
    return np.logical_and.reduce(in_range & (np.take_along_axis(avail, index, axis=-1) > 0), axis=-1)


def actions_by_score(kind: ActionKind, scores: NDArray[Any]) -> NDArray[Any]:
    """Actions from scores [E, N, U] in [0, 1], 0 where nothing is available.

    The choice of highest score (of each head), or the scores scaled to [-1, 1] as numbers.
    """
    if kind.name == "continuous":
        return (2.0 * scores - 1.0).astype(np.float32)
    heads = np.split(scores, np.cumsum(kind.heads)[:-1], axis=-1) if kind.heads else [scores]
    return np.stack([head.argmax(axis=-1) for head in heads], axis=-1).reshape(*scores.shape[:2], *kind.shape)
