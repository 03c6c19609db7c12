"""The measured facts of a run, and quantities and thresholds that several rules share.

A rule maps the facts to a finding, or to None if its symptom is absent; there is one rule for each symptom.
Thresholds were set on runs of the default configuration, on runs that differ from it in one harmful key, and on the
fit half of the simulated fork runs (benchmarks/doctor_fit.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..runs import Series, finite
from ..symptoms import NO_MOTION, NO_WINDOW, Motion, Window, mean_of, share_of_loss
from .sawtooth import Teeth
from .shapes import highest_level, thinned
from .weights import BATCH_SUM, Weight

MIN_POINTS = 8  # fewer logged points in the window allow no statement about motion
DEAD_NATS = 0.5  # a KL below this transmits no information
NO_NATS = 0.05  # the same for a KL in unknown units, unless the curves show that the code is used
MEAN_DECODER_NATS = 2.0  # if nothing is explained and the KL is below this, the decoder outputs the mean
SLOW_LR = 1e-5  # learning rates up to this are too low
GOOD_LR = 2e-4  # the default of vae_lr, which worked for all states that were tried
VERY_HIGH_LR = 1e-2  # losses jump without other causes from this learning rate on
REGULAR = 0.05  # batches that a host collects have a smaller irregularity of their intervals
NARROW = 32  # fewer hidden units may be too few
NAN = float("nan")


def round_to(value: float, digits: int = 1) -> float:
    """``value`` rounded to this number of significant digits."""
    return float(f"{value:.{digits - 1}e}") if math.isfinite(value) else value


def rounded(**numbers: Any) -> dict[str, Any]:
    """The known numbers (neither None nor NaN), rounded to four significant digits."""
    known = {k: v for k, v in numbers.items() if not (isinstance(v, float) and math.isnan(v)) and v is not None}
    return {k: round_to(v, 4) if isinstance(v, float) else v for k, v in known.items()}


@dataclass(eq=False)
class Facts:
    """The measured facts of a run. Unknown numbers are NaN; unknown series are None."""

    # By omarl's names (``docs/metrics.md``), without one-point outliers, with the KL in nats if possible.
    series: Mapping[str, Series]
    config: Mapping[str, Any]  # by omarl's keys
    window: Window = NO_WINDOW
    raw: Mapping[str, Series] = field(default_factory=dict)  # the series as logged
    ours: bool = True  # the VAE is omarl's, so that remedies may be its keys
    kl: Motion = NO_MOTION  # in the window
    recon: Motion = NO_MOTION
    weight: Weight = field(default_factory=Weight)  # the KL's weight in the loss
    # Share of the states' variance (or nats) that the reconstruction does not explain, over the window; NaN if only
    # the reconstruction loss is known.
    unexplained: float = NAN
    unexplained_drift: float = NAN
    unexplained_late: float = NAN  # the same at the end of the run
    kl_level: float = NAN  # median KL at the end of the run, in nats unless ``units_known`` is False
    units_known: bool = True  # the KL is known or assumed to be in nats per state
    in_use: bool = False  # the curves show that the code is used, so a small KL must be in other units
    kl_teeth: Teeth | None = None
    recon_teeth: Teeth | None = None
    updates: float = NAN
    updates_per_point: float = NAN
    started: bool = True  # enough updates were made that the VAE can have learned
    failure: str = ""  # the error that ended the run, if any
    outliers: int = 0  # one-point outliers that were removed

    def in_window(self, name: str) -> Series | None:
        """The part of a series in the window, None if it is empty."""
        part = self.window.of(self.series[name]) if name in self.series else None
        return part if part is not None and len(part) else None

    def mean(self, name: str) -> float:
        """The mean of a series in the window."""
        return mean_of(self.in_window(name))

    def points(self, name: str) -> Series:
        """The finite points of a series; empty if it was not logged."""
        return finite(self.series.get(name))

    def curve(self, name: str) -> Series:
        """The finite points, thinned to ``MAX_POINTS``."""
        return thinned(self.points(name))

    def late_mean(self, name: str) -> float:
        """The mean of the last tenth of a series' finite points (at least 3)."""
        points = self.points(name)
        return mean_of(points[-max(3, len(points) // 10) :])

    def number(self, key: str, default: float = NAN) -> float:
        """The value of a key; ``default`` if it is not a number."""
        value = self.config.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default

    @property
    def alpha(self) -> float:
        """The KL weight at the end of the run, as a factor of the KL in the loss."""
        return self.weight.value

    @property
    def latent_dim(self) -> float:
        """Z, the number of latents; NaN if it is unknown, or was chosen by the size of the state (0)."""
        return self.number("vae_latent_dim") or math.nan

    @property
    def in_nats(self) -> bool:
        """Whether the loss is in nats per state, so that the KL's factor differs from ``omg_vae_alpha``."""
        return self.weight.per_alpha > 1.5

    @property
    def is_explained_known(self) -> bool:
        """Whether ``unexplained`` was measured."""
        return not math.isnan(self.unexplained)

    @property
    def is_calibrated(self) -> bool:
        """Whether the decoder estimates its own variance; KL weight and squared error are not comparable then."""
        return self.config.get("vae_decoder") == "calibrated"

    @property
    def kl_share(self) -> float:
        """alpha * KL / reconstruction loss, at the weight that the run approaches; NaN for a calibrated decoder."""
        return NAN if self.is_calibrated else share_of_loss(self.kl.mean, self.recon.mean, self.alpha)

    @property
    def share_clipped(self) -> float:
        """The share of clipped updates, as logged or counted from the gradient norms."""
        norm, limit = self.in_window("vae_grad_norm"), self.number("grad_norm_clip")
        logged = self.mean("vae_clipped_share")
        if norm is None or math.isnan(limit):
            return logged
        counted = mean_of(Series(norm.t, np.where(np.isfinite(norm.value), norm.value > limit, np.nan)))
        return counted if math.isnan(logged) or (logged == 0 and counted > 0) else logged

    @property
    def is_dead(self) -> bool:
        """Whether the latents transmit no information in the last tenth of the run.

        Judged by the KL in nats, the active units and the explained variance. If only losses are known, a small KL
        counts as dead unless the curves show that the code is used.
        """
        active = self.late_mean("vae_active_units")
        allowed = 1.0 if math.isnan(self.latent_dim) else max(1.0, 0.1 * self.latent_dim)
        if not self.started or math.isnan(self.kl_level) or active > allowed:
            return False
        if self.kl_level < min(0.02 * self.peak_level, 10.0) and not self.unexplained_late <= 0.9:
            return True  # in any unit
        if not math.isnan(self.unexplained_late):
            return self.unexplained_late > 0.9 and self.kl_level < (
                MEAN_DECODER_NATS if self.units_known else math.inf
            )
        summed = 0.001 * self.recon.mean if self.recon.mean > BATCH_SUM else 0.0  # over the batch, like the loss
        if self.kl_level >= max(DEAD_NATS, summed) or self.in_use or not self.units_known:
            return False
        return self.kl_level < max(NO_NATS, summed) or self.kl_level < 0.2 * self.peak_level or active <= allowed

    @property
    def peak_level(self) -> float:
        """The highest KL after the first twentieth of the run, without excursions."""
        return highest_level(self.curve("vae_kl_loss").value)

    @property
    def learns_too_slowly(self) -> bool:
        """Whether the learning rate is so low that nothing was learned."""
        return self.number("vae_lr") <= SLOW_LR and not self.unexplained <= 0.9

    def jumps_are_of_optimiser(self, teeth: Teeth) -> bool:
        """Whether jumps of a loss are caused by the optimiser and not by new batches.

        Such jumps go up, are irregular, and occur at a very high learning rate.
        """
        return self.number("vae_lr") >= VERY_HIGH_LR and teeth.depth > 0 and teeth.irregularity > REGULAR

    @property
    def weight_swings(self) -> bool:
        """Whether the KL weight goes up and down; the PI controller's does not count, since it follows the KL."""
        schedule = self.config.get("vae_alpha_schedule")
        return schedule != "pi" and (schedule == "cyclical" or self.weight.moves == "cyclical")
