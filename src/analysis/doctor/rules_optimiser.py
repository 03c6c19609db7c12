"""Rules about optimisation and the latent space: non-finite and negative losses, learning rate, clipping, latents."""

import math
import re
from typing import Any

import numpy as np

from ..symptoms import OSCILLATION, largest_rise, lowest_of, mean_of, peak_of, reduced, units_in_use
from .facts import DEAD_NATS, GOOD_LR, MIN_POINTS, Facts, round_to, rounded
from .findings import Finding
from .shapes import end_change, excursions, step_noise

FAST_LR = 2e-3  # a learning rate above this may be too high, for Adam and RMSprop alike
TIGHT_CLIP = 0.5  # a lower clip also cuts healthy gradients
HUGE_NORM = 1e4  # no VAE with losses of usual size has this gradient norm
EXPLOSION = 10.0  # a KL this many times its usual level explodes
NOT_A_NUMBER = re.compile(r"not finite|\bnan\b|\binf\b", re.IGNORECASE)


def log_var_bounds(f: Facts) -> dict[str, Any]:
    """The keys that bound log_var and start it inside the bounds."""
    remedy: dict[str, Any] = {"vae_log_var_bound": "tanh", "vae_log_var_limit": 5.0}
    return remedy | ({"vae_log_var_init": 0.0} if abs(f.number("vae_log_var_init", 0.0)) > 1 else {})


def non_finite(f: Facts) -> Finding | None:
    """A loss or a gradient that is not finite, or a run that ended because of one."""
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
        cause = "log_var has no bound, so exp(log_var) overflows; one such update makes all weights non-finite"
        return Finding("non_finite", evidence, cause, log_var_bounds(f), 0.9)
    cause = "an update was too large and made the weights non-finite, which they remain"
    lr = f.number("vae_lr", GOOD_LR)
    return Finding("non_finite", evidence, cause, {"vae_lr": round_to(lr / 10), "grad_norm_clip": 1.0}, 0.9)


def negative_kl(f: Facts) -> Finding | None:
    """A negative KL, which is impossible for a KL divergence."""
    kl = f.points("vae_kl_loss")
    least, within = lowest_of(kl), lowest_of(f.series.get("vae_kl_loss_min"))
    if len(kl) and np.median(kl.value) > 0 and np.mean(kl.value < 0) < 0.2 and -least < 6 * step_noise(kl.value):
        least = 0.0  # an estimate from samples varies around a small KL
    lowest = np.fmin(least, within)
    if not lowest < -1e-3:
        return None
    evidence = rounded(lowest_kl=float(lowest), log_var_max=peak_of(f.series.get("vae_log_var_max")))
    cause = (
        "a KL divergence is never negative, so the formula is wrong. A clamp of exp(log_var) inside the KL has this "
        "effect: beyond the clamp, the loss rewards ever wider posteriors. Bound log_var itself, for sample and KL"
    )
    return Finding("negative_kl", evidence, cause, log_var_bounds(f), 0.97)


