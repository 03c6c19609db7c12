import json
from pathlib import Path

import numpy as np
import pytest
from omarl.ablation.ablate import POINT, movement, sawtooth, train_on
from omarl.ablation.settings import FIRST, REMEDIES, Trial, settings
from omarl.analysis.ablation_report import COLUMNS, count_stable, write_report
from omarl.components.vae_trainer import VAEConfig


def stream(updates=80, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(3, 10))
    return (rng.normal(size=(updates, 32, 3)) @ mixing).astype(np.float32)


def test_each_setting_changes_one_thing_of_the_first():
    first = vars(settings(VAEConfig())["first settings"].config)
    assert first["vae_lr"] == 5e-4 and first["omg_vae_alpha"] == 0.001 and first["grad_norm_clip"] == 5
    for name, trial in settings(VAEConfig()).items():
        if name in REMEDIES:
            changed = {key for key, value in vars(trial.config).items() if value != first[key]}
            assert changed and changed <= set(REMEDIES[name]), name
    assert set(FIRST) <= set(first)


def test_the_same_seed_and_stream_give_the_same_training():
    one, other, third = (train_on(stream(), stream()[0], Trial(VAEConfig()), seed) for seed in (1, 1, 2))
    assert one == other != third
    assert len(one["curves"]["vae_kl_loss"]) == 4


def test_movement_matches_a_known_curve():
    """A KL that rises linearly by a tenth over the last half."""
    kl = np.concatenate([np.full(50, 10.0), np.linspace(10, 11, 50)])
    rest = {name: np.zeros(100) for name in ("vae_recon_loss", "vae_clipped_share")}
    found = movement({"vae_kl_loss": kl, **rest}, np.zeros(100))
    assert found["kl_drift"] == pytest.approx(1 / 10.5, rel=0.05)
    assert found["kl_oscillation"] == pytest.approx(0, abs=1e-3)
    wave = 10 + np.sin(np.arange(100) / 4)
    assert movement({"vae_kl_loss": wave, **rest}, np.zeros(100))["kl_oscillation"] == pytest.approx(0.07, rel=0.1)


def test_count_stable_counts_seeds_within_both_bounds():
    rows = [{"kl_drift": d, "kl_oscillation": o} for d, o in ((-0.1, 0.05), (0.11, 0.0), (0.0, 0.06), (-0.2, 0.0))]
    assert count_stable(rows) == 1


def test_the_report_contains_every_setting(tmp_path: Path):
    results = {
        name: [{"seed": s, **train_on(stream(), stream()[0], trial, s)} for s in range(2)]
        for name, trial in list(settings(VAEConfig()).items())[:3]
    }
    summary = {"environment": "e", "t_max": 1, "seeds": 2, "states_per_update": 32, "record_seconds": 1,
               "train_seconds": 1, "results": results}  # fmt: skip
    json.dumps(summary)
    write_report(summary, tmp_path)
    text = (tmp_path / "ablation.md").read_text()
    assert all(name in text for name in results) and all(title in text for _, title in COLUMNS)
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert POINT == 20


def test_sawtooth_depth_matches_a_known_curve():
    """In each batch of 100 updates the loss rises from 8 to 10; the next batch starts at 8: 2 / 9."""
    teeth = np.tile(np.repeat(np.linspace(8, 10, 20), 5), 6)
    assert sawtooth(teeth, 100) == pytest.approx(2 / 9, rel=0.01)
    assert sawtooth(np.linspace(10, 11, 600), 100) < 0.01


def test_refreshed_batches_are_used_one_after_another():
    batches = np.stack([np.random.default_rng(i).normal(size=(60, 4)) + i for i in range(6)]).astype(np.float32)
    trials = settings(VAEConfig(), updates=20)
    assert trials["a third of the updates"].updates == 7 and trials["batches 4 times as large"].joined == 4
    one = train_on(batches, batches[-1], trials["first settings"], 0)
    assert len(one["curves"]["vae_kl_loss"]) == 6 * 20 // 20
    assert np.isfinite(one["kl_sawtooth"]) and np.isfinite(one["recon_sawtooth"])
