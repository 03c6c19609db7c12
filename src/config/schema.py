"""Typed keys: a part of the experiment declares the keys it reads as a dataclass beside it.

    @dataclass(frozen=True)
    class QLearnerConfig:
        lr: float = key(5e-4, above=0, help="learning rate of the agents")

    class QLearner:
        Config = QLearnerConfig

A key that was renamed keeps its old name for one release: ``renamed: ClassVar[dict[str, str]] = {"old": "new"}`` in
the dataclass that declares the new name.

``read(QLearnerConfig, args)`` gives the typed values, from a namespace or a mapping, of ours or of a PyMARL
host. ``collect`` walks the parts that a configuration names and gathers every key that the run will read.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..registry import REGISTRY, resolve, warn_renamed
from ..types import ConfigError

C = TypeVar("C")

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
        default: used where the configuration does not name the key (a host's, mostly).
        low, high: the closed range of a number, or of each number of a list.
        above: an open lower bound.
        length: how many values a list holds.
        pattern: regular expression that a text matches as a whole.
        component: the value names a part of this registry kind, whose own keys join the run's.
        help: one line for the reader.
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
    """The typed values of one part's keys.

    Args:
        config: the dataclass that declares them.
        args: a namespace or a mapping. It may hold other keys as well. A key that it lacks has its default value.

    Raises:
        ConfigError: a value has the wrong type or is out of range.
    """
    get = args.get if isinstance(args, Mapping) else lambda name, default: getattr(args, name, default)
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
    """The keys that the user has set; none where nobody knows, as in a host.

    Args:
        args: a namespace or a mapping, see ``run.build``.
    """
    found = args.get("user_keys", ()) if isinstance(args, Mapping) else getattr(args, "user_keys", ())
    return frozenset(found)


def check(config: type, spec: Field[Any], value: Any) -> Any:
    """``value`` in the declared type (1 for a float becomes 1.0, 1e5 for an int becomes 100000).

    Raises:
        ConfigError: naming the key and what it takes.
    """
    hint = _hints(config)[spec.name]
    try:
        typed = _convert(value, hint)
    except BadItemError as error:
        raise ConfigError(f"{spec.name}: {error.item!r} is not {describe(error.hint)}") from None
    except ValueError:
        raise ConfigError(f"{spec.name}: {value!r} is not {describe(hint)}") from None
    length, pattern = spec.metadata["length"], spec.metadata["pattern"]
    if length is not None and len(typed) != length:
        raise ConfigError(f"{spec.name}: {value!r} has {len(typed)} values, it needs {length}")
    if pattern and not re.fullmatch(pattern, typed):  # what is a name here names a folder
        raise ConfigError(f"{spec.name}: {value!r} cannot be a folder's name")
    for number in typed if isinstance(typed, list) else [typed]:
        if isinstance(number, int | float) and not isinstance(number, bool):
            _check_range(spec, number)
    return typed


def type_of(declaration: Declaration) -> str:
    """What a key takes, in words: its type and its range."""
    metadata = declaration.spec.metadata
    said = {"above": "above", "low": "at least", "high": "at most", "length": "values:"}
    bounds = [f"{said[name]} {metadata[name]:.10g}" for name in said if metadata[name] is not None]
    return ", ".join([describe(_hints(declaration.config)[declaration.spec.name]), *bounds])


def _check_range(spec: Field[Any], number: float) -> None:
    low, high, above = (spec.metadata[bound] for bound in ("low", "high", "above"))
    if low is not None and not number >= low:
        raise ConfigError(f"{spec.name}: {number} is out of range, it must be at least {low:g}")
    if above is not None and not number > above:
        raise ConfigError(f"{spec.name}: {number} is out of range, it must be above {above:g}")
    if high is not None and not number <= high:
        raise ConfigError(f"{spec.name}: {number} is out of range, it must be at most {high:g}")


def _convert(value: Any, hint: Any) -> Any:
    """``value`` as ``hint``, or ValueError."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(hint))
    if origin is Literal:
        return _require(value, value in get_args(hint))
    if origin is list:
        if isinstance(value, str) and value[:1] + value[-1:] == "[]":  # how a shell leaves [a, b]
            value = [word.strip() for word in value[1:-1].split(",") if word.strip()]
        _require(value, isinstance(value, list | tuple))
        return [_convert_item(item, get_args(hint)[0]) for item in value]
    if hint is Any:
        return value
    return _convert_plain(value, origin or hint)


