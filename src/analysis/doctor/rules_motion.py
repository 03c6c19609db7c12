"""Rules about the motion of KL and reconstruction: oscillation, growth, and a plateau."""

import math
from typing import Any, NamedTuple

import numpy as np

from ..runs import Series
from ..symptoms import DRIFT, OSCILLATION, motion, peak_of
from .facts import GOOD_LR, MIN_POINTS, NARROW, SLOW_LR, Facts, round_to, rounded
from .findings import Finding
from .shapes import count_turns, end_change, level_shifts, smooth, step_noise

REPAID = 0.15  # minimum gain of the reconstruction per relative rise of the KL, if the KL weight is unknown
TOGETHER = 0.5  # with a higher correlation of KL and reconstruction, the states change and not the VAE
MIN_TURNS = 3  # minimum number of turning points of an oscillating KL


def follows_weight(f: Facts) -> bool:
    """Whether KL and KL weight are correlated more strongly than by chance."""
    kl, weight = f.curve("vae_kl_loss"), f.weight.series
    if weight is None or len(kl) < 12:
        return False
    late = len(kl) // 4
    line = np.interp(kl.t[late:], weight.t, weight.value)
    if not np.std(line) > 0 or not np.std(kl.value[late:]) > 0:
        return False
    return abs(float(np.corrcoef(kl.value[late:], line)[0, 1])) > max(0.4, 2.5 / math.sqrt(len(line)))


