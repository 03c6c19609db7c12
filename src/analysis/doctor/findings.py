"""What the doctor says, and in which order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..runs import Series
from ..symptoms import NOTHING, Motion, Window

# Causes before what they bring about: of two findings the one further up is named first.
SYMPTOMS = (
    "negative_kl",
    "non_finite",
    "learning_rate_too_high",
    "posterior_collapse",
    "kl_weight_too_large",
    "kl_weight_too_small",
    "gradient_clipping",
    "logvar_saturation",
    "kl_explosion",
    "latent_oversized",
    "kl_oscillation",
    "kl_growth",
    "reconstruction_plateau",
    "too_short",
    "sampling_noise",
)

# What a finding brings about, and so is not found a second time.
EXPLAINS: Mapping[str, tuple[str, ...]] = {
    "negative_kl": (
        "non_finite", "posterior_collapse", "kl_explosion", "kl_growth", "kl_oscillation", "kl_weight_too_small",
        "logvar_saturation", "gradient_clipping", "reconstruction_plateau", "too_short", "sampling_noise",
    ),
    "non_finite": (
        "posterior_collapse", "gradient_clipping", "reconstruction_plateau", "too_short", "sampling_noise",
    ),
    "learning_rate_too_high": (
        "posterior_collapse", "kl_weight_too_large", "kl_explosion", "kl_oscillation", "kl_growth",
        "gradient_clipping", "reconstruction_plateau", "sampling_noise", "latent_oversized", "logvar_saturation",
    ),
    "posterior_collapse": ("kl_weight_too_large", "reconstruction_plateau", "kl_oscillation", "latent_oversized"),
    "kl_weight_too_large": ("reconstruction_plateau", "latent_oversized"),
    "kl_weight_too_small": ("kl_explosion", "kl_growth", "logvar_saturation"),
    "gradient_clipping": ("reconstruction_plateau",),
    "logvar_saturation": ("reconstruction_plateau", "kl_growth"),
    "kl_explosion": ("kl_growth", "kl_oscillation"),
    "kl_oscillation": ("kl_growth",),
}  # fmt: skip

HARMLESS = frozenset({"sampling_noise"})  # told, but no fault of the training


@dataclass(frozen=True)
class Finding:
    """One thing the doctor has seen.

    Attributes:
        symptom: one of ``SYMPTOMS``.
        evidence: the numbers it rests on.
        cause: the likely one, in a sentence.
        remedy: configuration keys of ours with their new values; empty where none is known to help.
        confidence: 0 to 1.
        explains: further symptoms that were found and follow from this one.
    """

    symptom: str
    evidence: dict[str, Any]
    cause: str
    remedy: dict[str, Any]
    confidence: float
    explains: tuple[str, ...] = ()


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
        series: by canonical name (``docs/metrics.md``).
        config: by our keys; a fork's are translated.
        window, kl, recon: where it was measured, and how the two losses move there.
        alpha: the KL weight that the run is heading for.
        unexplained: the share of the states' variance that the reconstruction lacks: 1 - explained variance, or
            else the reconstruction loss over its first value.
        started: enough updates that something can have been learned.
        failure: how the run ended, if not well.
    """

    series: Mapping[str, Series]
    config: Mapping[str, Any]
    window: Window
    kl: Motion = NOTHING
    recon: Motion = NOTHING
    alpha: float = float("nan")
    unexplained: float = float("nan")
    unexplained_drift: float = float("nan")
    updates: float = float("nan")
    updates_per_point: float = float("nan")
    started: bool = True
    failure: str = ""

    def inside(self, name: str) -> Series | None:
        """A series' part in the window, None where it has none."""
        found = self.series.get(name)
        part = self.window.of(found) if found is not None else None
        return part if part is not None and len(part) else None

    @property
    def is_explained_known(self) -> bool:
        """Whether ``unexplained`` is measured; relative to the first logged loss it is a guess."""
        return not math.isnan(self.unexplained_drift)

    def number(self, key: str, default: float = float("nan")) -> float:
        """A configuration's number."""
        value = self.config.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
