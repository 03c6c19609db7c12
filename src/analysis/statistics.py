"""Means over training seeds, with confidence intervals.

The unit is always the seed: episodes of one training are not independent evidence about an algorithm. Each seed
therefore contributes one score (per task), and episodes are never pooled.

Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021
(interquartile mean, stratified bootstrap), written from its definitions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Statistic = Callable[[NDArray[np.float64]], Any]


class Interval(NamedTuple):
    """A point estimate and its bounds; the bounds are NaN for a single seed."""

    point: float
    low: float
    high: float


def interquartile_mean(scores: ArrayLike, axis: int | None = None) -> Any:
    """The mean without the ``floor(n / 4)`` smallest and largest values.

    With ``axis=None``, all values are one set (rliable's matrix is [seeds, tasks]) and the result is a float;
    otherwise it is float64 without that axis.
    """
    table = _finite("scores", scores)
    first = np.ravel(table) if axis is None else np.moveaxis(table, axis, 0)
    cut = len(first) // 4
    middle = np.partition(first, (cut, len(first) - cut - 1), axis=0)[cut : len(first) - cut].mean(axis=0)
    return float(middle) if np.ndim(middle) == 0 else middle


def stratified_bootstrap_interval(
    scores: ArrayLike,
    statistic: Statistic = interquartile_mean,
    reps: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over seeds; each task (stratum) is resampled with replacement separately.

    One seed contains no information about the spread between seeds, so its bounds are NaN. With three to five seeds
    a percentile bootstrap is too narrow, because resamples contain only observed values; ``mean_interval`` is more
    conservative then, and more seeds are better.

    Args:
        scores: [seeds, tasks], or [seeds] for one task.
        statistic: maps a resample [seeds, tasks] to one number.
        reps: the number of resamples.
        confidence: probability of the two-sided interval, between 0 and 1.
        seed: seed of the resampling; the same seed gives the same interval.
    """
    table = _finite("scores", scores)
    if table.ndim == 1:
        table = table[:, None]  # [seeds] -> [seeds, 1]
    if table.ndim != 2:
        raise ValueError(f"scores must be [seeds, tasks] or [seeds], not of shape {table.shape}")
    tail = _tail(confidence)
    if reps < 1:
        raise ValueError(f"reps must be at least 1, not {reps}")
    point = float(statistic(table))
    if len(table) == 1:
        return Interval(point, np.nan, np.nan)
    generator = np.random.default_rng(seed)
    rows = generator.integers(len(table), size=(reps, *table.shape))  # separate rows for each task
    resampled = np.take_along_axis(table[None], rows, axis=1)  # [reps, seeds, tasks]
    if statistic is interquartile_mean:  # all resamples in one call, for speed
        draws = interquartile_mean(resampled.reshape(reps, -1), axis=1)
    else:
        draws = np.array([statistic(sample) for sample in resampled])
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(point, float(low), float(high))


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of a mean over seeds: ``mean +- t(n - 1) * s / sqrt(n)``, with ``n - 1`` in ``s``.

    Args:
        values: [seeds], one number per seed. For a single seed the bounds are NaN.
        confidence: probability of the two-sided interval, between 0 and 1.
    """
    sample = _finite("values", values)
    if sample.ndim != 1:
        raise ValueError(f"values must be [seeds], one number per seed, not of shape {sample.shape}")
    tail = _tail(confidence)
    mean = float(sample.mean())
    if len(sample) == 1:
        return Interval(mean, np.nan, np.nan)
    from scipy import special  # the import takes 0.3 s, so only what needs it waits for it

    half = float(special.stdtrit(len(sample) - 1, 1 - tail) * sample.std(ddof=1) / np.sqrt(len(sample)))
    return Interval(mean, mean - half, mean + half)


def intervals_apart(a: Interval, b: Interval) -> bool:
    """Whether two intervals have no value in common, a conservative sign of a difference.

    Overlapping intervals do not prove equality. The result is False for NaN bounds.
    """
    return a.high < b.low or b.high < a.low


def _finite(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """``values`` as float64; raises if there are none, or with the index of the first value that is not finite."""
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.size == 0:
        raise ValueError(f"{name} is empty")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        raise ValueError(f"{name}[{', '.join(map(str, place))}] is {array[place]}: scores must be finite")
    return array


def _tail(confidence: float) -> float:
    """The probability outside the interval on each side."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not be {confidence}")
    return (1 - confidence) / 2
