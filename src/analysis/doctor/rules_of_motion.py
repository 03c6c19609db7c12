"""The rules about how KL and reconstruction move, and about the latent space.

See ``rules_of_causes`` for what a rule is.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..runs import Series
from ..symptoms import DRIFT, OSCILLATION, mean_of, motion, peak_of, units_in_use
from .findings import Facts, Finding
from .rules_of_causes import MIN_POINTS, NARROW, SLOW_LR, Rule, clipped_share, crawls, latents, nice, rounded, share
from .shapes import excursions, shifts, smooth, step_noise, tail_of, turns
from .weights import movement

EXPLOSION = 10.0  # times the window's median
REPAID = 0.15  # how much of a KL's relative rise the reconstruction must give back, where the weight is not known
TOGETHER = 0.5  # correlation of KL and reconstruction above which the states move, not the VAE
MIN_TURNS = 3  # of a KL that oscillates


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
        return Finding("logvar_saturation", evidence, cause, {"vae_log_var_limit": 5.0}, 0.6 if unmeasured else 0.95,
                       independent=True)  # fmt: skip
    if mean_of(f.inside("vae_log_var_mean")) < 0 and f.alpha >= 0:
        cause = "the posterior is as sharp as it may be: the KL weight does not hold it back"
        return Finding("logvar_saturation", evidence, cause, {"omg_vae_alpha": nice(max(3 * f.alpha, 1e-4))}, 0.8)
    cause = "the posterior is as wide as it may be: these latents carry nothing but noise"
    return Finding("logvar_saturation", evidence, cause, {"vae_free_bits": 0.1}, 0.6)


def kl_explosion(f: Facts) -> Finding | None:
    """A KL that leaps far beyond where it lives, in the window or in the last tenth."""
    kl, high = f.inside("vae_kl_loss"), f.inside("vae_kl_loss_max")
    if kl is None or f.kl.points < 3:
        return None
    usual = float(np.nanmedian(kl.value))
    peak = np.fmax(peak_of(kl), peak_of(high))
    tail = tail_of(f.whole("vae_kl_loss"))
    grown = tail is not None and tail.is_sure and tail.after > EXPLOSION * max(tail.before, 1.0)
    leaps = [e for e in excursions(f.whole("vae_kl_loss"), EXPLOSION, 0.0) if e.level > 0]
    peak, usual = (leaps[0].peak, leaps[0].level) if leaps and not peak > EXPLOSION * usual else (peak, usual)
    if not ((peak > EXPLOSION * max(usual, 1.0) or grown) and peak > 50):
        return None
    evidence = rounded(
        kl_peak=float(peak), kl_median=usual, log_var_max=peak_of(f.inside("vae_log_var_max")),
        mu_abs_max=peak_of(f.inside("vae_mu_abs_max")), excursions=len(leaps) or None,
        kl_before_the_last_tenth=tail.before if tail is not None and grown else None,
    )  # fmt: skip
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
    if not f.started or not f.unexplained < 0.5 or not z > 0 or math.isnan(active) or not f.units_known:
        return None
    used = units_in_use(f.kl.mean, z, active if not math.isnan(active) else math.inf)
    if used > 0.5 * z or z - used < (8 if f.ours else 64):
        return None
    new = min(4 * (used // 4 + 1), int(z))
    evidence = rounded(
        latent_dim=z, units_in_use=used, active_units=active, kl=f.kl.mean, nats_per_latent=f.kl.mean / z,
        kl_top_share=mean_of(f.inside("vae_kl_top_share")), unexplained=f.unexplained,
    )  # fmt: skip
    cause = f"{z:g} latents share {f.kl.mean:.3g} nats, which {used} would hold; the rest only adds noise to the code"
    return Finding("latent_oversized", evidence, cause, {"vae_latent_dim": new}, 0.9)


def weight_swings(f: Facts) -> bool:
    """Whether the KL weight goes up and down in the run; a controller's does so to hold the KL."""
    if f.config.get("vae_alpha_schedule") == "pi":
        return False
    return f.config.get("vae_alpha_schedule") == "cyclical" or (
        f.weight.series is not None and movement(f.weight.series) == "cyclical"
    )


