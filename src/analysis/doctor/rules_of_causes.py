"""One rule a symptom: a measured run in, a finding or None out.

Thresholds were set on runs of the default configuration and of its neighbours with one key turned wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..runs import Series
from ..symptoms import (
    OSCILLATION,
    first_of,
    lowest_of,
    mean_of,
    peak_of,
    share_of_loss,
    upheaval,
)
from .findings import Facts, Finding

MIN_POINTS = 8  # logged points in the window, below which nothing is said of a motion
MIN_UPDATES = 200  # below which nothing need have been learned
DEAD_NATS = 0.5  # a KL that carries nothing
FAST_LR = 2e-3  # above this a learning rate is a suspect, for Adam and RMSprop alike
SLOW_LR = 1e-5
NARROW = 32  # hidden units, below which the networks are a suspect
FAIR_SHARE = 0.15  # of the states' variance, that one nat in every latent may cost

Rule = Callable[[Facts], Finding | None]


def nice(value: float, digits: int = 1) -> float:
    """``value`` in so many significant digits."""
    return float(f"{value:.{digits - 1}e}") if math.isfinite(value) else value


def rounded(**numbers: Any) -> dict[str, Any]:
    """Evidence: what is known of it, four digits each."""
    kept = {k: v for k, v in numbers.items() if not (isinstance(v, float) and math.isnan(v)) and v is not None}
    return {k: float(f"{v:.4g}") if isinstance(v, float) and math.isfinite(v) else v for k, v in kept.items()}


def latents(f: Facts) -> float:
    """Z, NaN where it is not known."""
    return f.number("vae_latent_dim")


def is_calibrated(f: Facts) -> bool:
    """Whether the decoder finds its own scale, on which weight and squared error do not compare."""
    return f.config.get("vae_decoder") == "calibrated"


def is_heavy(f: Facts) -> bool:
    """Whether the KL weight may be what keeps the latents shut."""
    return not is_calibrated(f) and f.alpha > 0.05 * f.recon.mean


def share(f: Facts) -> float:
    """alpha * KL over the reconstruction, at the weight that the run is heading for; mse decoder only."""
    return math.nan if is_calibrated(f) else share_of_loss(f.kl.mean, f.recon.mean, f.alpha)


def is_dead(f: Facts) -> bool:
    """Whether the latents carry nothing, by everything that is known."""
    active, told = mean_of(f.inside("vae_active_units")), f.unexplained < 0.9
    allowed = 1.0 if math.isnan(latents(f)) else max(1.0, 0.1 * latents(f))
    return f.started and f.kl.mean < DEAD_NATS and not active > allowed and not told


def never_moved(f: Facts) -> bool:
    """Whether KL and reconstruction stand where they began; at a crawling learning rate, whether little is told."""
    if f.number("vae_lr") <= SLOW_LR and f.is_explained_known:
        return f.unexplained > 0.9
    kl = f.series.get("vae_kl_loss")
    recon = f.series.get("vae_recon_loss")
    still = kl is None or (f.kl.mean / max(first_of(kl), 1e-12) > 0.5 and peak_of(kl) < 2 * first_of(kl))
    return still and lowest_of(recon) > 0.9 * first_of(recon)


def bounded(f: Facts) -> dict[str, Any]:
    """The keys that keep log_var in bounds, and start it inside them."""
    remedy: dict[str, Any] = {"vae_log_var_bound": "tanh", "vae_log_var_limit": 5.0}
    return remedy | ({"vae_log_var_init": 0.0} if abs(f.number("vae_log_var_init", 0.0)) > 1 else {})


def non_finite(f: Facts) -> Finding | None:
    """A loss or a gradient that is not a number, or a run that ended because of one."""
    watched = ("vae_kl_loss", "vae_recon_loss", "vae_loss", "vae_grad_norm")
    bad = {n: int((~np.isfinite(f.series[n].value)).sum()) for n in watched if n in f.series}
    bad = {n: count for n, count in bad.items() if count}
    failed = "not finite" in f.failure or "nan" in f.failure.lower().split()
    if not bad and not failed:
        return None
    evidence: dict[str, Any] = {"points_not_finite": bad} if bad else {}
    if bad:
        evidence["first_at"] = min(float(f.series[n].t[np.argmin(np.isfinite(f.series[n].value))]) for n in bad)
    if failed:
        evidence["failure"] = f.failure
    bound = f.config.get("vae_log_var_bound", "tanh" if "vae_log_var_limit" in f.config else "none")
    lr = f.number("vae_lr", 3e-4)
    if bound in ("none", "exp_clamp"):
        cause = "exp(log_var) overflows where nothing bounds log_var; one such update spoils every weight"
        return Finding("non_finite", evidence, cause, bounded(f), 0.9)
    cause = "an update was too large for the weights to survive; once not finite, they stay so"
    return Finding("non_finite", evidence, cause, {"vae_lr": nice(lr / 10), "grad_norm_clip": 1.0}, 0.9)


def negative_kl(f: Facts) -> Finding | None:
    """A KL below zero, which no KL can be."""
    lowest = np.fmin(lowest_of(f.series.get("vae_kl_loss")), lowest_of(f.series.get("vae_kl_loss_min")))
    if not lowest < -1e-3:
        return None
    evidence = rounded(lowest_kl=float(lowest), log_var_max=peak_of(f.series.get("vae_log_var_max")))
    cause = (
        "a KL divergence is never negative: the formula is not one. exp(log_var) clamped inside the KL does this: "
        "beyond the clamp the loss pays for ever wider posteriors. Bound log_var itself, for sample and KL alike"
    )
    return Finding("negative_kl", evidence, cause, bounded(f), 0.97)


def learning_rate_too_high(f: Facts) -> Finding | None:
    """Losses that leap up after they had been low, or that never calm down, at a high learning rate."""
    recon, high = f.series.get("vae_recon_loss"), f.series.get("vae_recon_loss_max")
    lr = f.number("vae_lr")
    fast = lr >= FAST_LR
    if recon is None or not f.started or (lr <= SLOW_LR):
        return None
    leap = upheaval(recon, high)
    start = peak_of(high) / max(lowest_of(recon), first_of(recon), 1e-12) if high is not None else 1.0
    jitter = mean_of(f.inside("vae_recon_loss_std")) / max(f.recon.mean, 1e-12)
    unsteady = f.recon.points >= MIN_POINTS and not f.recon.is_noise and f.recon.oscillation > OSCILLATION
    starved = is_dead(f) and not never_moved(f) and not f.alpha > 0.1 * f.recon.mean
    swings = f.kl.oscillation if f.kl.mean > DEAD_NATS and f.window.ramp_ended else math.nan
    signs = [leap > 2, start > 1.5, starved, jitter > 0.06, unsteady, swings > OSCILLATION and not f.kl.is_noise]
    violent = leap > 3 and f.unexplained > 0.5
    if not (fast and any(signs)) and not (math.isnan(lr) and violent):
        return None
    factor = 10 if lr >= 0.01 else 3
    new = nice(min(max(lr / factor, 1e-4), 1e-3)) if fast else 1e-4
    evidence = rounded(
        vae_lr=lr, recon_leap_factor=leap, recon_peak_over_first=start, recon_std_within_interval=jitter,
        recon_oscillation=f.recon.oscillation, kl_oscillation=swings, unexplained=f.unexplained,
        grad_norm_peak=peak_of(f.series.get("vae_grad_norm_max", f.series.get("vae_grad_norm"))),
    )  # fmt: skip
    what = "latents died in the first updates and no gradient brings them back" if starved else "losses do not settle"
    cause = f"the optimiser's steps are too long: {what}"
    confidence = min(0.95, 0.6 + 0.1 * sum(signs) + (0.1 if lr >= 0.01 else 0))
    return Finding("learning_rate_too_high", evidence, cause, {"vae_lr": new}, confidence)


def posterior_collapse(f: Facts) -> Finding | None:
    """Latents that carry nothing though they once could have."""
    if not is_dead(f) or never_moved(f) or f.number("vae_hidden_dim") < NARROW:
        return None  # networks that can code nothing have not collapsed: see reconstruction_plateau
    active, z = mean_of(f.inside("vae_active_units")), latents(f)
    evidence = rounded(
        kl=f.kl.mean, active_units=active, latent_dim=z, unexplained=f.unexplained, kl_weight=f.alpha,
        reconstruction=f.recon.mean,
    )  # fmt: skip
    sure = 0.95 if f.is_explained_known else 0.7
    if is_heavy(f):
        cause = "the KL weight is too large: ignoring the latents is cheaper than using them"
        return Finding("posterior_collapse", evidence, cause, {"omg_vae_alpha": affordable(f)}, sure)
    remedy: dict[str, Any] = {"vae_free_bits": 0.1}
    ramp = int(np.fmin(max(1000, 2 * f.number("vae_alpha_ramp", 0)), 0.4 * f.updates))  # over well before the end
    if ramp > f.number("vae_alpha_ramp", 0):
        remedy["vae_alpha_ramp"] = ramp
    cause = "the latents were shut before the decoder had learned to use them; give them some nats for nothing"
    return Finding("posterior_collapse", evidence, cause, remedy, 0.8)


def affordable(f: Facts) -> float:
    """A KL weight at which one nat in each latent would cost 30% of the reconstruction as it stands."""
    z = latents(f) if latents(f) > 0 else 16.0
    return min(nice(0.3 * f.recon.mean / z), nice(f.alpha / 3))


def kl_weight_too_large(f: Facts) -> Finding | None:
    """A KL weight heavy beside the reconstruction, while much of the state is left unexplained."""
    if not (f.started and f.is_explained_known and f.unexplained > 0.3) or is_dead(f):
        return None
    if not is_heavy(f):
        return None
    evidence = rounded(
        kl=f.kl.mean, kl_weight=f.alpha, weighted_kl_over_reconstruction=share(f), unexplained=f.unexplained,
        active_units=mean_of(f.inside("vae_active_units")), reconstruction=f.recon.mean,
    )  # fmt: skip
    cause = "each nat costs more than the reconstruction gains from it, so much of the state is not coded"
    return Finding("kl_weight_too_large", evidence, cause, {"omg_vae_alpha": affordable(f)}, 0.85)


def kl_weight_too_small(f: Facts) -> Finding | None:
    """A KL that costs next to nothing, and so has grown as large as it likes."""
    part = share(f)
    per_latent = f.kl.mean / latents(f) if latents(f) > 0 else f.kl.mean / 16
    if not f.started or not (part < 0.02 and per_latent > 3):
        return None
    variance = f.recon.mean / f.unexplained if f.unexplained > 0 else f.recon.mean
    z = latents(f) if latents(f) > 0 else 16.0
    new = nice(max(FAIR_SHARE * variance / z, 0.5 * f.recon.mean / f.kl.mean, 3 * f.alpha))
    evidence = rounded(
        kl=f.kl.mean, nats_per_latent=per_latent if latents(f) > 0 else None, kl_weight=f.alpha,
        weighted_kl_over_reconstruction=part, kl_drift=f.kl.drift,
    )  # fmt: skip
    cause = "the weighted KL is a negligible share of the loss: nothing holds the posterior near the prior"
    return Finding("kl_weight_too_small", evidence, cause, {"omg_vae_alpha": new}, 0.95 if part < 0.01 else 0.8)


def gradient_clipping(f: Facts) -> Finding | None:
    """Updates that are mostly clipped."""
    norm, limit = f.inside("vae_grad_norm"), f.number("grad_norm_clip")
    clipped = mean_of(f.inside("vae_clipped_share"))
    if math.isnan(clipped) and norm is not None and not math.isnan(limit):
        clipped = mean_of(Series(norm.t, np.where(np.isfinite(norm.value), norm.value > limit, np.nan)))
    if not (f.started and clipped > 0.5):
        return None
    usual = float(np.nanquantile(norm.value, 0.95)) if norm is not None else 10.0
    peak = np.nanmax([usual, mean_of(f.inside("vae_grad_norm_max"))])
    evidence = rounded(
        clipped_share=clipped, grad_norm_clip=limit, grad_norm=mean_of(norm), grad_norm_95=usual,
        unexplained=f.unexplained,
    )  # fmt: skip
    cause = "most updates are cut to grad_norm_clip: their length no longer says how wrong the VAE is"
    return Finding("gradient_clipping", evidence, cause, {"grad_norm_clip": nice(3 * peak)}, 0.9)


RULES_OF_CAUSES: tuple[Rule, ...] = (
    non_finite,
    negative_kl,
    learning_rate_too_high,
    posterior_collapse,
    kl_weight_too_large,
    kl_weight_too_small,
    gradient_clipping,
)
