"""Determines the KL's weight in a run's loss and the unit of the logged KL.

Forks reduce their losses in different ways: means or sums over features, latents and batch, with the KL before or
after multiplication by its weight. Total, reconstruction and KL together determine the effective weight: ``total =
reconstruction + w * KL``. Comparing it with the configured or logged weight gives the factor of the logged KL.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..runs import Series, finite
from ..symptoms import mean_of
from .shapes import count_turns, running_median, thinned

Floats = NDArray[np.float64]
NAN = float("nan")

PLAUSIBLE_NATS = 1000.0  # upper bound of the KL of one state
BATCH_SUM = 2000.0  # a larger reconstruction loss is a sum over batch and features
ROUNDING = 1e-4  # relative rounding error of a loss, since logs often have four digits
FEATURE_SUM = 8.0  # a larger reconstruction loss is a sum over features; the mean over scaled features is about 1


class Weight(NamedTuple):
    """The KL's weight in the loss."""

    value: float = NAN  # in the last quarter (or as configured), as a factor of the KL in the unit used here
    series: Series | None = None  # the weight over training, if logged or inferred; None if it is only configured
    source: str = "unknown"  # logged, inferred, configured or unknown
    per_alpha: float = 1.0  # ratio of value and ``omg_vae_alpha``; a suggested weight must be divided by it
    # Factor that converts the logged KL to nats per state: a series with one factor per logged point if the KL was
    # logged after a varying weight; NaN if the unit is not nats and the factor is unknown.
    kl_factor: float | Series = 1.0
    notes: tuple[str, ...] = ()  # for the user

    @property
    def moves(self) -> str:
        """How the weight changes: "still", "rising" at the end, "ramped" (rose earlier), "falling" or "cyclical"."""
        value = thinned(finite(self.series)).value
        n = len(value)
        if n < 8:
            return "still"
        value = running_median(value, 5) if n >= 30 else value
        high, low = float(value.max()), float(value.min())
        if high <= 0 or high - low < 0.05 * high:
            return "still"
        if count_turns(value, 0.3 * (high - low)) >= 2:
            return "cyclical"
        late = float(np.median(value[int(0.75 * n) : int(0.85 * n) + 1]))
        last = float(np.median(value[-max(2, n // 20) :]))
        if last > 1.03 * late:
            return "rising"
        if last < 0.97 * late:
            return "falling"
        return "ramped" if value[0] < 0.9 * high else "still"


def weigh(series: Mapping[str, Series], config: Mapping[str, Any], latents: float) -> Weight:
    """The weight as logged, inferred from total, reconstruction and KL, or configured."""
    alpha, beta = finite(series.get("vae_alpha")), finite(series.get("vae_beta"))
    per_alpha = mean_of(beta) / mean_of(alpha) if len(beta) and mean_of(alpha) > 0 else 1.0
    stated = beta if len(beta) else alpha
    configured = config.get("omg_vae_alpha")
    target = float(configured) * per_alpha if isinstance(configured, int | float) else NAN
    known = len(beta) or config.get("vae_decoder") == "calibrated"  # omarl's total, which may contain further terms
    aligned = None if known else _aligned_losses(series)
    inferred = _inferred(*aligned) if aligned is not None else None
    if len(stated):
        weight = Weight(late_mean(stated), stated, "logged", per_alpha)
    elif inferred is not None:
        weight = Weight(late_mean(inferred), inferred, "inferred", per_alpha)
    elif math.isnan(target) and aligned is not None and (most := _negligible(*aligned)) is not None:
        weight = Weight(most, None, "inferred", per_alpha)
    else:
        weight = Weight(target, None, "configured" if not math.isnan(target) else "unknown", per_alpha)
    return weight if inferred is None else _reconciled(weight, inferred, target, latents)


def late_mean(series: Series) -> float:
    """The mean over the last quarter of the points."""
    return float(np.mean(series.value[int(0.75 * len(series)) :])) if len(series) else NAN


def _aligned_losses(series: Mapping[str, Series]) -> tuple[Floats, Floats, Floats, Floats] | None:
    """Common steps and the values of total, reconstruction and KL there; None for fewer than 8 steps."""
    losses = [finite(series.get(name)) for name in ("vae_loss", "vae_recon_loss", "vae_kl_loss")]
    t = np.intersect1d(np.intersect1d(losses[0].t, losses[1].t), losses[2].t)
    total, recon, kl = (loss.value[np.searchsorted(loss.t, t)] for loss in losses)
    return (t, total, recon, kl) if len(t) >= 8 else None


def _inferred(t: Floats, total: Floats, recon: Floats, kl: Floats) -> Series | None:
    """(total - reconstruction) / KL over training, None if it is not smooth enough to be a weight."""
    rest = total - recon
    usable = (np.abs(kl) > 1e-9) & (np.abs(rest) > 1e-5 * np.abs(total))
    if usable.sum() < max(8, 0.5 * len(t)):
        return None
    t, ratio = t[usable], rest[usable] / kl[usable]
    smooth = running_median(ratio, 9)
    usual = float(np.median(np.abs(smooth)))
    if not (usual > 0 and np.median(smooth) > 0):
        return None
    error = float(np.median(np.abs(ratio - smooth))) / usual
    return Series(t, np.maximum(smooth, 0.0)) if error < 0.1 else None


def _negligible(t: Floats, total: Floats, recon: Floats, kl: Floats) -> float | None:
    """An upper bound of the weight if it is so small that total and reconstruction agree to rounding; else None."""
    late = slice(len(t) // 2, None)
    rest = float(np.median(np.abs(total - recon)[late]))
    usual, kl_level = float(np.median(np.abs(recon[late]))), float(np.median(kl[late]))
    if kl_level <= 0 or rest > ROUNDING * usual:
        return None
    return max(rest, ROUNDING * usual) / kl_level


def _reconciled(weight: Weight, inferred: Series, target: float, latents: float) -> Weight:
    """The weight and the unit of the logged KL, from the stated and the effective weight."""
    effective = late_mean(inferred)
    stated = weight.value if weight.source == "logged" else target
    ratio = effective / stated if stated > 0 else NAN
    if math.isnan(ratio) or 0.6 < ratio < 1.6:
        return weight if weight.source == "logged" else weight._replace(value=effective, series=inferred)
    if 0.8 < effective < 1.25 and stated < 0.5:
        note = (
            f"The KL was logged after its weight: the total is reconstruction + {effective:.3g} x KL, although the "
            f"weight is {stated:.3g}. KL values in nats are the logged KL divided by the weight."
        )
        if weight.source == "logged" and weight.series is not None:
            factor = Series(weight.series.t, 1.0 / np.maximum(weight.series.value, 1e-2 * stated))
            return weight._replace(kl_factor=factor, notes=(note,))
        return Weight(stated, None, "configured", weight.per_alpha, 1.0 / stated, (note,))
    if ratio > 2.5:
        over = "over the latents" if latents > 0 and 0.8 < ratio / latents < 1.25 else "over latents (and batch)"
        note = (
            f"The KL was logged as a mean {over}: its weight in the total is {effective:.3g}, {ratio:.3g} times the "
            f"stated weight {stated:.3g}. KL values in nats are {ratio:.3g} times the logged KL."
        )
        logged = weight.series if weight.source == "logged" else None
        return weight._replace(value=stated, kl_factor=ratio, notes=(note,), series=logged)
    if weight.source != "logged" and ratio < 1:  # a schedule that has not reached the configured weight yet
        return weight._replace(value=effective, series=inferred, source="inferred")
    note = f"The KL's weight in the total is {effective:.3g}, but {stated:.3g} was stated; the former is used here."
    return weight._replace(value=effective, series=inferred, source="inferred", notes=(note,))


def recon_notes(recon: float) -> Iterator[str]:
    """Notes on the reduction of the reconstruction loss, derived from its size."""
    if recon > BATCH_SUM:
        yield (
            f"The reconstruction loss of {recon:,.0f} is a sum over the batch and the features: KL and weight are "
            "judged only relative to it. Divide both losses by the number of states to compare runs."
        )
    elif recon > FEATURE_SUM:
        yield (
            f"The reconstruction loss of {recon:.3g} is a sum over features (a summed likelihood), not a mean; "
            "KL weights near 1 are usual for such losses."
        )


def units_from_information(kl: float, explained: float, weight: Weight, latents: float) -> Weight:
    """Adjusts the factor of a KL that is too small for the explained variance.

    Such a KL is a mean over latents, or was logged after its weight.
    """
    # at least 0.4 times the rate of one Gaussian feature
    least = 0.4 * -0.5 * math.log(max(1e-6, 1.0 - explained)) if explained > 0.5 else 0.0
    if not (0 < kl < least) or weight.notes:
        return weight
    stated = weight.value
    if latents > 1 and 1.0 <= kl * latents <= 20 * latents:
        what, factor = f"a mean over the {latents:g} latents, {kl * latents:.3g} nats in all", latents
    elif 0 < stated < 0.5 and 1.0 <= kl / stated <= PLAUSIBLE_NATS:
        what, factor = f"logged after its weight {stated:.3g}, {kl / stated:.3g} nats without it", 1.0 / stated
    else:
        what, factor = "a mean over latents or batch, or logged after its weight", NAN
    note = (
        f"A KL of {kl:.3g} nats is too small for {explained:.0%} of the variance explained, so the logged KL is "
        f"probably {what}."
    )
    return weight._replace(kl_factor=factor, notes=(note,))