def follows_weight(f: Facts) -> bool:
    """Whether the KL falls where the weight rises, by a correlation that chance does not bring about."""
    kl, weight = f.curve("vae_kl_loss"), f.weight.series
    if weight is None or len(kl) < 12:
        return False
    late = len(kl) // 4
    line = np.interp(kl.t[late:], weight.t, weight.value)
    if not np.std(line) > 0 or not np.std(kl.value[late:]) > 0:
        return False
    return abs(float(np.corrcoef(kl.value[late:], line)[0, 1])) > max(0.4, 2.5 / math.sqrt(len(line)))


def moves_together(f: Facts) -> bool:
    """Whether KL and reconstruction rise and fall together in the window: the states change, not the trade-off."""
    kl, recon = f.inside("vae_kl_loss"), f.inside("vae_recon_loss")
    if kl is None or recon is None or len(kl) < MIN_POINTS or len(recon) < MIN_POINTS:
        return False
    other = np.interp(kl.t, recon.t, recon.value)
    width = max(1, len(kl) // 20)
    lines = [
        smooth(v - np.polyval(np.polyfit(kl.t - kl.t[0], v, 1), kl.t - kl.t[0]), width) for v in (kl.value, other)
    ]
    if min(float(np.std(line)) for line in lines) <= 1e-12:
        return False
    return float(np.corrcoef(lines[0], lines[1])[0, 1]) > TOGETHER


def is_a_swing(f: Facts) -> bool:
    """Whether the KL turns round again and again over the last three quarters, and not at a few changes of level."""
    kl = f.curve("vae_kl_loss")
    late = kl.value[len(kl) // 4 :]
    width = max(1, len(late) // 60)
    flat = smooth(late, width)
    least = max(2 * OSCILLATION * f.kl.mean, 3 * f.kl.noise * f.kl.mean / np.sqrt(width))
    window = f.inside("vae_kl_loss")
    return turns(flat, least) >= MIN_TURNS and (window is None or shifts(window.value)[0] < 0.9)


def kl_oscillation(f: Facts) -> Finding | None:
    """A KL that swings both ways, by more than sampling explains."""
    kl = f.kl
    if kl.points < MIN_POINTS or not (kl.mean > 0.5 or (f.in_use and kl.mean > 0)) or not f.window.ramp_ended:
        return None
    swings = weight_swings(f)
    moved = max(kl.oscillation, kl.scatter if swings and follows_weight(f) else 0.0)
    if (kl.is_noise and moved == kl.oscillation) or not (moved > OSCILLATION and kl.swing > 2 * OSCILLATION):
        return None
    if not swings and (not is_a_swing(f) or moves_together(f)):
        return None
    evidence = rounded(oscillation=kl.oscillation, threshold=OSCILLATION, swing=kl.swing, sampling_noise=kl.noise,
                       kl=kl.mean, clipped_share=clipped_share(f))  # fmt: skip
    confidence = min(0.95, 0.6 + 0.1 * kl.oscillation / OSCILLATION)
    target = nice(max(kl.mean, 1e-3), 2)
    if swings:
        weight = motion(f.window.of(f.weight.series)) if f.weight.series is not None else None
        evidence |= rounded(kl_weight_scatter=weight.scatter if weight is not None else math.nan)
        cause = "the KL weight goes up and down on purpose, and the KL with it; let it rise once and stay"
        return Finding("kl_oscillation", evidence, cause, {"vae_alpha_schedule": "linear"}, max(confidence, 0.9),
                       driven_by_weight=True)  # fmt: skip
    if f.config.get("vae_alpha_schedule") == "pi":
        cause = "the controller that moves the KL weight overshoots: let it move more slowly"
        slower = nice(f.number("vae_pi_ki", 0.005) / 5)
        return Finding("kl_oscillation", evidence, cause, {"vae_pi_ki": slower}, confidence)
    cause = "a fixed KL weight lets KL and reconstruction chase each other; hand it to a controller that holds the KL"
    return Finding(
        "kl_oscillation", evidence, cause, {"vae_alpha_schedule": "pi", "vae_kl_target": target}, confidence
    )


class Growth(NamedTuple):
    """A rise of the KL beyond chance, and what the reconstruction gained meanwhile; relative to the levels given."""

    rise: float
    gain: float
    explained_gain: float
    kl: float
    recon: float
    error: float  # of the gain


def growth(f: Facts) -> Growth | None:
    """Over the window, or from before to the last tenth where that is more; None where the KL does not rise."""
    kl, recon = tail_of(f.whole("vae_kl_loss")), tail_of(f.whole("vae_recon_loss"))
    steady = f.kl.drift > DRIFT and f.kl.drift > 3 * f.kl.drift_error
    drift = f.kl.drift if steady else 0.0
    late = kl is not None and recon is not None and kl.is_sure and not f.kl.is_noise
    if late and kl is not None and recon is not None and kl.change > max(0.25, 1.5 * drift):
        before = f.whole("vae_explained_variance")
        unexplained = tail_of(Series(before.t, 1 - before.value)) if len(before) else None
        told = -unexplained.change if unexplained is not None else math.nan
        error = 2 * recon.noise / math.sqrt(recon.points) / max(abs(recon.before), 1e-12)
        return Growth(kl.change, -recon.change, told, kl.before, recon.before, error)
    if not steady:
        return None
    return Growth(drift, -f.recon.drift, -f.unexplained_drift, f.kl.mean, f.recon.mean, f.recon.drift_error)


def follows_states(f: Facts) -> bool:
    """Whether the KL rose in leaps at which the reconstruction leapt up as well: other states, no fault."""
    kl, recon = f.curve("vae_kl_loss"), f.curve("vae_recon_loss")
    if len(kl) < 20 or len(recon) < 20:
        return False
    start = len(kl) // 4
    value, other = kl.value[start:], np.interp(kl.t[start:], recon.t, recon.value)
    near, noise = max(3, len(value) // 25), step_noise(other)
    rises, with_recon = 0.0, 0.0
    for cut in shifts(value)[1]:
        after, before = slice(cut, cut + near), slice(max(0, cut - near), cut)
        rise = float(np.median(value[after]) - np.median(value[before]))
        places = range(max(near, cut - near), min(len(other) - near, cut + near) + 1)
        leap = max(
            (float(np.median(other[i : i + near]) - np.median(other[i - near : i])) for i in places), default=0.0
        )
        if rise > 0:
            rises += rise
            with_recon += rise * (
                leap > max(4 * noise / math.sqrt(near), 0.05 * abs(float(np.median(other[before]))))
            )
    return with_recon > 0.5 * rises > 0


def kl_growth(f: Facts) -> Finding | None:
    """A KL that rises while neither reconstruction nor weighted total gain from it."""
    kl = f.kl
    if kl.points < MIN_POINTS or not (kl.mean > 0.5 or f.in_use) or not f.window.ramp_ended:
        return None
    found = growth(f)
    if found is None or math.isnan(np.fmax(found.gain, found.explained_gain)) or is_worth_it(f, found):
        return None
    rise = found.rise
    evidence = rounded(kl_drift=kl.drift, kl_rise=rise, threshold=DRIFT, recon_drift=f.recon.drift, kl=kl.mean,
                       unexplained_drift=f.unexplained_drift, mu_abs_max=peak_of(f.inside("vae_mu_abs_max")),
                       weighted_kl_over_reconstruction=share(f))  # fmt: skip
    confidence = min(0.95, 0.6 + 0.1 * rise / DRIFT)
    if f.weight.moves == "falling":
        cause = "the KL rises because its weight falls; keep the weight where the KL is wanted"
        return Finding("kl_growth", evidence, cause, {"vae_alpha_schedule": "linear"}, confidence,
                       driven_by_weight=True)  # fmt: skip
    if share(f) > 1 or math.isnan(f.alpha):
        remedy: dict[str, Any] = {"vae_alpha_schedule": "pi", "vae_kl_target": nice(kl.mean * (1 - kl.drift / 2), 2)}
        cause = "the code grows without telling the decoder more, whatever it costs; hold the KL where it was"
    else:
        remedy = {"omg_vae_alpha": nice(max(3 * f.alpha / f.weight.per_alpha, 1e-4))}
        cause = "the code grows without telling the decoder more: the KL weight is too small to stop it"
    return Finding("kl_growth", evidence, cause, remedy, confidence)


def is_worth_it(f: Facts, g: Growth) -> bool:
    """Whether a KL's rise pays: the weighted total falls. Or it follows from harder states: both losses rise."""
    gain = float(np.fmax(g.gain, g.explained_gain))
    if g.gain < -0.03 and (-g.gain > 3 * g.error or moves_together(f)):
        return True  # the reconstruction rises too
    if follows_states(f):
        return True
    in_doubt = f.weight.source != "inferred" and not f.weight.notes and f.kl.mean < 1  # not nats, perhaps
    price = math.nan if in_doubt else f.alpha * g.kl * g.rise
    if not math.isnan(price) and g.recon > 0 and gain > 0.01:
        return price < g.recon * gain
    return gain > REPAID * g.rise


def reconstruction_plateau(f: Facts) -> Finding | None:
    """A reconstruction that stands still far from done."""
    recon = f.recon
    if not f.started or recon.points < MIN_POINTS or (not f.unexplained > 0.5 and not crawls(f)):
        return None
    falling = f.unexplained_drift if f.is_explained_known else recon.drift  # the loss falls with easier states too
    if falling < (-0.05 if f.unexplained < 0.9 else -0.3) and not crawls(f):
        return None  # on its way
    if f.kl.drift > 0.3 and f.kl.mean > 0.5 and recon.drift < -0.05 and not crawls(f):
        return None  # a code that comes into use
    lr, hidden, z = f.number("vae_lr"), f.number("vae_hidden_dim"), latents(f)
    evidence = rounded(unexplained=f.unexplained, recon_drift=recon.drift, reconstruction=recon.mean, kl=f.kl.mean,
                       vae_lr=lr, vae_hidden_dim=hidden, grad_norm=mean_of(f.inside("vae_grad_norm")))  # fmt: skip
    is_narrow = hidden < NARROW and not lr <= SLOW_LR
    if not is_narrow and lr <= SLOW_LR:
        remedy: dict[str, Any] = {"vae_lr": 3e-4}
        cause = "nothing has been learned: the learning rate is too low for this many updates"
    elif is_narrow:
        remedy, cause = {"vae_hidden_dim": 128}, "the networks are too narrow for the state"
    elif z > 0 and f.kl.mean > 2 * z:
        remedy, cause = {"vae_latent_dim": int(2 * z)}, "every latent is full: the code is too small for the state"
    else:
        remedy = {"vae_lr": nice(3 * lr) if lr < 1e-3 else 3e-4}
        cause = "the reconstruction has stopped early; the learning rate is the first thing to try"
    return Finding("reconstruction_plateau", evidence, cause, remedy, 0.9 if crawls(f) else 0.7)


RULES_OF_MOTION: tuple[Rule, ...] = (
    logvar_saturation,
    kl_explosion,
    latent_oversized,
    kl_oscillation,
    kl_growth,
    reconstruction_plateau,
)
