"""Tail probabilities, compared with SciPy's and with counted orders."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from omarl.analysis.distributions import chi_square_tail, mann_whitney_p
from omarl.analysis.improvement import probability_of_improvement
from scipy import special, stats


@pytest.mark.parametrize("freedom", [1, 2, 3, 10, 11, 98, 1001, 50_000])
def test_chi_square_tail_is_scipys(freedom: int) -> None:
    for x in (*np.linspace(0.01, 2 * freedom + 10, 40), freedom - 3 * math.sqrt(2 * freedom)):
        assert chi_square_tail(freedom, float(x)) == pytest.approx(special.chdtrc(freedom, max(x, 0)), abs=1e-9)


def test_chi_square_tail_at_its_ends() -> None:
    for freedom in (1, 2, 7):
        assert chi_square_tail(freedom, 0.0) == 1 and chi_square_tail(freedom, math.inf) == 0
        assert math.isnan(chi_square_tail(freedom, math.nan))
    assert chi_square_tail(2, 3.0) == pytest.approx(math.exp(-1.5), rel=1e-15)


@pytest.mark.parametrize("equal", [False, True])
def test_mann_whitney_p_is_scipys_with_and_without_equal_values(equal: bool) -> None:
    generator = np.random.default_rng(0)
    for n, m in itertools.product((2, 3, 8, 9, 15), repeat=2):
        x, y = (generator.normal(shift, size=size) for shift, size in ((0, n), (0.7, m)))
        if equal:
            x, y = np.round(x), np.round(y)
        u = probability_of_improvement(x, y) * n * m
        assert mann_whitney_p(u, x, y) == pytest.approx(stats.mannwhitneyu(x, y).pvalue, rel=1e-12)


def test_mann_whitney_p_of_separated_and_of_equal_samples() -> None:
    low, high = np.arange(3.0), np.arange(3.0) + 10
    assert mann_whitney_p(9.0, high, low) == mann_whitney_p(0.0, low, high) == pytest.approx(2 / math.comb(6, 3))
    assert mann_whitney_p(4.5, np.ones(3), np.ones(3)) == 1
