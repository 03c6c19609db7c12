"""The rules about what breaks a training: numbers that are no numbers, the learning rate, the clip.

One rule a symptom: a measured run in, a finding or None out. Thresholds were set on runs of the default
configuration, on its neighbours with one key turned wrong, and on the fit half of the fork-like curves
(benchmarks/doctor_fit.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ..runs import Series
from ..symptoms import OSCILLATION, first_of, lowest_of, mean_of, peak_of, share_of_loss, upheaval
from .findings import Facts, Finding
from .sawtooth import Teeth
from .shapes import settled, step_noise
from .weights import BATCH_SUM

MIN_POINTS = 8  # logged points in the window, below which nothing is said of a motion
DEAD_NATS = 0.5  # a KL that carries nothing
NO_NATS = 0.05  # one that carries nothing in whatever units it was logged, unless the curves show a code in use
MEAN_DECODER_NATS = 2.0  # below this and with nothing explained, the decoder outputs the mean
FAST_LR = 2e-3  # above this a learning rate is a suspect, for Adam and RMSprop alike
SLOW_LR = 1e-5
LEAPING_LR = 1e-2  # from here on losses leap by themselves
CLOCKWORK = 0.05  # irregularity of the intervals between batches that a host collects
GOOD_LR = 3e-4  # the default, adequate for every state that was tried
NARROW = 32  # hidden units, below which the networks are a suspect
TIGHT_CLIP = 0.5  # a clip below cuts healthy gradients too
HUGE_NORM = 1e4  # a gradient norm that no VAE with sane losses has
NOT_A_NUMBER = re.compile(r"not finite|\bnan\b|\binf\b", re.IGNORECASE)
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


def share(f: Facts) -> float:
    """alpha * KL over the reconstruction, at the weight that the run is heading for; mse decoder only."""
    return math.nan if is_calibrated(f) else share_of_loss(f.kl.mean, f.recon.mean, f.alpha)


def is_dead(f: Facts) -> bool:
    """Whether the latents carry nothing in the last tenth of the run, by everything that is known.

    Judged on nats, active units and the variance explained. Where only losses are known, a small KL is dead unless
    the curves show a code in use.
    """
    active = mean_of(f.tail("vae_active_units"))
    allowed = 1.0 if math.isnan(latents(f)) else max(1.0, 0.1 * latents(f))
    if not f.started or math.isnan(f.kl_level) or active > allowed:
        return False
    if f.kl_level < min(0.02 * settled_peak(f), 10.0) and not f.unexplained_late <= 0.9:
        return True  # whatever the units
    if not math.isnan(f.unexplained_late):
        return f.unexplained_late > 0.9 and f.kl_level < (MEAN_DECODER_NATS if f.units_known else math.inf)
    summed = 0.001 * f.recon.mean if f.recon.mean > BATCH_SUM else 0.0  # over the batch, like the reconstruction
    if f.kl_level >= max(DEAD_NATS, summed) or f.in_use or not f.units_known:
        return False
    return f.kl_level < max(NO_NATS, summed) or f.kl_level < 0.2 * settled_peak(f) or active <= allowed


def settled_peak(f: Facts) -> float:
    """The highest KL after the first twentieth of the run, excursions left out; NaN without a KL."""
    return settled(f.curve("vae_kl_loss").value)


def crawls(f: Facts) -> bool:
    """Whether the learning rate is too low for anything to have been learned."""
    return f.number("vae_lr") <= SLOW_LR and not f.unexplained <= 0.9


def bounded(f: Facts) -> dict[str, Any]:
    """The keys that keep log_var in bounds, and start it inside them."""
    remedy: dict[str, Any] = {"vae_log_var_bound": "tanh", "vae_log_var_limit": 5.0}
    return remedy | ({"vae_log_var_init": 0.0} if abs(f.number("vae_log_var_init", 0.0)) > 1 else {})


def non_finite(f: Facts) -> Finding | None:
    """A loss or a gradient that is not a number, or a run that ended because of one."""
    watched = ("vae_kl_loss", "vae_recon_loss", "vae_loss", "vae_grad_norm")
    bad = {n: int((~np.isfinite(f.raw[n].value)).sum()) for n in watched if n in f.raw}
    bad = {n: count for n, count in bad.items() if count}
    failed = bool(NOT_A_NUMBER.search(f.failure))
    if not bad and not failed:
        return None
    evidence: dict[str, Any] = {"points_not_finite": bad} if bad else {}
    if bad:
        evidence["first_at"] = min(float(f.raw[n].t[np.argmin(np.isfinite(f.raw[n].value))]) for n in bad)
    if failed:
        evidence["failure"] = f.failure
    norm = peak_of(f.raw.get("vae_grad_norm_max", f.raw.get("vae_grad_norm")))
    evidence |= rounded(grad_norm_peak=norm, grad_norm_clip=f.number("grad_norm_clip"))
    bound = f.config.get("vae_log_var_bound", "tanh" if "vae_log_var_limit" in f.config else "none")
    if bound in ("none", "exp_clamp"):
        cause = "exp(log_var) overflows where nothing bounds log_var; one such update spoils every weight"
        return Finding("non_finite", evidence, cause, bounded(f), 0.9)
    cause = "an update was too large for the weights to survive; once not finite, they stay so"
    lr = f.number("vae_lr", 3e-4)
    return Finding("non_finite", evidence, cause, {"vae_lr": nice(lr / 10), "grad_norm_clip": 1.0}, 0.9)


def negative_kl(f: Facts) -> Finding | None:
    """A KL below zero, which no KL can be."""
    kl = f.whole("vae_kl_loss")
    least, within = lowest_of(kl), lowest_of(f.series.get("vae_kl_loss_min"))
    if len(kl) and np.median(kl.value) > 0 and np.mean(kl.value < 0) < 0.2 and -least < 6 * step_noise(kl.value):
        least = 0.0  # an estimate from samples scatters around a small KL
    lowest = np.fmin(least, within)
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
    if recon is None or not f.started or not lr >= FAST_LR:
        return None
    leap = upheaval(recon, high)
    start = peak_of(high) / max(lowest_of(recon), first_of(recon), 1e-12) if high is not None else 1.0
    jitter = mean_of(f.inside("vae_recon_loss_std")) / max(f.recon.mean, 1e-12)
    refreshed = any(t is not None and not leaps_of_optimiser(f, t) for t in (f.kl_teeth, f.recon_teeth))
    unsteady = f.recon.points >= MIN_POINTS and not f.recon.is_noise and f.recon.oscillation > OSCILLATION
    starved = is_dead(f) and not f.alpha > 0.1 * f.recon.mean
    swings = f.kl.oscillation if f.kl.mean > DEAD_NATS and f.window.ramp_ended else math.nan
    signs = [starved, jitter > 0.06]
    if not refreshed:
        signs += [leap > 2, start > 1.5, unsteady, swings > OSCILLATION and not f.kl.is_noise]
    if not any(signs):
        return None
    new = nice(min(max(lr / (10 if lr >= 0.01 else 3), 1e-4), GOOD_LR))
    evidence = rounded(
        vae_lr=lr, recon_leap_factor=leap, recon_peak_over_first=start, recon_std_within_interval=jitter,
        recon_oscillation=f.recon.oscillation, kl_oscillation=swings, unexplained=f.unexplained,
        grad_norm_peak=peak_of(f.series.get("vae_grad_norm_max", f.series.get("vae_grad_norm"))),
    )  # fmt: skip
    what = "latents died in the first updates and no gradient brings them back" if starved else "losses do not settle"
    cause = f"the optimiser's steps are too long: {what}"
    confidence = min(0.95, 0.6 + 0.1 * sum(signs) + (0.1 if lr >= 0.01 else 0))
    return Finding("learning_rate_too_high", evidence, cause, {"vae_lr": new}, confidence)


def leaps_of_optimiser(f: Facts, teeth: Teeth) -> bool:
    """Whether leaps are the optimiser's and not those of new batches: upwards, irregular, at a very high rate."""
    return f.number("vae_lr") >= LEAPING_LR and teeth.depth > 0 and teeth.irregularity > CLOCKWORK


