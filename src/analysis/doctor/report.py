"""Writes a diagnosis: diagnosis.json, diagnosis.md, diagnosis.png and suggested.yaml; advice for other VAEs."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ...config.files import CONFIG_DIR, read_yaml
from ...types import OmarlError
from ...utils.files import write_atomically
from ..runs import Series
from ..tables import run_directory
from .facts import Facts
from .findings import Diagnosis, Finding
from .picture import draw_diagnosis
from .reading import KEYS, is_ours

# Keys that suggested.yaml leaves out, because they belong to one run only.
NOT_REPEATED = ("seed", "checkpoint_path", "load_step", "evaluate", "local_results_path", "__doc__")
DEFAULT_ENV = "simple_tag"
LIKELIHOOD = (
    "sum a likelihood that fits the features (binary: binary cross-entropy; one-hot: cross-entropy; otherwise half "
    "the squared error) over the features and use a KL weight of about 0.3"
)


def write_report(
    diagnosis: Diagnosis, run: Path, out: str, series: Mapping[str, Series], config: Mapping[str, Any]
) -> Diagnosis:
    """Writes the four files. If the run's folder cannot be written, a note of the diagnosis says so.

    Raises:
        OmarlError: ``out`` is given and cannot be written.
    """
    folder = Path(out).expanduser() if out else run_directory(run)
    plain = json.loads(json.dumps(diagnosis.as_dict()), parse_constant=lambda _: None)  # JSON has no NaN
    texts = {
        "diagnosis.json": json.dumps(plain, indent=2) + "\n",
        "diagnosis.md": markdown(diagnosis, run),
        "suggested.yaml": suggested_yaml(diagnosis, config, run, folder / "suggested.yaml"),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomically(folder / name, text)
        draw_diagnosis(diagnosis, series, folder / "diagnosis.png", "/".join(run.parts[-3:]))
    except OSError as error:
        reason = error.strerror or str(error)
        if out:
            raise OmarlError(f"out: cannot write into {folder} ({reason})") from None
        return diagnosis.noted(
            f"Nothing was written: cannot write into {folder} ({reason}). Give another folder with out=DIR."
        )
    return replace(diagnosis, files=tuple(str(folder / name) for name in sorted([*texts, "diagnosis.png"])))


def markdown(diagnosis: Diagnosis, run: Path) -> str:
    """Formats the diagnosis as Markdown."""
    window = diagnosis.window
    verdict = "healthy" if diagnosis.healthy else f"**{diagnosis.findings[0].symptom}**"
    lines = [f"# Diagnosis of {run}", "", f"Verdict: {verdict}", ""]
    if diagnosis.measured:
        lines += [f"Measured over environment steps {window.start:,.0f} to {window.end:,.0f}:", ""]
        lines += ["| number | value |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in diagnosis.measured.items()]
        lines.append("")
    for finding in diagnosis.findings:
        cause = finding.cause[:1].upper() + finding.cause[1:]
        lines += [f"## {finding.symptom}", "", f"{cause}. (Confidence: {finding.confidence:.0%})", ""]
        lines += [f"- {name}: {value}" for name, value in finding.evidence.items()] + [""]
        if finding.remedy:
            lines += ["```yaml", yaml.safe_dump(finding.remedy, sort_keys=False).rstrip(), "```", ""]
        if finding.advice:
            lines += [f"What to change: {finding.advice}", ""]
        if finding.explains:
            lines += [f"It also explains: {', '.join(finding.explains)}.", ""]
    if diagnosis.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in diagnosis.notes), ""]
    remedied = any(finding.remedy for finding in diagnosis.findings)
    advised = any(finding.advice for finding in diagnosis.findings)
    addition = " with the remedies" if remedied else ", with the advice as comments" if advised else ""
    lines += [f"`suggested.yaml` contains the run's configuration{addition}.", ""]
    return "\n".join(lines)


def suggested_yaml(diagnosis: Diagnosis, config: Mapping[str, Any], run: Path, path: Path) -> str:
    """A complete ``--config`` file with the remedies; for other VAEs, the run's own keys and advice as comments."""
    if not is_ours(config):
        lines = [f"# Suggestions of the diagnosis of {run}. The VAE is not omarl's, so they are changes in its code."]
        lines += [f"# {finding.symptom}: {finding.advice}" for finding in diagnosis.findings if finding.advice]
        lines += ["# No change is necessary."] if len(lines) == 1 else []
        plain = {k: v for k, v in config.items() if isinstance(v, str | int | float | bool | list | None)}
        return "\n".join([*lines, "", *(_line(name, value) for name, value in plain.items())]) + "\n"
    wanted: dict[str, tuple[Any, str]] = {}  # the first finding that names a key determines its value
    for finding in diagnosis.findings:
        for name, value in finding.remedy.items():
            wanted.setdefault(name, (value, finding.symptom))
    base = {name: value for name, value in config.items() if name not in NOT_REPEATED}
    if "vae_formula" not in config and "base_learner" in config:  # an older run, with the loss used then
        base["vae_formula"] = "mean"
    lines = [
        f"# The configuration of {run} with the changes that its diagnosis suggests.",
        f"# python main.py --config={path}{_env_option(config)}",
        *([] if wanted else ["# No change is necessary."]),
        "",
    ]
    for name, (value, symptom) in wanted.items():
        before = f"was {_inline(base[name])}" if name in base else "new"
        lines.append(f"{_line(name, value)}   # {symptom}: {before}")
    lines += [""] if wanted else []
    lines += [_line(name, value) for name, value in base.items() if name not in wanted]
    return "\n".join(lines) + "\n"


