"""Shapes of a logged curve: outliers, excursions, level shifts, turns, and what its last tenth does.

Pure measurements on arrays; what is concluded from them stands in the rules.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..runs import Series
from ..symptoms import blocks

Floats = NDArray[np.float64]

OUTLIER_SHARE = 0.03  # of the points may be one-point outliers and still be noise
MIN_EXCURSION = 3  # consecutive points
ROBUST = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
START = 0.1  # of the points: where a training starts, excursions are expected
MAX_POINTS = 2500  # longer curves are averaged down before shapes are searched in them


class Excursion(NamedTuple):
    """Several consecutive points far from the curve around them.

    Attributes:
        start, end: steps of its first and last point.
        points: how many.
        peak: the value farthest away.
        level: the curve's level around it.
        recovered: whether the curve came back to that level.
    """

    start: float
    end: float
    points: int
    peak: float
    level: float
    recovered: bool

    @property
    def factor(self) -> float:
        """The peak over the level, at least 1 in size whatever the direction."""
        high, low = max(abs(self.peak), abs(self.level)), min(abs(self.peak), abs(self.level))
        return high / max(low, 1e-9)


class Tail(NamedTuple):
    """The last tenth of a curve beside what came before it.

    Attributes:
        before: median from 40% to 85% of the points.
        after: median of the last tenth.
        noise: robust standard deviation of a point, from differences of neighbours.
        points: points in the last tenth.
    """

    before: float
    after: float
    noise: float
    points: int

    @property
    def change(self) -> float:
        """Relative change, NaN where there was nothing before."""
        return (self.after - self.before) / abs(self.before) if self.before else float("nan")

    @property
    def is_sure(self) -> bool:
        """Whether the change is beyond what single points scatter."""
        return abs(self.after - self.before) > 4 * self.noise / np.sqrt(max(self.points, 1))


def finite(series: Series | None) -> Series:
    """The points whose value is a finite number."""
    if series is None:
        return Series(np.empty(0), np.empty(0))
    kept = np.isfinite(series.value)
    return Series(series.t[kept], series.value[kept])


def compact(series: Series) -> Series:
    """The curve in at most ``MAX_POINTS`` points, neighbours averaged: shapes need no more."""
    return Series(*blocks(series.t, series.value, MAX_POINTS))


def running_median(value: Floats, width: int) -> Floats:
    """Median over ``width`` (odd) neighbours, edges mirrored: [points] -> [points]."""
    half = min(width // 2, len(value) - 1)
    padded = np.pad(value, half, mode="reflect")
    return np.median(sliding_window_view(padded, 2 * half + 1), axis=1)


def settled(value: Floats) -> float:
    """The highest level after the first twentieth of a curve: of medians over a fifth of it, so no excursion's."""
    n = len(value)
    return float(running_median(value, max(3, n // 5) | 1)[n // 20 :].max()) if n >= 8 else float("nan")


def spread(value: Floats) -> float:
    """A robust standard deviation: of the median absolute deviation."""
    return ROBUST * float(np.median(np.abs(value - np.median(value)))) if len(value) else 0.0


def step_noise(value: Floats) -> float:
    """The standard deviation of a point around a smooth curve, from second differences of neighbours."""
    if len(value) < 4:
        return 0.0
    return ROBUST * float(np.median(np.abs(value[2:] - 2 * value[1:-1] + value[:-2]))) / float(np.sqrt(6))


def without_outliers(series: Series) -> tuple[Series, int]:
    """The curve with one-point outliers replaced by their neighbours' median, and how many there were.

    More than 3% of the points are no outliers any more: the curve is returned as it is.
    """
    value = series.value
    n = len(value)
    if n < 8:
        return series, 0
    smooth = running_median(value, 7)
    off = np.abs(value - smooth)
    steps = np.abs(np.diff(smooth))
    steepness = running_median(np.append(steps, steps[-1]), 7)
    noise = max(ROBUST * float(np.median(off)), step_noise(value))
    limit = np.maximum(6 * noise, 0.2 * np.abs(smooth))
    far = off > limit + 3 * steepness
    lengths = _run_lengths(far)
    isolated = far & (lengths <= _longest_by_chance(far))
    isolated &= ~_with_an_aftermath(value, smooth, isolated, noise)
    count = int(isolated[n // 50 + 1 :].sum())  # the first points of a training are far from the others anyhow
    if not isolated.any() or count > max(1, math.ceil(OUTLIER_SHARE * n)):
        return series, 0
    return Series(series.t, np.where(isolated, smooth, value)), count


def _with_an_aftermath(value: Floats, smooth: Floats, far: NDArray[np.bool_], noise: float) -> NDArray[np.bool_]:
    """Which far points the curve has not come back from three points later: edges of a tooth, not outliers."""
    result = np.zeros(len(far), bool)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], far, [False])).astype(np.int8)))
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if first < 3 or end + 3 > len(value):
            continue
        before, after = float(np.median(value[first - 3 : first])), float(np.median(value[end : end + 3]))
        side = np.sign(value[first] - smooth[first])
        far_off = float(np.max(np.abs(value[first:end] - smooth[first:end])))
        result[first:end] = side * (after - before) > max(2.5 * noise, 0.15 * far_off)
    return result


