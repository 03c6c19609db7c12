"""The doctor's evaluation runs are reproducible and as their labels say; a doctor without judgement misses a bar."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FAULTS = {
    "posterior_collapse", "data_refresh", "kl_oscillation", "kl_growth", "kl_explosion", "non_finite",
    "learning_rate_too_high", "kl_weight_too_small", "kl_weight_too_large", "negative_kl", "gradient_clipping",
    "logvar_saturation", "reconstruction_plateau", "latent_oversized", "too_short",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _scripts_can_be_imported(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def test_counts_and_labels_are_complete():
    from doctor_eval_real import TRAININGS
    from doctor_eval_table import FAULTY, HEALTHY

    assert (len(HEALTHY), len(FAULTY)) == (30, 30)
    assert sum(not t.accepted for t in TRAININGS) == sum(bool(t.accepted) for t in TRAININGS) == 10
    entries = [*HEALTHY, *FAULTY, *TRAININGS]
    assert len({entry.name for entry in entries}) == 80
    assert all(entry.why for entry in entries)
    assert not any(spec.accepted for spec in HEALTHY) and all(1 <= len(spec.accepted) <= 2 for spec in FAULTY)
    assert {name for entry in entries for name in entry.accepted} == FAULTS
    assert min(spec.points for spec in HEALTHY) == 30 and max(spec.points for spec in HEALTHY) == 10_000


def test_a_simulated_run_is_the_same_each_time(tmp_path):
    import doctor_eval_runs as runs
    from doctor_eval_table import SPECS

    for spec in SPECS[1::11]:
        first, second = runs.series_of(spec), runs.series_of(spec)
        assert list(first) == list(second)
        for name, (steps, values) in first.items():
            np.testing.assert_array_equal(values, second[name][1])
            assert np.all(np.diff(steps) > 0)


def test_a_real_training_is_the_same_each_time():
    from dataclasses import replace

    from doctor_eval_real import TRAININGS, train

    short = replace(next(t for t in TRAININGS if t.host == "prioritised"), updates=30)
    np.testing.assert_array_equal(train(short)[0]["kld_loss"][1], train(short)[0]["kld_loss"][1])


def test_healthy_curves_hold_or_move_for_a_reason():
    """Without noise: KL within 10% over the last half, or the weighted total falls, or a policy changed."""
    from doctor_eval_runs import clean
    from doctor_eval_table import HEALTHY

    for spec in HEALTHY:
        curves = clean(spec)
        half = curves.points // 2
        kl, total = curves.kl[half:], (curves.recon + spec.setting.beta * curves.weight * curves.kl)[half:]
        changed = any(event == "policy_change" for event, _ in spec.events)
        assert abs(kl[-1] - kl[0]) <= 0.1 * kl.mean() or total[-1] < 0.98 * total[0] or changed, spec.name
        assert 1 - curves.recon[half] / spec.setting.null >= 0.8, spec.name
        assert curves.kl[half] >= 3, spec.name


def test_logged_total_is_reconstruction_and_weighted_kl_as_the_host_reduces_them():
    from doctor_eval_runs import series_of
    from doctor_eval_table import SPECS

    by_name = {spec.name: spec for spec in SPECS}
    for name, weight in (("single_batches", 0.0004), ("kl_per_latent", 0.2), ("kl_weighted", 1.0)):
        kl, recon, total = list(series_of(by_name[name]).values())[:3]
        np.testing.assert_allclose(total[1], recon[1] + weight * kl[1], rtol=1e-9)


def test_outliers_are_single_points_and_at_most_three_in_a_hundred():
    from doctor_eval_curves import Curves, add_outliers

    flat = np.ones(500)
    curves = Curves(np.linspace(0, 1, 500), flat.copy(), flat.copy(), flat, {})
    add_outliers(curves, 0.03, 5, np.random.default_rng(0), last=True)
    places = np.flatnonzero(curves.kl != 1)
    assert len(places) == 15 and places[-1] == 499 and np.diff(places).min() > 1


def test_doctors_without_judgement_miss_a_bar():
    from doctor_eval import Run, Verdict, rates, right, without_judgement

    runs = [Run(f"h{i}", "real", Path(), (), "", {}) for i in range(10)]
    runs += [Run(f"f{i}", "real", Path(), ("kl_growth" if i < 6 else "too_short",), "", {}) for i in range(10)]
    judged = [(run, Verdict(run.healthy, run.accepted)) for run in runs]
    assert all(rate.kept for rate in rates(judged)) and all(right(*pair) for pair in judged)
    for _, verdict in without_judgement(judged):
        assert not all(rate.kept for rate in rates((run, verdict) for run in runs))
    failed = Verdict(False, (), "OSError: no")
    alarms, misses, first = rates((run, failed) for run in runs)
    assert (alarms.cases, misses.cases, first.cases) == (10, 10, 0)


def test_wilson_interval_of_a_published_case():
    """81 of 263 (Newcombe 1998, table I): 0.2553 to 0.3662."""
    from doctor_eval import wilson

    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20)[0] == 0 and wilson(20, 20)[1] == 1
