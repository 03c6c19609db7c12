"""Examines runs: from series or a run's folder to a diagnosis.

``examine`` takes series in memory and is fast enough to be called during training. ``diagnose`` reads a run's folder
and writes the diagnosis. ``analysis/symptoms.py`` defines the measurements, and the files ``rules_*.py`` the rules.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...config.files import usable_path
from ...config.keys import OneRunKeys, OutputKeys
from ...config.schema import key, new_default
from ...types import ConfigError
from ..runs import Series, read_config, series_of
from ..symptoms import DRIFT, mean_of, peak_of
from ..tables import read_any, run_directory
from . import rules_data, rules_motion, rules_optimiser, rules_weight
from .facts import Facts, rounded
from .findings import EXPLAINS, HARMLESS, SYMPTOMS, Diagnosis, Finding
from .measuring import measure
from .reading import canonical, is_ours, require_vae_loss, run_status, translated
from .report import advice, write_report
from .weights import recon_notes

RULES = (*rules_optimiser.RULES, *rules_weight.RULES, *rules_data.RULES, *rules_motion.RULES)


@dataclass(frozen=True)
class DiagnoseConfig(OutputKeys, OneRunKeys):
    """Keys of the command ``diagnose``."""

    run: str = new_default(
        OneRunKeys, "run", "", "a run's folder (of Sacred, omarl or a fork), or a file: CSV, JSON lines, TensorBoard"
    )
    out: str = new_default(OutputKeys, "out", "", "folder of the diagnosis; where empty, the run's")
    diagnose: dict[str, Any] = key({}, help="names of another program's series: diagnose.kl=NAME, recon, loss, ...")


def diagnose(config: DiagnoseConfig) -> Diagnosis:
    """Reads and examines a run, and writes diagnosis.json, diagnosis.md, diagnosis.png and suggested.yaml.

    Raises:
        ConfigError, OmarlError: as ``examine_run``, or ``out`` cannot be written.
    """
    if not config.run:
        raise ConfigError("run: name the run, run=FOLDER (the folder with metrics.jsonl or metrics.json)")
    run = Path(config.run)
    diagnosis, series, settings = examine_run(run, config.diagnose)
    return write_report(diagnosis, run, config.out, series, settings)


def examine_run(run: Path, names: Mapping[str, Any]) -> tuple[Diagnosis, Mapping[str, Series], Mapping[str, Any]]:
    """Reads and examines a run's folder or a file of numbers; ``names`` maps roles to unknown names of series.

    Returns:
        The diagnosis, and the series and the configuration that it is based on.

    Raises:
        ConfigError, OmarlError: ``run`` is not a run, or has no metrics or no VAE.
    """
    logged = read_any(usable_path(run, "run"))
    folder = run_directory(run)
    series = canonical(logged, names)
    require_vae_loss(series, logged)
    status, failure = run_status(folder)
    settings = read_config(folder)
    diagnosis = examine(series, settings, failure)
    if status == "RUNNING":
        diagnosis = diagnosis.noted("The run is still being written; the diagnosis covers the data so far.")
    elif status not in ("", "COMPLETED"):
        diagnosis = diagnosis.noted(f"The run ended with status {status}. {failure}".strip())
    return diagnosis, series, settings


def examine(series: Mapping[str, Series], config: Mapping[str, Any], failure: str = "") -> Diagnosis:
    """Diagnoses series in memory.

    Args:
        series: by metric name, omarl's or usual names of forks.
        config: the run's configuration with omarl's or a fork's keys; may be empty.
        failure: the error that ended the run, if any.
    """
    settings = translated(config)
    facts = measure(canonical(series), settings, failure, is_ours(settings))
    findings = [finding for rule in RULES if (finding := rule(facts)) is not None]
    if facts.ours:
        findings = [replace(f, remedy={k: v for k, v in f.remedy.items() if settings.get(k) != v}) for f in findings]
    else:
        findings = [replace(f, advice=advice(f, facts), remedy={}) for f in findings]
    findings = ordered(findings)
    kl, recon = facts.kl, facts.recon
    measured = rounded(
        kl_mean=kl.mean, kl_drift=kl.drift, kl_oscillation=kl.oscillation, kl_sampling_noise=kl.noise,
        kl_points=kl.points, recon_mean=recon.mean, recon_drift=recon.drift, recon_oscillation=recon.oscillation,
        kl_weight=facts.alpha, weighted_kl_over_reconstruction=facts.kl_share, unexplained=facts.unexplained,
        active_units=facts.mean("vae_active_units"), updates=facts.updates, clipped_share=facts.share_clipped,
        kl_at_end=facts.kl_level, kl_weight_known_from=facts.weight.source, outliers=facts.outliers or None,
    )  # fmt: skip
    return Diagnosis(tuple(findings), tuple(_notes(facts, findings)), measured, facts.window)


def diagnose_arrays(
    arrays: Mapping[str, Any], steps: Any = None, config: Mapping[str, Any] | None = None, **named: str
) -> Diagnosis:
    """Diagnoses arrays of any training loop: ``diagnose_arrays({"kl": kl, "recon": recon, "loss": loss})``.

    Args:
        arrays: name -> values [points] of the KL, the reconstruction loss, the total, the KL weight, ...; the names
            are those in ``reading.ROLES``. Tensors and lists are allowed.
        steps: [points], or name -> steps; by default 0, 1, 2, ...
        config: the run's configuration, if any: ``vae_lr``, ``omg_vae_alpha``, ``latent_dim``, ...
        named: role -> name, for other names.

    Raises:
        ConfigError: no name is that of a VAE's loss, or lengths differ.
    """
    series = {}
    for name, raw in arrays.items():
        values = np.asarray(raw, dtype=np.float64).ravel()
        at = steps.get(name) if isinstance(steps, Mapping) else steps
        t = np.arange(len(values)) if at is None else np.asarray(at, dtype=np.float64).ravel()
        if len(t) != len(values):
            raise ConfigError(f"{name}: {len(values)} values, but {len(t)} steps")
        series[name] = series_of(t, values)
    own = {"kl": "vae_kl_loss", "recon": "vae_recon_loss", "loss": "vae_loss", "alpha": "vae_alpha"}
    series = {own.get(name, name) if own.get(name) not in series else name: s for name, s in series.items()}
    renamed = canonical(series, named)
    require_vae_loss(renamed, series)
    return examine(renamed, config or {})


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Sorts findings by importance and merges the effects of a finding into its ``explains``."""

    def rank(finding: Finding) -> tuple[bool, int]:
        """Broken trainings and effects of the weight's schedule first, then in the order of ``SYMPTOMS``."""
        broken = finding.symptom in ("negative_kl", "non_finite", "learning_rate_too_high")
        return not (broken or finding.driven_by_weight), SYMPTOMS.index(finding.symptom)

    rest = sorted(findings, key=rank)
    result: list[Finding] = []
    while rest:
        first, *rest = rest
        effects = [f for f in rest if f.symptom in EXPLAINS[first.symptom] and not f.independent]
        result.append(replace(first, explains=tuple(f.symptom for f in effects)))
        rest = [f for f in rest if f not in effects]
    return result


