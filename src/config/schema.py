"""Typed keys: each part of an experiment declares the keys that it reads in a dataclass.

    @dataclass(frozen=True)
    class QLearnerConfig:
        lr: float = key(5e-4, above=0, help="learning rate of the agents")

    class QLearner:
        Config = QLearnerConfig

A key that was renamed keeps its old name for one release: ``renamed: ClassVar[dict[str, str]] = {"old": "new"}`` in
the dataclass that declares the new name.

``read(QLearnerConfig, args)`` returns the typed values from a namespace or a mapping, of omarl or of a PyMARL host.
``collect`` finds every key that a run reads, by following the parts that its configuration names.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from operator import ge, gt, le
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..registry import REGISTRY, resolve, warn_renamed
from ..types import ConfigError

C = TypeVar("C")

NAMES = {bool: "True or False", int: "an integer", float: "a number", str: "a string", dict: "a mapping"}
PLURALS = {int: "integers", float: "numbers", str: "strings"}
KINDS_WITH_KEYS = ("learner", "mac", "agent", "runner", "action_selector", "opponent_model", "mixer")


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
        low, high: closed range of a number, or of each number of a list.
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
def _hints(config: type) -> dict[str, Any]:
    return get_type_hints(config)


def default_of(spec: Field[Any]) -> Any:
    """A key's default value."""
    return spec.default if spec.default_factory is MISSING else spec.default_factory()


def read(config: type[C], args: Any) -> C:
    """The typed values of the keys of one part.

    Args:
        config: the dataclass that declares them.
        args: a namespace or a mapping. It may hold other keys as well. A key that it lacks has its default value.

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
        typed = _convert(value, _hints(config)[spec.name])
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


def type_of(declaration: Declaration) -> str:
    """The type and the range of a key, in words."""
    low, high, above, length = (declaration.spec.metadata[name] for name in ("low", "high", "above", "length"))
    text = describe(_hints(declaration.config)[declaration.spec.name])
    if kind := declaration.spec.metadata["component"]:
        text = ", ".join([*sorted(REGISTRY[kind]), "or package.module:Class"])
    if low is not None and high is not None:
        text += f" from {low:.10g} to {high:.10g}"
    elif low is not None or above is not None:
        text += f", at least {low:.10g}" if above is None else f" above {above:.10g}"
    return text if length is None else f"{text}, {length} values"


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
    if kind in (Union, types.UnionType):
        for option in get_args(hint):
            with suppress(MismatchError):
                return _convert(value, option)
    elif kind is list:
        if isinstance(value, str) and value[:1] + value[-1:] == "[]":  # [a, b] without quotes in a shell
            value = [word.strip() for word in value[1:-1].split(",") if word.strip()]
        if isinstance(value, list | tuple):
            return [_convert(item, get_args(hint)[0]) for item in value]
    elif kind in (int, float):
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            with suppress(ValueError):
                return _number(value, kind)
    elif kind is Any or (value in get_args(hint) if kind is Literal else isinstance(value, kind)):
        return value
    raise MismatchError(value, hint)


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


@dataclass(frozen=True)
class Declaration:
    """A key as one part declares it."""

    config: type
    spec: Field[Any]
    owner: str


@dataclass
class Schema:
    """Every key that a run reads.

    Attributes:
        declarations: by key. Of several parts that read the key, the outermost counts.
        undeclared: parts from outside that declare no keys. They may read any key.
        renamed: old -> new names of these keys.
    """

    declarations: dict[str, Declaration]
    undeclared: list[str]
    renamed: dict[str, str]

    def defaults(self) -> dict[str, Any]:
        """The default value of each key."""
        return {name: default_of(found.spec) for name, found in self.declarations.items()}


def collect(root: type, config: Mapping[str, Any]) -> Schema:
    """The keys of ``root``, of the parts that ``config`` names, and of the parts that these name in turn.

    Raises:
        ConfigError: a part cannot be resolved.
    """
    schema = Schema({}, [], {})
    seen: set[tuple[str, str]] = set()

    def visit(part: type, owner: str) -> None:
        schema.renamed.update(renamed_keys(part))
        for spec in fields(part):
            schema.declarations.setdefault(spec.name, Declaration(part, spec, owner))
        for spec in fields(part):
            kind, name = spec.metadata.get("component"), config.get(spec.name, default_of(spec))
            if not kind or name is None or (kind, str(name)) in seen:
                continue
            seen.add((kind, str(name)))
            chosen = resolve(kind, name)
            if hasattr(chosen, "Config"):
                visit(chosen.Config, str(name))
            elif kind in KINDS_WITH_KEYS and ":" in str(name):
                schema.undeclared.append(str(name))

    visit(root, "the run")
    return schema


def owners_elsewhere(name: str) -> list[str]:
    """The registered parts, used or not, that declare the key ``name``."""
    owners = []
    for kind in KINDS_WITH_KEYS:
        for part in REGISTRY[kind]:
            with suppress(ConfigError):  # its package is missing
                config = getattr(resolve(kind, part), "Config", None)
                if config is not None and name in {spec.name for spec in fields(config)}:
                    owners.append(part)
    return owners
