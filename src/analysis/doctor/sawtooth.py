"""Finding a sawtooth: a curve that leaps at every new batch of data and recovers until the next one.

A tooth has a steep edge and a slow recovery, always in the same direction. Waves are as steep on both sides, noise
has edges in both directions, a change of policy does not recover. The batches' length need not be known, nor be
the same for all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..runs import Series
from ..symptoms import blocks
from .shapes import MAX_POINTS, ROBUST, running_median, smooth

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

MIN_TEETH = 3
MIN_DEPTH = 0.05  # of the level: what a healthy curve may leap at a new batch
CLEAR = (4.0, 4.5, 5.0)  # standard deviations of all leaps that an edge must exceed, in curves of up to ...
CURVES = (200, 1000)  # ... so many points, and in longer ones
WIDTHS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)  # points averaged on both sides of an edge


class Teeth(NamedTuple):
    """A sawtooth.

    Attributes:
        edges_found: how many.
        period: steps between two edges, median.
        depth: leap at an edge over the level before it, median; negative where the curve falls.
        recovered: share of a leap that is made good before the next one, median.
        irregularity: standard deviation of the periods over their mean.
        edges: steps of the edges.
        clarity: the edges' median leap in standard deviations of all leaps.
    """

    edges_found: int
    period: float
    depth: float
    recovered: float
    irregularity: float
    edges: tuple[float, ...]
    clarity: float


def find_teeth(series: Series, beside: Series | None = None) -> Teeth | None:
    """The clearest sawtooth in a curve without outliers and without gaps; None where there is none.

    Args:
        series: the curve.
        beside: the reconstruction loss, where ``series`` is a KL: at a new batch it leaps up, which makes an edge
            clearer.
    """
    t, value = blocks(series.t, series.value, MAX_POINTS)
    if len(value) < 20:
        return None
    other = np.interp(t, *blocks(beside.t, beside.value, MAX_POINTS)) if beside is not None and len(beside) else None
    found = []
    for width in (w for w in WIDTHS if w <= len(value) / 9):
        clear, leap, place = _clear_leaps(value, width)
        beside_it = [None] if other is None else [None, _clear_leaps(other, width)[0]]
        for also in beside_it:
            teeth = _at_width(t, value, width, (clear, leap, place), also)
            if teeth is not None:
                found.append(teeth)
    return max(found, key=lambda each: min(each.edges_found, 6) * min(each.clarity, 30), default=None)


def _at_width(
    t: Floats, value: Floats, width: int, leaping: tuple[Floats, Floats, Places], beside: Floats | None
) -> Teeth | None:
    clear, leap, place = leaping
    for sign in (-1.0, 1.0):
        score = sign * clear if beside is None else (sign * clear + beside) / np.sqrt(2)
        edges = _edges(score, sign * leap, width)
        if len(edges) < MIN_TEETH:
            continue
        size = float(np.median(sign * leap[edges]))
        against = _edges(-score, -sign * leap, width)
        against = against[-sign * leap[against] > 0.6 * size]
        teeth = _judged(t, value, place[edges], sign, float(np.median(score[edges])), len(against))
        if teeth is not None:
            return teeth
    return None


def _clear_leaps(value: Floats, width: int) -> tuple[Floats, Floats, Places]:
    """Leaps around their median: in robust standard deviations, relative to the level; and their places."""
    leap, place = leaps(value, width)
    leap = leap - float(np.median(leap))
    return leap / max(ROBUST * float(np.median(np.abs(leap))), 1e-3), leap, place


def leaps(value: Floats, width: int) -> tuple[Floats, Places]:
    """Means of ``width`` points after each place less means before it, over the level; and the places."""
    sums = np.concatenate(([0.0], np.cumsum(value)))
    place = np.arange(width, len(value) - width + 1)
    before = (sums[place] - sums[place - width]) / width
    after = (sums[place + width] - sums[place]) / width
    wide = 2 * width + 1
    level = running_median(np.abs(value), min(wide + 4, 2 * (len(value) // 2) - 1))[np.minimum(place, len(value) - 1)]
    level = np.maximum(np.maximum(level, np.maximum(np.abs(before), np.abs(after))), 0.02 * np.abs(value).max())
    return (after - before) / np.maximum(level, 1e-12), place


def limit_of(points: int) -> float:
    """See ``CLEAR``."""
    return CLEAR[sum(points > n for n in CURVES)]


def _edges(clear: Floats, size: Floats, width: int) -> Places:
    """Local maxima that are clear and large, a width apart, the largest first taken."""
    free = (clear >= limit_of(len(clear))) & (size >= 0.8 * MIN_DEPTH)
    taken: list[int] = []
    radius = max(width, 2)
    order = np.flatnonzero(free)
    for i in order[np.argsort(-size[order])].tolist():
        if free[i]:
            taken.append(i)
            free[max(0, i - radius) : i + radius + 1] = False
    return np.array(sorted(taken), dtype=np.int64)


def _judged(t: Floats, value: Floats, edges: Places, sign: float, clarity: float, against: int) -> Teeth | None:
    """The teeth at these edges where they are regular, recover, and go on until the end."""
    edges = _strong(value, edges, sign)
    if len(edges) < MIN_TEETH:
        return None
    gaps: Floats = np.diff(edges).astype(np.float64)
    usual = float(np.median(gaps))
    whole = gaps / np.maximum(np.round(gaps / usual), 1.0)
    irregularity = float(np.std(whole)) / max(float(np.mean(whole)), 1e-12)
    depth, recovered, duty = _depths(value, edges, sign)
    one_sided = against <= len(edges) / 3
    dips = duty < 0.35 and irregularity < 0.25
    lasts = len(value) - edges[-1] <= 2.5 * usual or edges[-1] >= 0.7 * len(value)
    few = len(edges) == MIN_TEETH
    regular = irregularity < (0.35 if few else 0.4) and clarity > (1.2 if few else 1.0) * limit_of(len(value))
    if not (one_sided or dips) or not lasts or not regular or usual < 3:
        return None
    if depth < MIN_DEPTH or not 0.3 <= recovered <= 4:
        return None
    at = t[np.minimum(edges, len(t) - 1)]
    period = float(np.median(np.diff(at) / np.maximum(np.round(gaps / usual), 1.0)))
    return Teeth(len(edges), period, sign * depth, recovered, irregularity, tuple(at.tolist()), clarity)


def _strong(value: Floats, edges: Places, sign: float) -> Places:
    """Without edges far smaller than the others, and without those of the training's start."""
    if len(edges) < MIN_TEETH:
        return edges
    edges = edges[edges > 0.02 * len(value)]
    sizes = np.array([_leap(value, e, sign, 2) for e in edges.tolist()])
    return edges[sizes > 0.3 * np.median(sizes)] if len(sizes) else edges


