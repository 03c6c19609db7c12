"""The doctor on series with known symptoms, and on healthy series that resemble them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from omarl.analysis.doctor import SYMPTOMS, Diagnosis, examine
from omarl.analysis.runs import Series
from omarl.components.vae_config import VAEConfig
from omarl.config.files import CONFIG_DIR, read_yaml
from omarl.config.schema import check
from omarl.configuration.parts import collect
from omarl.run import RunConfig

POINTS, UPDATES = 100, 2000
CONFIG: dict[str, Any] = {
    "vae_lr": 3e-4, "omg_vae_alpha": 0.01, "vae_alpha_ramp": 1000, "vae_latent_dim": 16, "vae_hidden_dim": 128,
    "grad_norm_clip": 10.0, "vae_optimiser": "adam", "optim_alpha": 0.9, "vae_log_var_bound": "tanh",
    "vae_log_var_limit": 5.0, "vae_alpha_schedule": "linear", "vae_decoder": "mse", "batch_size": 32,
}  # fmt: skip
X = np.linspace(0, 1, POINTS)  # position in the run
LATE = np.clip(2 * X - 1, 0, 1)  # position in the last half
RNG = np.random.default_rng(0)


def run(**changed: Any) -> dict[str, Series]:
    """A healthy run like the default's. Arguments replace series by numbers or arrays [POINTS]; None removes one."""
    steps = np.arange(1, POINTS + 1) * 1000.0
    kl = 17 + 15 * np.exp(-8 * X) + 0.1 * RNG.standard_normal(POINTS)
    values: dict[str, Any] = {
        "vae_kl_loss": kl,
        "vae_kl_loss_std": 0.5,
        "vae_recon_loss": 0.15 + 0.85 * np.exp(-10 * X),
        "vae_recon_loss_std": 0.005,
        "vae_alpha": np.minimum(0.01, 0.0202 * X),
        "vae_grad_norm": 0.3,
        "vae_grad_norm_max": 0.5,
        "vae_clipped_share": 0.0,
        "vae_explained_variance": 0.92 - 0.9 * np.exp(-10 * X),
        "vae_active_units": 16.0,
        "vae_log_var_bound_share": 0.0,
        "updates": np.linspace(UPDATES / POINTS, UPDATES, POINTS),
    }
    values |= changed
    return {n: Series(steps, np.broadcast_to(v, POINTS).astype(float)) for n, v in values.items() if v is not None}


def point_logged(kl: Any, recon: Any = None) -> dict[str, Series]:
    """A fork's run that logs only the losses of single batches."""
    recon = 0.15 + 0.85 * np.exp(-10 * X) if recon is None else recon
    steps = np.arange(1, POINTS + 1) * 1000.0
    return {"kld_loss": Series(steps, np.asarray(kl)), "recons_loss": Series(steps, np.asarray(recon))}


def first(diagnosis: Diagnosis) -> str:
    return diagnosis.findings[0].symptom if diagnosis.findings else "healthy"


def symptoms(diagnosis: Diagnosis) -> set[str]:
    named = {f.symptom for f in diagnosis.findings}
    return named.union(*(f.explains for f in diagnosis.findings))


