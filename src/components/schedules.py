"""Schedules: plain functions of a counter."""

from __future__ import annotations


def linear(start: float, finish: float, steps: int, now: int) -> float:
    """From ``start`` at 0 to ``finish`` at ``steps``, constant after; ``steps`` = 0 gives ``finish`` at once."""
    if steps <= 0 or now >= steps:
        return finish
    return start + (finish - start) * now / steps
