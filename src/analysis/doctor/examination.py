"""From a run to a verdict.

``examine`` looks at series in memory and is quick enough for a running training; ``diagnose`` reads a run's
directory and writes what was found. What each number means stands in ``symptoms``; what is concluded from it,
in ``rules_of_causes`` and ``rules_of_motion``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...config.schema import key
from ...types import ConfigError
from ..runs import Series, read_config, read_metrics
from ..symptoms import DRIFT, Motion, first_of, mean_of, measured_window, motion
from .findings import EXPLAINS, SYMPTOMS, Diagnosis, Facts, Finding
from .reading import canonical, how_it_ended, require_some_loss, translated
from .rules_of_causes import MIN_UPDATES, RULES_OF_CAUSES, rounded, share
from .rules_of_motion import RULES_OF_MOTION


@dataclass(frozen=True)
class DiagnoseConfig:
    """Keys of the command ``diagnose``."""

    run: str = key("", help="the run's directory: Sacred's, ours or a fork's")
    out: str = key("", help="where the diagnosis is written; the run's directory unless said")
    diagnose: dict[str, Any] = key({}, help="names of series that a fork logs: diagnose.kl=NAME, recon, loss, ...")


def diagnose(config: DiagnoseConfig) -> Diagnosis:
    """Reads a run, examines it, and writes diagnosis.json, diagnosis.md, diagnosis.png and suggested.yaml.

    Raises:
        ConfigError, OmarlError: not a run, nothing logged, nothing of a VAE, or ``out`` cannot be written.
    """
    from .report import write_report

    if not config.run:
        raise ConfigError("run: say which run, run=DIRECTORY (the folder that holds metrics.jsonl or metrics.json)")
    run = Path(config.run)
    logged = read_metrics(run)
    found = canonical(logged, config.diagnose)
    require_some_loss(found, logged)
    status, failure = how_it_ended(run)
    settings = read_config(run)
    diagnosis = examine(found, settings, failure)
    if status == "RUNNING":
        diagnosis = replace(diagnosis, notes=(*diagnosis.notes, "The run is still being written: this is it so far."))
    elif status and status != "COMPLETED":
        diagnosis = replace(diagnosis, notes=(*diagnosis.notes, f"The run ended as {status}. {failure}".strip()))
    return write_report(diagnosis, run, config.out, found, settings)


def examine(series: Mapping[str, Series], config: Mapping[str, Any], failure: str = "") -> Diagnosis:
    """A verdict on series in memory.

    Args:
        series: by metric name, ours or a fork's usual ones.
        config: the run's keys, ours or a fork's; may be empty.
        failure: the error that ended the run, if one did.
    """
    found = canonical(series)
    settings = translated(config)
    facts = measure(found, settings, failure)
    findings = [finding for rule in (*RULES_OF_CAUSES, *RULES_OF_MOTION) if (finding := rule(facts)) is not None]
    findings = [replace(f, remedy={k: v for k, v in f.remedy.items() if settings.get(k) != v}) for f in findings]
    return Diagnosis(tuple(ordered(findings)), tuple(_notes(facts)), _measured(facts), facts.window)


def measure(series: Mapping[str, Series], config: Mapping[str, Any], failure: str = "") -> Facts:
    """Everything the rules look at, once."""
    kl, recon = series.get("vae_kl_loss"), series.get("vae_recon_loss")
    leader = next((series[n] for n in ("vae_kl_loss", "vae_recon_loss", "vae_loss") if n in series), None)
    ramped = config.get("vae_alpha_schedule", "linear") in ("linear", "sigmoid")
    facts = Facts(series, config, measured_window(np.empty(0)), failure=failure)
    target = facts.number("omg_vae_alpha")
    if leader is None:
        return facts
    window = measured_window(
        leader.t, series.get("vae_alpha") if ramped else None, target if "vae_alpha_ramp" in config else None
    )
    facts = replace(facts, window=window)
    updates, per_point = _updates(series, leader)
    kl_motion = _motion(facts, "vae_kl_loss", per_point)
    recon_motion = _motion(facts, "vae_recon_loss", per_point)
    unexplained, drift = _unexplained(facts, recon, recon_motion)
    return replace(
        facts, kl=kl_motion, recon=recon_motion, alpha=_alpha(facts, kl is not None and recon is not None),
        unexplained=unexplained, unexplained_drift=drift, updates=updates, updates_per_point=per_point,
        started=not updates < MIN_UPDATES and len(leader) >= 8,
    )  # fmt: skip


def _motion(facts: Facts, name: str, per_point: float) -> Motion:
    part = facts.inside(name)
    known = per_point if not math.isnan(per_point) else None
    return motion(part if part is not None else Series(np.empty(0), np.empty(0)), facts.inside(f"{name}_std"), known)


def _updates(series: Mapping[str, Series], leader: Series) -> tuple[float, float]:
    """The last number of updates, and how many stand behind one logged point; NaN where not known."""
    updates = series.get("updates")
    if updates is None or len(updates) < 2 or len(leader) < 2:
        return mean_of(updates), math.nan
    done = float(np.nanmax(updates.value) - np.nanmin(updates.value))
    stretch = (leader.t[-1] - leader.t[0]) / max(updates.t[-1] - updates.t[0], 1e-12)
    return float(np.nanmax(updates.value)), max(1.0, done * stretch / (len(leader) - 1))


def _alpha(facts: Facts, both: bool) -> float:
    """The KL weight that the run is heading for: configured, logged, or told from total, parts and their sum."""
    configured, logged = facts.number("omg_vae_alpha"), facts.inside("vae_alpha")
    if logged is not None and (facts.window.ramp_ended or math.isnan(configured)):
        return mean_of(logged)
    if not math.isnan(configured):
        return configured
    total, kl, recon = (facts.inside(n) for n in ("vae_loss", "vae_kl_loss", "vae_recon_loss"))
    if not both or total is None or kl is None or recon is None or not len(total) == len(kl) == len(recon):
        return math.nan
    ratio = (total.value - recon.value) / np.where(np.abs(kl.value) > 1e-9, kl.value, np.nan)
    inferred = float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else math.nan
    return inferred if inferred >= 0 else math.nan


def _unexplained(facts: Facts, recon: Series | None, moving: Motion) -> tuple[float, float]:
    """See ``Facts``; the explained variance of a tiny batch may be far below 0, and is not used then."""
    explained = facts.inside("vae_explained_variance")
    if explained is not None and mean_of(explained) > -0.5:
        part = motion(Series(explained.t, 1.0 - explained.value))
        return part.mean if part.points else 1.0 - mean_of(explained), part.drift
    first = first_of(recon)
    return (moving.mean / first if first > 0 else math.nan), math.nan


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Causes first; what a finding further up brings about is taken up into it."""
    rest = sorted(findings, key=lambda finding: SYMPTOMS.index(finding.symptom))
    result: list[Finding] = []
    while rest:
        first, *rest = rest
        owed = EXPLAINS.get(first.symptom, ())
        follows = tuple(f.symptom for f in rest if f.symptom in owed)
        result.append(replace(first, explains=follows))
        rest = [f for f in rest if f.symptom not in owed]
    return result


