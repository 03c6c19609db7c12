"""Every key that a run reads: its own, and those of the parts that its configuration names; ``help COMMAND``."""

import textwrap
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import Field, dataclass, fields
from typing import Any

from ..config.schema import default_of, describe, hints_of, renamed_keys
from ..registry import REGISTRY, resolve
from ..types import ConfigError

COLUMN = 34  # where explanations begin, unless the value reaches further
KINDS_WITH_KEYS = ("learner", "base_learner", "mac", "agent", "runner", "action_selector", "opponent_model", "mixer")


@dataclass(frozen=True)
class Declaration:
    """A key as one part declares it."""

    config: type
    spec: Field[Any]
    owner: str


@dataclass
class Schema:
    """Every key that a run reads."""

    declarations: dict[str, Declaration]  # by key. Of several parts that read the key, the outermost counts.
    undeclared: list[str]  # parts from outside that declare no keys. They may read any key.
    renamed: dict[str, str]  # old -> new names of these keys

    def defaults(self) -> dict[str, Any]:
        """The default value of each key."""
        return {name: default_of(found.spec) for name, found in self.declarations.items()}


def collect(root: type, config: Mapping[str, Any], check: Callable[[str, Any], None] | None = None) -> Schema:
    """The keys of ``root``, of the parts that ``config`` names, and of the parts that these name in turn.

    ``check(key, name)`` is called for each part before it is imported.

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
            if check is not None:
                check(spec.name, name)
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
                if part not in owners and config is not None and name in {spec.name for spec in fields(config)}:
                    owners.append(part)
    return owners


def type_of(declaration: Declaration) -> str:
    """The type and the range of a key, in words."""
    low, high, above, length = (declaration.spec.metadata[name] for name in ("low", "high", "above", "length"))
    text = describe(hints_of(declaration.config)[declaration.spec.name])
    if kind := declaration.spec.metadata["component"]:
        text = ", ".join([*sorted(REGISTRY[kind]), "or package.module:Class"])
    if low is not None and high is not None:
        text += f" from {low:.10g} to {high:.10g}"
    elif low is not None or above is not None:
        text += f", at least {low:.10g}" if above is None else f" above {above:.10g}"
    return text if length is None else f"{text}, {length} values"


def reference(root: type, values: Mapping[str, Any], shared: type = object, width: int = 80) -> str:
    """Every key that a command reads: value, meaning, type and range. The command's own keys come first.

    Keys of ``root``, the command's dataclass, and of the parts that ``values`` name; those of ``shared``, the
    dataclass of the run's keys, which several commands inherit, get a separate section. A line has ``width`` columns.
    """
    of_run = {spec.name for spec in fields(shared)} if issubclass(root, shared) and shared is not object else set()
    sections: dict[str, list[str]] = {"the command": []}
    for name, found in collect(root, values).declarations.items():
        owner = "the command" if found.config is root and name not in of_run else found.owner
        text = f"{found.spec.metadata['help']} ({type_of(found)})"
        sections.setdefault(owner, []).append(_entry(name, values.get(name, default_of(found.spec)), text, width))
    return "\n\n".join("\n".join([f"Keys of {owner}:", *lines]) for owner, lines in sections.items() if lines)


def _entry(name: str, value: Any, text: str, width: int) -> str:
    head = f"  {name} = {value!r}"
    lines = textwrap.wrap(text, width - COLUMN, break_on_hyphens=False)
    if len(head) > COLUMN - 2:
        lines = ["", *lines]
    return "\n".join(f"{'' if i else head:{COLUMN}}{line}".rstrip() for i, line in enumerate(lines))
