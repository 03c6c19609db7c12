"""Measures everything that the rules need, from series and configuration to ``Facts``."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..runs import EMPTY, Series, finite
from ..symptoms import mean_of, measured_window, motion
from .facts import NAN, Facts
from .sawtooth import Teeth, find_teeth
from .shapes import highest_level, running_median, spread, thinned, without_outliers
from .weights import units_from_information, weigh

MIN_UPDATES = 200  # with fewer updates a VAE need not have learned anything
LOSSES = ("vae_kl_loss", "vae_recon_loss", "vae_loss")
CLEANED = (*LOSSES, *(f"{name}_max" for name in LOSSES), "vae_explained_variance", "vae_grad_norm")


def measure(series: Mapping[str, Series], config: Mapping[str, Any], failure: str = "", ours: bool = True) -> Facts:
    """Measures a run from its series and configuration by omarl's names; ``Facts`` explains the other arguments."""
    cleaned, outliers = dict(series), 0  # the largest number of one-point outliers in one series
    for name in CLEANED:
        points = finite(series.get(name))
        if len(points) >= 8:
            cleaned[name], count = without_outliers(points)
            outliers = max(outliers, count)
    facts = Facts(cleaned, config, raw=series, failure=failure, ours=ours, outliers=outliers)
    main = next((series[n] for n in LOSSES if n in series), None)
    if main is None:
        return facts
    _weigh(facts)
    facts.updates, facts.updates_per_point = _updates(series, main)
    facts.started = not facts.updates < MIN_UPDATES and len(main) >= 8
    # the last half, after the end of the weight's ramp if the weight was logged
    ramped = config.get("vae_alpha_schedule", "linear") in ("linear", "sigmoid")
    target = facts.number("omg_vae_alpha") if "vae_alpha_ramp" in config else NAN
    alpha = facts.series.get("vae_alpha") if ramped else None
    facts.window = measured_window(main.t, alpha, None if math.isnan(target) else target)
    kl, recon = facts.points("vae_kl_loss"), facts.points("vae_recon_loss")
    facts.kl, facts.recon = (
        motion(facts.in_window(name), facts.in_window(f"{name}_std"), facts.updates_per_point)
        for name in ("vae_kl_loss", "vae_recon_loss")
    )
    facts.kl_level, facts.in_use = late_level(kl), code_is_used(kl, recon)
    unexplained = _unexplained(facts)
    part = facts.window.of(unexplained)
    moving = motion(part)
    facts.unexplained = moving.mean if moving.points else mean_of(part if len(part) else unexplained)
    facts.unexplained_drift, facts.unexplained_late = moving.drift, late_level(unexplained)
    facts.kl_teeth, facts.recon_teeth = _teeth(_until_collapse(kl), recon), _teeth(recon)
    return facts


def _weigh(facts: Facts) -> None:
    """Sets the KL weight, and converts the KL to nats if the factor is known."""
    z = facts.latent_dim
    facts.weight = weigh(facts.series, facts.config, z)
    kl, explained = facts.points("vae_kl_loss"), 1.0 - late_level(_unexplained(facts))
    if len(kl):
        facts.weight = units_from_information(late_level(kl), explained, facts.weight, z)
    factor = facts.weight.kl_factor
    if isinstance(factor, float) and not math.isfinite(factor):
        facts.units_known = False
    elif factor != 1.0:
        scaled = dict(facts.series)
        for name in [n for n in scaled if n.startswith("vae_kl_loss")]:
            points = finite(scaled[name])
            by = np.interp(points.t, factor.t, factor.value) if isinstance(factor, Series) else factor
            scaled[name] = Series(points.t, points.value * by)
        facts.series = scaled


def _updates(series: Mapping[str, Series], main: Series) -> tuple[float, float]:
    """The number of updates at the end, and the updates per logged point; NaN if unknown."""
    updates = series.get("updates")
    if updates is None or len(updates) < 2 or len(main) < 2:
        return mean_of(updates), NAN
    done = float(np.nanmax(updates.value) - np.nanmin(updates.value))
    stretch = (main.t[-1] - main.t[0]) / max(updates.t[-1] - updates.t[0], 1e-12)
    return float(np.nanmax(updates.value)), max(1.0, done * stretch / (len(main) - 1))


def _unexplained(facts: Facts) -> Series:
    """1 - explained variance, or reconstruction loss over that of a decoder of the mean; empty if unknown."""
    explained = facts.points("vae_explained_variance")
    if len(explained) and np.median(explained.value[len(explained) // 2 :]) > -0.5:
        return Series(explained.t, 1.0 - explained.value)
    recon, null = facts.points("vae_recon_loss"), facts.points("vae_recon_null")
    if len(recon) and len(null):
        return Series(recon.t, recon.value / np.maximum(np.interp(recon.t, null.t, null.value), 1e-9))
    return EMPTY


def late_level(series: Series) -> float:
    """The median of the last twentieth of the points (at least 3 points)."""
    return float(np.median(series.value[-max(3, len(series) // 20) :])) if len(series) else NAN


def code_is_used(kl: Series, recon: Series) -> bool:
    """Whether the curves show that the code is used, so that a small KL must be in other units than nats.

    Either the KL rose from a trough and stayed high, or it stayed high while the reconstruction improved after the
    first tenth, which a decoder without a code cannot do.
    """
    kl, recon = thinned(kl), thinned(recon)
    n = len(kl)
    if n < 20:
        return False
    value = running_median(kl.value, max(3, n // 40) | 1)
    end, peak, low = late_level(kl), highest_level(kl.value), float(value[: n // 2].min())
    noise = spread(kl.value[-max(5, n // 5) :]) / math.sqrt(max(3, n // 10))
    rose = end >= 0.5 * peak and end >= 3 * max(low, 0.0) and end - low > 6 * noise
    if not len(recon):
        return rose
    late, then = late_level(recon), recon.value[np.abs(recon.t - kl.t[n // 10]).argmin()]
    trough = recon.value[np.abs(recon.t - kl.t[int(np.argmin(value[: n // 2]))]).argmin()]
    return (rose and late < 0.95 * float(trough)) or (end >= 0.3 * peak and end > 0.01 and late < 0.7 * float(then))


def _teeth(series: Series, beside: Series | None = None) -> Teeth | None:
    """A sawtooth in the complete curve or, if the start hides it, in the last two thirds."""
    if len(series) < 20:
        return None
    series = thinned(series)
    return find_teeth(series, beside) or find_teeth(series[len(series) // 3 :], beside)


def _until_collapse(kl: Series) -> Series:
    """The KL without what follows a late collapse, where no sawtooth can be seen."""
    if len(kl) < 20:
        return kl
    kl = thinned(kl)
    alive = np.flatnonzero(running_median(kl.value, 5) > 0.1 * highest_level(kl.value))
    return kl[: alive[-1] + 1] if len(alive) > 20 else kl
