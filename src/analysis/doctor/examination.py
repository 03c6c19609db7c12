"""From a run to a verdict.

``examine`` looks at series in memory and is quick enough for a running training; ``diagnose`` reads a run's
directory and writes what was found. What each number means stands in ``symptoms``; what is concluded from it,
in the files of rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...config.keys import OutputKeys
from ...config.schema import key, new_default
from ...types import ConfigError
from ..runs import Series, read_config, series_of
from ..symptoms import DRIFT, mean_of, peak_of
from ..tables import read_any, run_directory
from .advice import advice
from .findings import EXPLAINS, HARMLESS, SYMPTOMS, Diagnosis, Facts, Finding
from .measuring import measure
from .reading import canonical, how_it_ended, is_ours, require_some_loss, translated
from .rules_of_causes import RULES_OF_CAUSES, clipped_share, rounded, share
from .rules_of_data import RULES_OF_DATA
from .rules_of_motion import RULES_OF_MOTION
from .rules_of_weight import RULES_OF_WEIGHT
from .weights import recon_notes

RULES = (*RULES_OF_CAUSES, *RULES_OF_WEIGHT, *RULES_OF_DATA, *RULES_OF_MOTION)


@dataclass(frozen=True)
class DiagnoseConfig(OutputKeys):
    """Keys of the command ``diagnose``."""

    run: str = key("", help="a run's folder (of Sacred, omarl or a fork), or a file: CSV, JSON lines, TensorBoard")
    out: str = new_default(OutputKeys, "out", "", "folder of the diagnosis; where empty, the run's")
    diagnose: dict[str, Any] = key({}, help="names of another program's series: diagnose.kl=NAME, recon, loss, ...")


def diagnose(config: DiagnoseConfig) -> Diagnosis:
    """Reads a run, examines it, and writes diagnosis.json, diagnosis.md, diagnosis.png and suggested.yaml.

    Raises:
        ConfigError, OmarlError: not a run, nothing logged, nothing of a VAE, or ``out`` cannot be written.
    """
    from .report import write_report

    if not config.run:
        raise ConfigError("run: say which run, run=DIRECTORY (the folder that holds metrics.jsonl or metrics.json)")
    run = Path(config.run)
    logged = read_any(run)
    folder = run_directory(run)
    found = canonical(logged, config.diagnose)
    require_some_loss(found, logged)
    status, failure = how_it_ended(folder)
    settings = read_config(folder)
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
    settings = translated(config)
    facts = measure(canonical(series), settings, failure, is_ours(settings))
    findings = [finding for rule in RULES if (finding := rule(facts)) is not None]
    if facts.ours:
        findings = [replace(f, remedy={k: v for k, v in f.remedy.items() if settings.get(k) != v}) for f in findings]
    else:
        findings = [replace(f, advice=advice(f, facts), remedy={}) for f in findings]
    findings = ordered(findings)
    notes = [*_notes(facts), *_falling(facts, findings)]
    return Diagnosis(tuple(findings), tuple(notes), _measured(facts), facts.window)


def diagnose_arrays(
    arrays: Mapping[str, Any], steps: Any = None, config: Mapping[str, Any] | None = None, **named: str
) -> Diagnosis:
    """A verdict on arrays of any training loop: ``diagnose_arrays({"kl": kl, "recon": recon, "loss": loss})``.

    Args:
        arrays: name -> values [points] of the KL, the reconstruction loss, the total, the KL weight, ...; names as
            in ``reading.ROLES`` or as a fork logs them. Tensors and lists are taken too.
        steps: [points], or name -> steps; 0, 1, 2, ... unless given.
        config: the run's keys, where there are any: ``vae_lr``, ``omg_vae_alpha``, ``latent_dim``, ...
        named: role -> name, for names that are not known.

    Raises:
        ConfigError: nothing of a VAE among the names, or lengths that differ.
    """
    series = {}
    for name, raw in arrays.items():
        values = np.asarray(raw, dtype=np.float64).ravel()
        at = steps.get(name) if isinstance(steps, Mapping) else steps
        t = np.arange(len(values)) if at is None else np.asarray(at, dtype=np.float64).ravel()
        if len(t) != len(values):
            raise ConfigError(f"{name}: {len(values)} values, but {len(t)} steps")
        series[name] = series_of(t, values)
    known = {"kl": "vae_kl_loss", "recon": "vae_recon_loss", "loss": "vae_loss", "alpha": "vae_alpha"}
    series = {known.get(name, name) if known.get(name) not in series else name: s for name, s in series.items()}
    found = canonical(series, named)
    require_some_loss(found, series)
    return examine(found, config or {})


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """What the weight's schedule drives first, then causes; what a finding further up brings about joins it."""
    rest = sorted(findings, key=_place)
    result: list[Finding] = []
    while rest:
        first, *rest = rest
        owed = EXPLAINS.get(first.symptom, ())
        follows = [f for f in rest if f.symptom in owed and not f.independent]
        result.append(replace(first, explains=tuple(f.symptom for f in follows)))
        rest = [f for f in rest if f not in follows]
    return result


