"""The doctor's measurements against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest
from omarl.analysis.runs import Series
from omarl.analysis.symptoms import (
    Window,
    largest_rise,
    longest_memory,
    measured_window,
    motion,
    ramp_end,
    share_of_loss,
    straight_line,
    units_in_use,
)

T = np.arange(0.0, 101.0)


def of(value: np.ndarray) -> Series:
    return Series(np.arange(float(len(value))), np.asarray(value, dtype=float))


def test_the_window_is_the_last_half_of_the_logged_steps():
    assert measured_window(T) == Window(50.0, 100.0, True)
    assert len(measured_window(T).of(Series(T, T))) == 51


def test_the_window_starts_after_the_ramp():
    ramp = Series(T, np.minimum(1.0, T / 70))
    assert measured_window(T, ramp) == Window(70.0, 100.0, True)
    assert measured_window(T, Series(T, np.minimum(1.0, T / 20))).start == 50
    assert measured_window(T, Series(T, T / 100)) == Window(50.0, 100.0, False)
    assert not measured_window(T, Series(T, np.minimum(1.0, T / 95))).ramp_ended
    assert not measured_window(T, Series(T, np.minimum(0.5, T / 70)), target=1.0).ramp_ended


def test_a_weight_that_falls_again_has_no_ramp():
    assert ramp_end(Series(T, np.sin(T / 5) + 1)) == -np.inf
    assert ramp_end(Series(T, np.full(101, 0.01)), target=0.01) == -np.inf


def test_drift_is_the_lines_change_relative_to_the_mean():
    m = motion(of(np.linspace(9.0, 11.0, 50)))
    assert m.drift == pytest.approx(0.2) and m.oscillation == pytest.approx(0, abs=1e-9)


def test_drift_is_robust_to_outliers():
    value = np.full(50, 10.0)
    value[-5:] = 100
    assert abs(motion(of(value)).drift) < 0.01


def test_oscillation_is_the_relative_standard_deviation_around_the_line():
    x = np.arange(400)
    m = motion(of(10 + np.sin(2 * np.pi * x / 40)))
    assert m.oscillation == pytest.approx(np.sqrt(0.5) / 10, rel=0.1)
    assert m.swing == pytest.approx(0.2, rel=0.3) and not m.is_noise


@pytest.mark.parametrize("period", [2, 3, 4, 7, 40])
def test_swings_of_any_period_have_memory(period):
    x = np.arange(200)
    assert longest_memory(np.cos(2 * np.pi * x / period)) > 0.7


def test_known_noise_is_subtracted():
    rng = np.random.default_rng(0)
    slow = 0.8 * np.sin(np.arange(500) / 20)
    value, std = of(10 + slow + 0.5 * rng.standard_normal(500)), of(np.full(500, 2.0))
    m = motion(value, std, updates_per_point=16)  # 2 / sqrt(16) = 0.5
    assert m.noise == pytest.approx(0.05, rel=0.01) and m.oscillation == pytest.approx(
        0.8 * np.sqrt(0.5) / 10, rel=0.1
    )
    assert motion(of(10 + 0.5 * rng.standard_normal(500)), std, 16).is_noise


def test_white_noise_is_rarely_classified_as_swings():
    rng = np.random.default_rng(1)
    wrong = sum(longest_memory(rng.standard_normal(50)) > 0 for _ in range(400))
    assert wrong / 400 < 0.03


def test_a_monotonic_curve_has_no_swing():
    assert motion(of(10 + 20 * np.exp(-np.arange(60) / 15))).swing == pytest.approx(0, abs=1e-9)


def test_motion_of_too_few_points_is_nan():
    assert np.isnan(motion(of(np.array([1.0, np.nan, 2.0]))).drift)
    assert motion(of(np.array([1.0, np.nan, 2.0, 3.0]))).points == 3


def test_constant_curves_do_not_divide_by_zero():
    for value in (3.0, 0.0):
        m = motion(of(np.full(30, value)))
        assert m.drift == 0 and m.oscillation == 0


def test_the_line_of_a_million_points_is_found():
    x = np.linspace(0, 1, 1_000_000)
    slope, level = straight_line(x, 2 + 3 * x)
    assert slope == pytest.approx(3) and level == pytest.approx(2)


def test_largest_rise_is_relative_to_the_lowest_earlier_value():
    assert largest_rise(of(np.array([4.0, 2.0, 1.0, 3.0, 1.0]))) == 3
    assert largest_rise(of(np.array([4.0, 2.0, 1.0]))) == 1
    assert largest_rise(of(np.array([2.0, 1.0, 1.0])), of(np.array([9.0, 1.0, 5.0]))) == 5


def test_share_of_loss_and_units_in_use_match_hand_computed_values():
    assert share_of_loss(17.0, 0.17, 0.01) == pytest.approx(1.0)
    assert np.isnan(share_of_loss(17.0, 0.0, 0.01))
    assert units_in_use(17.4, 128) == 35
    assert units_in_use(17.4, 16) == 16 and units_in_use(17.4, 128, active=9) == 9 and units_in_use(-3, 16) == 0
