"""Measures of a trained VAE on held-out states, and of its curves, without the trainer's statistics.

Explained variance and accuracy need only the states and their reconstructions in raw units.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from omarl.analysis.runs import Series
from omarl.analysis.symptoms import motion
from state_families import Groups

Floats = NDArray[np.float64]

POINT = 20  # updates averaged in each point of a curve
EDGE = 0.05  # share of a batch's updates at either end that the sawtooth compares
ACTIVE_VARIANCE = 0.01  # of a latent's posterior mean (Burda et al. 2015)
CONSTANT = 1e-6  # standard deviation, relative to the mean's size, below which a feature is constant


def varying(states: Floats) -> NDArray[np.bool_]:
    """Mask [S] of the features of [M, S] that are not constant."""
    return states.std(axis=0) > CONSTANT * np.maximum(1.0, np.abs(states.mean(axis=0)))


def explained_variance(states: Floats, decoded: Floats) -> float:
    """``1 - mean squared error``, averaged over the features of [M, S] that vary.

    Each feature is standardised by its mean and standard deviation over these same states.
    """
    use = varying(states)
    scale = states[:, use].std(axis=0)
    return float(1.0 - np.mean(((states[:, use] - decoded[:, use]) / scale) ** 2))


def group_accuracy(states: Floats, decoded: Floats, groups: Groups) -> float:
    """Share of states in which the largest decoded feature of a one-hot group is the 1; mean over groups."""
    if not groups:
        return np.nan
    hits = [
        np.mean(states[:, list(group)].argmax(axis=1) == decoded[:, list(group)].argmax(axis=1)) for group in groups
    ]
    return float(np.mean(hits))


def bit_accuracy(states: Floats, decoded: Floats, bits: tuple[int, ...]) -> float:
    """Balanced accuracy of single bits at the threshold 0.5, the mean over the bits that vary."""
    scores = []
    for bit in bits:
        true, predicted = states[:, bit] > 0.5, decoded[:, bit] > 0.5
        if true.any() and not true.all():
            scores.append((predicted[true].mean() + (~predicted[~true]).mean()) / 2)
    return float(np.mean(scores)) if scores else np.nan


def kl_nats(mu: Floats, log_var: Floats) -> float:
    """Mean over states of ``KL(N(mu, exp(log_var)) || N(0, 1))``, summed over the latents of [M, Z]."""
    return float(np.mean(0.5 * np.sum(mu**2 + np.exp(log_var) - log_var - 1.0, axis=1)))


def active_units(mu: Floats) -> int:
    """Latents whose posterior mean varies over states [M, Z]."""
    return int(np.sum(mu.var(axis=0) >= ACTIVE_VARIANCE))


def held_out_measures(
    states: Floats, decoded: Floats, mu: Floats, log_var: Floats, groups: Groups, bits: tuple[int, ...]
) -> dict[str, float]:
    """All measures on states that were not trained on."""
    return {
        "explained_variance": explained_variance(states, decoded),
        "group_accuracy": group_accuracy(states, decoded, groups),
        "bit_accuracy": bit_accuracy(states, decoded, bits),
        "kl": kl_nats(mu, log_var),
        "active_units": active_units(mu),
    }


def movement(kl: Floats) -> dict[str, float]:
    """Drift and oscillation of the logged KL [updates] over the second half (``omarl.analysis.symptoms``)."""
    points = kl[: len(kl) // POINT * POINT].reshape(-1, POINT)
    t = np.arange(1.0, len(points) + 1) * POINT
    half = t > t[-1] / 2
    spread = Series(t[half], points.std(axis=1)[half])
    found = motion(Series(t[half], points.mean(axis=1)[half]), spread, POINT)
    return {"kl_trained": found.mean, "kl_drift": found.drift, "kl_oscillation": found.oscillation}


def sawtooth(values: Floats, n_batches: int) -> float:
    """The relative jump of a loss [updates] when a new batch arrives.

    The last 5% of a batch's updates against the first 5% of the next: the mean size of the difference over the
    boundaries inside the second half, over the mean of the values in that half.
    """
    per_batch = values.reshape(n_batches, -1)[n_batches // 2 :]
    edge = max(1, round(EDGE * per_batch.shape[1]))
    before, after = per_batch[:-1, -edge:].mean(axis=1), per_batch[1:, :edge].mean(axis=1)
    if len(per_batch) < 2:
        return np.nan
    return float(np.mean(np.abs(after - before)) / max(abs(float(per_batch.mean())), 1e-12))
