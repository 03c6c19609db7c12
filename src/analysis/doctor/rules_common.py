"""Quantities and thresholds that several rules share.

A rule maps the measured facts of a run to a finding, or to None if its symptom is absent; there is one rule for each
symptom. Thresholds were set on runs of the default configuration, on runs that differ from it in one harmful key, and
on the fit half of the simulated fork runs (benchmarks/doctor_fit.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..runs import Series
from ..symptoms import mean_of, share_of_loss
from .findings import Facts, Finding
from .sawtooth import Teeth
from .shapes import highest_level
from .weights import BATCH_SUM

MIN_POINTS = 8  # fewer logged points in the window allow no statement about motion
DEAD_NATS = 0.5  # a KL below this transmits no information
NO_NATS = 0.05  # the same for a KL in unknown units, unless the curves show that the code is used
MEAN_DECODER_NATS = 2.0  # if nothing is explained and the KL is below this, the decoder outputs the mean
SLOW_LR = 1e-5  # learning rates up to this are too low
VERY_HIGH_LR = 1e-2  # losses jump without other causes from this learning rate on
REGULAR = 0.05  # batches that a host collects have a smaller irregularity of their intervals
NARROW = 32  # fewer hidden units may be too few

Rule = Callable[[Facts], Finding | None]


def round_to(value: float, digits: int = 1) -> float:
    """``value`` rounded to this number of significant digits."""
    return float(f"{value:.{digits - 1}e}") if math.isfinite(value) else value


def rounded(**numbers: Any) -> dict[str, Any]:
    """The known numbers (neither None nor NaN), rounded to four significant digits."""
    known = {k: v for k, v in numbers.items() if not (isinstance(v, float) and math.isnan(v)) and v is not None}
    return {k: float(f"{v:.4g}") if isinstance(v, float) and math.isfinite(v) else v for k, v in known.items()}


def latent_dim(f: Facts) -> float:
    """Z, NaN if unknown."""
    return f.number("vae_latent_dim")


def is_calibrated(f: Facts) -> bool:
    """Whether the decoder estimates its own variance; KL weight and squared error are not comparable then."""
    return f.config.get("vae_decoder") == "calibrated"


def kl_share(f: Facts) -> float:
    """alpha * KL / reconstruction loss, at the KL weight that the run approaches; NaN for a calibrated decoder."""
    return math.nan if is_calibrated(f) else share_of_loss(f.kl.mean, f.recon.mean, f.alpha)


def share_clipped(f: Facts) -> float:
    """The share of clipped updates, as logged or counted from the gradient norms; NaN if unknown."""
    norm, limit = f.in_window("vae_grad_norm"), f.number("grad_norm_clip")
    logged = mean_of(f.in_window("vae_clipped_share"))
    if norm is None or math.isnan(limit):
        return logged
    counted = mean_of(Series(norm.t, np.where(np.isfinite(norm.value), norm.value > limit, np.nan)))
    return counted if math.isnan(logged) or (logged == 0 and counted > 0) else logged


def is_dead(f: Facts) -> bool:
    """Whether the latents transmit no information in the last tenth of the run.

    Judged by the KL in nats, the active units and the explained variance. If only losses are known, a small KL counts
    as dead unless the curves show that the code is used.
    """
    active = mean_of(f.last_tenth("vae_active_units"))
    allowed = 1.0 if math.isnan(latent_dim(f)) else max(1.0, 0.1 * latent_dim(f))
    if not f.started or math.isnan(f.kl_level) or active > allowed:
        return False
    if f.kl_level < min(0.02 * peak_level(f), 10.0) and not f.unexplained_late <= 0.9:
        return True  # in any unit
    if not math.isnan(f.unexplained_late):
        return f.unexplained_late > 0.9 and f.kl_level < (MEAN_DECODER_NATS if f.units_known else math.inf)
    summed = 0.001 * f.recon.mean if f.recon.mean > BATCH_SUM else 0.0  # over the batch, like the reconstruction
    if f.kl_level >= max(DEAD_NATS, summed) or f.in_use or not f.units_known:
        return False
    return f.kl_level < max(NO_NATS, summed) or f.kl_level < 0.2 * peak_level(f) or active <= allowed


def peak_level(f: Facts) -> float:
    """The highest KL after the first twentieth of the run, without excursions; NaN without a KL."""
    return highest_level(f.curve("vae_kl_loss").value)


def learns_too_slowly(f: Facts) -> bool:
    """Whether the learning rate is so low that nothing was learned."""
    return f.number("vae_lr") <= SLOW_LR and not f.unexplained <= 0.9


def jumps_are_of_optimiser(f: Facts, teeth: Teeth) -> bool:
    """Whether jumps of a loss are caused by the optimiser and not by new batches.

    Such jumps go up, are irregular, and occur at a very high learning rate.
    """
    return f.number("vae_lr") >= VERY_HIGH_LR and teeth.depth > 0 and teeth.irregularity > REGULAR


def weight_swings(f: Facts) -> bool:
    """Whether the KL weight goes up and down; the PI controller's does not count, since it follows the KL."""
    schedule = f.config.get("vae_alpha_schedule")
    return schedule != "pi" and (schedule == "cyclical" or f.weight.moves == "cyclical")
