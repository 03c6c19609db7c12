"""The text of ``help COMMAND``: every key that a command reads."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..config.schema import default_of
from .parts import collect, type_of

COLUMN = 34  # where explanations begin, unless the value reaches further


def reference(root: type, values: Mapping[str, Any], shared: type = object, width: int = 80) -> str:
    """Every key that a command reads: value, meaning, type and range. The command's own keys come first.

    Args:
        root: the dataclass of the command's keys.
        values: the configuration. It names the parts of the run, whose keys are listed too.
        shared: the dataclass of the run's keys, which several commands inherit. They get a section of their own.
        width: columns of a line.
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
