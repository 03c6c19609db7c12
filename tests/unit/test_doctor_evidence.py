"""What the doctor's verdicts rest on: units, weights, sawteeth, outliers, excursions, and several causes at once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from omarl.analysis.doctor import DiagnoseConfig, Diagnosis, diagnose, diagnose_arrays
from omarl.analysis.doctor.reading import how_it_ended
from omarl.analysis.doctor.sawtooth import find_teeth
from omarl.analysis.doctor.shapes import excursions, shifts, turns, without_outliers
from omarl.analysis.runs import Series
from omarl.analysis.symptoms import longest_memory
from test_doctor import CONFIG, TEETH, X, examine, run

N = 400
T = np.linspace(0, 1, N)
RISE = 1 / (1 + np.exp(-40 * (T - 0.15)))  # a code that comes into use
KL, RECON = 15 * RISE + 0.05, 0.08 - 0.065 * RISE
FORK = {"vae_lr": 5e-4, "omg_vae_alpha": 0.001, "latent_dim": 32}


def noisy(value: np.ndarray, level: float = 0.02, seed: int = 0) -> np.ndarray:
    return value * (1 + level * np.random.default_rng(seed).standard_normal(len(value)))


def said(config: dict | None = None, **arrays: np.ndarray) -> Diagnosis:
    return diagnose_arrays(arrays, np.arange(N) * 100, FORK if config is None else config)


def symptoms(diagnosis: Diagnosis) -> list[str]:
    return [f.symptom for f in diagnosis.findings]


# units and weights


def test_a_kl_averaged_over_latents_is_a_note_and_no_collapse():
    logged = noisy(KL) / 32
    diagnosis = said(kl=logged, recon=RECON, loss=RECON + 0.001 * logged * 32)
    assert diagnosis.healthy and any("mean over the latents" in note for note in diagnosis.notes)
    assert diagnosis.measured["kl_mean"] == pytest.approx(15, rel=0.05)


def test_a_kl_logged_after_its_weight_is_a_note_and_no_collapse():
    logged = noisy(KL) * 0.001
    diagnosis = said(kl=logged, recon=RECON, loss=RECON + logged)
    assert diagnosis.healthy and any("after its weight" in note for note in diagnosis.notes)
    assert diagnosis.measured["kl_mean"] == pytest.approx(15, rel=0.05)


def test_too_few_nats_for_the_variance_explained_are_no_nats():
    flat = {"kl": noisy(np.full(N, 0.28)), "recon": np.full(N, 0.01), "vae_explained_variance": np.full(N, 0.87)}
    diagnosis = said(**flat)
    assert diagnosis.healthy and any("too small for 87% of the variance" in note for note in diagnosis.notes)


def test_a_summed_likelihood_is_a_note():
    kl, recon = noisy(6.3 * RISE + 0.05) * 128, (60 - 40 * RISE) * 128
    diagnosis = said({"omg_vae_alpha": 1.0, "latent_dim": 64}, kl=kl, recon=recon, loss=recon + kl)
    assert diagnosis.healthy and any("sum over the batch and the features" in note for note in diagnosis.notes)


def test_a_collapse_names_the_ramp_that_was_inferred_from_the_total():
    weight = 0.01 * T
    kl = 25 * RISE * np.clip(1 - 1.2 * T, 0, 1) + 0.01
    diagnosis = said({"latent_dim": 32}, kl=noisy(kl), recon=0.08 + 0 * T, loss=0.08 + weight * noisy(kl))
    first = diagnosis.findings[0]
    assert first.symptom == "posterior_collapse" and first.driven_by_weight and "ramp" in first.cause
    assert first.evidence["weight_known_from"] == "inferred"


def test_the_first_logged_value_does_not_decide_a_collapse():
    diagnosis = said(kl=np.full(N, 1e-4), recon=noisy(np.full(N, 0.0724), 0.002))
    assert symptoms(diagnosis) == ["posterior_collapse"]


def test_a_late_collapse_is_not_healthy():
    shut = 1 / (1 + np.exp(300 * (T - 0.93)))
    diagnosis = said(kl=noisy(KL * shut + 0.01), recon=0.08 - 0.065 * RISE * shut)
    assert symptoms(diagnosis)[0] == "posterior_collapse"


def test_our_own_loss_in_nats_suggests_the_default_weight():
    diagnosis = examine(
        run(vae_kl_loss=0.01, vae_kl_loss_std=0.0, vae_recon_loss=30.0, vae_recon_loss_std=0.1,
            vae_alpha=np.minimum(0.1, 0.202 * X), vae_beta=np.minimum(2.0, 4.04 * X), vae_explained_variance=0.0,
            vae_active_units=0.0),
        CONFIG | {"omg_vae_alpha": 0.1, "vae_formula": "nats"},
    )  # fmt: skip
    assert diagnosis.findings[0].symptom == "posterior_collapse"
    assert diagnosis.findings[0].remedy == {"omg_vae_alpha": 0.01}


# sawteeth


def saw(points: int, teeth: int, depth: float = 0.4, irregular: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    width = np.exp(irregular * rng.standard_normal(teeth))
    edges = np.concatenate(([0.0], np.cumsum(width) / width.sum()))[:-1]
    x = np.linspace(0, 1, points, endpoint=False)
    phase = (x - edges[np.searchsorted(edges, x, side="right") - 1]) * teeth
    return 12 * (1 - depth * np.exp(-4 * phase))


@pytest.mark.parametrize(("points", "teeth"), [(40, 5), (100, 6), (1000, 4), (10_000, 15)])
@pytest.mark.parametrize("irregular", [0.0, 0.12])
def test_a_sawtooth_is_found_with_its_period(points, teeth, irregular):
    value = noisy(saw(points, teeth, irregular=irregular), 0.01)
    found = find_teeth(Series(np.arange(float(points)), value))
    assert found is not None and found.period == pytest.approx(points / teeth, rel=0.25)
    assert found.depth == pytest.approx(-0.4, abs=0.15)


@pytest.mark.parametrize("seed", range(10))
def test_waves_steps_and_noise_are_no_sawtooth(seed):
    rng, x = np.random.default_rng(seed), np.linspace(0, 1, 500)
    shift = sum((x > at) * size for at, size in zip(rng.uniform(0.1, 0.9, 4), rng.normal(0, 2, 4), strict=True))
    for value in (12 + 3 * np.sin(40 * x), 12 + shift, 12 + rng.standard_t(3, 500), 12 + 100 * np.exp(-20 * x)):
        clean, _ = without_outliers(Series(x, noisy(np.asarray(value, dtype=float), 0.01, seed)))
        assert find_teeth(clean) is None


def test_refreshed_data_get_a_remedy_that_concerns_the_data():
    finding = examine(run(vae_kl_loss=17 * TEETH, vae_recon_loss=0.15 / TEETH), CONFIG | {"vae_window": 1}).findings[
        0
    ]
    assert finding.symptom == "data_refresh" and finding.remedy == {"vae_window": 4}
    assert finding.evidence["period_steps"] == pytest.approx(100_000 / 7, rel=0.1)
    assert finding.evidence["period_updates"] == pytest.approx(2000 / 7, rel=0.1)


def test_a_cyclical_weight_is_named_and_not_the_data():
    phase = (7 * X) % 1
    changed = run(vae_kl_loss=17 * (1.3 - 0.5 * np.minimum(1, 2 * phase)), vae_alpha=0.01 * np.minimum(1, 2 * phase))
    found = examine(changed, CONFIG | {"vae_alpha_schedule": "cyclical"}).findings
    assert [f.symptom for f in found] == ["kl_oscillation"] and found[0].driven_by_weight


def test_a_cyclical_weight_is_named_where_no_reconstruction_was_logged():
    phase = (8 * T) % 1
    weight = 0.001 * np.minimum(1, 2 * phase)
    diagnosis = said(kl=noisy(15 * (1.3 - 0.6 * np.minimum(1, 2 * phase)), 0.01), kl_weight=weight)
    assert symptoms(diagnosis) == ["kl_oscillation"] and diagnosis.findings[0].driven_by_weight


@pytest.mark.parametrize("weight", [0.001, None])
def test_a_kl_that_leaps_with_the_reconstruction_follows_the_states(weight):
    """New policies at 70%: the reconstruction leaps up and is learned again, the KL stays higher."""
    new = T > 0.7
    recon = noisy(RECON * (1 + 0.8 * new * np.exp(-25 * (T - 0.7))) * (1 - 0.02 * T), 0.003)
    config = {"latent_dim": 32} | ({} if weight is None else {"omg_vae_alpha": weight})
    assert "kl_growth" not in symptoms(said(config, kl=noisy(KL * (1 + 0.35 * new), 0.01), recon=recon))
    grown = said(config, kl=noisy(KL * (1 + 0.35 * new), 0.01), recon=noisy(RECON * (1 - 0.02 * T), 0.003))
    assert symptoms(grown) == ["kl_growth"]


# noise, outliers, excursions


@pytest.mark.parametrize("seed", range(5))
def test_noise_with_short_memory_is_noise(seed):
    rng, x = np.random.default_rng(seed), np.zeros(500)
    for i in range(1, 500):
        x[i] = 0.5 * x[i - 1] + rng.standard_normal()
    assert longest_memory(x) == 0
    assert longest_memory(np.cumsum(rng.standard_normal(500))) > 0.5


def test_one_point_outliers_are_noise_wherever_they_are():
    value = noisy(KL)
    for places in ([150, 300], [397], [200, 201, 320, 390]):
        spoilt = value.copy()
        spoilt[places] *= 8
        assert said(kl=spoilt, recon=RECON).healthy, places
    often = value.copy()
    often[60::12] *= 8
    assert not said(kl=often, recon=RECON).healthy


def test_an_excursion_of_several_points_is_reported_though_the_run_recovered():
    value = noisy(KL)
    value[250:260] *= 5
    diagnosis = said(kl=value, recon=RECON)
    assert symptoms(diagnosis)[0] in ("excursion", "kl_explosion") and not diagnosis.healthy
    (found,) = excursions(Series(T, value), 2.0, 0.5)
    assert found.points == 10 and found.recovered and found.factor == pytest.approx(5, rel=0.1)


def test_turns_and_shifts():
    assert turns(np.sin(np.linspace(0, 6 * np.pi, 300)), 0.5) == 6
    assert turns(np.linspace(0, 1, 50), 0.1) == 0
    share, places = shifts(np.where(T > 0.6, 2.0, 1.0))
    assert share == pytest.approx(1) and abs(places[0] - 0.6 * N) < 4


# several causes; how a run ended


def test_all_remedies_reach_the_suggestion(tmp_path):
    both = run(vae_kl_loss=17 * TEETH, vae_recon_loss=0.15 / TEETH, vae_clipped_share=1.0, vae_grad_norm=0.3)
    config = CONFIG | {"base_learner": "q_learner", "grad_norm_clip": 0.01, "vae_window": 1}
    records = [{"t_env": float(t)} for t in both["vae_kl_loss"].t]
    for name, series in both.items():
        for record, value in zip(records, series.value, strict=True):
            record[name] = float(value)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (tmp_path / "config.json").write_text(json.dumps(config))
    diagnosis = diagnose(DiagnoseConfig(run=str(tmp_path)))
    assert symptoms(diagnosis)[:2] == ["data_refresh", "gradient_clipping"]
    suggested = yaml.safe_load((tmp_path / "suggested.yaml").read_text())
    assert suggested["vae_window"] == 4 and suggested["grad_norm_clip"] >= 1
    assert suggested["vae_formula"] == "mean"  # from before that key: it keeps its loss


def test_the_vaes_failure_is_read_behind_another_error(tmp_path):
    trace = ["Traceback", "omarl.types.TrainingError: the VAE is not finite at step 300: lower vae_lr (0.05)\n",
             "RuntimeError: while closing"]  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps({"status": "FAILED", "fail_trace": trace}))
    assert "the VAE is not finite at step 300" in how_it_ended(tmp_path)[1]


def test_exploding_gradients_under_a_clip_that_never_acts_are_named():
    norms = np.where(np.arange(len(X)) > 60, 2e14, 0.3)
    diagnosis = examine(run(vae_grad_norm=np.where(np.arange(len(X)) % 10 == 5, 2e6, 0.3), vae_grad_norm_max=norms),
                        CONFIG | {"grad_norm_clip": 1e15})  # fmt: skip
    assert "gradient_clipping" in symptoms(diagnosis)
    assert not any(note.startswith("No update was clipped: ") for note in diagnosis.notes)
