"""Measures shapes of a logged curve: outliers, excursions, level shifts, turning points, and a change at its end."""

import math
from bisect import bisect_left, insort
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..runs import Series
from ..symptoms import block_means

Floats = NDArray[np.float64]

OUTLIER_SHARE = 0.03  # up to this share of the points may be one-point outliers
MIN_EXCURSION = 3  # consecutive points
ROBUST = 1.4826  # ratio of a normal distribution's standard deviation to its median absolute deviation
START = 0.1  # share of the points at the start of training, where excursions are normal
MAX_POINTS = 2500  # longer curves are thinned before shapes are measured
FEW_NEIGHBOURS = 9  # up to this width, a median that sorts every window anew is the faster one


class Excursion(NamedTuple):
    """Several consecutive points far from the curve around them."""

    start: float  # step of the first point
    end: float  # step of the last point
    points: int
    peak: float  # the value farthest from the level
    level: float  # the curve's level around the excursion
    recovered: bool  # the curve returned to this level

    @property
    def factor(self) -> float:
        """The ratio of peak and level, at least 1 for both directions."""
        high, low = max(abs(self.peak), abs(self.level)), min(abs(self.peak), abs(self.level))
        return high / max(low, 1e-9)


class EndChange(NamedTuple):
    """The change between the last tenth of a curve and the part before it."""

    before: float  # median from 40% to 85% of the points
    after: float  # median of the last tenth
    noise: float  # robust standard deviation of a point, from differences of neighbours
    points: int  # in the last tenth

    @property
    def change(self) -> float:
        """The relative change, NaN if the earlier level is 0."""
        return (self.after - self.before) / abs(self.before) if self.before else float("nan")

    @property
    def is_sure(self) -> bool:
        """Whether the change exceeds the noise."""
        return abs(self.after - self.before) > 4 * self.noise / np.sqrt(max(self.points, 1))


def thinned(series: Series) -> Series:
    """The curve with at most ``MAX_POINTS`` points, which are means of neighbours."""
    return Series(*block_means(series.t, series.value, MAX_POINTS))


