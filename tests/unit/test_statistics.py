"""Statistics over seeds, compared with definitions, closed forms, and the stated coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from omarl.analysis.statistics import (
    Interval,
    interquartile_mean,
    intervals_apart,
    mean_interval,
    stratified_bootstrap_interval,
)


def test_interquartile_mean_is_the_mean_of_the_middle_half() -> None:
    assert interquartile_mean([100.0, 1, 2, 3, 4, 5, 6, -100]) == (2 + 3 + 4 + 5) / 4
    assert interquartile_mean([1.0, 2, 9]) == 4  # floor(3 / 4) = 0 values are cut
    assert interquartile_mean([7.0]) == 7


def test_interquartile_mean_uses_all_values_or_one_axis() -> None:
    scores = np.random.default_rng(0).normal(size=(6, 4))
    middle = np.sort(scores.ravel())[6:18]
    assert interquartile_mean(scores) == pytest.approx(middle.mean())
    by_task = [np.sort(column)[1:5].mean() for column in scores.T]
    np.testing.assert_allclose(interquartile_mean(scores, axis=0), by_task)


def test_bootstrap_agrees_with_all_resamples_of_three_seeds() -> None:
    values = [0.0, 1.0, 5.0]
    every = [np.mean(sample) for sample in itertools.product(values, repeat=3)]
    got = stratified_bootstrap_interval(values, np.mean, reps=5000, confidence=0.8)
    assert got.point == 2
    np.testing.assert_allclose(got[1:], np.quantile(every, [0.1, 0.9]))


def test_bootstrap_resamples_each_task_separately() -> None:
    seen = set()

    def spy(table: np.ndarray) -> float:
        seen.add(tuple(table.sum(axis=0)))
        return float(table.mean())

    stratified_bootstrap_interval([[0.0, 0.0], [1.0, 10.0]], spy, reps=300)
    assert seen == set(itertools.product((0, 1, 2), (0, 10, 20)))  # whole rows would give three pairs


def test_bootstrap_never_moves_a_score_to_another_task() -> None:
    scores = np.tile([1.0, 2.0, 30.0], (5, 1))  # no spread between seeds, much between tasks
    assert stratified_bootstrap_interval(scores, np.mean) == (11, 11, 11)


def test_bootstrap_is_reproducible_and_widens_with_confidence() -> None:
    scores = np.random.default_rng(1).normal(size=(8, 3))
    first = stratified_bootstrap_interval(scores, reps=300)
    assert first == stratified_bootstrap_interval(scores, reps=300)
    assert first != stratified_bootstrap_interval(scores, reps=300, seed=1)
    one_by_one = stratified_bootstrap_interval(scores, lambda sample: interquartile_mean(sample), reps=300)
    assert first == pytest.approx(one_by_one)
    wide = stratified_bootstrap_interval(scores, reps=300, confidence=0.99)
    assert wide.low < first.low < first.point < first.high < wide.high


def test_one_seed_gives_nan_bounds() -> None:
    for got in (stratified_bootstrap_interval([[1.0, 3.0]]), mean_interval([2.0])):
        assert got.point == 2
        assert np.isnan(got.low) and np.isnan(got.high)


def test_mean_interval_matches_the_closed_form() -> None:
    # Two values: s / sqrt(2) = half their distance, and t(1 df, 0.975) = tan(0.475 pi).
    half = np.tan(0.475 * np.pi)
    assert mean_interval([-1.0, 1.0]) == pytest.approx((0, -half, half))
    assert mean_interval([4.0, 4.0, 4.0]) == (4, 4, 4)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_mean_interval_has_the_stated_coverage(confidence: float) -> None:
    samples = np.random.default_rng(0).normal(3, 2, size=(2000, 5))
    intervals = (mean_interval(sample, confidence) for sample in samples)
    covered = np.mean([low <= 3 <= high for _, low, high in intervals])
    assert covered == pytest.approx(confidence, abs=3 * np.sqrt(confidence * (1 - confidence) / 2000))


def test_bootstrap_intervals_have_nearly_the_stated_coverage() -> None:
    samples = np.random.default_rng(0).normal(size=(150, 20, 2))
    intervals = (stratified_bootstrap_interval(sample, np.mean, reps=200) for sample in samples)
    covered = np.mean([low <= 0 <= high for _, low, high in intervals])
    assert 0.88 <= covered <= 0.99


def test_intervals_apart_only_without_common_values() -> None:
    low, middle, high = Interval(1, 0, 2), Interval(2, 1.5, 3), Interval(4, 3.5, 5)
    assert intervals_apart(low, high) and intervals_apart(high, low)
    assert not intervals_apart(low, middle)
    assert not intervals_apart(Interval(0, -1, 2), Interval(3, 2, 4))  # they touch
    assert not intervals_apart(high, mean_interval([0.0]))  # unknown bounds


@pytest.mark.parametrize("function", [interquartile_mean, stratified_bootstrap_interval, mean_interval])
@pytest.mark.parametrize("culprit", [np.nan, np.inf])
def test_non_finite_input_is_refused_with_its_index(function, culprit: float) -> None:
    with pytest.raises(ValueError, match=rf"\[1\] is {culprit}"):
        function([0.0, culprit, 2.0])


def test_invalid_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scores\[1, 0\] is nan"):
        stratified_bootstrap_interval([[0.0, 1.0], [np.nan, 1.0]])
    with pytest.raises(ValueError, match="empty"):
        mean_interval([])
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([1.0, 2.0], confidence=95)
    with pytest.raises(ValueError, match="one number per seed"):
        mean_interval([[1.0, 2.0]])
    with pytest.raises(ValueError, match="shape"):
        stratified_bootstrap_interval(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="reps"):
        stratified_bootstrap_interval([1.0, 2.0], reps=0)
