"""Settings that are written as words."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any


def keywords(words: Iterable[str]) -> dict[str, Any]:
    """Settings KEY=VALUE as keyword arguments of ``omarl.train``; KEY.NAME=VALUE is one of a mapping's."""
    keys: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        *outer, last = name.split(".")
        into = keys
        for part in outer:
            into = into.setdefault(part, {})
        try:
            into[last] = ast.literal_eval(value)
        except (ValueError, SyntaxError):  # a text
            into[last] = value
    return keys
