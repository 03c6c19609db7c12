"""The doctor's evaluation runs are reproducible and match their labels; constant verdicts fail the evaluation."""

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


def _simulated(chosen):
    from doctor_eval_runs import SETS

    return SETS[chosen]


def _trained(chosen):
    from doctor_eval_real import SETS

    return SETS[chosen]


@pytest.mark.parametrize("chosen", [1, 2])
def test_counts_and_labels_are_complete(chosen):
    specs, trainings = _simulated(chosen), _trained(chosen)
    for entries, half in ((specs, 30), (trainings, 10)):
        assert sum(not entry.accepted for entry in entries) == sum(bool(entry.accepted) for entry in entries) == half
    entries = [*specs, *trainings]
    assert len({entry.name for entry in entries}) == 80
    assert all(entry.why for entry in entries) and all(len(entry.accepted) <= 2 for entry in entries)
    assert {name for entry in entries for name in entry.accepted} - {"excursion"} == FAULTS
    lengths = [spec.points for spec in specs if not spec.accepted]
    assert 30 <= min(lengths) <= 40 and 9000 <= max(lengths) <= 10_000


def test_the_two_sets_have_no_run_in_common():
    from dataclasses import replace

    first, second = ({replace(spec, name="", why="").__repr__() for spec in _simulated(chosen)} for chosen in (1, 2))
    assert not first & second
    assert not {spec.setting for spec in _simulated(1)} & {spec.setting for spec in _simulated(2)}
    names = [{entry.name for entry in (*_simulated(chosen), *_trained(chosen))} for chosen in (1, 2)]
    assert not names[0] & names[1]
    assert not {t.world for t in _trained(1)} & {t.world for t in _trained(2)}


def test_optional_series_occur_in_healthy_and_faulty_runs_of_the_second_set():
    specs = _simulated(2)
    for healthy in (True, False):
        group = [spec for spec in specs if bool(spec.accepted) is not healthy]
        for has in (
            lambda spec: "explained" in spec.log,
            lambda spec: "weight" in spec.log,
            lambda spec: "loss" in spec.without,
            lambda spec: spec.unconfigured or spec.form != "sacred",
        ):
            assert 4 <= sum(map(has, group)) <= 26


@pytest.mark.parametrize("chosen", [1, 2])
def test_simulated_runs_are_reproducible(chosen):
    import doctor_eval_runs as runs

    for spec in _simulated(chosen)[1::11]:
        first, second = runs.series_of(spec), runs.series_of(spec)
        assert list(first) == list(second)
        for name, (steps, values) in first.items():
            np.testing.assert_array_equal(values, second[name][1])
            assert np.all(np.diff(steps) > 0)


@pytest.mark.parametrize(("chosen", "host"), [(1, "prioritised"), (2, "epochs"), (2, "window")])
def test_real_trainings_are_reproducible(chosen, host):
    from dataclasses import replace

    from doctor_eval_real import train

    short = replace(next(t for t in _trained(chosen) if t.host == host), updates=32)
    first, second = train(short)[0], train(short)[0]
    np.testing.assert_array_equal(first[short.names[0]][1], second[short.names[0]][1])


@pytest.mark.parametrize("chosen", [1, 2])
def test_healthy_curves_are_stable_or_improve_or_follow_a_policy_change(chosen):
    """Without noise, the KL stays within 10% over the last half, the weighted total falls, or a policy changed."""
    from doctor_eval_runs import clean

    for spec in _simulated(chosen)[:30]:
        curves = clean(spec)
        half = curves.points // 2
        kl, total = curves.kl[half:], (curves.recon + spec.setting.beta * curves.weight * curves.kl)[half:]
        changed = any(event in ("policy_change", "broaden") for event, _ in spec.events)
        assert abs(kl[-1] - kl[0]) <= 0.1 * kl.mean() or total[-1] < 0.98 * total[0] or changed, spec.name
        assert 1 - curves.recon[half] / spec.setting.null >= 0.8, spec.name
        assert curves.kl[half] >= 3, spec.name


def test_faults_of_the_kl_weight_in_the_second_set_have_the_stated_size():
    """Too large: 1/3 to 2/3 explained. Too small: over five nats per latent. Collapse: nothing explained."""
    from doctor_eval_runs import clean

    for spec in _simulated(2)[30:]:
        curves = clean(spec)
        explained, kl = 1 - curves.recon[-1] / spec.setting.null, curves.kl[-1]
        if spec.accepted == ("kl_weight_too_large",):
            assert 0.33 < explained < 0.67 and kl > 1, spec.name
        if spec.accepted == ("kl_weight_too_small",):
            assert kl / spec.setting.latents > 5, spec.name
        if spec.accepted == ("posterior_collapse",):
            assert explained < 0.02 and kl < 0.01, spec.name


def test_the_logged_total_is_the_reconstruction_plus_the_weighted_kl():
    from doctor_eval_runs import series_of
    from doctor_eval_table import SPECS

    by_name = {spec.name: spec for spec in (*SPECS, *_simulated(2))}
    weights = {"single_batches": 0.0004, "kl_per_latent": 0.2, "kl_weighted": 1.0, "latent_average": 0.3}
    for name, weight in weights.items():
        kl, recon, total = list(series_of(by_name[name]).values())[:3]
        np.testing.assert_allclose(total[1], recon[1] + weight * kl[1], rtol=1e-9)


def test_outliers_are_isolated_points_of_the_given_share():
    from doctor_eval_curves import Curves, add_outliers

    flat = np.ones(500)
    curves = Curves(np.linspace(0, 1, 500), flat.copy(), flat.copy(), flat, {})
    add_outliers(curves, 0.03, 5, np.random.default_rng(0), last=True)
    places = np.flatnonzero(curves.kl != 1)
    assert len(places) == 15 and places[-1] == 499 and np.diff(places).min() > 1


def test_constant_verdicts_fail_the_evaluation():
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


def test_wilson_interval_matches_a_published_case():
    """81 of 263 (Newcombe 1998, table I): 0.2553 to 0.3662."""
    from doctor_eval import wilson

    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20)[0] == 0 and wilson(20, 20)[1] == 1