def learning_rate_too_high(f: Facts) -> Finding | None:
    """Losses that jump up after they were low, or that do not settle, at a high learning rate."""
    recon, high = f.series.get("vae_recon_loss"), f.series.get("vae_recon_loss_max")
    lr = f.number("vae_lr")
    if recon is None or not f.started or not lr >= FAST_LR:
        return None
    rise = largest_rise(recon, high)
    start = (
        peak_of(high) / max(lowest_of(recon), reduced(lambda values: values[0], recon), 1e-12)
        if high is not None
        else 1.0
    )
    jitter = f.mean("vae_recon_loss_std") / max(f.recon.mean, 1e-12)
    refreshed = any(t is not None and not f.jumps_are_of_optimiser(t) for t in (f.kl_teeth, f.recon_teeth))
    unsteady = f.recon.points >= MIN_POINTS and not f.recon.is_noise and f.recon.oscillation > OSCILLATION
    starved = f.is_dead and not f.alpha > 0.1 * f.recon.mean
    swings = f.kl.oscillation if f.kl.mean > DEAD_NATS and f.window.ramp_ended else math.nan
    signs = [starved, jitter > 0.06]
    if not refreshed:
        signs += [rise > 2, start > 1.5, unsteady, swings > OSCILLATION and not f.kl.is_noise]
    if not any(signs):
        return None
    new = round_to(min(max(lr / (10 if lr >= 0.01 else 3), 1e-4), GOOD_LR))
    evidence = rounded(
        vae_lr=lr, recon_leap_factor=rise, recon_peak_over_first=start, recon_std_within_interval=jitter,
        recon_oscillation=f.recon.oscillation, kl_oscillation=swings, unexplained=f.unexplained,
        grad_norm_peak=peak_of(f.series.get("vae_grad_norm_max", f.series.get("vae_grad_norm"))),
    )  # fmt: skip
    effect = "the latents died in the first updates and get no gradient" if starved else "the losses do not settle"
    cause = f"the optimiser's steps are too large: {effect}"
    confidence = min(0.95, 0.6 + 0.1 * sum(signs) + (0.1 if lr >= 0.01 else 0))
    return Finding("learning_rate_too_high", evidence, cause, {"vae_lr": new}, confidence)


def gradient_clipping(f: Facts) -> Finding | None:
    """Updates that are mostly clipped, or exploding gradients that the clip does not limit."""
    norm, limit = f.in_window("vae_grad_norm"), f.number("grad_norm_clip")
    if not f.started:
        return None
    peak = np.fmax(peak_of(f.series.get("vae_grad_norm")), peak_of(f.series.get("vae_grad_norm_max")))
    usual = float(np.nanquantile(norm.value, 0.95)) if norm is not None else 10.0
    clipped = f.share_clipped
    evidence = rounded(
        clipped_share=clipped, grad_norm_clip=limit, grad_norm=mean_of(norm), grad_norm_95=usual,
        grad_norm_peak=float(peak), unexplained=f.unexplained,
    )  # fmt: skip
    median = float(np.nanmedian(f.series["vae_grad_norm"].value)) if norm is not None else math.nan
    if peak > HUGE_NORM and peak > 1e3 * median and not limit < 0.01 * peak:
        cause = f"gradient norms reach {peak:.2g}, and the clip of {limit:.2g} is too high to limit them"
        return Finding("gradient_clipping", evidence, cause, {"grad_norm_clip": round_to(max(10 * median, 1.0))}, 0.8)
    if not clipped > 0.5:
        return None
    highest = np.nanmax([usual, f.mean("vae_grad_norm_max")])
    cause = "most gradients are clipped to grad_norm_clip, so the size of an update no longer depends on the error"
    return Finding("gradient_clipping", evidence, cause, {"grad_norm_clip": round_to(max(3 * highest, 1.0))}, 0.9,
                   independent=limit < TIGHT_CLIP)  # fmt: skip


def logvar_saturation(f: Facts) -> Finding | None:
    """Log-variances at their bound."""
    at_bound, limit = f.mean("vae_log_var_bound_share"), f.number("vae_log_var_limit")
    unmeasured = math.isnan(at_bound) and limit < 0.5
    if not f.started or not (at_bound > 0.25 or unmeasured):
        return None
    bound = f.config.get("vae_log_var_bound", "tanh")
    evidence = rounded(
        log_var_bound_share=at_bound, vae_log_var_bound=bound, vae_log_var_limit=limit,
        log_var_mean=f.mean("vae_log_var_mean"), unexplained=f.unexplained,
    )  # fmt: skip
    if bound == "exp_clamp":
        cause = "log_var is beyond the clamp, where the KL has no gradient towards the prior"
        return Finding("logvar_saturation", evidence, cause, {"vae_log_var_bound": "tanh"}, 0.95)
    if abs(f.number("vae_log_var_init", 0.0)) >= limit:
        cause = "log_var starts beyond its bound, where it has no gradient"
        return Finding("logvar_saturation", evidence, cause, {"vae_log_var_init": 0.0}, 0.95)
    if limit < 3:
        cause = f"log_var is limited to {limit:g} around 0, so the posterior can be neither narrow nor wide"
        return Finding("logvar_saturation", evidence, cause, {"vae_log_var_limit": 5.0}, 0.6 if unmeasured else 0.95,
                       independent=True)  # fmt: skip
    if f.mean("vae_log_var_mean") < 0 and f.alpha >= 0:
        cause = "the posterior is as narrow as its bound allows, because the KL weight is too small"
        return Finding("logvar_saturation", evidence, cause, {"omg_vae_alpha": round_to(max(3 * f.alpha, 1e-4))}, 0.8)
    cause = "the posterior is as wide as its bound allows: these latents contain only noise"
    return Finding("logvar_saturation", evidence, cause, {"vae_free_bits": 0.1}, 0.6)


