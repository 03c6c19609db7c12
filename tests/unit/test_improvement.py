"""Comparisons of algorithms, against cases computed by hand and against complete enumeration."""

import itertools

import numpy as np
import pytest
from omarl.analysis.improvement import (
    holm,
    improvement_interval,
    improvements,
    interval_over_opponents,
    interval_over_tasks,
    normalised,
    performance_profile,
    probability_of_improvement,
    profile_band,
)
from omarl.analysis.statistics import stratified_bootstrap_interval


def test_probability_of_improvement_counts_pairs_and_half_of_the_ties():
    assert probability_of_improvement([1.0, 3.0], [2.0, 2.0, 2.0]) == 0.5
    assert probability_of_improvement([2.0, 3.0], [1.0, 2.0]) == (1 + 1 + 1 + 0.5) / 4
    x, y = np.random.default_rng(0).normal(size=(2, 9))
    assert probability_of_improvement(x, y) == pytest.approx(1 - probability_of_improvement(y, x))


def test_its_interval_agrees_with_all_resamples_of_two_and_three_seeds():
    x, y = [1.0, 4.0], [0.0, 2.0, 5.0]
    every = [
        probability_of_improvement(a, b)
        for a, b in itertools.product(itertools.product(x, repeat=2), itertools.product(y, repeat=3))
    ]
    got = improvement_interval(x, y, confidence=0.5)
    assert got.point == 0.5
    np.testing.assert_allclose(got[1:], np.quantile(every, [0.25, 0.75]), atol=1e-9)
    assert np.isnan(improvement_interval([1.0], y).low)


def test_holm_multiplies_the_smallest_p_value_by_their_number_and_stays_monotonic():
    # 0.01 * 4, 0.02 * 3, max(0.06, 0.025 * 2), max(0.06, 0.9 * 1)
    np.testing.assert_allclose(holm([0.9, 0.01, 0.025, 0.02]), [0.9, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1.0, 1.0])
    assert holm([]).shape == (0,)


def test_a_performance_profile_is_the_mean_over_tasks_of_the_shares_above_a_threshold():
    strata = [[0.1, 0.3, 0.5, 0.9], [0.4, 0.8]]
    np.testing.assert_allclose(performance_profile(strata, [0.0, 0.3, 0.8]), [1, (0.5 + 1) / 2, (0.25 + 0) / 2])
    low, high = profile_band(strata, [0.0, 0.3, 1.0])
    assert low[0] == high[0] == 1 and low[2] == high[2] == 0 and low[1] < 0.75 < high[1]


def test_intervals_over_tasks_allow_unequal_numbers_of_seeds_and_agree_with_the_matrix():
    scores = np.random.default_rng(1).normal(size=(6, 3))
    ragged, matrix = interval_over_tasks(list(scores.T)), stratified_bootstrap_interval(scores)
    assert ragged.point == pytest.approx(matrix.point)
    np.testing.assert_allclose(ragged, matrix, atol=0.05)  # other random draws
    assert interval_over_tasks([[0.0, 1.0, 2.0, 3.0], [10.0]]).point == pytest.approx(2.0)  # 1, 2, 3 of five
    assert np.isnan(interval_over_tasks([[1.0], [2.0]]).low)


def test_intervals_over_opponents_are_about_other_seeds_and_other_opponents():
    by_opponent = np.tile([0.0, 10.0, 20.0, 30.0], (5, 1))  # all seeds alike, opponents different
    over_seeds = stratified_bootstrap_interval(by_opponent.mean(axis=1))
    assert over_seeds == (15, 15, 15)
    got = interval_over_opponents(by_opponent)
    assert got.point == 15
    means = [np.mean(sample) for sample in itertools.product([0.0, 10.0, 20.0, 30.0], repeat=4)]
    np.testing.assert_allclose(got[1:], np.quantile(means, [0.025, 0.975]))
    by_seed = by_opponent.T[:4]  # all opponents alike, seeds different: the usual interval
    np.testing.assert_allclose(interval_over_opponents(by_seed), stratified_bootstrap_interval(by_seed[:, 0]), atol=2)
    assert np.isnan(interval_over_opponents(by_opponent[:1]).low)


def test_scores_are_scaled_by_the_extreme_runs_of_each_task():
    scores = {"a": {"x": [0.0, 5.0], "y": [10.0]}, "b": {"x": [1.0], "y": [1.0], "z": [1.0]}}
    scaled = normalised(scores)
    assert set(scaled) == {"x", "y"}  # z has no run on a
    np.testing.assert_allclose(scaled["x"][0], [0, 0.5])
    np.testing.assert_allclose(scaled["y"][0], [1])
    assert scaled["x"][1] == 0.5  # no difference on b


def test_pairs_are_corrected_together_and_single_seeds_left_out():
    pairs = improvements({"a": {"x": [1.0, 2, 3], "y": [4.0, 5, 6], "z": [9.0]}, "b": {"x": [1.0, 2], "y": [1.5, 3]}})
    assert [(p.task, p.better, p.worse) for p in pairs] == [("a", "y", "x"), ("b", "y", "x")]
    assert pairs[0].p_value == pytest.approx(0.1)  # 2 of (6 over 3) = 20 orders
    np.testing.assert_allclose([p.corrected for p in pairs], holm([p.p_value for p in pairs]))
    assert improvements({"a": {"x": [1.0, 2]}}) == []
