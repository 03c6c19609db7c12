"""The doctor's results: symptoms in order, findings, diagnosis, and the measured facts of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..runs import Series, finite
from ..symptoms import NO_MOTION, Motion, Window
from .sawtooth import Teeth
from .shapes import thinned
from .weights import Weight

# Each symptom with its possible effects, which are listed in its finding's ``explains`` and not separately. Causes
# precede their effects: of two findings, the one that is earlier here is named first, except that a finding driven by
# the KL weight's schedule (``Finding.driven_by_weight``) precedes others.
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
    "latent_oversized": (),
    "kl_oscillation": ("kl_growth", "excursion"),
    "kl_growth": (),
    "reconstruction_plateau": (),
    "excursion": (),
    "too_short": (),
    "sampling_noise": (),
}  # fmt: skip
SYMPTOMS = tuple(EXPLAINS)

HARMLESS = frozenset({"sampling_noise"})  # reported, but not a fault of the training


@dataclass(frozen=True)
class Finding:
    """A symptom with its evidence, cause and remedy.

    Attributes:
        symptom: one of ``SYMPTOMS``.
        evidence: the numbers on which the finding is based.
        cause: the probable cause, one sentence without capital and full stop.
        remedy: omarl's configuration keys with new values; empty if none is known to help, and for other VAEs.
        confidence: 0 to 1.
        explains: further symptoms that were found and are effects of this one.
        advice: for VAEs of other packages, one sentence on what to change in the code.
        driven_by_weight: the KL weight's schedule causes the symptom; such a finding is named first.
        independent: a separate setting causes the symptom, so that no other finding explains it.
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
        findings: in the order of ``SYMPTOMS``; effects of others are listed in their ``explains``.
        notes: further remarks, such as missing series or settings without effect.
        measured: the numbers on which the verdict is based.
        window: the environment steps over which they were measured.
        files: the written files.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    measured: dict[str, Any] = field(default_factory=dict)
    window: Window = Window(0.0, 0.0, True)
    files: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether no fault was found. A run that is too short is not healthy; sampling noise is not a fault."""
        return all(finding.symptom in HARMLESS for finding in self.findings)

    def __str__(self) -> str:
        return format_findings(self)

    def as_dict(self) -> dict[str, Any]:
        """The content of ``diagnosis.json``."""
        return {
            "healthy": self.healthy,
            "findings": [asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
            "measured": self.measured,
            "window": self.window._asdict(),
        }


def format_findings(diagnosis: Diagnosis) -> str:
    """Formats a diagnosis for the console: each finding with evidence, cause, remedy and confidence."""
    lines = ["healthy" if diagnosis.healthy else f"not healthy: {diagnosis.findings[0].symptom}"]
    m = diagnosis.measured
    if "kl_drift" in m:
        lines[0] += (
            f"   (steps {diagnosis.window.start:,.0f} to {diagnosis.window.end:,.0f}: KL {m['kl_mean']:.3g} nats, "
            f"drift {m['kl_drift']:+.1%}, oscillation {m['kl_oscillation']:.1%})"
        )
    for number, finding in enumerate(diagnosis.findings, start=1):
        lines += ["", f"{number}. {finding.symptom}   (confidence: {finding.confidence:.0%})"]
        lines.append("   evidence: " + ", ".join(f"{k}={v}" for k, v in finding.evidence.items()))
        lines.append(f"   cause:    {finding.cause}")
        if finding.remedy:
            lines.append("   remedy:   " + " ".join(f"{k}={v}" for k, v in finding.remedy.items()))
        if finding.advice:
            lines.append(f"   remedy:   {finding.advice}")
        if finding.explains:
            lines.append(f"   explains: {', '.join(finding.explains)}")
    lines += ["", *(f"note: {note}" for note in diagnosis.notes)] if diagnosis.notes else []
    lines += ["", *(f"written: {file}" for file in diagnosis.files)] if diagnosis.files else []
    return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Facts:
    """The measured facts of a run, which all rules share. Unknown numbers are NaN; unknown series are None.

    Attributes:
        series: by omarl's names (``docs/metrics.md``), without one-point outliers, with the KL in nats if possible.
        raw: the series as logged.
        config: the configuration by omarl's keys.
        ours: whether the VAE is omarl's, so that remedies may be its keys.
        window, kl, recon: the measured window, and the motion of the two losses in it.
        weight: the KL's weight in the loss.
        unexplained: the share of the states' variance (or nats) that the reconstruction does not explain; NaN if only
            the reconstruction loss is known. ``unexplained_late``: the same at the end of the run.
        kl_level: median KL at the end of the run, in nats unless ``units_known`` is False.
        units_known: whether the KL is known or assumed to be in nats per state.
        in_use: the curves show that the code is used, so a small KL must be in other units.
        kl_teeth, recon_teeth: sawteeth in the two losses.
        started: enough updates were made that the VAE can have learned.
        failure: the error that ended the run; empty if none.
        outliers: number of one-point outliers that were removed.
    """

    series: Mapping[str, Series]
    config: Mapping[str, Any]
    window: Window
    raw: Mapping[str, Series] = field(default_factory=dict)
    ours: bool = True
    kl: Motion = NO_MOTION
    recon: Motion = NO_MOTION
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
        """The KL weight at the end of the run, as a factor of the KL in the loss."""
        return self.weight.value

    def in_window(self, name: str) -> Series | None:
        """The part of a series in the window, None if it is empty."""
        series = self.series.get(name)
        part = self.window.of(series) if series is not None else None
        return part if part is not None and len(part) else None

    def points(self, name: str) -> Series:
        """The finite points of a series; empty if it was not logged."""
        return finite(self.series.get(name))

    def curve(self, name: str) -> Series:
        """The finite points, thinned to ``MAX_POINTS``."""
        return thinned(self.points(name))

    def last_tenth(self, name: str) -> Series:
        """The last tenth of a series' finite points (at least 3)."""
        points = self.points(name)
        last = max(3, len(points) // 10)
        return Series(points.t[-last:], points.value[-last:])

    @property
    def is_explained_known(self) -> bool:
        """Whether ``unexplained`` was measured."""
        return not math.isnan(self.unexplained)

    def number(self, key: str, default: float = float("nan")) -> float:
        """The value of a key; ``default`` if it is not a number."""
        value = self.config.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
