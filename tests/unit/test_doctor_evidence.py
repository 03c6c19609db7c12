"""The doctor's evidence: units, weights, sawteeth, outliers, excursions, and several causes in one run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from omarl.analysis.doctor import DiagnoseConfig, Diagnosis, diagnose, diagnose_arrays
from omarl.analysis.doctor.reading import run_status
from omarl.analysis.doctor.sawtooth import find_teeth
from omarl.analysis.doctor.shapes import count_turns, excursions, level_shifts, running_median, without_outliers
from omarl.analysis.runs import Series
from omarl.analysis.symptoms import longest_memory
from omarl.components.vae_config import VAEConfig
from test_doctor import CONFIG, TEETH, X, examine, run

N = 400
T = np.linspace(0, 1, N)
RISE = 1 / (1 + np.exp(-40 * (T - 0.15)))  # the start of the code's use
KL, RECON = 15 * RISE + 0.05, 0.08 - 0.065 * RISE
FORK = {"vae_lr": 5e-4, "omg_vae_alpha": 0.001, "latent_dim": 32}


def noisy(value: np.ndarray, level: float = 0.02, seed: int = 0) -> np.ndarray:
    return value * (1 + level * np.random.default_rng(seed).standard_normal(len(value)))


def diagnosed(config: dict | None = None, **arrays: np.ndarray) -> Diagnosis:
    return diagnose_arrays(arrays, np.arange(N) * 100, FORK if config is None else config)


def symptoms(diagnosis: Diagnosis) -> list[str]:
    return [f.symptom for f in diagnosis.findings]


# units and weights


def test_a_kl_averaged_over_latents_gives_a_note_and_not_a_collapse():
    logged = noisy(KL) / 32
    diagnosis = diagnosed(kl=logged, recon=RECON, loss=RECON + 0.001 * logged * 32)
    assert diagnosis.healthy and any("mean over the latents" in note for note in diagnosis.notes)
    assert diagnosis.measured["kl_mean"] == pytest.approx(15, rel=0.05)


def test_a_kl_logged_after_its_weight_gives_a_note_and_not_a_collapse():
    logged = noisy(KL) * 0.001
    diagnosis = diagnosed(kl=logged, recon=RECON, loss=RECON + logged)
    assert diagnosis.healthy and any("after its weight" in note for note in diagnosis.notes)
    assert diagnosis.measured["kl_mean"] == pytest.approx(15, rel=0.05)


def test_a_kl_too_small_for_the_explained_variance_gives_a_note():
    flat = {"kl": noisy(np.full(N, 0.28)), "recon": np.full(N, 0.01), "vae_explained_variance": np.full(N, 0.87)}
    diagnosis = diagnosed(**flat)
    assert diagnosis.healthy and any("too small for 87% of the variance" in note for note in diagnosis.notes)


def test_a_loss_summed_over_the_batch_gives_a_note():
    kl, recon = noisy(6.3 * RISE + 0.05) * 128, (60 - 40 * RISE) * 128
    diagnosis = diagnosed({"omg_vae_alpha": 1.0, "latent_dim": 64}, kl=kl, recon=recon, loss=recon + kl)
    assert diagnosis.healthy and any("sum over the batch and the features" in note for note in diagnosis.notes)


def test_the_ramp_that_causes_a_collapse_is_inferred_from_the_total():
    weight = 0.01 * T
    kl = 25 * RISE * np.clip(1 - 1.2 * T, 0, 1) + 0.01
    diagnosis = diagnosed({"latent_dim": 32}, kl=noisy(kl), recon=0.08 + 0 * T, loss=0.08 + weight * noisy(kl))
    first = diagnosis.findings[0]
    assert first.symptom == "posterior_collapse" and first.driven_by_weight and "ramp" in first.cause
    assert first.evidence["weight_known_from"] == "inferred"


def test_a_kl_that_is_small_from_the_start_is_a_collapse():
    diagnosis = diagnosed(kl=np.full(N, 1e-4), recon=noisy(np.full(N, 0.0724), 0.002))
    assert symptoms(diagnosis) == ["posterior_collapse"]


def test_a_late_collapse_is_found():
    shut = 1 / (1 + np.exp(300 * (T - 0.93)))
    diagnosis = diagnosed(kl=noisy(KL * shut + 0.01), recon=0.08 - 0.065 * RISE * shut)
    assert symptoms(diagnosis)[0] == "posterior_collapse"


def test_the_default_weight_is_suggested_for_omarls_loss_in_nats():
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
def test_a_sawtooth_is_found_with_its_period_and_depth(points, teeth, irregular):
    value = noisy(saw(points, teeth, irregular=irregular), 0.01)
    sawtooth = find_teeth(Series(np.arange(float(points)), value))
    assert sawtooth is not None and sawtooth.period == pytest.approx(points / teeth, rel=0.25)
    assert sawtooth.depth == pytest.approx(-0.4, abs=0.15)


@pytest.mark.parametrize("seed", range(10))
def test_waves_steps_and_noise_are_not_a_sawtooth(seed):
    rng, x = np.random.default_rng(seed), np.linspace(0, 1, 500)
    shift = sum((x > at) * size for at, size in zip(rng.uniform(0.1, 0.9, 4), rng.normal(0, 2, 4), strict=True))
    for value in (12 + 3 * np.sin(40 * x), 12 + shift, 12 + rng.standard_t(3, 500), 12 + 100 * np.exp(-20 * x)):
        clean, _ = without_outliers(Series(x, noisy(np.asarray(value, dtype=float), 0.01, seed)))
        assert find_teeth(clean) is None


def test_the_remedy_of_refreshed_data_is_a_larger_window():
    series = run(vae_kl_loss=17 * TEETH, vae_recon_loss=0.15 / TEETH)
    default = VAEConfig().vae_window
    for kept, suggested in ((1, default), (4, default), (default, 2 * default)):
        finding = examine(series, CONFIG | {"vae_window": kept}).findings[0]
        assert finding.symptom == "data_refresh" and finding.remedy == {"vae_window": suggested}
    many = examine(series, CONFIG | {"vae_window": default, "vae_updates": 700}).findings[0]
    assert many.remedy == {"vae_window": 2 * default, "vae_updates": 233}
    finding = examine(series, CONFIG | {"vae_window": 1}).findings[0]
    assert finding.evidence["period_steps"] == pytest.approx(100_000 / 7, rel=0.1)
    assert finding.evidence["period_updates"] == pytest.approx(2000 / 7, rel=0.1)


def test_a_cyclical_weight_is_not_called_refreshed_data():
    phase = (7 * X) % 1
    changed = run(vae_kl_loss=17 * (1.3 - 0.5 * np.minimum(1, 2 * phase)), vae_alpha=0.01 * np.minimum(1, 2 * phase))
    findings = examine(changed, CONFIG | {"vae_alpha_schedule": "cyclical"}).findings
    assert [f.symptom for f in findings] == ["kl_oscillation"] and findings[0].driven_by_weight


def test_a_cyclical_weight_is_found_without_a_logged_reconstruction():
    phase = (8 * T) % 1
    weight = 0.001 * np.minimum(1, 2 * phase)
    diagnosis = diagnosed(kl=noisy(15 * (1.3 - 0.6 * np.minimum(1, 2 * phase)), 0.01), kl_weight=weight)
    assert symptoms(diagnosis) == ["kl_oscillation"] and diagnosis.findings[0].driven_by_weight


@pytest.mark.parametrize("weight", [0.001, None])
def test_a_kl_that_jumps_with_the_reconstruction_follows_the_states(weight):
    """At 70%, new policies raise the reconstruction loss for a while and the KL permanently."""
    new = T > 0.7
    recon = noisy(RECON * (1 + 0.8 * new * np.exp(-25 * (T - 0.7))) * (1 - 0.02 * T), 0.003)
    config = {"latent_dim": 32} | ({} if weight is None else {"omg_vae_alpha": weight})
    assert "kl_growth" not in symptoms(diagnosed(config, kl=noisy(KL * (1 + 0.35 * new), 0.01), recon=recon))
    grown = diagnosed(config, kl=noisy(KL * (1 + 0.35 * new), 0.01), recon=noisy(RECON * (1 - 0.02 * T), 0.003))
    assert symptoms(grown) == ["kl_growth"]


# noise, outliers, excursions


@pytest.mark.parametrize("seed", range(5))
def test_short_autocorrelations_count_as_noise(seed):
    rng, x = np.random.default_rng(seed), np.zeros(500)
    for i in range(1, 500):
        x[i] = 0.5 * x[i - 1] + rng.standard_normal()
    assert longest_memory(x) == 0
    assert longest_memory(np.cumsum(rng.standard_normal(500))) > 0.5


def test_one_point_outliers_are_noise_at_any_place():
    value = noisy(KL)
    for places in ([150, 300], [397], [200, 201, 320, 390]):
        with_outliers = value.copy()
        with_outliers[places] *= 8
        assert diagnosed(kl=with_outliers, recon=RECON).healthy, places
    often = value.copy()
    often[60::12] *= 8
    assert not diagnosed(kl=often, recon=RECON).healthy


def test_an_excursion_is_reported_although_the_run_recovered():
    value = noisy(KL)
    value[250:260] *= 5
    diagnosis = diagnosed(kl=value, recon=RECON)
    assert symptoms(diagnosis)[0] in ("excursion", "kl_explosion") and not diagnosis.healthy
    (excursion,) = excursions(Series(T, value), 2.0, 0.5)
    assert excursion.points == 10 and excursion.recovered and excursion.factor == pytest.approx(5, rel=0.1)


def test_turning_points_and_level_shifts_are_counted():
    assert count_turns(np.sin(np.linspace(0, 6 * np.pi, 300)), 0.5) == 6
    assert count_turns(np.linspace(0, 1, 50), 0.1) == 0
    share, places = level_shifts(np.where(T > 0.6, 2.0, 1.0))
    assert share == pytest.approx(1) and abs(places[0] - 0.6 * N) < 4


# several causes; the end of a run


def test_the_suggested_configuration_contains_all_remedies(tmp_path):
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
    assert suggested["vae_window"] == VAEConfig().vae_window and suggested["grad_norm_clip"] >= 1
    assert suggested["vae_formula"] == "mean"  # the loss used before this key existed


def test_the_vaes_failure_is_preferred_to_a_later_error(tmp_path):
    trace = ["Traceback", "omarl.types.TrainingError: the VAE is not finite at step 300: lower vae_lr (0.05)\n",
             "RuntimeError: while closing"]  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps({"status": "FAILED", "fail_trace": trace}))
    assert "the VAE is not finite at step 300" in run_status(tmp_path)[1]


def test_exploding_gradients_below_a_high_clip_are_found():
    norms = np.where(np.arange(len(X)) > 60, 2e14, 0.3)
    diagnosis = examine(run(vae_grad_norm=np.where(np.arange(len(X)) % 10 == 5, 2e6, 0.3), vae_grad_norm_max=norms),
                        CONFIG | {"grad_norm_clip": 1e15})  # fmt: skip
    assert "gradient_clipping" in symptoms(diagnosis)
    assert not any(note.startswith("No update was clipped: ") for note in diagnosis.notes)


@pytest.mark.parametrize("width", [1, 2, 5, 9, 11, 40, 301])
@pytest.mark.parametrize("points", [1, 2, 8, 60])
def test_a_running_median_is_that_of_each_window_with_mirrored_edges(width, points):
    value = np.round(np.random.default_rng(points).normal(size=points), 1)  # with equal values
    half = min(width // 2, points - 1)
    mirrored = np.pad(value, half, mode="reflect")
    expected = [np.median(mirrored[i : i + 2 * half + 1]) for i in range(points)]
    np.testing.assert_array_equal(running_median(value, width), expected)


@pytest.mark.parametrize("width", [5, 21])
def test_nan_counts_as_infinite_in_a_running_median(width):
    value = np.random.default_rng(0).normal(size=60)
    value[[3, 30, 31]] = np.nan
    np.testing.assert_array_equal(
        running_median(value, width), running_median(np.where(np.isnan(value), np.inf, value), width)
    )