def _longest_by_chance(far: NDArray[np.bool_]) -> int:
    """How many one-point outliers may stand side by side by chance: 2, or more in a long curve with many."""
    n, share = len(far), min(float(far.mean()), OUTLIER_SHARE)
    longest = 2
    while n * share ** (longest + 1) > 0.05:
        longest += 1
    return longest


def _run_lengths(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each point of a run of True, the run's length; 0 elsewhere."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    lengths = np.zeros(len(flags), np.int64)
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        lengths[first:end] = end - first
    return lengths


def excursions(series: Series, up: float, down: float) -> list[Excursion]:
    """Stretches of 3 points to a tenth of the curve that rise above ``up`` times the level, or fall below ``down``.

    The first tenth of the curve is left out. Values are taken as not negative.
    """
    t, value = blocks(series.t, series.value, MAX_POINTS)
    n = len(value)
    if n < 20:
        return []
    longest = max(4, n // 10)
    level = running_median(value, 2 * longest + 3)
    noise = max(spread(value - level), step_noise(value))
    off = value - level
    far = (np.abs(off) > 8 * noise) & ((value > up * np.abs(level)) | (value < down * np.abs(level)))
    far[: int(START * n)] = False
    edges = np.flatnonzero(np.diff(np.concatenate(([False], far, [False])).astype(np.int8)))
    found = []
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        if MIN_EXCURSION <= end - first <= longest:
            peak = first + int(np.argmax(np.abs(off[first:end])))
            found.append(
                Excursion(float(t[first]), float(t[end - 1]), int(end - first), float(value[peak]),
                          float(level[peak]), bool(end < n))
            )  # fmt: skip
    return found


def spikes(series: Series, factor: float) -> tuple[float, float]:
    """The share of single points above ``factor`` times the curve around them, and the largest factor met.

    The first tenth of the curve is left out.
    """
    value = compact(series).value
    late = value[int(START * len(value)) :]
    if len(late) < 20:
        return 0.0, 1.0
    times = late / np.maximum(running_median(late, 25), 1e-12)
    return float(np.mean(times > factor)), float(times.max())


def turns(value: Floats, least: float) -> int:
    """How often a curve turns round, counting only swings of at least ``least``."""
    count, direction, extreme = 0, 0, float(value[0]) if len(value) else 0.0
    for x in value.tolist():
        if direction >= 0 and x < extreme - least:
            count += direction > 0
            direction, extreme = -1, x
        elif direction <= 0 and x > extreme + least:
            count += direction < 0
            direction, extreme = 1, x
        else:
            extreme = max(extreme, x) if direction > 0 else min(extreme, x) if direction < 0 else extreme
    return count


def smooth(value: Floats, width: int) -> Floats:
    """Means over ``width`` neighbours, edges mirrored."""
    if width < 2 or len(value) < 3:
        return value
    half = min(width // 2, len(value) - 1)
    padded = np.pad(value, half, mode="reflect")
    return np.convolve(padded, np.full(2 * half + 1, 1.0 / (2 * half + 1)), mode="valid")


def shifts(value: Floats, most: int = 3) -> tuple[float, list[int]]:
    """The share of a curve's variance that at most ``most`` changes of level explain, and where they lie."""
    n = len(value)
    _, value = blocks(np.arange(n, dtype=float), value, 200)
    total = float(np.var(value)) * len(value)
    if len(value) < 12 or total <= 0:
        return 0.0, []
    cuts, left = [0, len(value)], total
    for _ in range(most):
        parts = [(a, *_best_split(value[a:b])) for a, b in zip(cuts, cuts[1:], strict=False)]
        start, gain, cut = max(parts, key=lambda found: found[1])
        if cut == 0 or gain < 1e-3 * total:
            break
        cuts = sorted([*cuts, start + cut])
        left -= gain
    return 1.0 - left / total, [round(cut * n / len(value)) for cut in cuts[1:-1]]


def _best_split(value: Floats) -> tuple[float, int]:
    """How much variance the best change of level takes away, and where it lies; 0, 0 for short parts."""
    n = len(value)
    if n < 8:
        return 0.0, 0
    sums = np.cumsum(value)
    k = np.arange(4, n - 3)
    left, right = sums[k - 1] / k, (sums[-1] - sums[k - 1]) / (n - k)
    gain = k * (n - k) / n * (left - right) ** 2
    best = int(np.argmax(gain))
    return float(gain[best]), int(k[best])


def tail_of(series: Series) -> Tail | None:
    """The last tenth beside what came before; None for fewer than 20 points."""
    n = len(series)
    if n < 20:
        return None
    last = series.value[-max(3, n // 10) :]
    before = series.value[int(0.4 * n) : int(0.85 * n)]
    return Tail(float(np.median(before)), float(np.median(last)), step_noise(series.value), len(last))