SWING = 3 * np.sin(2 * np.pi * 6 * X)  # nats
TEETH = 1 - 0.4 * np.exp(-6 * ((7 * X + 0.5) % 1))  # 7 batches, each replaced completely
BURST = np.where((X > 0.7) & (X < 0.75), 4.0, 1.0)  # 5 outlying points
DEAD = {"vae_kl_loss": 0.1 * np.exp(-30 * X) + 1e-6, "vae_kl_loss_std": 0.0, "vae_recon_loss": 1.0 + 0.1 * X,
        "vae_explained_variance": -0.02, "vae_active_units": 0.0}  # fmt: skip
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "fixed weight": ({"vae_kl_loss": 17 + SWING}, {}, "kl_oscillation"),
    "cyclical": (
        {"vae_kl_loss": 17 + SWING, "vae_alpha": 0.005 - 0.004 * np.sin(2 * np.pi * 6 * X)},
        {"vae_alpha_schedule": "cyclical"}, "kl_oscillation",
    ),
    "rises without a gain": ({"vae_kl_loss": 17 + 8 * LATE, "vae_recon_loss": 0.15,
                           "vae_explained_variance": 0.9}, {}, "kl_growth"),
    "bursts": ({"vae_kl_loss_max": np.where(np.arange(POINTS) % 20 == 15, 5000.0, 18.0)}, {}, "kl_explosion"),
    "clamped formula": ({"vae_kl_loss": 17 - 30 * LATE}, {"vae_log_var_bound": "exp_clamp"}, "negative_kl"),
    "clamped formula, within an interval": ({"vae_kl_loss_min": -0.5}, {}, "negative_kl"),
    "weight 10": (DEAD | {"vae_alpha": np.minimum(10, 20.2 * X)}, {"omg_vae_alpha": 10}, "posterior_collapse"),
    "collapse at a small weight": (DEAD, {}, "posterior_collapse"),
    "weight 0.1": ({"vae_kl_loss": 2.6, "vae_recon_loss": 0.66, "vae_explained_variance": 0.55, "vae_alpha": 0.1},
                   {"omg_vae_alpha": 0.1}, "kl_weight_too_large"),
    "weight 1e-6": ({"vae_kl_loss": 150 + 30 * X, "vae_recon_loss": 0.07, "vae_alpha": np.minimum(1e-6, 2.02e-6 * X)},
                    {"omg_vae_alpha": 1e-6}, "kl_weight_too_small"),
    "weight 1e-6, bits coded completely": (
        {"vae_kl_loss": 170 + 10 * X, "vae_recon_loss": 0.1, "vae_recon_null": 40.0, "vae_beta": 2e-5,
         "vae_alpha": 1e-6, "vae_explained_variance": 0.99}, {"omg_vae_alpha": 1e-6}, "kl_weight_too_small",
    ),
    "128 latents": ({"vae_active_units": 125.0}, {"vae_latent_dim": 128}, "latent_oversized"),
    "few active": ({"vae_active_units": 5.0}, {}, "latent_oversized"),
    "clip 0.01": ({"vae_clipped_share": 1.0}, {"grad_norm_clip": 0.01}, "gradient_clipping"),
    "limit 0.1": ({"vae_log_var_bound_share": 0.7}, {"vae_log_var_limit": 0.1}, "logvar_saturation"),
    "never learned": ({"vae_kl_loss": 0.12, "vae_recon_loss": 1.0 + 0.1 * X, "vae_explained_variance": -0.03,
                       "vae_active_units": 0.0}, {"vae_lr": 1e-6}, "reconstruction_plateau"),
    "too narrow": ({"vae_kl_loss": 3.0, "vae_recon_loss": 0.8, "vae_explained_variance": 0.2,
                    "vae_active_units": 2.0}, {"vae_hidden_dim": 1}, "reconstruction_plateau"),
    "unsettled": ({"vae_recon_loss_std": 0.03, "vae_recon_loss": 0.2 + 0.05 * np.sin(40 * X)}, {"vae_lr": 0.02},
                  "learning_rate_too_high"),
    "dead at once": (DEAD | {"vae_kl_loss": 20 * np.exp(-40 * X), "vae_recon_loss": 1 + np.exp(-60 * X)},
                     {"vae_lr": 0.05}, "learning_rate_too_high"),
    "null": ({"vae_loss": np.where(X > 0.9, np.nan, 0.3)}, {}, "non_finite"),
    "inf": ({"vae_grad_norm": np.where(X > 0.9, np.inf, 0.3)}, {}, "non_finite"),
    "tiny batches": ({"vae_kl_loss_std": 4.0, "vae_recon_loss_std": 0.05}, {"batch_size": 1}, "sampling_noise"),
    "refreshed data": ({"vae_kl_loss": 17 * TEETH, "vae_recon_loss": 0.15 / TEETH}, {}, "data_refresh"),
    "five outlying points": ({"vae_kl_loss": 17 * BURST}, {}, "excursion"),
    "short": ({"updates": np.linspace(1, 60, POINTS), "vae_alpha": 0.0006 * X}, {}, "too_short"),
    "ramp unfinished": ({"vae_alpha": 0.006 * X}, {}, "too_short"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_case_names_its_symptom_first(case):
    changed, config, expected = CASES[case]
    diagnosis = examine(run(**changed), CONFIG | config)
    assert first(diagnosis) == expected, str(diagnosis)
    finding = diagnosis.findings[0]
    assert finding.evidence and finding.cause and 0.5 <= finding.confidence <= 1
    assert diagnosis.healthy == (expected == "sampling_noise")


def test_every_symptom_has_a_case():
    assert {expected for *_, expected in CASES.values()} == set(SYMPTOMS)


def test_a_stable_run_is_healthy():
    diagnosis = examine(run(), CONFIG)
    assert diagnosis.healthy and not diagnosis.findings
    assert abs(diagnosis.measured["kl_drift"]) < 0.1 and diagnosis.measured["kl_oscillation"] < 0.05


RISING = {"vae_kl_loss": 17 + 8 * LATE}
LOOKALIKES: dict[str, tuple[dict[str, Series], dict[str, Any]]] = {
    "the KL rises and the reconstruction improves": (
        run(**RISING, vae_recon_loss=0.3 - 0.15 * LATE, vae_explained_variance=0.7 + 0.15 * LATE), {}),
    "the KL rises on harder states that are explained better": (
        run(**RISING, vae_recon_loss=0.3, vae_explained_variance=0.7 + 0.15 * LATE), {}),
    "a low total loss": (run(vae_loss=1e-4), {}),
    "the KL falls at the beginning": (run(vae_kl_loss=17 + 200 * np.exp(-20 * X)), {}),
    "the KL still falls": (run(vae_kl_loss=17 + 40 * np.exp(-3 * X)), {}),
    "the KL falls late and steeply": (run(vae_kl_loss=17 + 60 * np.exp(-6 * LATE)), {}),
    "the reconstruction is poor but improves": (
        run(vae_recon_loss=0.9 - 0.3 * X, vae_explained_variance=0.1 + 0.3 * X, vae_kl_loss=5 + 3 * X,
            vae_kl_loss_std=0.1, vae_active_units=12.0), {}),
    "the KL steps down as the weight ramps": (
        run(vae_kl_loss=35 - 18 * np.minimum(1, 2 * np.floor(X * 20) / 20),
            vae_alpha=0.01 * np.minimum(1, 2 * np.floor(X * 20) / 20)), {}),
    "the KL swings while the weight ramps, then stays": (run(vae_kl_loss=17 + np.where(X < 0.5, SWING, 0)), {}),
    "no update is clipped": (run(vae_grad_norm=0.005, vae_grad_norm_max=0.008), {"grad_norm_clip": 0.01}),
    "the weighted total falls": (
        run(vae_kl_loss=5 + 1.25 * X, vae_recon_loss=0.400 - 0.020 * X, vae_kl_loss_std=0.05,
            vae_explained_variance=0.7, vae_active_units=10.0), {}),
    "new policies raise both losses": (
        point_logged(17 * (1 + 0.3 * (X > 0.7)), 0.15 * (1 + (X > 0.7) * (0.3 + 0.5 * np.exp(-20 * (X - 0.7))))), {}),
    "the reconstruction is flat and good": (run(vae_recon_loss=0.1, vae_explained_variance=0.93), {}),
    "a high learning rate that does no harm": (run(), {"vae_lr": 5e-3}),
    "a fork's flat losses, first logged late": (point_logged(17 + 0.1 * np.sin(X), 0.15 + 0 * X), {}),
    "a calibrated decoder at weight 1": (run(vae_alpha=1.0), {"vae_decoder": "calibrated", "omg_vae_alpha": 1.0,
                                                              "vae_alpha_ramp": 0}),
}  # fmt: skip


@pytest.mark.parametrize("case", LOOKALIKES)
def test_healthy_runs_that_resemble_a_symptom_are_healthy(case):
    series, config = LOOKALIKES[case]
    diagnosis = examine(series, CONFIG | config)
    assert diagnosis.healthy, str(diagnosis)


@pytest.mark.parametrize("seed", range(20))
def test_single_batch_values_are_noise_and_swings_are_oscillation(seed):
    noise = 2.5 * np.random.default_rng(seed).standard_normal(POINTS)
    steady = examine(point_logged(17 + noise), {})
    swinging = examine(point_logged(17 + noise / 3 + SWING), {})
    assert first(steady) == "sampling_noise" and steady.healthy
    assert first(swinging) == "kl_oscillation"


def test_interval_statistics_distinguish_noise_from_swings_of_the_same_size():
    deviation = 2.0 * np.random.default_rng(3).standard_normal(POINTS)
    explained = run(vae_kl_loss=17 + deviation, vae_kl_loss_std=2.0 * np.sqrt(UPDATES / POINTS))
    unexplained = run(vae_kl_loss=17 + deviation, vae_kl_loss_std=0.5)
    assert first(examine(explained, CONFIG)) == "sampling_noise"
    assert first(examine(unexplained, CONFIG)) == "kl_oscillation"


@pytest.mark.parametrize("seed", range(20))
def test_scatter_that_sampling_explains_is_noise(seed):
    deviation = 5.0 * np.random.default_rng(seed).standard_normal(POINTS)
    assert examine(run(vae_kl_loss=20 + deviation, vae_kl_loss_std=5.0 * np.sqrt(UPDATES / POINTS)), CONFIG).healthy


def test_the_remedy_of_oscillation_is_the_pi_controller_at_the_current_kl():
    remedy = examine(run(vae_kl_loss=17 + SWING), CONFIG).findings[0].remedy
    assert remedy == {"vae_alpha_schedule": "pi", "vae_kl_target": pytest.approx(17, abs=0.6)}


def test_the_remedy_of_a_cyclical_weight_is_a_single_ramp():
    changed, config, _ = CASES["cyclical"]
    for given in (config, {"vae_alpha_schedule": "constant"}):  # a fork's weight may move without omarl's key
        remedy = examine(run(**changed), CONFIG | given).findings[0].remedy
        assert remedy == {"vae_alpha_schedule": "linear"}
    still = examine(run(vae_kl_loss=17 + SWING), CONFIG | {"vae_alpha_schedule": "pi"}).findings[0]
    assert list(still.remedy) == ["vae_pi_ki"]


def test_a_weight_of_one_is_not_too_large_for_a_calibrated_decoder():
    poor = run(vae_alpha=1.0, vae_explained_variance=0.6, vae_recon_loss=0.5)
    plain = CONFIG | {"omg_vae_alpha": 1.0, "vae_alpha_ramp": 0}
    assert first(examine(poor, plain)) == "kl_weight_too_large"
    assert examine(poor, plain | {"vae_decoder": "calibrated"}).healthy


def test_values_of_remedies_are_derived_from_the_run():
    changed, config, _ = CASES["weight 1e-6"]
    alpha = examine(run(**changed), CONFIG | config).findings[0].remedy["omg_vae_alpha"]
    assert 0.05 <= alpha * 16 / (0.07 / 0.03) <= 0.3  # cost of a nat per latent over the variance
    changed, config, _ = CASES["128 latents"]
    assert examine(run(**changed), CONFIG | config).findings[0].remedy == {"vae_latent_dim": 36}
    changed, config, _ = CASES["dead at once"]
    assert 1e-4 <= examine(run(**changed), CONFIG | config).findings[0].remedy["vae_lr"] <= 0.05 / 3
    changed, config, _ = CASES["clip 0.01"]
    assert examine(run(**changed), CONFIG | config).findings[0].remedy["grad_norm_clip"] > 0.5


@pytest.mark.parametrize("case", CASES)
def test_remedies_are_valid_keys_with_new_values(case):
    changed, config, _ = CASES[case]
    known = collect(RunConfig, read_yaml(CONFIG_DIR / "default.yaml") | {"learner": "omg_vae_learner"})
    for finding in examine(run(**changed), CONFIG | config).findings:
        for name, value in finding.remedy.items():
            assert name in known.declarations, name
            found = known.declarations[name]
            assert check(found.config, found.spec, value) is not None
            assert (CONFIG | config).get(name) != value


def test_norms_above_the_clip_give_no_note_about_unclipped_updates():
    norms = np.where(np.arange(POINTS) == 40, 2e14, 0.3)
    diagnosis = examine(run(vae_grad_norm_max=norms), CONFIG | {"grad_norm_clip": 1e9})
    assert not any("No update was clipped" in note for note in diagnosis.notes)


def test_a_clip_without_effect_is_not_raised():
    diagnosis = examine(run(vae_kl_loss=17 + SWING), CONFIG)
    assert all("grad_norm_clip" not in finding.remedy for finding in diagnosis.findings)
    assert any("raising grad_norm_clip would change nothing" in note for note in diagnosis.notes)


def test_effects_are_merged_into_the_finding_of_their_cause():
    changed, config, _ = CASES["dead at once"]
    diagnosis = examine(run(**changed), CONFIG | config)
    assert [f.symptom for f in diagnosis.findings] == ["learning_rate_too_high"]
    assert "posterior_collapse" in diagnosis.findings[0].explains
    both = examine(run(vae_kl_loss=17 + SWING, vae_clipped_share=1.0), CONFIG)
    assert [f.symptom for f in both.findings] == ["gradient_clipping", "kl_oscillation"]


def test_a_note_says_that_adam_does_not_read_optim_alpha():
    adam, rmsprop = examine(run(), CONFIG), examine(run(), CONFIG | {"vae_optimiser": "rmsprop"})
    assert any("optim_alpha" in note for note in adam.notes)
    assert not any("optim_alpha" in note for note in rmsprop.notes)


def test_missing_series_are_noted_and_limit_the_findings():
    for missing, word in (("vae_kl_loss", "KL"), ("vae_recon_loss", "reconstruction"),
                          ("vae_explained_variance", "explained variance")):  # fmt: skip
        diagnosis = examine(run(**{missing: None}), CONFIG)
        assert any(note.startswith("No ") and word in note for note in diagnosis.notes)
    alone = examine(point_logged(17 + 8 * LATE) | {"recons_loss": Series(np.empty(0), np.empty(0))}, {})
    assert "kl_growth" not in symptoms(alone)


def test_an_unlogged_weight_is_inferred_from_the_total():
    kl, recon = 150 + X, 0.05 + 0.9 * np.exp(-20 * X)
    series = point_logged(kl, recon)
    series["vae_loss"] = Series(series["kld_loss"].t, recon + 1e-6 * kl)
    diagnosis = examine(series, {"latent_dim": 16})
    assert diagnosis.measured["kl_weight"] == pytest.approx(1e-6, rel=0.01)
    assert first(diagnosis) == "kl_weight_too_small"


def test_an_unlogged_clipped_share_is_counted_from_gradient_norms():
    series = point_logged(17 + 0 * X) | {"vae_grad_norm": Series(np.arange(POINTS) * 1000.0, np.full(POINTS, 8.0))}
    assert first(examine(series, {"grad_norm_clip": 5})) == "gradient_clipping"
    assert examine(series, {"grad_norm_clip": 10}).healthy


def test_a_failure_message_without_logged_values_is_a_finding():
    assert first(examine(run(), CONFIG, "TrainingError: the VAE is not finite at step 4000")) == "non_finite"


def test_a_run_without_series_is_too_short():
    assert first(examine({}, {})) == "too_short"
    nan = {"vae_kl_loss": Series(np.arange(20.0), np.full(20, np.nan))}
    assert first(examine(nan, {})) == "non_finite"


def test_the_work_of_examine_does_not_grow_with_the_points():
    """Training calls it at every log. Python calls are counted, since they do not depend on the machine's load."""

    def calls(points: int) -> int:
        t = np.arange(points) * 1000.0
        series = {name: Series(t, np.interp(t, s.t, s.value)) for name, s in run(vae_kl_loss=17 + SWING).items()}
        examine(series, CONFIG)  # fills caches
        count = 0

        def counted(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(counted)
        try:
            examine(series, CONFIG)
        finally:
            sys.setprofile(None)
        return count

    few, many = calls(200), calls(2000)
    assert few < 40_000 and many < 2 * few


def test_the_console_text_contains_evidence_cause_remedy_and_confidence():
    changed, config, _ = CASES["128 latents"]
    text = str(examine(run(**changed), CONFIG | config))
    assert "not healthy: latent_oversized" in text
    assert all(part in text for part in ("units_in_use=35", "cause:", "vae_latent_dim=36", "confidence: 90%"))


def test_the_remedy_of_log_var_starting_beyond_its_bound_is_zero():
    wild = {"vae_log_var_bound": "none", "vae_log_var_init": 100.0}
    broken = examine(run(vae_kl_loss=np.nan, vae_recon_loss=np.nan), CONFIG | wild).findings[0]
    assert broken.remedy == {"vae_log_var_bound": "tanh", "vae_log_var_init": 0.0}
    stuck = examine(run(vae_log_var_bound_share=1.0, vae_explained_variance=0.0, vae_recon_loss=1.0),
                    CONFIG | {"vae_log_var_init": 100.0}).findings[0]  # fmt: skip
    assert (stuck.symptom, stuck.remedy) == ("logvar_saturation", {"vae_log_var_init": 0.0})


def test_a_negative_kl_explains_the_nan_that_follows():
    kl = np.where(X < 0.8, -50 * X, np.nan)
    findings = examine(run(vae_kl_loss=kl), CONFIG | {"vae_log_var_bound": "exp_clamp"}).findings
    assert findings[0].symptom == "negative_kl" and "non_finite" in findings[0].explains
    assert all(f.symptom != "too_short" for f in findings)


def test_narrow_networks_are_not_called_a_collapse():
    dead = run(vae_kl_loss=0.1, vae_recon_loss=1.0 + 0.2 * np.exp(-20 * X), vae_explained_variance=-0.1,
               vae_active_units=0.0)  # fmt: skip
    finding = examine(dead, CONFIG | {"vae_hidden_dim": 1}).findings[0]
    assert (finding.symptom, finding.remedy) == ("reconstruction_plateau", {"vae_hidden_dim": 128})
    # The loss falls because the states become easier; nothing is explained, so this is not progress.
    easier = run(vae_kl_loss=1.4, vae_recon_loss=1.3 - 0.4 * X, vae_explained_variance=-0.1, vae_active_units=1.0)
    finding = examine(easier, CONFIG | {"vae_hidden_dim": 1}).findings[0]
    assert (finding.symptom, finding.remedy) == ("reconstruction_plateau", {"vae_hidden_dim": 128})


def test_a_suggested_ramp_ends_within_the_run():
    dead = run(vae_kl_loss=5 * np.exp(-9 * X), vae_recon_loss=0.98 + 0.2 * np.exp(-20 * X),
               vae_explained_variance=0.0, vae_active_units=0.0)  # fmt: skip
    finding = examine(dead, CONFIG).findings[0]
    assert finding.symptom == "posterior_collapse"
    assert finding.remedy.get("vae_alpha_ramp", 0) <= 0.4 * UPDATES


def test_a_very_low_learning_rate_is_not_called_a_collapse():
    crawl = run(vae_kl_loss=0.15 - 0.1 * X, vae_recon_loss=1.2 - 0.2 * X, vae_explained_variance=-0.03,
                vae_active_units=0.0)  # fmt: skip
    finding = examine(crawl, CONFIG | {"vae_lr": 1e-6}).findings[0]
    assert (finding.symptom, finding.remedy) == ("reconstruction_plateau", {"vae_lr": VAEConfig().vae_lr})