def moves_together(f: Facts) -> bool:
    """Whether KL and reconstruction rise and fall together in the window, which changing states cause."""
    kl, recon = f.in_window("vae_kl_loss"), f.in_window("vae_recon_loss")
    if kl is None or recon is None or len(kl) < MIN_POINTS or len(recon) < MIN_POINTS:
        return False
    other = np.interp(kl.t, recon.t, recon.value)
    width = max(1, len(kl) // 20)
    t = kl.t - kl.t[0]
    detrended = [smooth(v - np.polyval(np.polyfit(t, v, 1), t), width) for v in (kl.value, other)]
    if min(float(np.std(line)) for line in detrended) <= 1e-12:
        return False
    return float(np.corrcoef(detrended[0], detrended[1])[0, 1]) > TOGETHER


def is_a_swing(f: Facts) -> bool:
    """Whether the KL has several turning points in the last three quarters that are not a few level shifts."""
    kl = f.curve("vae_kl_loss")
    late = kl.value[len(kl) // 4 :]
    width = max(1, len(late) // 60)
    flat = smooth(late, width)
    least = max(2 * OSCILLATION * f.kl.mean, 3 * f.kl.noise * f.kl.mean / np.sqrt(width))
    window = f.in_window("vae_kl_loss")
    return count_turns(flat, least) >= MIN_TURNS and (window is None or level_shifts(window.value)[0] < 0.9)


def kl_oscillation(f: Facts) -> Finding | None:
    """A KL that swings up and down by more than sampling explains."""
    kl = f.kl
    if kl.points < MIN_POINTS or not (kl.mean > 0.5 or (f.in_use and kl.mean > 0)) or not f.window.ramp_ended:
        return None
    swings = f.weight_swings
    moved = max(kl.oscillation, kl.scatter if swings and follows_weight(f) else 0.0)
    if (kl.is_noise and moved == kl.oscillation) or not (moved > OSCILLATION and kl.swing > 2 * OSCILLATION):
        return None
    if not swings and (not is_a_swing(f) or moves_together(f)):
        return None
    evidence = rounded(oscillation=kl.oscillation, threshold=OSCILLATION, swing=kl.swing, sampling_noise=kl.noise,
                       kl=kl.mean, clipped_share=f.share_clipped)  # fmt: skip
    confidence = min(0.95, 0.6 + 0.1 * kl.oscillation / OSCILLATION)
    target = round_to(max(kl.mean, 1e-3), 2)
    if swings:
        weight = f.window.of(f.weight.series) if f.weight.series is not None else None
        evidence |= rounded(kl_weight_scatter=motion(weight).scatter)
        cause = "the schedule moves the KL weight up and down, and the KL follows; let the weight rise once only"
        return Finding("kl_oscillation", evidence, cause, {"vae_alpha_schedule": "linear"}, max(confidence, 0.9),
                       driven_by_weight=True)  # fmt: skip
    if f.config.get("vae_alpha_schedule") == "pi":
        cause = "the PI controller of the KL weight overshoots; lower its gain"
        slower = round_to(f.number("vae_pi_ki", 0.005) / 5)
        return Finding("kl_oscillation", evidence, cause, {"vae_pi_ki": slower}, confidence)
    cause = "with a fixed KL weight, KL and reconstruction alternate; let a PI controller keep the KL at a target"
    remedy = {"vae_alpha_schedule": "pi", "vae_kl_target": target}
    return Finding("kl_oscillation", evidence, cause, remedy, confidence)


class Growth(NamedTuple):
    """A rise of the KL beyond chance, and the simultaneous gain of the reconstruction."""

    rise: float  # relative to ``kl``
    gain: float  # fall of the reconstruction loss relative to ``recon``
    explained_gain: float  # relative fall of the unexplained share; NaN if unknown
    kl: float  # level of the KL
    recon: float  # level of the reconstruction loss
    error: float  # standard error of ``gain``


def growth(f: Facts) -> Growth | None:
    """The rise over the window, or up to the last tenth if that is larger; None if the KL does not rise."""
    kl, recon = end_change(f.points("vae_kl_loss")), end_change(f.points("vae_recon_loss"))
    steady = f.kl.drift > DRIFT and f.kl.drift > 3 * f.kl.drift_error
    drift = f.kl.drift if steady else 0.0
    late = kl is not None and recon is not None and kl.is_sure and not f.kl.is_noise
    if late and kl is not None and recon is not None and kl.change > max(0.25, 1.5 * drift):
        before = f.points("vae_explained_variance")
        unexplained = end_change(Series(before.t, 1 - before.value)) if len(before) else None
        explained = -unexplained.change if unexplained is not None else math.nan
        error = 2 * recon.noise / math.sqrt(recon.points) / max(abs(recon.before), 1e-12)
        return Growth(kl.change, -recon.change, explained, kl.before, recon.before, error)
    if not steady:
        return None
    return Growth(drift, -f.recon.drift, -f.unexplained_drift, f.kl.mean, f.recon.mean, f.recon.drift_error)


def kl_follows_states(f: Facts) -> bool:
    """Whether the KL rose mainly in jumps at which the reconstruction also jumped up: new states, not a fault."""
    kl, recon = f.curve("vae_kl_loss"), f.curve("vae_recon_loss")
    if len(kl) < 20 or len(recon) < 20:
        return False
    start = len(kl) // 4
    value, other = kl.value[start:], np.interp(kl.t[start:], recon.t, recon.value)
    near, noise = max(3, len(value) // 25), step_noise(other)
    rises, with_recon = 0.0, 0.0
    for cut in level_shifts(value)[1]:
        after, before = slice(cut, cut + near), slice(max(0, cut - near), cut)
        rise = float(np.median(value[after]) - np.median(value[before]))
        places = range(max(near, cut - near), min(len(other) - near, cut + near) + 1)
        jumps = (float(np.median(other[i : i + near]) - np.median(other[i - near : i])) for i in places)
        least = max(4 * noise / math.sqrt(near), 0.05 * abs(float(np.median(other[before]))))
        if rise > 0:
            rises += rise
            with_recon += rise * (max(jumps, default=0.0) > least)
    return with_recon > 0.5 * rises > 0


def kl_growth(f: Facts) -> Finding | None:
    """A KL that rises without a gain in the reconstruction or the weighted total."""
    kl = f.kl
    if kl.points < MIN_POINTS or not (kl.mean > 0.5 or f.in_use) or not f.window.ramp_ended:
        return None
    g = growth(f)
    if g is None or math.isnan(np.fmax(g.gain, g.explained_gain)) or rise_is_justified(f, g):
        return None
    evidence = rounded(kl_drift=kl.drift, kl_rise=g.rise, threshold=DRIFT, recon_drift=f.recon.drift, kl=kl.mean,
                       unexplained_drift=f.unexplained_drift, mu_abs_max=peak_of(f.in_window("vae_mu_abs_max")),
                       weighted_kl_over_reconstruction=f.kl_share)  # fmt: skip
    confidence = min(0.95, 0.6 + 0.1 * g.rise / DRIFT)
    if f.weight.moves == "falling":
        cause = "the KL rises because its weight falls; let the weight stay constant at the end"
        return Finding("kl_growth", evidence, cause, {"vae_alpha_schedule": "linear"}, confidence,
                       driven_by_weight=True)  # fmt: skip
    if f.kl_share > 1 or math.isnan(f.alpha):
        target = round_to(kl.mean * (1 - kl.drift / 2), 2)
        remedy: dict[str, Any] = {"vae_alpha_schedule": "pi", "vae_kl_target": target}
        cause = "the KL grows without a better reconstruction at any weight; keep the KL at its earlier level"
    else:
        remedy = {"omg_vae_alpha": round_to(max(3 * f.alpha / f.weight.per_alpha, 1e-4))}
        cause = "the KL grows without a better reconstruction: the KL weight is too small to prevent it"
    return Finding("kl_growth", evidence, cause, remedy, confidence)


def rise_is_justified(f: Facts, g: Growth) -> bool:
    """Whether a rise of the KL lowers the weighted total, or is due to harder states, so that both losses rise."""
    gain = float(np.fmax(g.gain, g.explained_gain))
    if g.gain < -0.03 and (-g.gain > 3 * g.error or moves_together(f)):
        return True  # the reconstruction rises too
    if kl_follows_states(f):
        return True
    in_doubt = f.weight.source != "inferred" and not f.weight.notes and f.kl.mean < 1  # the unit may not be nats
    price = math.nan if in_doubt else f.alpha * g.kl * g.rise
    if not math.isnan(price) and g.recon > 0 and gain > 0.01:
        return price < g.recon * gain
    return gain > REPAID * g.rise


def reconstruction_plateau(f: Facts) -> Finding | None:
    """A reconstruction that no longer improves although much of the states is unexplained."""
    recon = f.recon
    if not f.started or recon.points < MIN_POINTS or (not f.unexplained > 0.5 and not f.learns_too_slowly):
        return None
    falling = f.unexplained_drift if f.is_explained_known else recon.drift  # easier states also lower the loss
    if falling < (-0.05 if f.unexplained < 0.9 else -0.3) and not f.learns_too_slowly:
        return None  # still improving
    if f.kl.drift > 0.3 and f.kl.mean > 0.5 and recon.drift < -0.05 and not f.learns_too_slowly:
        return None  # the code has just started to be used
    lr, hidden, z = f.number("vae_lr"), f.number("vae_hidden_dim"), f.latent_dim
    evidence = rounded(unexplained=f.unexplained, recon_drift=recon.drift, reconstruction=recon.mean, kl=f.kl.mean,
                       vae_lr=lr, vae_hidden_dim=hidden, grad_norm=f.mean("vae_grad_norm"))  # fmt: skip
    is_narrow = hidden < NARROW and not lr <= SLOW_LR
    if not is_narrow and lr <= SLOW_LR:
        remedy: dict[str, Any] = {"vae_lr": GOOD_LR}
        cause = "nothing was learned: the learning rate is too low for this number of updates"
    elif is_narrow:
        remedy, cause = {"vae_hidden_dim": 128}, "the networks are too narrow for the state"
    elif z > 0 and f.kl.mean > 2 * z:
        remedy, cause = {"vae_latent_dim": int(2 * z)}, "all latents are used fully: there are too few for the state"
    else:
        remedy = {"vae_lr": round_to(3 * lr) if lr < 1e-3 else GOOD_LR}
        cause = "the reconstruction stopped improving early; change the learning rate first"
    return Finding("reconstruction_plateau", evidence, cause, remedy, 0.9 if f.learns_too_slowly else 0.7)


RULES = (kl_oscillation, kl_growth, reconstruction_plateau)