def clipped_share(f: Facts) -> float:
    """The share of updates that were clipped, from what was logged or from the norms themselves; NaN if unknown."""
    norm, limit = f.inside("vae_grad_norm"), f.number("grad_norm_clip")
    logged = mean_of(f.inside("vae_clipped_share"))
    if norm is None or math.isnan(limit):
        return logged
    counted = mean_of(Series(norm.t, np.where(np.isfinite(norm.value), norm.value > limit, np.nan)))
    return counted if math.isnan(logged) or (logged == 0 and counted > 0) else logged


def gradient_clipping(f: Facts) -> Finding | None:
    """Updates that are mostly clipped; or gradients that explode under a clip which never acts."""
    norm, limit = f.inside("vae_grad_norm"), f.number("grad_norm_clip")
    if not f.started:
        return None
    peak = np.fmax(peak_of(f.series.get("vae_grad_norm")), peak_of(f.series.get("vae_grad_norm_max")))
    usual = float(np.nanquantile(norm.value, 0.95)) if norm is not None else 10.0
    clipped = clipped_share(f)
    evidence = rounded(
        clipped_share=clipped, grad_norm_clip=limit, grad_norm=mean_of(norm), grad_norm_95=usual,
        grad_norm_peak=float(peak), unexplained=f.unexplained,
    )  # fmt: skip
    median = float(np.nanmedian(f.series["vae_grad_norm"].value)) if norm is not None else math.nan
    if peak > HUGE_NORM and peak > 1e3 * median and not limit < 0.01 * peak:
        cause = f"gradient norms reach {peak:.2g}, and a clip of {limit:.2g} does not hold them back"
        return Finding("gradient_clipping", evidence, cause, {"grad_norm_clip": nice(max(10 * median, 1.0))}, 0.8)
    if not clipped > 0.5:
        return None
    highest = np.nanmax([usual, mean_of(f.inside("vae_grad_norm_max"))])
    cause = "most updates are cut to grad_norm_clip: their length no longer says how wrong the VAE is"
    return Finding("gradient_clipping", evidence, cause, {"grad_norm_clip": nice(max(3 * highest, 1.0))}, 0.9,
                   independent=limit < TIGHT_CLIP)  # fmt: skip


RULES_OF_CAUSES: tuple[Rule, ...] = (non_finite, negative_kl, learning_rate_too_high, gradient_clipping)
