"""Action spaces of agents: their common form in arrays, and the conversion to the environment's own actions."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..types import DISCRETE, ActionKind, ConfigError

Convert = Callable[[Any], Any]
NOTHING: NDArray[Any] = np.zeros(0)
SUPPORTED = "Discrete, MultiDiscrete, MultiBinary and Box, and Tuple and Dict of these, are supported"


class Actions(NamedTuple):
    """The actions of N agents.

    Attributes:
        kind: their form.
        own: for each agent, the indices of its own actions among the U.
        available: bool [N, U], the availability for an agent that acts and has no mask.
        none: bool [U], the availability for an agent that does not act.
        numbers: for each agent, how many numbers its action has; empty if no action has any.
        convert: for each agent, the conversion of its action in arrays, as a number or list, to the environment's.
        store: for each agent, the conversion of an action of its space to arrays, the inverse of ``convert``.
    """

    kind: ActionKind
    own: tuple[NDArray[np.int64], ...]
    available: NDArray[np.bool_]
    none: NDArray[np.bool_]
    convert: list[Convert]
    store: list[Convert]
    numbers: tuple[int, ...]


class Parts(NamedTuple):
    """One agent's action space.

    Attributes:
        choices: int64 [K], the number of choices of each head.
        bounded: bool [D], which of its numbers have two finite bounds.
        convert: from K choices and D numbers, as arrays, to an action of the space.
        split: from an action of the space to K choices and D numbers, the inverse of ``convert``.
    """

    choices: NDArray[np.int64]
    bounded: NDArray[np.bool_]
    convert: Callable[[NDArray[np.int64], NDArray[np.float64]], Any]
    split: Callable[[Any], tuple[NDArray[Any], NDArray[Any]]]


def actions_of(given: Sequence[spaces.Space], names: Sequence[str]) -> Actions:
    """The common form of the action spaces of the agents ``names``.

    Heads are padded to the largest number of choices, and numbers to the largest number of them. Of a head that an
    agent lacks, choice 0 is available. Numbers are scaled so that [-1, 1] is the range of the space, where it has two
    finite bounds.

    Raises:
        ConfigError: a space of another kind than Discrete, MultiDiscrete, MultiBinary, Box, Tuple and Dict, or agents
            without any action.
    """
    if all(isinstance(space, spaces.Discrete) for space in given):
        return _discrete(given)
    agents = []
    for space, name in zip(given, names, strict=True):
        try:
            agents.append(_parts(space))
        except TypeError:
            raise ConfigError(f"agent {name} has actions {space}; {SUPPORTED}") from None
    n_heads, n_numbers = max(len(agent.choices) for agent in agents), max(len(agent.bounded) for agent in agents)
    if not n_heads + n_numbers:
        raise ConfigError(f"agent {names[0]} has no actions: {given[0]}")
    padded = np.ones((len(agents), n_heads), np.int64)
    limits = np.ones(n_numbers)
    for row, agent in zip(padded, agents, strict=True):
        row[: len(agent.choices)] = agent.choices
        limits[: len(agent.bounded)][~agent.bounded] = np.inf
    widths = padded.max(axis=0)
    kind = ActionKind(_name(n_heads, n_numbers), tuple(map(int, widths)), tuple(map(float, limits)))
    place = np.concatenate([*map(np.arange, widths), np.zeros(n_numbers, np.int64)])  # [U], the choice in its head
    part = np.repeat(np.arange(n_heads + n_numbers), [*widths, *np.ones(n_numbers, np.int64)])  # [U], head or number
    is_number = part >= n_heads
    available = np.where(
        is_number,
        part - n_heads < np.array([len(agent.bounded) for agent in agents])[:, None],
        place < np.concatenate([padded, np.ones((len(agents), n_numbers), np.int64)], axis=1)[:, part],
    )
    own = tuple(
        np.flatnonzero(row & (is_number | (part < len(agent.choices))))
        for row, agent in zip(available, agents, strict=True)
    )
    numbers = tuple(len(agent.bounded) for agent in agents) if n_numbers else ()
    convert = [_converter(agent, n_heads) for agent in agents]
    store = [_storer(agent, n_heads, n_numbers, kind.dtype) for agent in agents]
    return Actions(kind, own, available, kind.of_idle(len(part)), convert, store, numbers)


def _name(n_heads: int, n_numbers: int) -> str:
    return "mixed" if n_heads and n_numbers else "heads" if n_heads else "continuous"


def _converter(agent: Parts, n_heads: int) -> Convert:
    """From an action [K + D] of all agents' form to the agent's own."""
    n_own, n_numbers = len(agent.choices), len(agent.bounded)

    def convert(action: Any) -> Any:
        values = np.asarray(action, np.float64)
        return agent.convert(values[:n_own].astype(np.int64), values[n_heads : n_heads + n_numbers])

    return convert


def _storer(agent: Parts, n_heads: int, n_numbers: int, dtype: Any) -> Convert:
    """From an agent's own action to one [K + D] of all agents' form, with zeros for what the agent lacks."""

    def store(action: Any) -> NDArray[Any]:
        stored = np.zeros(n_heads + n_numbers, dtype)
        choices, numbers = agent.split(action)
        stored[: len(choices)], stored[n_heads : n_heads + len(numbers)] = choices, numbers
        return stored

    return store


def _discrete(given: Sequence[Any]) -> Actions:
    sizes = [int(space.n) for space in given]
    most = np.arange(max(sizes))
    own = tuple(np.arange(size) for size in sizes)
    convert: list[Convert] = [int(space.start).__add__ for space in given]
    store: list[Convert] = [partial(_place, int(space.start)) for space in given]
    return Actions(DISCRETE, own, most < np.array(sizes)[:, None], DISCRETE.of_idle(len(most)), convert, store, ())


def _place(start: int, action: Any) -> int:
    return int(action) - start


def _parts(space: Any) -> Parts:
    """Raises TypeError if the space is not supported."""
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return Parts(
            np.array([space.n]),
            np.zeros(0, np.bool_),
            lambda choices, _: int(choices[0]) + start,
            lambda action: (np.array([_place(start, action)]), NOTHING),
        )
    if isinstance(space, spaces.MultiBinary):
        return _choices(space, np.zeros(space.shape, np.int64), np.full(int(np.prod(space.shape)), 2))
    if isinstance(space, spaces.MultiDiscrete):
        return _choices(space, space.start, space.nvec.reshape(-1))
    if isinstance(space, spaces.Box):
        return _box(space)
    if isinstance(space, spaces.Dict):
        return _joined(
            [_parts(inner) for inner in space.values()],
            lambda values: dict(zip(space, values, strict=True)),
            lambda action: [action[name] for name in space],
        )
    if isinstance(space, spaces.Tuple):
        return _joined([_parts(inner) for inner in space], tuple, list)
    raise TypeError


def _joined(parts: list[Parts], build: Callable[[list[Any]], Any], values_of: Callable[[Any], list[Any]]) -> Parts:
    """The parts of a space of spaces, whose action ``build`` makes of theirs; ``values_of`` is the inverse."""
    of_choices = np.cumsum([len(part.choices) for part in parts])[:-1]
    of_numbers = np.cumsum([len(part.bounded) for part in parts])[:-1]

    def convert(choices: NDArray[np.int64], numbers: NDArray[np.float64]) -> Any:
        shares = zip(parts, np.split(choices, of_choices), np.split(numbers, of_numbers), strict=True)
        return build([part.convert(own, values) for part, own, values in shares])

    def split(action: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        shares = [part.split(value) for part, value in zip(parts, values_of(action), strict=True)]
        own, values = (np.concatenate([NOTHING, *arrays]) for arrays in zip((NOTHING, NOTHING), *shares, strict=True))
        return own, values

    choices = np.concatenate([np.zeros(0, np.int64), *(part.choices for part in parts)])
    bounded = np.concatenate([np.zeros(0, np.bool_), *(part.bounded for part in parts)])
    return Parts(choices, bounded, convert, split)


def _choices(space: Any, start: NDArray[np.int64], sizes: NDArray[np.int64]) -> Parts:
    def convert(choices: NDArray[np.int64], _: Any) -> Any:
        return (choices.reshape(start.shape) + start).astype(space.dtype)

    def split(action: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        return (np.asarray(action, np.int64).reshape(start.shape) - start).reshape(-1), NOTHING

    return Parts(sizes, np.zeros(0, np.bool_), convert, split)


def _box(space: Any) -> Parts:
    low, high, centre, half, is_bounded = bounds(space)
    is_integer = space.dtype.kind in "iub"

    def convert(_: Any, numbers: NDArray[np.float64]) -> Any:
        values = np.clip(centre + half * numbers, low, high)
        return (np.rint(values) if is_integer else values).astype(space.dtype).reshape(space.shape)

    def split(action: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        values = np.asarray(action, np.float64).reshape(low.shape) - centre
        return NOTHING, np.divide(values, half, out=np.zeros_like(half), where=half != 0)

    return Parts(np.zeros(0, np.int64), is_bounded, convert, split)


def bounds(space: Any) -> tuple[NDArray[Any], ...]:
    """Low, high, centre and half range of the numbers of a Box, and which of them have two finite bounds.

    The range of a number without two bounds is scaled by 1.
    """
    low, high = (np.asarray(bound, np.float64).reshape(-1) for bound in (space.low, space.high))
    is_bounded = high - low < np.finfo(np.float32).max  # bounds at the limits of float32 bound nothing
    lowest, highest = np.where(is_bounded, low, -1.0), np.where(is_bounded, high, 1.0)
    return low, high, (highest + lowest) / 2, (highest - lowest) / 2, is_bounded


def permitted(kind: ActionKind, actions: NDArray[Any], avail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each agent's action is permitted, bool [E, N]: ``actions`` of ``kind`` under ``avail`` [E, N, U]."""
    sizes = np.array(kind.heads or ([] if kind.limits else [avail.shape[-1]]), np.int64)
    values = actions.reshape(*actions.shape[:2], -1)
    finite = np.isfinite(values).all(axis=-1)
    chosen = np.where(finite[..., None], values, 0)[..., : len(sizes)].astype(np.int64)  # [E, N, heads]
    in_range = (chosen >= 0) & (chosen < sizes) & (chosen == values[..., : len(sizes)])
    index = np.where(in_range, chosen, 0) + np.cumsum(sizes) - sizes
    allowed: NDArray[np.bool_] = finite & (in_range & (np.take_along_axis(avail, index, axis=-1) > 0)).all(axis=-1)
    return allowed


def actions_by_score(kind: ActionKind, scores: NDArray[Any]) -> NDArray[Any]:
    """Actions from scores [E, N, U] in [0, 1], 0 where nothing is available.

    The choice of highest score (of each head), and the scores scaled to [-1, 1] as numbers.
    """
    sizes = kind.heads or (() if kind.limits else (scores.shape[-1],))
    heads = np.split(scores, np.cumsum(sizes), axis=-1)
    columns = [head.argmax(axis=-1)[..., None] for head in heads[:-1]]
    actions = np.concatenate([*columns, 2.0 * heads[-1] - 1.0], axis=-1).astype(kind.dtype)
    return actions.reshape(*scores.shape[:2], *kind.shape)
