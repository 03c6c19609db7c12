"""The rules about how KL and reconstruction move, about the latent space, and about what cannot be told.

See ``rules_of_causes``, whose findings come first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..symptoms import DRIFT, OSCILLATION, mean_of, motion, peak_of, units_in_use
from .findings import Facts, Finding
from .rules_of_causes import (
    DEAD_NATS,
    MIN_POINTS,
    MIN_UPDATES,
    NARROW,
    SLOW_LR,
    Rule,
    latents,
    never_moved,
    nice,
    rounded,
    share,
)

BATCH_SCATTER = 0.15  # standard deviation of single updates over the mean: 0.03 at 32 episodes a batch
EXPLOSION = 10.0  # times the window's median
REPAID = 0.25  # how much of a KL's relative rise the reconstruction must give back


def logvar_saturation(f: Facts) -> Finding | None:
    """Log-variances that stand at their bound."""
    at_bound, limit = mean_of(f.inside("vae_log_var_bound_share")), f.number("vae_log_var_limit")
    unmeasured = math.isnan(at_bound) and limit < 0.5
    if not f.started or not (at_bound > 0.25 or unmeasured):
        return None
    bound = f.config.get("vae_log_var_bound", "tanh")
    evidence = rounded(
        log_var_bound_share=at_bound, vae_log_var_bound=bound, vae_log_var_limit=limit,
        log_var_mean=mean_of(f.inside("vae_log_var_mean")), unexplained=f.unexplained,
    )  # fmt: skip
    if bound == "exp_clamp":
        cause = "log_var is beyond the clamp, where the KL has no gradient that would bring it back"
        return Finding("logvar_saturation", evidence, cause, {"vae_log_var_bound": "tanh"}, 0.95)
    if abs(f.number("vae_log_var_init", 0.0)) >= limit:
        cause = "log_var starts beyond its bound, where its gradient is gone"
        return Finding("logvar_saturation", evidence, cause, {"vae_log_var_init": 0.0}, 0.95)
    if limit < 3:
        cause = f"log_var may only move within {limit:g} of 0: the posterior can neither be sharp nor wide"
        return Finding("logvar_saturation", evidence, cause, {"vae_log_var_limit": 5.0}, 0.6 if unmeasured else 0.95)
    if mean_of(f.inside("vae_log_var_mean")) < 0 and f.alpha >= 0:
        cause = "the posterior is as sharp as it may be: the KL weight does not hold it back"
        return Finding("logvar_saturation", evidence, cause, {"omg_vae_alpha": nice(max(3 * f.alpha, 1e-4))}, 0.8)
    cause = "the posterior is as wide as it may be: these latents carry nothing but noise"
    return Finding("logvar_saturation", evidence, cause, {"vae_free_bits": 0.1}, 0.6)


def kl_explosion(f: Facts) -> Finding | None:
    """A KL that leaps far beyond where it lives."""
    kl = f.inside("vae_kl_loss")
    if kl is None or f.kl.points < 3:
        return None
    usual = float(np.nanmedian(kl.value))
    peak = np.fmax(peak_of(kl), peak_of(f.inside("vae_kl_loss_max")))
    if not (peak > EXPLOSION * max(usual, 1.0) and peak > 50):
        return None
    evidence = rounded(kl_peak=float(peak), kl_median=usual, log_var_max=peak_of(f.inside("vae_log_var_max")),
                       mu_abs_max=peak_of(f.inside("vae_mu_abs_max")))  # fmt: skip
    bound = f.config.get("vae_log_var_bound", "tanh" if "vae_log_var_limit" in f.config else None)
    if bound in ("none", "exp_clamp", None):
        cause = "exp(log_var) explodes where nothing bounds log_var"
        return Finding("kl_explosion", evidence, cause, {"vae_log_var_bound": "tanh", "vae_log_var_limit": 5.0}, 0.85)
    cause = "single updates throw the posterior far from the prior: leave those with an outlying gradient out"
    norm = mean_of(f.inside("vae_grad_norm"))
    remedy = {"vae_grad_skip": nice(5 * norm)} if norm > 0 else {"vae_mu_l2": 0.01}
    return Finding("kl_explosion", evidence, cause, remedy, 0.75)


def latent_oversized(f: Facts) -> Finding | None:
    """Many more latents than the information fills."""
    z, active = latents(f), mean_of(f.inside("vae_active_units"))
    if not f.started or not f.unexplained < 0.5 or not z > 0:
        return None
    used = units_in_use(f.kl.mean, z, active if not math.isnan(active) else math.inf)
    if used > 0.5 * z or z - used < 8:
        return None
    new = min(4 * (used // 4 + 1), int(z))
    evidence = rounded(
        latent_dim=z, units_in_use=used, active_units=active, kl=f.kl.mean, nats_per_latent=f.kl.mean / z,
        kl_top_share=mean_of(f.inside("vae_kl_top_share")), unexplained=f.unexplained,
    )  # fmt: skip
    cause = f"{z:g} latents share {f.kl.mean:.3g} nats, which {used} would hold; the rest only adds noise to the code"
    return Finding("latent_oversized", evidence, cause, {"vae_latent_dim": new}, 0.9)


def kl_oscillation(f: Facts) -> Finding | None:
    """A KL that swings both ways, by more than sampling explains."""
    kl = f.kl
    if kl.points < MIN_POINTS or kl.is_noise or not kl.mean > 0.5 or not f.window.ramp_ended:
        return None
    if not (kl.oscillation > OSCILLATION and kl.swing > 2 * OSCILLATION):
        return None
    evidence = rounded(oscillation=kl.oscillation, threshold=OSCILLATION, swing=kl.swing, sampling_noise=kl.noise,
                       kl=kl.mean, clipped_share=mean_of(f.inside("vae_clipped_share")))  # fmt: skip
    alpha, schedule = f.inside("vae_alpha"), f.config.get("vae_alpha_schedule")
    confidence = min(0.95, 0.6 + 0.1 * kl.oscillation / OSCILLATION)
    weight = motion(alpha) if alpha is not None else None
    target = nice(max(kl.mean, 1e-3), 2)
    if schedule == "cyclical" or (schedule != "pi" and weight is not None and weight.scatter > 0.1):
        evidence |= rounded(kl_weight_scatter=weight.scatter if weight is not None else math.nan)
        cause = "the KL weight goes up and down on purpose, and the KL with it; let it rise once and stay"
        return Finding("kl_oscillation", evidence, cause, {"vae_alpha_schedule": "linear"}, max(confidence, 0.9))
    if schedule == "pi":
        cause = "the controller that moves the KL weight overshoots: let it move more slowly"
        slower = nice(f.number("vae_pi_ki", 0.005) / 5)
        return Finding("kl_oscillation", evidence, cause, {"vae_pi_ki": slower}, confidence)
    cause = "a fixed KL weight lets KL and reconstruction chase each other; hand it to a controller that holds the KL"
    return Finding(
        "kl_oscillation", evidence, cause, {"vae_alpha_schedule": "pi", "vae_kl_target": target}, confidence
    )


def kl_growth(f: Facts) -> Finding | None:
    """A KL that rises while the reconstruction stands still."""
    kl = f.kl
    if kl.points < MIN_POINTS or not kl.mean > 0.5 or not f.window.ramp_ended:
        return None
    gain = np.fmax(-f.recon.drift, -f.unexplained_drift)
    if not (kl.drift > DRIFT and kl.drift > 3 * kl.drift_error) or np.isnan(gain) or gain > REPAID * kl.drift:
        return None
    evidence = rounded(kl_drift=kl.drift, threshold=DRIFT, recon_drift=f.recon.drift, kl=kl.mean,
                       unexplained_drift=f.unexplained_drift, mu_abs_max=peak_of(f.inside("vae_mu_abs_max")),
                       weighted_kl_over_reconstruction=share(f))  # fmt: skip
    confidence = min(0.95, 0.6 + 0.1 * kl.drift / DRIFT)
    if share(f) > 1 or math.isnan(f.alpha):
        remedy: dict[str, Any] = {"vae_alpha_schedule": "pi", "vae_kl_target": nice(kl.mean * (1 - kl.drift / 2), 2)}
        cause = "the code grows without telling the decoder more, whatever it costs; hold the KL where it was"
    else:
        remedy = {"omg_vae_alpha": nice(max(3 * f.alpha, 1e-4))}
        cause = "the code grows without telling the decoder more: the KL weight is too small to stop it"
    return Finding("kl_growth", evidence, cause, remedy, confidence)


def reconstruction_plateau(f: Facts) -> Finding | None:
    """A reconstruction that stands still far from done."""
    recon = f.recon
    if not f.started or recon.points < MIN_POINTS or not f.unexplained > 0.5:
        return None
    falling = f.unexplained_drift if f.is_explained_known else recon.drift  # the loss falls with easier states too
    if falling < (-0.05 if f.unexplained < 0.9 else -0.3) and not never_moved(f):
        return None  # on its way
    if not f.is_explained_known and not (never_moved(f) and f.kl.mean < DEAD_NATS):
        return None  # the first loss that was logged may be one that was learned already
    lr, hidden, z = f.number("vae_lr"), f.number("vae_hidden_dim"), latents(f)
    evidence = rounded(unexplained=f.unexplained, recon_drift=recon.drift, reconstruction=recon.mean, kl=f.kl.mean,
                       vae_lr=lr, vae_hidden_dim=hidden, grad_norm=mean_of(f.inside("vae_grad_norm")))  # fmt: skip
    is_narrow = hidden < NARROW and not lr <= SLOW_LR
    if not is_narrow and (never_moved(f) or lr <= SLOW_LR):
        remedy: dict[str, Any] = {"vae_lr": 3e-4 if not lr > 1e-4 else nice(3 * lr)}
        cause = "nothing has been learned: the learning rate is too low for this many updates"
    elif is_narrow:
        remedy, cause = {"vae_hidden_dim": 128}, "the networks are too narrow for the state"
    elif z > 0 and f.kl.mean > 2 * z:
        remedy, cause = {"vae_latent_dim": int(2 * z)}, "every latent is full: the code is too small for the state"
    else:
        remedy = {"vae_lr": nice(3 * lr) if lr < 1e-3 else 3e-4}
        cause = "the reconstruction has stopped early; the learning rate is the first thing to try"
    return Finding("reconstruction_plateau", evidence, cause, remedy, 0.9 if never_moved(f) else 0.7)


def too_short(f: Facts) -> Finding | None:
    """A run that ends before there is anything to judge."""
    points = max(f.kl.points, f.recon.points)
    few = points < MIN_POINTS
    if not few and f.started and f.window.ramp_ended:
        return None
    ramp = f.number("vae_alpha_ramp") if not f.window.ramp_ended else math.nan
    longer = max(
        3 * MIN_POINTS / max(points, 1) if few else 1.0,
        2.5 * MIN_UPDATES / f.updates if not f.started else 1.0,
        2.2 * ramp / f.updates if ramp > 0 and f.updates > 0 else 1.0,
        1.5,
    )
    evidence = rounded(points_in_window=points, points_needed=MIN_POINTS, updates=f.updates,
                       vae_alpha_ramp=ramp, last_step=f.window.end)  # fmt: skip
    cause = "the KL weight's ramp fills the run" if not f.window.ramp_ended else "too little was logged to judge"
    remedy = {"t_max": int(math.ceil(longer * f.window.end / 1e4) * 1e4)} if f.window.end > 0 else {}
    return Finding("too_short", evidence, cause + ": what moves here is its beginning", remedy, 0.95)


def sampling_noise(f: Facts) -> Finding | None:
    """Wiggles that are batches differing, not the VAE moving. No fault."""
    looks = [m for m in (f.kl, f.recon) if m.points >= MIN_POINTS and m.is_noise and m.scatter > OSCILLATION]
    losses = ((n, m) for n, m in (("vae_kl_loss", f.kl), ("vae_recon_loss", f.recon)) if m.mean > 0.05)
    within = [mean_of(f.inside(f"{name}_std")) / m.mean for name, m in losses]
    widest = max((w for w in within if not math.isnan(w)), default=math.nan)
    if not looks and not (f.started and widest > BATCH_SCATTER):
        return None
    evidence = rounded(kl_scatter=f.kl.scatter, recon_scatter=f.recon.scatter, kl_oscillation=f.kl.oscillation,
                       std_within_interval=widest, updates_per_point=f.updates_per_point)  # fmt: skip
    batch = f.number("batch_size")
    if math.isnan(widest):
        cause = "values of single batches, scattered around a smooth line without memory: log means over the interval"
        return Finding("sampling_noise", evidence, cause, {"learner_log_interval": 1000}, 0.85)
    cause = "batches differ more than the VAE moves; larger ones differ less"
    larger = 32 if not batch > 0 else int(min(256, max(32, batch * 4)))
    return Finding("sampling_noise", evidence, cause, {"batch_size": larger} if larger > batch else {}, 0.85)


RULES_OF_MOTION: tuple[Rule, ...] = (
    logvar_saturation,
    kl_explosion,
    latent_oversized,
    kl_oscillation,
    kl_growth,
    reconstruction_plateau,
    too_short,
    sampling_noise,
)