class BadItemError(ValueError):
    """One of a list's items is not of the declared type."""

    def __init__(self, item: Any, hint: Any) -> None:
        super().__init__(item)
        self.item, self.hint = item, hint


def _convert_item(item: Any, hint: Any) -> Any:
    try:
        return _convert(item, hint)
    except ValueError:
        raise BadItemError(item, hint) from None


def _convert_union(value: Any, options: tuple[Any, ...]) -> Any:
    for option in options:
        if option is type(None):
            if value is None:
                return None
            continue
        try:
            return _convert(value, option)
        except ValueError:
            continue
    raise ValueError


def _convert_plain(value: Any, hint: type) -> Any:
    if hint is bool:
        return _require(value, isinstance(value, bool))
    if hint in (int, float):
        _require(value, isinstance(value, int | float | str) and not isinstance(value, bool))
        number = float(value)
        if hint is float:
            return number
        return int(value) if isinstance(value, int) else int(_require(number, number.is_integer()))
    if hint is dict:
        return dict(_require(value, isinstance(value, Mapping)))
    return _require(value, isinstance(value, hint))


def _require(value: Any, condition: bool) -> Any:
    if not condition:
        raise ValueError
    return value


def describe(hint: Any) -> str:
    """What values a type takes, in words."""
    origin = get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(repr(option) for option in get_args(hint))
    if origin in (Union, types.UnionType):
        return " or ".join("null" if o is type(None) else describe(o) for o in get_args(hint))
    if origin is list:
        (item,) = get_args(hint)
        return f"a list (of {item.__name__ if isinstance(item, type) else describe(item)})"
    names = {
        bool: "True or False",
        int: "a whole number",
        float: "a number",
        str: "a text",
        dict: "a mapping",
    }
    return names.get(origin or hint, str(hint))


@dataclass(frozen=True)
class Declaration:
    """One key as one part declares it."""

    config: type
    spec: Field[Any]
    owner: str

    def check(self, value: Any) -> Any:
        """See the module's ``check``."""
        return check(self.config, self.spec, value)


@dataclass
class Schema:
    """Every key that a run reads.

    Attributes:
        declarations: by key; parts that share a key (``grad_norm_clip``) stand in one list.
        undeclared: parts from outside that declare no keys, so that unknown ones may be theirs.
        renamed: old -> new names of these keys.
    """

    declarations: dict[str, list[Declaration]]
    undeclared: list[str]
    renamed: dict[str, str]

    def defaults(self) -> dict[str, Any]:
        """Each key with its default value."""
        return {name: default_of(found[0].spec) for name, found in self.declarations.items()}


def collect(root: type, config: Mapping[str, Any]) -> Schema:
    """The keys of ``root`` and of every part that ``config`` names, and the parts that those name in turn.

    Raises:
        ConfigError: a part cannot be resolved.
    """
    schema = Schema({}, [], {})
    seen: set[tuple[str, str]] = set()

    def visit(part: type, owner: str) -> None:
        schema.renamed.update(renamed_keys(part))
        for spec in fields(part):  # before those of the parts that it names: of two defaults, the outer part's counts
            schema.declarations.setdefault(spec.name, []).append(Declaration(part, spec, owner))
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
    """Registered parts, in use or not, that declare the key ``name``."""
    return [owner for owner, part in _registered_configs() if name in {spec.name for spec in fields(part)}]


def _registered_configs() -> Iterator[tuple[str, Any]]:
    for kind in KINDS_WITH_KEYS:
        for name in REGISTRY[kind]:
            try:
                part = getattr(resolve(kind, name), "Config", None)
            except ConfigError:  # a part whose package is missing must stop nobody else
                continue
            if part is not None:
                yield name, part
