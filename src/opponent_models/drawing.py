"""What an opponent model shows of one episode, for ``replay``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

HORIZON = 5  # steps of the opponents' way that are drawn where the model has no horizon of its own


class Drawing(NamedTuple):
    """Of an episode of T steps against M opponents.

    Attributes:
        captions: a line for each step, T+1.
        inferred: [T+1, M, 2], the place inferred for each opponent, NaN where there is none; None: no places.
        odds: [T+1, K, 3], places and their probabilities, of all opponents; None: no probabilities.
        horizon: steps of the opponents' way that are drawn ahead.
    """

    captions: list[str]
    inferred: NDArray[Any] | None = None
    odds: NDArray[Any] | None = None
    horizon: int = HORIZON

    @classmethod
    def empty(cls, steps: int) -> Drawing:
        """Nothing to show, at each of ``steps`` steps."""
        return cls([""] * steps)


def passes(positions: NDArray[Any], inferred: NDArray[Any], horizon: int, near: float) -> list[str]:
    """Says for each step whether opponents pass through the places inferred for them within ``horizon`` steps.

    Args:
        positions: [T+1, M, 2], where opponents are.
        inferred: [T+1, M, 2]; NaN where nothing is inferred.
        horizon: H.
        near: the largest distance, on each axis, that counts as the same place.
    """
    lines = []
    for t, place in enumerate(inferred):
        ahead = positions[t + 1 : t + 1 + horizon]
        there = ((np.abs(ahead - place) <= near) | np.isnan(place)).all(axis=(1, 2))
        lines.append(f"passes there in {there.argmax() + 1}" if there.any() else "does not pass there")
    return lines
