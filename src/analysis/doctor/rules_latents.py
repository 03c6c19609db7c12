"""Rules about the latent space: log-variances at their bound, an exploding KL, and unused latents."""

from __future__ import annotations

import math

import numpy as np

from ..symptoms import mean_of, peak_of, units_in_use
from .findings import Facts, Finding
from .rules_common import Rule, latent_dim, round_to, rounded
from .shapes import end_change, excursions

EXPLOSION = 10.0  # a KL this many times its usual level explodes


def logvar_saturation(f: Facts) -> Finding | None:
    """Log-variances at their bound."""
    at_bound, limit = mean_of(f.in_window("vae_log_var_bound_share")), f.number("vae_log_var_limit")
    unmeasured = math.isnan(at_bound) and limit < 0.5
    if not f.started or not (at_bound > 0.25 or unmeasured):
        return None
    bound = f.config.get("vae_log_var_bound", "tanh")
    evidence = rounded(
        log_var_bound_share=at_bound, vae_log_var_bound=bound, vae_log_var_limit=limit,
        log_var_mean=mean_of(f.in_window("vae_log_var_mean")), unexplained=f.unexplained,
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
    if mean_of(f.in_window("vae_log_var_mean")) < 0 and f.alpha >= 0:
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
    norm = mean_of(f.in_window("vae_grad_norm"))
    remedy = {"vae_grad_skip": round_to(5 * norm)} if norm > 0 else {"vae_mu_l2": 0.01}
    return Finding("kl_explosion", evidence, cause, remedy, 0.75)


def latent_oversized(f: Facts) -> Finding | None:
    """Many more latents than the KL can fill."""
    z, active = latent_dim(f), mean_of(f.in_window("vae_active_units"))
    if not f.started or not f.unexplained < 0.5 or not z > 0 or math.isnan(active) or not f.units_known:
        return None
    used = units_in_use(f.kl.mean, z, active if not math.isnan(active) else math.inf)
    if used > 0.5 * z or z - used < (8 if f.ours else 64):
        return None
    new = min(4 * (used // 4 + 1), int(z))
    evidence = rounded(
        latent_dim=z, units_in_use=used, active_units=active, kl=f.kl.mean, nats_per_latent=f.kl.mean / z,
        kl_top_share=mean_of(f.in_window("vae_kl_top_share")), unexplained=f.unexplained,
    )  # fmt: skip
    cause = f"{z:g} latents share {f.kl.mean:.3g} nats, for which {used} would suffice; the others only add noise"
    return Finding("latent_oversized", evidence, cause, {"vae_latent_dim": new}, 0.9)


RULES_OF_LATENTS: tuple[Rule, ...] = (logvar_saturation, kl_explosion, latent_oversized)
