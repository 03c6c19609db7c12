"""Numbers over training seeds, with the uncertainty that so few of them leave.

The unit is always the seed: episodes of one training are not independent evidence about an algorithm, so a
seed enters as one score (per task) and nothing here ever pools episodes.

Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021
(interquartile mean, stratified bootstrap), written from its definitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Statistic = Callable[[NDArray[np.float64]], Any]


class Interval(NamedTuple):
    """A point estimate and its bounds, which are NaN where the data cannot tell (one seed)."""

    point: float
    low: float
    high: float


def interquartile_mean(scores: ArrayLike, axis: int | None = None) -> Any:
    """The mean of the middle half: ``floor(n / 4)`` values are cut at each end, with ``axis=None`` of all.

    Args:
        scores: any shape; rliable's matrix is [seeds, tasks], taken as one set of ``seeds * tasks`` values.
        axis: the axis to reduce, or None for all of them.

    Returns:
        A float for ``axis=None``, otherwise float64 without that axis.
    """
    from scipy.stats import trim_mean  # half a second, that a training need not wait for

    middle = trim_mean(_finite("scores", scores), proportiontocut=0.25, axis=axis)
    return float(middle) if np.ndim(middle) == 0 else middle


def stratified_bootstrap_interval(
    scores: ArrayLike,
    statistic: Statistic = interquartile_mean,
    reps: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over seeds, each task (stratum) resampled with replacement on its own.

    One seed says nothing about the spread between seeds: its bounds are NaN, not the point. With three to
    five seeds a percentile bootstrap is too narrow (resamples see no value that was not seen), so
    ``mean_interval`` is the more careful choice there, and more seeds the better one.

    Args:
        scores: [seeds, tasks], or [seeds] for one task.
        statistic: maps a resampled [seeds, tasks] to one number.
        reps: the number of resamples.
        confidence: of the two-sided interval, between 0 and 1.
        seed: of the resampling; the same seed gives the same interval.
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
    rows = generator.integers(len(table), size=(reps, *table.shape))  # each task has its own rows
    resampled = np.take_along_axis(table[None], rows, axis=1)  # [reps, seeds, tasks]
    if statistic is interquartile_mean:  # all at once: scipy takes its time over each call
        draws = interquartile_mean(resampled.reshape(reps, -1), axis=1)
    else:
        draws = np.array([statistic(sample) for sample in resampled])
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(point, float(low), float(high))


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of a mean over seeds: ``mean +- t(n - 1) * s / sqrt(n)``, ``s`` with ``n - 1``.

    Args:
        values: [seeds], one number a seed. One seed alone has a mean and NaN bounds.
        confidence: of the two-sided interval, between 0 and 1.
    """
    sample = _finite("values", values)
    if sample.ndim != 1:
        raise ValueError(f"values must be [seeds], one number a seed, not of shape {sample.shape}")
    tail = _tail(confidence)
    mean = float(sample.mean())
    if len(sample) == 1:
        return Interval(mean, np.nan, np.nan)
    half = float(special.stdtrit(len(sample) - 1, 1 - tail) * sample.std(ddof=1) / np.sqrt(len(sample)))
    return Interval(mean, mean - half, mean + half)


def intervals_apart(a: Interval, b: Interval) -> bool:
    """Whether two intervals share no value: a careful sign of a difference.

    Overlapping ones prove no equality, and an interval with unknown (NaN) bounds is never apart.
    """
    return a.high < b.low or b.high < a.low


def _finite(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """``values`` as float64, refused where empty or not finite, with the first culprit's place."""
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.size == 0:
        raise ValueError(f"{name} is empty")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        raise ValueError(f"{name}[{', '.join(map(str, place))}] is {array[place]}: scores must be finite")
    return array


def _tail(confidence: float) -> float:
    """The probability left on each side."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not be {confidence}")
    return (1 - confidence) / 2
