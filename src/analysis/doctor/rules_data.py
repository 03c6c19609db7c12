"""Rules about the data and the log: refreshed batches, excursions, short runs, and sampling noise."""

import math
from typing import Any

import numpy as np

from ..symptoms import OSCILLATION
from .facts import DEAD_NATS, MIN_POINTS, NO_NATS, Facts, rounded
from .findings import Finding
from .measuring import MIN_UPDATES
from .sawtooth import Teeth
from .shapes import OUTLIER_SHARE, Excursion, count_turns, excursions, spikes

BATCH_SCATTER = 0.15  # standard deviation of single updates over the mean; 0.03 with batches of 32 episodes
NEW_WINDOW = 8  # suggested number of batches to keep: the default of vae_window
# Minimum jump of the reconstruction at a new batch, relative to its level, if the KL does not jump: with one batch
# kept, with several, and with an unknown number.
ONE_KEPT, MORE_KEPT, UNKNOWN = 0.1, 0.2, 0.15


def data_refresh(f: Facts) -> Finding | None:
    """A KL or a reconstruction that jumps at every new batch of data and recovers until the next batch."""
    teeth = teeth_of_data(f)
    if teeth is None:
        return None
    name = "vae_kl_loss" if teeth is f.kl_teeth else "vae_recon_loss"
    kept, updates = f.number("vae_window"), f.number("vae_updates")
    made = f.points("updates")
    known = len(made) >= 2 and made.t[-1] > made.t[0]
    per_step = float(made.value[-1] - made.value[0]) / float(made.t[-1] - made.t[0]) if known else math.nan
    evidence = rounded(
        period_steps=teeth.period, depth=abs(teeth.depth), teeth=teeth.edges_found, irregularity=teeth.irregularity,
        recovered=teeth.recovered, seen_in=name, period_updates=teeth.period * per_step, vae_window=kept,
    )  # fmt: skip
    what = "KL" if name == "vae_kl_loss" else "reconstruction loss"
    change = "falls" if teeth.depth < 0 else "rises"
    cause = (
        f"all data are replaced at once, about every {teeth.period:,.4g} steps: the {what} {change} by "
        f"{abs(teeth.depth):.0%} at each new batch and then recovers. The cause is the data, not the optimiser"
    )
    remedy: dict[str, Any] = {"vae_window": int(max(NEW_WINDOW, 2 * kept if kept > 1 else NEW_WINDOW))}
    if updates > 8 and kept >= NEW_WINDOW:
        remedy["vae_updates"] = int(max(1, updates // 3))
    sure = min(0.95, 0.6 + 0.02 * min(teeth.clarity, 10) + 0.04 * min(teeth.edges_found, 5))
    return Finding("data_refresh", evidence, cause, remedy, sure)


def teeth_of_data(f: Facts) -> Teeth | None:
    """The sawtooth caused by refreshed data; None if cycles of the weight or an unused code explain it."""
    both = (f.kl_teeth, f.recon_teeth)
    kl, recon = (None if t is None or f.jumps_are_of_optimiser(t) else t for t in both)
    if kl is not None and f.peak_level < NO_NATS and not f.in_use and f.units_known:
        kl = None  # the KL is practically zero
    if kl is not None and _is_cycle_of_weight(f, kl):
        return None
    if kl is not None and kl.depth > 0 and len(f.points("vae_recon_loss")) and (recon is None or recon.depth < 0):
        kl = None  # the KL jumps up and the reconstruction does not: the weight was reset, not the data
    if kl is not None and (kl.depth < 0 or _is_regular(kl)):
        return kl
    kept = f.number("vae_window")
    least = UNKNOWN if math.isnan(kept) else ONE_KEPT if kept <= 1 else MORE_KEPT
    return recon if recon is not None and recon.depth > least and _is_regular(recon) else None


def _is_regular(teeth: Teeth) -> bool:
    """Whether the edges are too many and too regular to be a few changes of policy, which also raise losses."""
    return teeth.irregularity < {3: 0.0, 4: 0.08}.get(teeth.edges_found, 0.2)


def _is_cycle_of_weight(f: Facts, teeth: Teeth) -> bool:
    """Whether the KL weight oscillates with the sawtooth's period."""
    weight = f.weight.series
    if not f.weight_swings:
        return False
    if weight is None or len(weight) < 8:
        return True
    height = float(weight.value.max() - weight.value.min())
    cycles = (count_turns(weight.value, 0.3 * height) + 1) / 2
    period = (weight.t[-1] - weight.t[0]) / max(cycles, 1)
    return (0.6 < period / teeth.period < 1.6) if teeth.depth > 0 else (0.85 < period / teeth.period < 1.18)


def excursion(f: Facts) -> Finding | None:
    """Several consecutive points far from the curve, even if the curve recovered."""
    kl = excursions(f.points("vae_kl_loss"), 2.0, 0.5)
    kl = [e for e in kl if f.in_use or max(abs(e.level), abs(e.peak)) > DEAD_NATS]
    recon = excursions(f.points("vae_recon_loss"), 3.0, 0.0)
    total = excursions(f.points("vae_loss"), 3.0, 0.0)
    by_loss = (("KL", kl), ("reconstruction loss", recon), ("total loss", total))
    remaining = [(name, e) for name, stretches in by_loss for e in stretches if not _is_tooth(f, e)]
    if f.weight_swings:
        return None
    if not remaining:
        return _spikes(f)
    name, worst = max(remaining, key=lambda named: named[1].factor)
    evidence = rounded(
        excursions=len({e.start for _, e in remaining}), seen_in=name, at_step=worst.start, until=worst.end,
        points=worst.points, peak=worst.peak, level=worst.level, factor=worst.factor,
    )  # fmt: skip
    end = "and recovered" if worst.recovered else "and has not recovered"
    cause = (
        f"the {name} left its level of {worst.level:.3g} for {worst.points} points, up to {worst.peak:.3g}, {end}: "
        "a few updates on unusual states or with outlying gradients"
    )
    norm = f.mean("vae_grad_norm")
    remedy: dict[str, Any] = {"vae_grad_skip": float(f"{5 * norm:.0e}")} if norm > 0 else {}
    return Finding("excursion", evidence, cause, remedy, 0.75)


def _spikes(f: Facts) -> Finding | None:
    """Single points far above the curve that are too many to be outliers."""
    for name, what in (("vae_kl_loss", "KL"), ("vae_recon_loss", "reconstruction loss"), ("vae_loss", "total loss")):
        share, factor = spikes(f.points(name), 3.0)
        if share > OUTLIER_SHARE and share * 0.9 * len(f.curve(name)) > 1.5:  # at least two points
            evidence = rounded(share_of_points=share, seen_in=what, factor=factor)
            cause = f"the {what} is more than three times its level in {share:.0%} of the points"
            return Finding("excursion", evidence, cause, {}, 0.7)
    return None


def _is_tooth(f: Facts, excursion: Excursion) -> bool:
    """Whether an excursion is an edge of a sawtooth."""
    for teeth in (f.kl_teeth, f.recon_teeth):
        if teeth is not None:
            near = 0.35 * teeth.period
            phase = np.abs(np.array(teeth.edges) - excursion.start)
            if len(phase) and (phase.min() < near or abs(phase.min() % teeth.period - teeth.period) < near):
                return True
    return False


def too_short(f: Facts) -> Finding | None:
    """A run that is too short for a diagnosis."""
    points = max(f.kl.points, f.recon.points)
    few = points < MIN_POINTS
    if not few and f.started and f.window.ramp_ended:
        return None
    ramp = f.number("vae_alpha_ramp") if not f.window.ramp_ended else math.nan
    longer = max(
        3 * MIN_POINTS / max(points, 1) if few else 1.0,
        2.5 * MIN_UPDATES / f.updates if not f.started and f.updates > 0 else 1.0,
        2.2 * ramp / f.updates if ramp > 0 and f.updates > 0 else 1.0,
        1.5,
    )
    evidence = rounded(points_in_window=points, points_needed=MIN_POINTS, updates=f.updates,
                       vae_alpha_ramp=ramp, last_step=f.window.end)  # fmt: skip
    cause = "the KL weight's ramp lasts the whole run" if not f.window.ramp_ended else "too little was logged"
    driven = not f.window.ramp_ended and not few and abs(f.kl.drift) > 0.05
    remedy = {"t_max": int(math.ceil(longer * f.window.end / 1e4) * 1e4)} if f.window.end > 0 else {}
    return Finding("too_short", evidence, cause + ", so all changes belong to the start of training", remedy, 0.95,
                   driven_by_weight=driven)  # fmt: skip


def sampling_noise(f: Facts) -> Finding | None:
    """Variation due to differences between batches and not to changes of the VAE. This is not a fault."""
    noisy = [m for m in (f.kl, f.recon) if m.points >= MIN_POINTS and m.is_noise and m.scatter > OSCILLATION]
    losses = ((n, m) for n, m in (("vae_kl_loss", f.kl), ("vae_recon_loss", f.recon)) if m.mean > 0.05)
    within = [f.mean(f"{name}_std") / m.mean for name, m in losses]
    widest = max((w for w in within if not math.isnan(w)), default=math.nan)
    if not noisy and not (f.started and widest > BATCH_SCATTER):
        return None
    evidence = rounded(kl_scatter=f.kl.scatter, recon_scatter=f.recon.scatter, kl_oscillation=f.kl.oscillation,
                       std_within_interval=widest, updates_per_point=f.updates_per_point)  # fmt: skip
    key = "vae_batch_states" if f.number("vae_batch_states") > 0 else "batch_size"
    batch = f.number(key)
    if math.isnan(widest):
        cause = "values of single batches vary independently around a smooth line; log means over the interval"
        return Finding("sampling_noise", evidence, cause, {"learner_log_interval": 1000}, 0.85)
    cause = "the differences between batches exceed the changes of the VAE; larger batches differ less"
    least, most = (128, 1024) if key == "vae_batch_states" else (32, 256)
    larger = least if not batch > 0 else int(min(most, max(least, batch * 4)))
    return Finding("sampling_noise", evidence, cause, {key: larger} if larger > batch else {}, 0.85)


RULES = (data_refresh, excursion, too_short, sampling_noise)
