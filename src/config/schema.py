"""Typed keys: each part of an experiment declares the keys that it reads in a dataclass.

    @dataclass(frozen=True)
    class QLearnerConfig:
        lr: float = key(5e-4, above=0, help="learning rate of the agents")

    class QLearner:
        Config = QLearnerConfig

A key that was renamed keeps its old name for one release: ``renamed: ClassVar[dict[str, str]] = {"old": "new"}`` in
the dataclass that declares the new name.

``read(QLearnerConfig, args)`` returns the typed values from a namespace or a mapping, of omarl or of a PyMARL host.
``configuration/parts.py`` finds every key that a run reads.
"""

import re
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, field, fields
from functools import cache
from operator import ge, gt, le
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..registry import warn_renamed
from ..types import ConfigError

C = TypeVar("C")

NAMES = {bool: "True or False", int: "an integer", float: "a number", str: "a string", dict: "a mapping"}
PLURALS = {int: "integers", float: "numbers", str: "strings"}


def key(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    length: int | None = None,
    pattern: str = "",
    component: str = "",
    help: str = "",
) -> Any:
    """A configuration key.

    Args:
        default: the value when the configuration does not set the key.
        low: least value of a number, or of each number of a list.
        high: largest value, in the same way.
        above: open lower bound.
        length: number of values of a list.
        pattern: regular expression that the whole string matches.
        component: the value names a part of this registry kind; the run reads the keys of that part, too.
        help: one line for ``help COMMAND``.
    """
    metadata = {"low": low, "high": high, "above": above, "length": length, "pattern": pattern,
                "component": component, "help": help}  # fmt: skip
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def new_default(base: type, name: str, default: Any, help: str = "") -> Any:
    """A key that ``base`` declares, with another default, and another ``help`` where the default needs one."""
    metadata = {each.name: each.metadata for each in fields(base)}[name]
    return key(default, **{**metadata, "help": help or metadata["help"]})


@cache
def hints_of(config: type) -> dict[str, Any]:
    return get_type_hints(config)


def default_of(spec: Field[Any]) -> Any:
    """A key's default value."""
    return spec.default if spec.default_factory is MISSING else spec.default_factory()


def read(config: type[C], args: Any) -> C:
    """The typed values of the keys of one part, which the dataclass ``config`` declares.

    ``args``, a namespace or a mapping, may hold other keys as well; a missing key has its default value.

    Raises:
        ConfigError: a value has the wrong type or is out of range.
    """
    get = _getter(args)
    old_names = {new: old for old, new in renamed_keys(config).items()}
    values = {}
    for spec in fields(config):  # type: ignore[arg-type]
        value = get(spec.name, MISSING)
        if value is MISSING and spec.name in old_names:
            value = get(old_names[spec.name], MISSING)
            if value is not MISSING:
                warn_renamed(old_names[spec.name], spec.name, "configuration")
        values[spec.name] = default_of(spec) if value is MISSING else check(config, spec, value)
    return config(**values)


def renamed_keys(config: type) -> dict[str, str]:
    """Old -> new names of the keys of a dataclass: its class attribute ``renamed``, and those of its bases."""
    return {old: new for part in reversed(config.__mro__) for old, new in vars(part).get("renamed", {}).items()}


def user_keys(args: Any) -> frozenset[str]:
    """The keys that the user has set (see ``run.build``); empty in a host, which does not record them."""
    return frozenset(_getter(args)("user_keys", ()))


def _getter(args: Any) -> Callable[[str, Any], Any]:
    return args.get if isinstance(args, Mapping) else lambda name, default: getattr(args, name, default)


def check(config: type, spec: Field[Any], value: Any) -> Any:
    """``value`` in the declared type (for a float 1 becomes 1.0, for an int 1e5 becomes 100000).

    Raises:
        ConfigError: names the key and its type or range.
    """
    try:
        typed = _convert(value, hints_of(config)[spec.name])
    except MismatchError as error:
        raise ConfigError(f"{spec.name}: {error.value!r} is not {describe(error.hint)}") from None
    length, pattern = spec.metadata["length"], spec.metadata["pattern"]
    if length is not None and len(typed) != length:
        raise ConfigError(f"{spec.name}: {value!r} has {len(typed)} values, it needs {length}")
    if pattern and not re.fullmatch(pattern, typed):
        raise ConfigError(f"{spec.name}: {value!r} is not a valid folder name")
    for number in typed if isinstance(typed, list) else [typed]:
        if isinstance(number, int | float) and not isinstance(number, bool):
            _check_range(spec, number)
    return typed


def _check_range(spec: Field[Any], number: float) -> None:
    for name, holds, words in (("low", ge, "at least"), ("above", gt, "above"), ("high", le, "at most")):
        bound = spec.metadata[name]
        if bound is not None and not holds(number, bound):
            raise ConfigError(f"{spec.name}: {number} is out of range, it must be {words} {bound:g}")


class MismatchError(ValueError):
    """A value, or an item of a list, does not have the declared type."""

    def __init__(self, value: Any, hint: Any) -> None:
        super().__init__(value)
        self.value, self.hint = value, hint


def _convert(value: Any, hint: Any) -> Any:
    """``value`` in the type ``hint``, or MismatchError."""
    kind = get_origin(hint) or hint
    value = _unquoted(value, kind)
    if kind in (Union, types.UnionType):
        for option in get_args(hint):
            with suppress(MismatchError):
                return _convert(value, option)
    elif kind is list:
        if isinstance(value, list | tuple):
            return [_convert(item, get_args(hint)[0]) for item in value]
    elif kind in (int, float):
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            with suppress(ValueError, OverflowError):
                return _number(value, kind)
    elif kind is Any or (value in get_args(hint) if kind is Literal else isinstance(value, kind)):
        return value
    raise MismatchError(value, hint)


def _unquoted(value: Any, kind: Any) -> Any:
    """[a, b] and {a: b, c: d}, as a shell passes them on without quotes, as a list and a mapping of texts."""
    if not isinstance(value, str) or (kind, value[:1] + value[-1:]) not in ((list, "[]"), (dict, "{}")):
        return value
    words = [word.strip() for word in value[1:-1].split(",") if word.strip()]
    if kind is list:
        return words
    pairs = [word.partition(":") for word in words]
    complete = all(colon for _, colon, _ in pairs)
    return {name.strip(): item.strip() for name, _, item in pairs} if complete else value


def _number(value: float | str, kind: type) -> float:
    number = float(value)
    if kind is float or (kind is int and isinstance(value, int)):
        return kind(value)
    if not number.is_integer():
        raise ValueError
    return int(number)


def describe(hint: Any) -> str:
    """The values that a type takes, in words."""
    origin = get_origin(hint)
    if origin is Literal:
        options = [repr(option) for option in get_args(hint)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if origin in (Union, types.UnionType):
        return " or ".join("None" if option is type(None) else describe(option) for option in get_args(hint))
    if origin is list:
        (item,) = get_args(hint)
        return f"a list of {PLURALS[item]}" if item in PLURALS else f"a list, each item {describe(item)}"
    return NAMES.get(origin or hint, str(hint))
