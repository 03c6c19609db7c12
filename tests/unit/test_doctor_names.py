"""Ambiguous names of series, weights hidden by rounding, and jumps that resemble new batches."""

import numpy as np
import pytest
from omarl.analysis.doctor import diagnose_arrays
from omarl.types import ConfigError

N = 200
X = np.linspace(0, 1, N)
RNG = np.random.default_rng(0)
RECON = 10.0 + 12.0 * np.exp(-15 * X) + 0.1 * RNG.normal(size=N)
KL = 2.7 * (1 - np.exp(-12 * X)) + 0.02 * RNG.normal(size=N)


def symptoms(arrays, **config):
    return [f.symptom for f in diagnose_arrays(arrays, config=config).findings]


def test_an_explained_variance_that_mirrors_the_reconstruction_is_used():
    logged = {"losses/kl": KL, "losses/reconstruction": RECON, "losses/vae_total": RECON + 1.8 * KL}
    mirrored = {**logged, "losses/explained_variance": 1 - RECON / 22}
    assert symptoms(mirrored) == ["kl_weight_too_large"]


def test_a_critics_explained_variance_is_ignored():
    logged = {"losses/kl": KL, "losses/reconstruction": RECON, "losses/vae_total": RECON + 1.8 * KL}
    critics = {**logged, "losses/explained_variance": 0.1 + 0.05 * RNG.normal(size=N)}
    assert symptoms(critics) == symptoms(logged)
    assert not diagnose_arrays(critics).measured.get("unexplained")


def test_a_weight_hidden_by_rounding_is_too_small():
    kl = 250 * (1 - np.exp(-8 * X)) + RNG.normal(size=N)
    recon = 4.5 + 250 * np.exp(-20 * X) + 0.02 * RNG.normal(size=N)
    assert symptoms({"kl": kl, "recon": recon, "vae_loss": recon + 1e-9 * kl}) == ["kl_weight_too_small"]
    heavier = symptoms({"kl": kl, "recon": recon, "vae_loss": recon + 1e-2 * kl})
    assert "kl_weight_too_small" not in heavier


def jumping(intervals):
    kl, recon = np.full(800, 13.0), np.full(800, 2.4)
    at = 150
    for interval in intervals:
        decay = np.exp(-np.arange(800 - at) / 15)
        kl[at:] += 12 * decay
        recon[at:] += 10 * decay
        at += interval
    noise = RNG.normal(size=(2, 800))
    start = np.exp(-np.arange(800) / 20)
    return {"kl": kl + 0.2 * noise[0] - 12 * start, "recon": recon + 0.05 * noise[1] + 30 * start}


def test_irregular_jumps_at_a_very_high_learning_rate_are_the_optimisers():
    irregular = jumping([90, 140, 105, 150, 95])
    assert symptoms(irregular, vae_lr=0.02)[0] == "learning_rate_too_high"
    assert "learning_rate_too_high" not in symptoms(irregular, vae_lr=5e-4)


def test_a_weight_above_one_is_too_large_if_the_reconstruction_stays_near_the_marginals():
    kl = 2.7 / (1 + np.exp(-30 * (X - 0.4))) + 0.02 * np.abs(RNG.normal(size=N))

    def logged(end):
        recon = 19.5 + 22 * np.exp(-60 * X) - (19.5 - end) / (1 + np.exp(-30 * (X - 0.4)))
        return {"kl": kl, "recon": recon, "vae_loss": recon + 1.6 * kl}

    assert symptoms(logged(13.0)) == ["kl_weight_too_large"]
    assert symptoms(logged(8.5)) == []


def test_losses_with_a_vae_prefix_are_recognised():
    kl, recon = 6 + 0.1 * RNG.normal(size=N), 0.4 + 0.01 * RNG.normal(size=N)
    arrays = {"state_vae_kl": kl, "state_vae_recon": recon, "state_vae_loss": recon + 0.01 * kl}
    measured = diagnose_arrays(arrays).measured
    assert abs(measured["kl_mean"] - 6) < 0.1 and abs(measured["kl_weight"] - 0.01) < 1e-3
    with pytest.raises(ConfigError, match="no VAE"):
        diagnose_arrays({"policy_kl": kl, "team_reward_loss": recon})
