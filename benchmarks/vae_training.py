"""One training of a state VAE on a recorded stream, with replay or with refreshed batches, and its measures."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omarl.ablation.settings import FINAL, FIRST
from omarl.components.optimisers import DivergenceError
from omarl.components.vae_trainer import VAEConfig, VAETrainer
from omarl.config.schema import read
from state_families import Batch, Family, Stream
from vae_measures import POINT, held_out_measures, movement, sawtooth

STATES_PER_UPDATE = 128
START_EPISODES = 8  # in the replay buffer before the first update
REGIMES = ("replay", "refresh")

# As in omarl 0.1 and PyMARL forks: squared errors, one type of feature, one batch at a time, no linear maps.
PLAIN: dict[str, Any] = {
    "vae_likelihood": "gaussian", "vae_encoder": "mlp", "vae_window": 1, "vae_linear_path": False
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "first": {**FIRST, **PLAIN, "vae_formula": "raw_mean"},
    "final": {**FIRST, **FINAL, **PLAIN, "vae_formula": "raw_mean"},
    "default": {},
    "before": {**PLAIN, "vae_formula": "mean", "vae_latent_dim": 16, "vae_lr": 3e-4},
    # A plain autoencoder: the KL has weight 0 and the posterior's variance is nearly 0, so codes are not random.
    "ceiling": {"omg_vae_alpha": 0.0, "vae_log_var_bound": "none", "vae_log_var_init": -50.0},
}

NOT_FINITE = dict.fromkeys(
    ("explained_variance", "group_accuracy", "bit_accuracy", "kl", "active_units", "kl_trained", "kl_drift",
     "kl_oscillation", "recon_trained", "kl_sawtooth", "recon_sawtooth"), np.nan,
)  # fmt: skip

Curves = dict[str, NDArray[np.float64]]


def all_states(batches: list[Batch]) -> NDArray[np.float32]:
    """Batches of episodes as rows [M, S]."""
    return np.concatenate([episode for batch in batches for episode in batch])


def refresh(trainer: VAETrainer, batches: list[Batch], updates: int) -> list[dict[str, Any]]:
    """Each batch is collected, trained on for ``updates`` updates and discarded; returns the logged numbers."""
    rows = []
    for batch in batches:
        trainer.collect(torch.from_numpy(np.concatenate(batch)))
        rows += [_kept(trainer.update()) for _ in range(updates)]
    return rows


def replay(trainer: VAETrainer, batches: list[Batch], updates: int, seed: int) -> list[dict[str, Any]]:
    """As many updates as with ``refresh``, each on states drawn from all episodes so far.

    Episodes arrive at even intervals.
    """
    rng = np.random.default_rng(seed)
    ends = np.cumsum([len(episode) for batch in batches for episode in batch])
    states = torch.from_numpy(all_states(batches))
    total, rows = updates * len(batches), []
    for update in range(total):
        n_episodes = START_EPISODES + int((len(ends) - START_EPISODES) * update / total)
        chosen = rng.integers(ends[min(n_episodes, len(ends)) - 1], size=STATES_PER_UPDATE)
        rows.append(_kept(trainer.update(states[chosen])))
    return rows


def _kept(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: torch.as_tensor(numbers[name]) for name in ("vae_kl_loss", "vae_recon_loss")}


def train(
    family: Family, stream: Stream, regime: str, setting: str, n_batches: int, updates: int
) -> tuple[dict[str, Any], list[float]]:
    """One training with the family's seed.

    Returns:
        The row of the CSV, without its first columns, and the KL's curve, a mean over every 20 updates.
    """
    torch.manual_seed(family.seed)
    trainer = VAETrainer(family.spec.features, read(VAEConfig, SETTINGS[setting]))
    batches = stream.train[-n_batches:]
    begun = time.process_time()
    try:
        if regime == "refresh":
            rows = refresh(trainer, batches, updates)
        else:
            rows = replay(trainer, batches, updates, family.seed)
    except DivergenceError:  # it has no measures, and the table counts it
        spent = round(time.process_time() - begun, 2)
        return {"updates": updates * len(batches), "batches": len(batches), "seconds": spent} | NOT_FINITE, []
    seconds = time.process_time() - begun
    kl, recon = (np.array([float(row[name]) for row in rows]) for name in ("vae_kl_loss", "vae_recon_loss"))
    row: dict[str, Any] = {"updates": len(rows), "batches": len(batches), "seconds": round(seconds, 2)}
    row |= judge(trainer, family, stream) | movement(kl)
    row["recon_trained"] = float(recon[len(recon) // 2 :].mean())
    for name, values in (("kl", kl), ("recon", recon)):
        row[f"{name}_sawtooth"] = sawtooth(values, len(batches)) if regime == "refresh" else np.nan
    return row, kl[: len(kl) // POINT * POINT].reshape(-1, POINT).mean(axis=1).tolist()


@torch.no_grad()
def judge(trainer: VAETrainer, family: Family, stream: Stream) -> dict[str, float]:
    """The measures on the held-out batches, from the decoded posterior mean in raw units."""
    states = torch.from_numpy(all_states(stream.held_out))
    mu, log_var = trainer.encode(states)
    decoded = trainer.decode(mu)
    spec = family.spec
    return held_out_measures(
        states.double().numpy(), decoded.double().numpy(), mu.double().numpy(), log_var.double().numpy(),
        spec.groups, spec.bits,
    )  # fmt: skip
