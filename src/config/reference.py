"""What ``help COMMAND`` says of a command's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .schema import collect, default_of, type_of

OWN = "keys"
COLUMN = 36  # where explanations begin


def reference(root: type, values: Mapping[str, Any]) -> str:
    """Every key that a command reads, its own first, then by the part that reads it: value, meaning, type and range.

    Args:
        root: the dataclass of the command's own keys.
        values: the configuration; it names the parts, whose keys are listed too.
    """
    sections: dict[str, list[str]] = {OWN: []}
    own = root.__annotations__
    for name, (first, *_) in collect(root, values).declarations.items():
        value = values.get(name, default_of(first.spec))
        lines = sections.setdefault(OWN if name in own else first.owner, [])
        lines.append(f"  {f'{name} = {value!r}':{COLUMN}} {first.spec.metadata['help']} ({type_of(first)})")
    return "\n\n".join("\n".join([f"{owner}:", *lines]) for owner, lines in sections.items())
