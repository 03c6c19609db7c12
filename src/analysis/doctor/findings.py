"""What the doctor says, and in which order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..runs import Series
from ..symptoms import NOTHING, Motion, Window
from .sawtooth import Teeth
from .shapes import compact, finite
from .weights import Weight

# Causes before what they bring about: of two findings the one further up is named first, unless the KL weight's
# schedule drives one of them (``Finding.driven_by_weight``).
SYMPTOMS = (
    "negative_kl",
    "non_finite",
    "learning_rate_too_high",
    "posterior_collapse",
    "kl_weight_too_large",
    "kl_weight_too_small",
    "data_refresh",
    "gradient_clipping",
    "logvar_saturation",
    "kl_explosion",
    "latent_oversized",
    "kl_oscillation",
    "kl_growth",
    "reconstruction_plateau",
    "excursion",
    "too_short",
    "sampling_noise",
)

# What a finding brings about, and so is not found a second time.
EXPLAINS: Mapping[str, tuple[str, ...]] = {
    "negative_kl": (
        "non_finite", "posterior_collapse", "kl_explosion", "kl_growth", "kl_oscillation", "kl_weight_too_small",
        "logvar_saturation", "gradient_clipping", "reconstruction_plateau", "excursion", "too_short",
        "sampling_noise",
    ),
    "non_finite": (
        "posterior_collapse", "gradient_clipping", "kl_explosion", "reconstruction_plateau", "excursion",
        "kl_growth", "too_short", "sampling_noise",
    ),
    "learning_rate_too_high": (
        "posterior_collapse", "kl_weight_too_large", "kl_explosion", "kl_oscillation", "kl_growth",
        "gradient_clipping", "reconstruction_plateau", "excursion", "sampling_noise", "latent_oversized",
        "logvar_saturation",
    ),
    "posterior_collapse": (
        "kl_weight_too_large", "reconstruction_plateau", "kl_oscillation", "latent_oversized", "too_short",
        "sampling_noise",
    ),
    "kl_weight_too_large": ("reconstruction_plateau", "latent_oversized"),
    "kl_weight_too_small": ("kl_explosion", "kl_growth", "logvar_saturation"),
    "data_refresh": ("kl_oscillation", "sampling_noise"),
    "gradient_clipping": ("reconstruction_plateau",),
    "logvar_saturation": ("reconstruction_plateau", "kl_growth"),
    "kl_explosion": ("kl_growth", "kl_oscillation", "excursion"),
    "kl_oscillation": ("kl_growth", "excursion"),
}  # fmt: skip

HARMLESS = frozenset({"sampling_noise"})  # told, but no fault of the training


@dataclass(frozen=True)
class Finding:
    """One thing the doctor has seen.

    Attributes:
        symptom: one of ``SYMPTOMS``.
        evidence: the numbers it rests on.
        cause: the likely one, in a sentence.
        remedy: configuration keys of ours with their new values; empty where none is known to help, and for a VAE
            that is not ours.
        confidence: 0 to 1.
        explains: further symptoms that were found and follow from this one.
        advice: what to change in code, in a sentence, where the VAE is not ours.
        driven_by_weight: the KL weight's schedule brings it about; such a finding is named first.
        independent: a setting of its own brings it about, so that no other finding explains it.
    """

    symptom: str
    evidence: dict[str, Any]
    cause: str
    remedy: dict[str, Any]
    confidence: float
    explains: tuple[str, ...] = ()
    advice: str = ""
    driven_by_weight: bool = False
    independent: bool = False


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """All findings, the most important first.

    Attributes:
        findings: ordered as ``SYMPTOMS``, consequences of others taken up into their ``explains``.
        notes: what else is worth a line: what could not be judged and why, settings that do nothing.
        measured: the numbers the verdict rests on.
        window: where they were measured, in environment steps.
        files: what was written.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    measured: dict[str, Any] = field(default_factory=dict)
    window: Window = Window(0.0, 0.0, True)
    files: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """No fault found, and enough seen to say so: a run that was too short is not healthy, only unknown.

        Sampling noise alone leaves a run healthy.
        """
        return all(finding.symptom in HARMLESS for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For ``diagnosis.json``."""
        return {
            "healthy": self.healthy,
            "findings": [asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
            "measured": self.measured,
            "window": self.window._asdict(),
        }


@dataclass(frozen=True, eq=False)
class Facts:
    """A run, measured once for all rules. A number that is not known is NaN; a series that is not, None.

    Attributes:
        series: by canonical name (``docs/metrics.md``), without one-point outliers, the KL in nats where known.
        raw: the same as logged.
        config: by our keys; a fork's are translated.
        ours: whether the VAE is this package's, so that remedies may be its keys.
        window, kl, recon: where it was measured, and how the two losses move there.
        weight: what the KL weighs in the loss.
        unexplained: the share of the states' variance (or nats) that the reconstruction lacks; NaN where only the
            reconstruction loss is known. ``unexplained_late``: the same in the last tenth.
        kl_level: median KL of the last tenth; its unit is nats unless ``units_known`` is False.
        units_known: whether the KL is known or taken to be in nats of a state.
        in_use: the KL rose while the reconstruction fell, so a small number is a matter of units.
        kl_teeth, recon_teeth: sawteeth in the two losses.
        started: enough updates that something can have been learned.
        failure: how the run ended, if not well.
        outliers: one-point outliers that were taken out.
    """

    series: Mapping[str, Series]
    config: Mapping[str, Any]
    window: Window
    raw: Mapping[str, Series] = field(default_factory=dict)
    ours: bool = True
    kl: Motion = NOTHING
    recon: Motion = NOTHING
    weight: Weight = field(default_factory=Weight)
    unexplained: float = float("nan")
    unexplained_drift: float = float("nan")
    unexplained_late: float = float("nan")
    kl_level: float = float("nan")
    units_known: bool = True
    in_use: bool = False
    kl_teeth: Teeth | None = None
    recon_teeth: Teeth | None = None
    updates: float = float("nan")
    updates_per_point: float = float("nan")
    started: bool = True
    failure: str = ""
    outliers: int = 0

    @property
    def alpha(self) -> float:
        """The KL weight that the run is heading for, as it multiplies the KL in the loss."""
        return self.weight.value

    def inside(self, name: str) -> Series | None:
        """A series' part in the window, None where it has none."""
        found = self.series.get(name)
        part = self.window.of(found) if found is not None else None
        return part if part is not None and len(part) else None

    def whole(self, name: str) -> Series:
        """The finite points of a series, none where it was not logged."""
        return finite(self.series.get(name))

    def curve(self, name: str) -> Series:
        """The same in at most ``MAX_POINTS`` points, for shapes."""
        return compact(self.whole(name))

    def tail(self, name: str) -> Series:
        """The last tenth of a series' finite points, 3 of them at least."""
        found = self.whole(name)
        last = max(3, len(found) // 10)
        return Series(found.t[-last:], found.value[-last:])

    @property
    def is_explained_known(self) -> bool:
        """Whether ``unexplained`` is measured."""
        return not math.isnan(self.unexplained)

    def number(self, key: str, default: float = float("nan")) -> float:
        """A configuration's number."""
        value = self.config.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
