"""Nested keys as dotted ones."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``; an empty mapping is a value."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        is_inner = isinstance(value, Mapping) and value
        result |= flat(value, f"{prefix}{name}.") if is_inner else {f"{prefix}{name}": deepcopy(value)}
    return result
