"""Which of several algorithms is better: probability of improvement, performance profiles, corrected tests.

The unit is the seed, as in ``statistics``; a stratum holds the scores of one task, one number for each seed.

Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021
(probability of improvement, performance profiles), written from its definitions; Holm, "A simple sequentially
rejective multiple test procedure", 1979.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .distributions import mann_whitney_p
from .statistics import Interval, interquartile_mean

Floats = NDArray[np.float64]

REPS = 2000


class Improvement(NamedTuple):
    """How often a run of one algorithm has a higher score than a run of another one, on one task."""

    task: str
    better: str
    worse: str
    probability: Interval
    p_value: float  # two-sided Mann-Whitney U test
    corrected: float  # the same after Holm's correction for all pairs that were compared


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """P(X > Y) + P(X = Y) / 2 of runs drawn from ``x`` [n] and ``y`` [m]: U / (n m) of Mann and Whitney."""
    a, b = (np.asarray(values, np.float64) for values in (x, y))
    return float(_shares_above(a[None], b[None])[0])


def _shares_above(a: Floats, b: Floats) -> Floats:
    """``probability_of_improvement`` of each row: [reps, n], [reps, m] -> [reps]."""
    difference = a[:, :, None] - b[:, None, :]
    return ((difference > 0) + 0.5 * (difference == 0)).mean(axis=(1, 2))


def improvement_interval(x: ArrayLike, y: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Percentile bootstrap of the probability of improvement; the seeds of both are resampled."""
    a, b = (np.asarray(values, np.float64) for values in (x, y))
    point = probability_of_improvement(a, b)
    if min(len(a), len(b)) < 2:
        return Interval(point, np.nan, np.nan)
    return _interval(point, _shares_above(*resamples([a, b], seed)), confidence)


def resamples(strata: Sequence[ArrayLike], seed: int = 0, reps: int = REPS) -> list[Floats]:
    """Draws each stratum [n] with replacement, independently: [reps, n] each."""
    generator = np.random.default_rng(seed)
    arrays = [np.asarray(values, np.float64) for values in strata]
    return [values[generator.integers(len(values), size=(reps, len(values)))] for values in arrays]


def _interval(point: float, draws: Floats, confidence: float) -> Interval:
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(point, float(low), float(high))


def interval_over_tasks(strata: Sequence[ArrayLike], confidence: float = 0.95, seed: int = 0) -> Interval:
    """Interquartile mean of all scores of all tasks, with a stratified bootstrap; tasks may differ in their seeds."""
    point = interquartile_mean(np.concatenate([np.asarray(values, np.float64) for values in strata]))
    if all(np.size(values) < 2 for values in strata):
        return Interval(point, np.nan, np.nan)
    draws = interquartile_mean(np.concatenate(resamples(strata, seed), axis=1), axis=1)
    return _interval(point, draws, confidence)


def interval_over_opponents(scores: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Interquartile mean over seeds of the mean over opponents, with a bootstrap over both.

    Every seed has played every opponent, so rows and columns are drawn separately (the pigeonhole bootstrap; Owen,
    "The pigeonhole bootstrap", Annals of Applied Statistics 2007). The interval is about other seeds and about other
    opponents of the same kind; it is wider than one over seeds alone.

    Args:
        scores: [seeds, opponents], the mean return of each pair.
        confidence: probability of the two-sided interval.
        seed: of the resampling.
    """
    table = np.asarray(scores, np.float64)
    point = interquartile_mean(table.mean(axis=1))
    if len(table) < 2:
        return Interval(point, np.nan, np.nan)
    generator = np.random.default_rng(seed)
    rows, columns = (generator.integers(n, size=(REPS, n)) for n in table.shape)
    drawn = table[rows[:, :, None], columns[:, None, :]]  # [reps, seeds, opponents]
    return _interval(point, interquartile_mean(drawn.mean(axis=2), axis=1), confidence)


def performance_profile(strata: Sequence[ArrayLike], thresholds: ArrayLike) -> Floats:
    """The share of runs with a score above each threshold [T], averaged over tasks: [T]."""
    tau = np.asarray(thresholds, np.float64)
    shares = [(np.asarray(values, np.float64)[:, None] > tau).mean(axis=0) for values in strata]
    return np.mean(shares, axis=0)


def profile_band(
    strata: Sequence[ArrayLike], thresholds: ArrayLike, confidence: float = 0.95, seed: int = 0
) -> tuple[Floats, Floats]:
    """Lower and upper bounds of the performance profile at each threshold, from a stratified bootstrap: [T], [T]."""
    tau = np.asarray(thresholds, np.float64)
    draws = np.mean([(drawn[:, :, None] > tau).mean(axis=1) for drawn in resamples(strata, seed, 500)], axis=0)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high


def holm(p_values: ArrayLike) -> Floats:
    """Holm's corrected p-values [n]: the i-th smallest times (n - i + 1), made monotonic, at most 1."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def improvements(scores: Mapping[str, Mapping[str, ArrayLike]]) -> list[Improvement]:
    """Every pair of algorithms on every task, the better one first.

    Args:
        scores: task -> algorithm -> [seeds]. Algorithms with a single seed are left out.
    """
    found = []
    for task, of_task in scores.items():
        known = {label: np.asarray(values, np.float64) for label, values in of_task.items() if np.size(values) > 1}
        for a, b in itertools.combinations(known, 2):
            if probability_of_improvement(known[a], known[b]) < 0.5:
                a, b = b, a
            x, y = known[a], known[b]
            p = mann_whitney_p(probability_of_improvement(x, y) * x.size * y.size, x, y)
            found.append(Improvement(task, a, b, improvement_interval(x, y), p, np.nan))
    corrected = holm([pair.p_value for pair in found])
    return [pair._replace(corrected=float(p)) for pair, p in zip(found, corrected, strict=True)]


def normalised(scores: Mapping[str, Mapping[str, ArrayLike]]) -> dict[str, list[Floats]]:
    """Scores that can be averaged over tasks: on each task 0 is the lowest run of all algorithms, and 1 the highest.

    Args:
        scores: task -> algorithm -> [seeds].

    Returns:
        algorithm -> a stratum for each task; only algorithms that have runs on every task. Equal scores become 0.5.
    """
    scaled: dict[str, list[Floats]] = {}
    for of_task in scores.values():
        arrays = {label: np.asarray(values, np.float64) for label, values in of_task.items()}
        everything = np.concatenate(list(arrays.values()))
        low, span = everything.min(), np.ptp(everything)
        for label, values in arrays.items():
            scaled.setdefault(label, []).append((values - low) / span if span else np.full(len(values), 0.5))
    return {label: strata for label, strata in scaled.items() if len(strata) == len(scores)}