def _env_option(config: Mapping[str, Any]) -> str:
    """The option `` --env-config=NAME`` if the default environment's arguments would be mixed with the run's."""
    own = config.get("env_args") or {}
    files = {
        file.stem: read_yaml(file).get("env_args") or {} for file in sorted((CONFIG_DIR / "envs").glob("*.yaml"))
    }
    if set(files[DEFAULT_ENV]) <= set(own):
        return ""
    suitable = (n for n, args in files.items() if args.get("key") == own.get("key") and set(args) <= set(own))
    name = next(suitable, "")
    return f" --env-config={name}" if name else ""


def _inline(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).replace("\n...", "").strip()


def _line(name: str, value: Any) -> str:
    return f"{name}: {_inline(value)}"


def advice(finding: Finding, facts: Facts) -> str:
    """Advice for VAEs of other packages, with the names of the run's own keys; empty if no change is necessary."""

    def key_of_run(key: str, otherwise: str) -> str:
        """The run's name of one of omarl's keys, with its value; ``otherwise`` if the run has no such key."""
        name = next((n for n in (*KEYS.get(key, ()), key) if n in facts.config), None)
        return f"{name} ({facts.config[name]})" if name is not None else otherwise

    weight = key_of_run("omg_vae_alpha", "the KL weight")
    lr = key_of_run("vae_lr", "the VAE's learning rate")
    clip = key_of_run("grad_norm_clip", "the gradient clip")
    r = finding.remedy
    to = f" to about {r['omg_vae_alpha']:.2g}" if "omg_vae_alpha" in r else ""
    slower = f" to about {r['vae_lr']:.2g}" if "vae_lr" in r else " by a factor of 3 to 10"
    schedule = (
        f"let {weight} rise once and then stay constant"
        if finding.driven_by_weight
        else "adjust the KL weight so that the KL stays at a target (a PI controller on the KL), or raise it by 3"
    )
    sentences = {
        "negative_kl": "Use KL = 0.5 * sum(mu^2 + exp(log_var) - 1 - log_var) without a clamp inside; bound log_var "
        "itself (log_var = 5 * tanh(log_var / 5)) before both the sample and the KL.",
        "non_finite": f"Bound log_var (5 * tanh(log_var / 5)), lower {lr} by 10 and clip gradients at 1.",
        "learning_rate_too_high": f"Lower {lr}{slower}.",
        "posterior_collapse": f"Lower {weight}{to}, which is then the end of its ramp; or {LIKELIHOOD}.",
        "kl_weight_too_large": f"Lower {weight}{to}; or {LIKELIHOOD}.",
        "kl_weight_too_small": f"Raise {weight}{to}.",
        "data_refresh": "Keep the states of the last 4 or more batches and draw every update from all of them; or "
        "make fewer updates on each batch. Other settings of the optimiser do not help.",
        "gradient_clipping": f"Set {clip} to about {r.get('grad_norm_clip', 10):.2g}.",
        "logvar_saturation": "Widen the bound on log_var, or start log_var at 0.",
        "kl_explosion": "Bound log_var itself (5 * tanh(log_var / 5)), for both the sample and the KL.",
        "latent_oversized": f"Use about {r.get('vae_latent_dim', 16)} latents.",
        "kl_oscillation": f"{schedule[:1].upper()}{schedule[1:]}.",
        "kl_growth": f"Raise {weight}{to}." if to else f"{schedule[:1].upper()}{schedule[1:]}.",
        "reconstruction_plateau": f"Check {lr} and the width of the networks first.",
        "excursion": "Skip updates whose gradient norm is more than 5 times its usual value.",
        "too_short": "Train longer, or log more often.",
    }
    if finding.symptom == "too_short" and not math.isnan(facts.alpha) and finding.driven_by_weight:
        return f"Train beyond the ramp of {weight}, or shorten it."
    return sentences.get(finding.symptom, "")