def running_median(value: Floats, width: int) -> Floats:
    """Median over ``width`` (odd) neighbours with mirrored edges: [points] -> [points]. NaN counts as infinite."""
    half = min(width // 2, len(value) - 1)
    padded = np.pad(np.where(np.isnan(value), np.inf, value), half, mode="reflect")
    if width <= FEW_NEIGHBOURS:
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
        return np.ascontiguousarray(np.partition(windows, half, axis=1)[:, half])
    numbers: list[float] = padded.tolist()
    window = sorted(numbers[: 2 * half + 1])
    medians = [window[half]]
    for leaving, entering in zip(numbers, numbers[2 * half + 1 :], strict=False):
        del window[bisect_left(window, leaving)]
        insort(window, entering)
        medians.append(window[half])
    return np.array(medians)


def highest_level(value: Floats) -> float:
    """The largest median over a fifth of a curve, after its first twentieth; excursions do not affect it."""
    n = len(value)
    return float(running_median(value, max(3, n // 5) | 1)[n // 20 :].max()) if n >= 8 else float("nan")


def spread(value: Floats) -> float:
    """A robust standard deviation, from the median absolute deviation."""
    return ROBUST * float(np.median(np.abs(value - np.median(value)))) if len(value) else 0.0


def step_noise(value: Floats) -> float:
    """The standard deviation of a point around a smooth curve, from second differences of neighbours."""
    if len(value) < 4:
        return 0.0
    return ROBUST * float(np.median(np.abs(value[2:] - 2 * value[1:-1] + value[:-2]))) / float(np.sqrt(6))


def without_outliers(series: Series) -> tuple[Series, int]:
    """The curve with one-point outliers replaced by their neighbours' median, and the number of outliers.

    If more than 3% of the points are far off, they do not count as outliers and the curve is returned unchanged.
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
    share = min(float(far.mean()), OUTLIER_SHARE)
    longest = 2  # adjacent outliers expected by chance; more in a long curve with many outliers
    while n * share ** (longest + 1) > 0.05:
        longest += 1
    isolated = np.zeros(n, bool)
    for first, end in _stretches(far):
        isolated[first:end] = end - first <= longest and _returns(value, smooth, first, end, noise)
    count = int(isolated[n // 50 + 1 :].sum())  # the first points of training are always far off
    if not isolated.any() or count > max(1, math.ceil(OUTLIER_SHARE * n)):
        return series, 0
    return Series(series.t, np.where(isolated, smooth, value)), count


def _stretches(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last index of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _returns(value: Floats, smooth: Floats, first: int, end: int, noise: float) -> bool:
    """Whether the curve returns within three points after a stretch of far points; otherwise it is an edge."""
    if first < 3 or end + 3 > len(value):
        return True
    before, after = float(np.median(value[first - 3 : first])), float(np.median(value[end : end + 3]))
    side = np.sign(value[first] - smooth[first])
    far_off = float(np.max(np.abs(value[first:end] - smooth[first:end])))
    return not side * (after - before) > max(2.5 * noise, 0.15 * far_off)


def excursions(series: Series, up: float, down: float) -> list[Excursion]:
    """Stretches (3 points to a tenth of the curve) above ``up`` times or below ``down`` times the level.

    The first tenth of the curve is ignored. Values must not be negative.
    """
    t, value = block_means(series.t, series.value, MAX_POINTS)
    n = len(value)
    if n < 20:
        return []
    longest = max(4, n // 10)
    level = running_median(value, 2 * longest + 3)
    noise = max(spread(value - level), step_noise(value))
    off = value - level
    far = (np.abs(off) > 8 * noise) & ((value > up * np.abs(level)) | (value < down * np.abs(level)))
    far[: int(START * n)] = False
    result = []
    for first, end in _stretches(far):
        if MIN_EXCURSION <= end - first <= longest:
            peak = first + int(np.argmax(np.abs(off[first:end])))
            steps, extremes = (float(t[first]), float(t[end - 1])), (float(value[peak]), float(level[peak]))
            result.append(Excursion(*steps, end - first, *extremes, end < n))
    return result


def spikes(series: Series, factor: float) -> tuple[float, float]:
    """Share of points over ``factor`` times their neighbours' median after the first tenth, and the largest ratio."""
    value = thinned(series).value
    late = value[int(START * len(value)) :]
    if len(late) < 20:
        return 0.0, 1.0
    ratio = late / np.maximum(running_median(late, 25), 1e-12)
    return float(np.mean(ratio > factor)), float(ratio.max())


def count_turns(value: Floats, least: float) -> int:
    """The number of turning points of a curve, counting only swings of at least ``least``."""
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
    """Means over ``width`` neighbours with mirrored edges."""
    if width < 2 or len(value) < 3:
        return value
    half = min(width // 2, len(value) - 1)
    padded = np.pad(value, half, mode="reflect")
    return np.convolve(padded, np.full(2 * half + 1, 1.0 / (2 * half + 1)), mode="valid")


def level_shifts(value: Floats, most: int = 3) -> tuple[float, list[int]]:
    """The share of a curve's variance explained by at most ``most`` level shifts, and the indices of the shifts."""
    n = len(value)
    _, value = block_means(np.arange(n, dtype=float), value, 200)
    total = float(np.var(value)) * len(value)
    if len(value) < 12 or total <= 0:
        return 0.0, []
    cuts, left = [0, len(value)], total
    for _ in range(most):
        parts = [(a, *_best_split(value[a:b])) for a, b in zip(cuts, cuts[1:], strict=False)]
        start, gain, cut = max(parts, key=lambda part: part[1])
        if cut == 0 or gain < 1e-3 * total:
            break
        cuts = sorted([*cuts, start + cut])
        left -= gain
    return 1.0 - left / total, [round(cut * n / len(value)) for cut in cuts[1:-1]]


def _best_split(value: Floats) -> tuple[float, int]:
    """The variance explained by the best single level shift, and its index; 0, 0 for short curves."""
    n = len(value)
    if n < 8:
        return 0.0, 0
    sums = np.cumsum(value)
    k = np.arange(4, n - 3)
    left, right = sums[k - 1] / k, (sums[-1] - sums[k - 1]) / (n - k)
    gain = k * (n - k) / n * (left - right) ** 2
    best = int(np.argmax(gain))
    return float(gain[best]), int(k[best])


def end_change(series: Series) -> EndChange | None:
    """The change between the last tenth and the part before; None for fewer than 20 points."""
    n = len(series)
    if n < 20:
        return None
    last = series.value[-max(3, n // 10) :]
    before = series.value[int(0.4 * n) : int(0.85 * n)]
    return EndChange(float(np.median(before)), float(np.median(last)), step_noise(series.value), len(last))
