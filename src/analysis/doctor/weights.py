"""What the KL weighs in a run's loss, and in which units the KL was logged.

Forks reduce their losses in different ways: means or sums over features, latents and batch, KL before or after its
weight. Total, reconstruction and KL together determine the effective weight: ``total = reconstruction + w * KL``.
Beside the configured or logged weight, it says what the logged KL is multiplied by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..runs import Series
from ..symptoms import mean_of
from .shapes import compact, finite, running_median, turns

Floats = NDArray[np.float64]
NAN = float("nan")

PLAUSIBLE_NATS = 1000.0  # of one state
BATCH_SUM = 2000.0  # a reconstruction loss above is a sum over batch and features
ROUNDING = 1e-4  # of a loss: logs often have four digits
FEATURE_SUM = 8.0  # one above is a sum over features: a mean of standardised or binary features is about 1 at most


class Weight(NamedTuple):
    """The KL's weight in the loss.

    Attributes:
        value: where it stands in the last quarter (or where the configuration sends it), for the KL as used here.
        series: over training, where logged or inferred; None where only the configuration says it.
        source: logged, inferred, configured or unknown.
        per_alpha: value over ``omg_vae_alpha``: what a suggested weight must be divided by.
        kl_factor: what the logged KL has to be multiplied by to be nats of a state; an array with one factor per
            logged point where the weight was in it; NaN where it is not nats and the factor is unknown.
        notes: for the reader.
    """

    value: float = NAN
    series: Series | None = None
    source: str = "unknown"
    per_alpha: float = 1.0
    kl_factor: float | Series = 1.0
    notes: tuple[str, ...] = ()

    @property
    def moves(self) -> str:
        """How the weight moves: "still", "rising" at the end, "ramped" before, "falling" or "cyclical"."""
        return movement(self.series) if self.series is not None else "still"


def movement(series: Series) -> str:
    """See ``Weight.moves``."""
    value = compact(finite(series)).value
    n = len(value)
    if n < 8:
        return "still"
    value = running_median(value, 5) if n >= 30 else value
    high, low = float(value.max()), float(value.min())
    if high <= 0 or high - low < 0.05 * high:
        return "still"
    if turns(value, 0.3 * (high - low)) >= 2:
        return "cyclical"
    late, last = (
        float(np.median(value[int(0.75 * n) : int(0.85 * n) + 1])),
        float(np.median(value[-max(2, n // 20) :])),
    )
    if last > 1.03 * late:
        return "rising"
    if last < 0.97 * late:
        return "falling"
    return "ramped" if value[0] < 0.9 * high else "still"


def weigh(series: Mapping[str, Series], config: Mapping[str, Any], latents: float) -> Weight:
    """The weight from what was logged, from total, reconstruction and KL, or from the configuration."""
    alpha, beta = finite(series.get("vae_alpha")), finite(series.get("vae_beta"))
    per_alpha = mean_of(beta) / mean_of(alpha) if len(beta) and mean_of(alpha) > 0 else 1.0
    stated = beta if len(beta) else alpha
    configured = config.get("omg_vae_alpha")
    target = float(configured) * per_alpha if isinstance(configured, int | float) else NAN
    known = len(beta) or config.get("vae_decoder") == "calibrated"  # ours, whose total may hold further terms
    inferred = None if known else _inferred(series)
    if len(stated):
        weight = Weight(late_mean(stated), stated, "logged", per_alpha)
    elif inferred is not None:
        weight = Weight(late_mean(inferred), inferred, "inferred", per_alpha)
    elif math.isnan(target) and not known and (most := _negligible(series)) is not None:
        weight = Weight(most, None, "inferred", per_alpha)
    else:
        weight = Weight(target, None, "configured" if not math.isnan(target) else "unknown", per_alpha)
    if inferred is None:
        return weight
    return _reconciled(weight, inferred, target, latents)


def late_mean(series: Series) -> float:
    """The mean over the last quarter of the points."""
    return float(np.mean(series.value[int(0.75 * len(series)) :])) if len(series) else NAN


def _inferred(series: Mapping[str, Series]) -> Series | None:
    """(total - reconstruction) / KL over training, None where that is not smooth enough to be a weight."""
    total, recon, kl = (finite(series.get(name)) for name in ("vae_loss", "vae_recon_loss", "vae_kl_loss"))
    t = np.intersect1d(np.intersect1d(total.t, recon.t), kl.t)
    if len(t) < 8:
        return None
    whole, fit, nats = (s.value[np.searchsorted(s.t, t)] for s in (total, recon, kl))
    rest = whole - fit
    usable = (np.abs(nats) > 1e-9) & (np.abs(rest) > 1e-5 * np.abs(whole))
    if usable.sum() < max(8, 0.5 * len(t)):
        return None
    t, ratio = t[usable], rest[usable] / nats[usable]
    smooth = running_median(ratio, 9)
    usual = float(np.median(np.abs(smooth)))
    if not (usual > 0 and np.median(smooth) > 0):
        return None
    error = float(np.median(np.abs(ratio - smooth))) / usual
    return Series(t, np.maximum(smooth, 0.0)) if error < 0.1 else None


def _negligible(series: Mapping[str, Series]) -> float | None:
    """An upper bound of a weight so small that total and reconstruction are the same to rounding; else None."""
    total, recon, kl = (finite(series.get(name)) for name in ("vae_loss", "vae_recon_loss", "vae_kl_loss"))
    t = np.intersect1d(np.intersect1d(total.t, recon.t), kl.t)
    if len(t) < 8:
        return None
    whole, fit, nats = (s.value[np.searchsorted(s.t, t)] for s in (total, recon, kl))
    late = slice(len(t) // 2, None)
    rest = float(np.median(np.abs(whole - fit)[late]))
    usual, settled = float(np.median(np.abs(fit[late]))), float(np.median(nats[late]))
    if settled <= 0 or rest > ROUNDING * usual:
        return None
    return max(rest, ROUNDING * usual) / settled


def _reconciled(weight: Weight, inferred: Series, target: float, latents: float) -> Weight:
    """What stated and effective weight together say of the units in which the KL was logged."""
    effective = late_mean(inferred)
    if weight.source == "logged":
        ratio = effective / weight.value if weight.value > 0 else NAN
        stated = weight.value
    else:
        ratio, stated = (effective / target if target > 0 else NAN), target
    if math.isnan(ratio) or 0.6 < ratio < 1.6:
        return weight if weight.source == "logged" else weight._replace(value=effective, series=inferred)
    if 0.8 < effective < 1.25 and stated < 0.5:
        note = (
            f"The KL was logged after its weight: the total is reconstruction + {effective:.3g} x KL, though the "
            f"weight is {stated:.3g}. Nats here are the logged KL over the weight."
        )
        factor: float | Series = 1.0 / stated
        if weight.source == "logged" and weight.series is not None:
            factor = Series(weight.series.t, 1.0 / np.maximum(weight.series.value, 1e-2 * stated))
            return weight._replace(kl_factor=factor, notes=(note,))
        return Weight(stated, None, "configured", weight.per_alpha, factor, (note,))
    if ratio > 2.5:
        over = "over the latents" if latents > 0 and 0.8 < ratio / latents < 1.25 else "over latents (and batch)"
        note = (
            f"The KL was logged as a mean {over}: the total weighs it by {effective:.3g}, {ratio:.3g} times the "
            f"stated weight {stated:.3g}. Nats here are {ratio:.3g} times the logged KL."
        )
        return weight._replace(
            value=stated, kl_factor=ratio, notes=(note,), series=weight.series if weight.source == "logged" else None
        )
    if weight.source != "logged" and ratio < 1:  # a schedule on its way to the configured weight
        return weight._replace(value=effective, series=inferred, source="inferred")
    note = f"The total weighs the KL by {effective:.3g}, where {stated:.3g} was stated; the former was used."
    return weight._replace(value=effective, series=inferred, source="inferred", notes=(note,))


def recon_notes(recon: float, kl: float) -> tuple[str, ...]:
    """What the size of the reconstruction loss says about its reduction."""
    if recon > BATCH_SUM:
        return (
            f"The reconstruction loss of {recon:,.0f} is a sum over the batch and the features: KL and weight are "
            "judged relative to it only. Divide both losses by the number of states to compare runs.",
        )
    if recon > FEATURE_SUM:
        return (
            f"The reconstruction loss of {recon:.3g} is a sum over features (a summed likelihood), not a mean: "
            "KL weights near 1 are usual there.",
        )
    return ()


def least_nats(explained: float) -> float:
    """Nats below which nobody can explain so much variance, generously: 0.4 of one Gaussian feature's rate."""
    return 0.4 * -0.5 * math.log(max(1e-6, 1.0 - explained)) if explained > 0.5 else 0.0


def units_from_information(kl: float, explained: float, weight: Weight, latents: float) -> Weight:
    """Too few nats for the variance explained: the KL is a mean over latents, or was logged after its weight."""
    if not (0 < kl < least_nats(explained)) or weight.notes:
        return weight
    stated = weight.value
    if latents > 1 and 1.0 <= kl * latents <= 20 * latents:
        what, factor = f"a mean over the {latents:g} latents, {kl * latents:.3g} nats in all", latents
    elif 0 < stated < 0.5 and 1.0 <= kl / stated <= PLAUSIBLE_NATS:
        what, factor = f"logged after its weight {stated:.3g}, {kl / stated:.3g} nats without it", 1.0 / stated
    else:
        what, factor = "a mean over latents or batch, or logged after its weight", NAN
    note = (
        f"A KL of {kl:.3g} is too small for {explained:.0%} of the variance explained, were it in nats: "
        f"it is probably {what}."
    )
    return weight._replace(kl_factor=factor, notes=(note,))