def _place(finding: Finding) -> tuple[bool, int]:
    broken = finding.symptom in ("negative_kl", "non_finite", "learning_rate_too_high")
    return not (broken or finding.driven_by_weight), SYMPTOMS.index(finding.symptom)


def _measured(facts: Facts) -> dict[str, Any]:
    kl, recon = facts.kl, facts.recon
    return rounded(
        kl_mean=kl.mean, kl_drift=kl.drift, kl_oscillation=kl.oscillation, kl_sampling_noise=kl.noise,
        kl_points=kl.points, recon_mean=recon.mean, recon_drift=recon.drift, recon_oscillation=recon.oscillation,
        kl_weight=facts.alpha, weighted_kl_over_reconstruction=share(facts), unexplained=facts.unexplained,
        active_units=mean_of(facts.inside("vae_active_units")), updates=facts.updates,
        clipped_share=clipped_share(facts), kl_at_end=facts.kl_level, kl_weight_known_from=facts.weight.source,
        outliers=facts.outliers or None,
    )  # fmt: skip


MISSING = {
    "vae_kl_loss": "No KL was logged: nothing is said about it (diagnose.kl=NAME, if it has another name).",
    "vae_recon_loss": "No reconstruction loss was logged: whether a KL that rises is of use is not known "
    "(diagnose.recon=NAME, if it has another name).",
    "vae_active_units": "No active units were logged: how many latents are used is judged by the KL alone.",
    "vae_explained_variance": "No explained variance was logged: how good the reconstruction is, is not known.",
    "vae_kl_loss_std": "Losses were logged without their spread: noise is recognised by its lack of memory.",
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
    yield from facts.weight.notes
    if not facts.weight.per_alpha > 1.5:  # a loss of ours in nats per state is a sum on purpose
        yield from recon_notes(facts.recon.mean, facts.kl.mean)
    if facts.outliers:
        yield f"{facts.outliers} one-point outliers were taken for noise."
    peak = np.fmax(peak_of(facts.series.get("vae_grad_norm")), peak_of(facts.series.get("vae_grad_norm_max")))
    if mean_of(facts.series.get("vae_clipped_share")) == 0 and not peak > facts.number("grad_norm_clip"):
        most = f" (gradient norms reach {peak:.3g})" if np.isfinite(peak) else ""
        yield f"No update was clipped{most}: raising grad_norm_clip would change nothing."
    lengths = {len(facts.series[n]) for n in ("vae_kl_loss", "vae_recon_loss", "vae_loss") if n in facts.series}
    if len(lengths) > 1:
        yield f"The losses were logged unequally often ({', '.join(map(str, sorted(lengths)))} points)."


def _falling(facts: Facts, findings: list[Finding]) -> Iterable[str]:
    """A note on a KL that still falls, where no finding speaks of it."""
    if facts.kl.drift < -DRIFT and facts.kl.mean > 0.5 and all(f.symptom in HARMLESS for f in findings):
        yield f"The KL is still falling ({facts.kl.drift:+.0%} over the window): no fault, but not settled."


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
        if finding.advice:
            lines.append(f"   remedy: {finding.advice}")
        if finding.explains:
            lines.append(f"   brings: {', '.join(finding.explains)}")
    lines += ["", *(f"note: {note}" for note in diagnosis.notes)] if diagnosis.notes else []
    lines += ["", *(f"written: {file}" for file in diagnosis.files)] if diagnosis.files else []
    return "\n".join(lines)
