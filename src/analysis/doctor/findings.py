"""The doctor's results: symptoms in order, findings, and diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..symptoms import NO_WINDOW, Window

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
    """A symptom with its evidence, cause and remedy."""

    symptom: str  # one of ``SYMPTOMS``
    evidence: dict[str, Any]  # the numbers on which the finding is based
    cause: str  # the probable cause, one sentence without capital and full stop
    remedy: dict[str, Any]  # omarl's keys with new values; empty if none is known to help, and for other VAEs
    confidence: float  # 0 to 1
    explains: tuple[str, ...] = ()  # further symptoms that were found and are effects of this one
    advice: str = ""  # for VAEs of other packages, one sentence on what to change in the code
    driven_by_weight: bool = False  # the KL weight's schedule causes the symptom; such a finding is named first
    independent: bool = False  # a separate setting causes the symptom, so that no other finding explains it


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """All findings, the most important first."""

    findings: tuple[Finding, ...]  # in the order of ``SYMPTOMS``; effects of others are listed in their ``explains``
    notes: tuple[str, ...] = ()  # further remarks, such as missing series or settings without effect
    measured: dict[str, Any] = field(default_factory=dict)  # the numbers on which the verdict is based
    window: Window = NO_WINDOW  # the environment steps over which they were measured
    files: tuple[str, ...] = ()  # the written files

    @property
    def healthy(self) -> bool:
        """Whether no fault was found. A run that is too short is not healthy; sampling noise is not a fault."""
        return all(finding.symptom in HARMLESS for finding in self.findings)

    def __str__(self) -> str:
        """The console's text: each finding with evidence, cause, remedy and confidence."""
        lines = ["healthy" if self.healthy else f"not healthy: {self.findings[0].symptom}"]
        m = self.measured
        if {"kl_mean", "kl_drift", "kl_oscillation"} <= m.keys():
            lines[0] += (
                f"   (steps {self.window.start:,.0f} to {self.window.end:,.0f}: KL {m['kl_mean']:.3g} nats, "
                f"drift {m['kl_drift']:+.1%}, oscillation {m['kl_oscillation']:.1%})"
            )
        for number, finding in enumerate(self.findings, start=1):
            lines += ["", f"{number}. {finding.symptom}   (confidence: {finding.confidence:.0%})"]
            lines.append("   evidence: " + ", ".join(f"{k}={v}" for k, v in finding.evidence.items()))
            lines.append(f"   cause:    {finding.cause}")
            if finding.remedy:
                lines.append("   remedy:   " + " ".join(f"{k}={v}" for k, v in finding.remedy.items()))
            if finding.advice:
                lines.append(f"   remedy:   {finding.advice}")
            if finding.explains:
                lines.append(f"   explains: {', '.join(finding.explains)}")
        lines += ["", *(f"note: {note}" for note in self.notes)] if self.notes else []
        lines += ["", *(f"written: {file}" for file in self.files)] if self.files else []
        return "\n".join(lines)

    def noted(self, note: str) -> Diagnosis:
        """The diagnosis with one more note."""
        return replace(self, notes=(*self.notes, note))

    def as_dict(self) -> dict[str, Any]:
        """The content of ``diagnosis.json``."""
        return {
            "healthy": self.healthy,
            "findings": [asdict(finding) for finding in self.findings],
            "notes": list(self.notes),
            "measured": self.measured,
            "window": self.window._asdict(),
        }