def _measured(facts: Facts) -> dict[str, Any]:
    kl, recon = facts.kl, facts.recon
    return rounded(
        kl_mean=kl.mean, kl_drift=kl.drift, kl_oscillation=kl.oscillation, kl_sampling_noise=kl.noise,
        kl_points=kl.points, recon_mean=recon.mean, recon_drift=recon.drift, recon_oscillation=recon.oscillation,
        kl_weight=facts.alpha, weighted_kl_over_reconstruction=share(facts), unexplained=facts.unexplained,
        active_units=mean_of(facts.inside("vae_active_units")), updates=facts.updates,
        clipped_share=mean_of(facts.inside("vae_clipped_share")),
    )  # fmt: skip


MISSING = {
    "vae_kl_loss": "No KL was logged: nothing is said about it (diagnose.kl=NAME, if it has another name).",
    "vae_recon_loss": "No reconstruction loss was logged: whether a KL that rises is of use cannot be told "
    "(diagnose.recon=NAME, if it has another name).",
    "vae_active_units": "No active units were logged: how many latents are used is told from the KL alone.",
    "vae_explained_variance": "No explained variance was logged: how good the reconstruction is, is only known "
    "relative to its first value, and a flat one may be finished.",
    "vae_kl_loss_std": "Losses were logged without their spread: noise is told from swings by its lack of memory.",
}


def _notes(facts: Facts) -> Iterable[str]:
    """What else the reader should know."""
    yield from (text for name, text in MISSING.items() if name not in facts.series)
    optimiser = str(facts.config.get("vae_optimiser", facts.config.get("optimizer", "adam"))).lower()
    if "optim_alpha" in facts.config and optimiser == "adam":
        yield (
            f"optim_alpha={facts.config['optim_alpha']} is RMSprop's smoothing constant; Adam does not read it, so "
            "it is neither a cause nor a cure (vae_betas is what Adam reads)."
        )
    if facts.config.get("vae_log_var_bound") == "exp_clamp":
        yield (
            "vae_log_var_bound=exp_clamp is no KL where log_var is above ln 10: it pays for widening the posterior "
            "without end there. tanh bounds log_var itself."
        )
    if mean_of(facts.inside("vae_clipped_share")) == 0:
        yield "No update was clipped: raising grad_norm_clip would change nothing."
    if facts.kl.drift < -DRIFT and facts.kl.mean > 0.5:
        yield f"The KL is still falling ({facts.kl.drift:+.0%} over the window): no fault, but not settled."
    lengths = {len(facts.series[n]) for n in ("vae_kl_loss", "vae_recon_loss", "vae_loss") if n in facts.series}
    if len(lengths) > 1:
        yield f"The losses were logged unequally often ({', '.join(map(str, sorted(lengths)))} points)."


def format_findings(diagnosis: Diagnosis) -> str:
    """For the console: each finding with its numbers, its cause, its remedy and how sure it is."""
    lines = ["healthy" if diagnosis.healthy else f"not healthy: {diagnosis.findings[0].symptom}"]
    m = diagnosis.measured
    if "kl_drift" in m:
        lines[0] += (
            f"   (steps {diagnosis.window.start:,.0f} to {diagnosis.window.end:,.0f}: KL {m['kl_mean']:.3g} nats, "
            f"drift {m['kl_drift']:+.1%}, oscillation {m['kl_oscillation']:.1%})"
        )
    for place, finding in enumerate(diagnosis.findings, start=1):
        lines += ["", f"{place}. {finding.symptom}   (sure: {finding.confidence:.0%})"]
        lines.append("   seen:   " + ", ".join(f"{k}={v}" for k, v in finding.evidence.items()))
        lines.append(f"   cause:  {finding.cause}")
        if finding.remedy:
            lines.append("   remedy: " + " ".join(f"{k}={v}" for k, v in finding.remedy.items()))
        if finding.explains:
            lines.append(f"   brings: {', '.join(finding.explains)}")
    lines += ["", *(f"note: {note}" for note in diagnosis.notes)] if diagnosis.notes else []
    lines += ["", *(f"written: {file}" for file in diagnosis.files)] if diagnosis.files else []
    return "\n".join(lines)
