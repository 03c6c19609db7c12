"""Finds a sawtooth: a curve that jumps at every new batch of data and recovers until the next batch.

A tooth has a steep edge and a slow recovery, always in the same direction. Waves are equally steep on both sides,
noise has edges in both directions, and after a change of policy the curve does not recover. The length of the batches
need not be known or constant.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..runs import Series
from ..symptoms import block_means
from .shapes import MAX_POINTS, ROBUST, running_median, smooth

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

MIN_TEETH = 3
MIN_DEPTH = 0.05  # relative to the level; a healthy curve may jump less than this at a new batch
LENGTHS = (200, 1000)  # points of short and of medium curves, at most
CLEAR = (4.0, 4.5, 5.0)  # threshold of edges in short, medium and long curves, in standard deviations of all jumps
WIDTHS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)  # points averaged on both sides of an edge


class Teeth(NamedTuple):
    """A sawtooth."""

    edges_found: int
    period: float  # median number of steps between two edges
    depth: float  # median jump at an edge, relative to the level before it; negative if the curve falls
    recovered: float  # median share of a jump that is recovered before the next jump
    irregularity: float  # standard deviation of the periods over their mean
    edges: tuple[float, ...]  # steps of the edges
    clarity: float  # the edges' median jump in standard deviations of all jumps


def find_teeth(series: Series, beside: Series | None = None) -> Teeth | None:
    """The clearest sawtooth in a curve without outliers and gaps; None if there is none.

    ``beside`` is the reconstruction loss of a KL: it jumps up at a new batch, which makes edges clearer.
    """
    t, value = block_means(series.t, series.value, MAX_POINTS)
    if len(value) < 20:
        return None
    other = None
    if beside is not None and len(beside):
        other = np.interp(t, *block_means(beside.t, beside.value, MAX_POINTS))
    candidates = []
    for width in (w for w in WIDTHS if w <= len(value) / 9):
        jumps = _scored_jumps(value, width)
        for other_score in [None] if other is None else [None, _scored_jumps(other, width)[0]]:
            teeth = _at_width(t, value, width, jumps, other_score)
            if teeth is not None:
                candidates.append(teeth)
    return max(candidates, key=lambda teeth: min(teeth.edges_found, 6) * min(teeth.clarity, 30), default=None)


def _at_width(
    t: Floats, value: Floats, width: int, jumps: tuple[Floats, Floats, Places], other_score: Floats | None
) -> Teeth | None:
    """A sawtooth whose edges are found with means over ``width`` points."""
    own_score, jump, place = jumps
    for sign in (-1.0, 1.0):
        score = sign * own_score if other_score is None else (sign * own_score + other_score) / np.sqrt(2)
        edges = _edges(score, sign * jump, width)
        if len(edges) < MIN_TEETH:
            continue
        size = float(np.median(sign * jump[edges]))
        opposite = _edges(-score, -sign * jump, width)
        opposite = opposite[-sign * jump[opposite] > 0.6 * size]
        teeth = _checked(t, value, place[edges], sign, float(np.median(score[edges])), len(opposite))
        if teeth is not None:
            return teeth
    return None


def _scored_jumps(value: Floats, width: int) -> tuple[Floats, Floats, Places]:
    """Means over ``width`` points after each place minus means before it, relative to the level, minus their median.

    Returns:
        The jumps in robust standard deviations, the jumps, and their places.
    """
    sums = np.concatenate(([0.0], np.cumsum(value)))
    place = np.arange(width, len(value) - width + 1)
    before = (sums[place] - sums[place - width]) / width
    after = (sums[place + width] - sums[place]) / width
    wide = min(2 * width + 5, 2 * (len(value) // 2) - 1)
    level = running_median(np.abs(value), wide)[np.minimum(place, len(value) - 1)]
    level = np.maximum(np.maximum(level, np.maximum(np.abs(before), np.abs(after))), 0.02 * np.abs(value).max())
    jump = (after - before) / np.maximum(level, 1e-12)
    jump = jump - float(np.median(jump))
    return jump / max(ROBUST * float(np.median(np.abs(jump))), 1e-3), jump, place


def _threshold(points: int) -> float:
    """See ``CLEAR``."""
    return CLEAR[sum(points > n for n in LENGTHS)]


def _edges(score: Floats, size: Floats, width: int) -> Places:
    """Places of clear and large jumps at least ``width`` apart, chosen in order of size."""
    free = (score >= _threshold(len(score))) & (size >= 0.8 * MIN_DEPTH)
    taken: list[int] = []
    radius = max(width, 2)
    order = np.flatnonzero(free)
    for i in order[np.argsort(-size[order])].tolist():
        if free[i]:
            taken.append(i)
            free[max(0, i - radius) : i + radius + 1] = False
    return np.array(sorted(taken), dtype=np.int64)


def _checked(t: Floats, value: Floats, edges: Places, sign: float, clarity: float, opposite: int) -> Teeth | None:
    """The teeth at these edges if they are regular, recover and continue until the end; otherwise None."""
    edges = _strong(value, edges, sign)
    if len(edges) < MIN_TEETH:
        return None
    gaps: Floats = np.diff(edges).astype(np.float64)
    usual = float(np.median(gaps))
    periods = gaps / np.maximum(np.round(gaps / usual), 1.0)  # an edge may have been missed
    irregularity = float(np.std(periods)) / max(float(np.mean(periods)), 1e-12)
    depth, recovered, duty = _depths(value, edges, sign)
    one_sided = opposite <= len(edges) / 3
    dips = duty < 0.35 and irregularity < 0.25
    lasts = len(value) - edges[-1] <= 2.5 * usual or edges[-1] >= 0.7 * len(value)
    few = len(edges) == MIN_TEETH
    regular = irregularity < (0.35 if few else 0.4) and clarity > (1.2 if few else 1.0) * _threshold(len(value))
    if not (one_sided or dips) or not lasts or not regular or usual < 3:
        return None
    if depth < MIN_DEPTH or not 0.3 <= recovered <= 4:
        return None
    at = t[np.minimum(edges, len(t) - 1)]
    period = float(np.median(np.diff(at) / np.maximum(np.round(gaps / usual), 1.0)))
    return Teeth(len(edges), period, sign * depth, recovered, irregularity, tuple(at.tolist()), clarity)


def _strong(value: Floats, edges: Places, sign: float) -> Places:
    """The edges without those that are much smaller than the others or at the start of training."""
    if len(edges) < MIN_TEETH:
        return edges
    edges = edges[edges > 0.02 * len(value)]
    before = np.array([np.median(value[max(0, e - 3) : e]) for e in edges])
    after = np.array([sign * np.max(sign * value[e : e + 3]) for e in edges])
    sizes = sign * (after - before) / np.maximum(np.maximum(np.abs(before), np.abs(after)), 1e-12)
    return edges[sizes > 0.3 * np.median(sizes)] if len(sizes) else edges


def _depths(value: Floats, edges: Places, sign: float) -> tuple[float, float, float]:
    """Median depth, median recovered share, and the share of points beyond half the depth."""
    depths, recovered, below = [], [], []
    for edge, following in zip(edges.tolist(), [*edges[1:].tolist(), len(value)], strict=True):
        part = value[edge:following]
        if len(part) < 3:
            continue
        reach, blur = max(1, len(part) // 8), len(part) // 12  # edges are located to within ``blur`` points
        before = float(np.median(value[max(0, edge - blur - max(2, reach)) : max(1, edge - blur)]))
        first = smooth(value[max(0, edge - blur) : edge + max(2, len(part) // 3)], 3 if len(part) > 15 else 1)
        low = sign * float(np.max(sign * first))
        late = float(np.median(part[-max(1, reach) :]))
        depths.append(sign * (low - before) / max(abs(before), abs(low), 1e-12))
        if following < len(value):
            recovered.append((late - low) / (before - low) if abs(before - low) > 1e-12 else 0.0)
        below.append(float(np.mean(sign * (part - before) > 0.5 * sign * (low - before))))
    late = float(np.median(depths[len(depths) // 2 :]))  # teeth that fade away are not a fault
    depth = min(float(np.median(depths)), late)
    return depth, float(np.median(recovered or [0.0])), float(np.median(below))