MISSING = {
    "vae_kl_loss": "No KL was logged, so it was not examined (if it has another name: diagnose.kl=NAME).",
    "vae_recon_loss": "No reconstruction loss was logged, so the benefit of a rising KL is unknown "
    "(if it has another name: diagnose.recon=NAME).",
    "vae_active_units": "No active units were logged, so the number of used latents is estimated from the KL only.",
    "vae_explained_variance": "No explained variance was logged, so the quality of the reconstruction is unknown.",
    "vae_kl_loss_std": "Losses were logged without standard deviations; noise is recognised by its short memory.",
}


def _notes(facts: Facts, findings: list[Finding]) -> Iterable[str]:
    """Further remarks for the user."""
    yield from (text for name, text in MISSING.items() if name not in facts.series)
    optimiser = str(facts.config.get("vae_optimiser", facts.config.get("optimizer", "adam"))).lower()
    if "optim_alpha" in facts.config and optimiser == "adam":
        yield (
            f"optim_alpha={facts.config['optim_alpha']} is RMSprop's smoothing constant. Adam does not read it, so "
            "it is neither a cause nor a remedy (Adam reads vae_betas)."
        )
    if facts.config.get("vae_log_var_bound") == "exp_clamp":
        yield (
            "vae_log_var_bound=exp_clamp does not give a KL where log_var is above ln 10: there the loss rewards "
            "ever wider posteriors. vae_log_var_bound=tanh bounds log_var itself."
        )
    yield from facts.weight.notes
    if not facts.in_nats:  # omarl's loss in nats per state is always a sum
        yield from recon_notes(facts.recon.mean)
    if facts.outliers:
        yield f"{facts.outliers} one-point outliers were treated as noise."
    peak = np.fmax(peak_of(facts.series.get("vae_grad_norm")), peak_of(facts.series.get("vae_grad_norm_max")))
    if mean_of(facts.series.get("vae_clipped_share")) == 0 and not peak > facts.number("grad_norm_clip"):
        most = f" (gradient norms reach {peak:.3g})" if np.isfinite(peak) else ""
        yield f"No update was clipped{most}: raising grad_norm_clip would change nothing."
    lengths = {len(facts.series[n]) for n in ("vae_kl_loss", "vae_recon_loss", "vae_loss") if n in facts.series}
    if len(lengths) > 1:
        yield f"The losses were logged unequally often ({', '.join(map(str, sorted(lengths)))} points)."
    if facts.kl.drift < -DRIFT and facts.kl.mean > 0.5 and all(f.symptom in HARMLESS for f in findings):
        yield f"The KL has not converged: it falls by {-facts.kl.drift:.0%} over the window. This is not a fault."