def _leap(value: Floats, edge: int, sign: float, reach: int) -> float:
    """The leap at an edge over the level before it."""
    before = float(np.median(value[max(0, edge - reach - 1) : edge]))
    after = sign * float(np.max(sign * value[edge : edge + reach + 1]))
    return sign * (after - before) / max(abs(before), abs(after), 1e-12)


def _depths(value: Floats, edges: Places, sign: float) -> tuple[float, float, float]:
    """Median depth, median share recovered, and the share of time spent below half the depth."""
    depths, recovered, below = [], [], []
    for edge, following in zip(edges.tolist(), [*edges[1:].tolist(), len(value)], strict=True):
        part = value[edge:following]
        if len(part) < 3:
            continue
        reach, blur = max(1, len(part) // 8), len(part) // 12  # an edge's place is known to some points only
        before = float(np.median(value[max(0, edge - blur - max(2, reach)) : max(1, edge - blur)]))
        first = smooth(value[max(0, edge - blur) : edge + max(2, len(part) // 3)], 3 if len(part) > 15 else 1)
        low = sign * float(np.max(sign * first))
        late = float(np.median(part[-max(1, reach) :]))
        depths.append(sign * (low - before) / max(abs(before), abs(low), 1e-12))
        if following < len(value):
            recovered.append((late - low) / (before - low) if abs(before - low) > 1e-12 else 0.0)
        below.append(float(np.mean(sign * (part - before) > 0.5 * sign * (low - before))))
    last_half = depths[len(depths) // 2 :]  # teeth that fade are no fault any more
    return (
        min(float(np.median(depths)), float(np.median(last_half))),
        float(np.median(recovered or [0.0])),
        float(np.median(below)),
    )