def kl_explosion(f: Facts) -> Finding | None:
    """A KL far above its usual level, in the window or in the last tenth."""
    kl, high = f.in_window("vae_kl_loss"), f.in_window("vae_kl_loss_max")
    if kl is None or f.kl.points < 3:
        return None
    usual = float(np.nanmedian(kl.value))
    peak = np.fmax(peak_of(kl), peak_of(high))
    tail = end_change(f.points("vae_kl_loss"))
    grown = tail is not None and tail.is_sure and tail.after > EXPLOSION * max(tail.before, 1.0)
    jumps = [e for e in excursions(f.points("vae_kl_loss"), EXPLOSION, 0.0) if e.level > 0]
    peak, usual = (jumps[0].peak, jumps[0].level) if jumps and not peak > EXPLOSION * usual else (peak, usual)
    if not ((peak > EXPLOSION * max(usual, 1.0) or grown) and peak > 50):
        return None
    evidence = rounded(
        kl_peak=float(peak), kl_median=usual, log_var_max=peak_of(f.in_window("vae_log_var_max")),
        mu_abs_max=peak_of(f.in_window("vae_mu_abs_max")), excursions=len(jumps) or None,
        kl_before_the_last_tenth=tail.before if tail is not None and grown else None,
    )  # fmt: skip
    bound = f.config.get("vae_log_var_bound", "tanh" if "vae_log_var_limit" in f.config else None)
    if bound in ("none", "exp_clamp", None):
        cause = "log_var has no bound, so exp(log_var) explodes"
        return Finding("kl_explosion", evidence, cause, {"vae_log_var_bound": "tanh", "vae_log_var_limit": 5.0}, 0.85)
    cause = "single updates move the posterior far from the prior; skip updates with outlying gradients"
    norm = f.mean("vae_grad_norm")
    remedy = {"vae_grad_skip": round_to(5 * norm)} if norm > 0 else {"vae_mu_l2": 0.01}
    return Finding("kl_explosion", evidence, cause, remedy, 0.75)


def latent_oversized(f: Facts) -> Finding | None:
    """Many more latents than the KL can fill."""
    z, active = f.latent_dim, f.mean("vae_active_units")
    if not f.started or not f.unexplained < 0.5 or not z > 0 or math.isnan(active) or not f.units_known:
        return None
    used = units_in_use(f.kl.mean, z, active if not math.isnan(active) else math.inf)
    if used > 0.5 * z or z - used < (8 if f.ours else 64):
        return None
    new = min(4 * (used // 4 + 1), int(z))
    evidence = rounded(
        latent_dim=z, units_in_use=used, active_units=active, kl=f.kl.mean, nats_per_latent=f.kl.mean / z,
        kl_top_share=f.mean("vae_kl_top_share"), unexplained=f.unexplained,
    )  # fmt: skip
    cause = f"{z:g} latents share {f.kl.mean:.3g} nats, for which {used} would suffice; the others only add noise"
    return Finding("latent_oversized", evidence, cause, {"vae_latent_dim": new}, 0.9)


RULES = (
    non_finite,
    negative_kl,
    learning_rate_too_high,
    gradient_clipping,
    logvar_saturation,
    kl_explosion,
    latent_oversized,
)
