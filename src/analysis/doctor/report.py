"""Writes a diagnosis: diagnosis.json, diagnosis.md, diagnosis.png and suggested.yaml."""

from __future__ import annotations

import json
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
from .findings import Diagnosis
from .reading import is_ours

# Keys that suggested.yaml leaves out, because they belong to one run only.
NOT_REPEATED = ("seed", "checkpoint_path", "load_step", "evaluate", "local_results_path", "__doc__")
DEFAULT_ENV = "simple_tag"


def write_report(
    diagnosis: Diagnosis, run: Path, out: str, series: Mapping[str, Series], config: Mapping[str, Any]
) -> Diagnosis:
    """Writes the four files. If the run's folder cannot be written, a note of the diagnosis says so.

    Raises:
        OmarlError: ``out`` is given and cannot be written.
    """
    folder = Path(out).expanduser() if out else run_directory(run)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = _write_all(diagnosis, run, folder, series, config)
    except OSError as error:
        reason = error.strerror or str(error)
        if out:
            raise OmarlError(f"out: cannot write into {folder} ({reason})") from None
        note = f"Nothing was written: cannot write into {folder} ({reason}). Give another folder with out=DIR."
        return replace(diagnosis, notes=(*diagnosis.notes, note))
    return replace(diagnosis, files=tuple(str(file) for file in files))


def _write_all(
    diagnosis: Diagnosis, run: Path, folder: Path, series: Mapping[str, Series], config: Mapping[str, Any]
) -> list[Path]:
    from .picture import draw_diagnosis

    suggestion = suggested_yaml(diagnosis, config, run, folder / "suggested.yaml")
    texts = {
        "diagnosis.json": json.dumps(_finite(diagnosis.as_dict()), indent=2, allow_nan=False) + "\n",
        "diagnosis.md": markdown(diagnosis, run),
        "suggested.yaml": suggestion,
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    picture = draw_diagnosis(diagnosis, series, folder / "diagnosis.png", "/".join(run.parts[-3:]))
    return [folder / "diagnosis.json", folder / "diagnosis.md", picture, folder / "suggested.yaml"]


def _finite(value: Any) -> Any:
    """Replaces NaN and infinity by None, because JSON has neither."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


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


def remedies(diagnosis: Diagnosis) -> dict[str, tuple[Any, str]]:
    """The keys to change, with the new value and the symptom; the first finding that names a key determines it."""
    wanted: dict[str, tuple[Any, str]] = {}
    for finding in diagnosis.findings:
        for name, value in finding.remedy.items():
            wanted.setdefault(name, (value, finding.symptom))
    return wanted


def suggested_yaml(diagnosis: Diagnosis, config: Mapping[str, Any], run: Path, path: Path) -> str:
    """A complete ``--config`` file with the remedies; for other VAEs, the run's own keys and advice as comments."""
    if not is_ours(config):
        return _suggestion_for_other_vae(diagnosis, config, run)
    wanted, base = remedies(diagnosis), _own(config)
    lines = [
        f"# The configuration of {run} with the changes that its diagnosis suggests.",
        f"# python main.py --config={path}{_env_option(config)}",
    ]
    lines += ["# No change is necessary.", ""] if not wanted else [""]
    for name, (value, symptom) in wanted.items():
        before = f"was {_inline(base[name])}" if name in base else "new"
        lines.append(f"{_line(name, value)}   # {symptom}: {before}")
    lines += [""] if wanted else []
    lines += [_line(name, value) for name, value in base.items() if name not in wanted]
    return "\n".join(lines) + "\n"


def _suggestion_for_other_vae(diagnosis: Diagnosis, config: Mapping[str, Any], run: Path) -> str:
    """The unchanged configuration of a VAE that does not read omarl's keys, with the advice as comments."""
    lines = [f"# Suggestions of the diagnosis of {run}. The VAE is not omarl's, so they are changes in its code."]
    lines += [f"# {finding.symptom}: {finding.advice}" for finding in diagnosis.findings if finding.advice]
    lines += ["# No change is necessary."] if len(lines) == 1 else []
    plain = {k: v for k, v in config.items() if isinstance(v, str | int | float | bool | list | None)}
    return "\n".join([*lines, "", *(_line(name, value) for name, value in plain.items())]) + "\n"


def _own(config: Mapping[str, Any]) -> dict[str, Any]:
    """The run's keys. For a run older than the key ``vae_formula``, its value is that of the loss used then."""
    kept = {name: value for name, value in config.items() if name not in NOT_REPEATED}
    return kept if "vae_formula" in config or "base_learner" not in config else kept | {"vae_formula": "mean"}


def _env_option(config: Mapping[str, Any]) -> str:
    """The option `` --env-config=NAME`` if the default environment's arguments would be mixed with the run's."""
    own = config.get("env_args") or {}
    folder = CONFIG_DIR / "envs"
    if set(_env_args(folder / f"{DEFAULT_ENV}.yaml")) <= set(own):
        return ""
    for file in sorted(folder.glob("*.yaml")):
        args = _env_args(file)
        if args.get("key") == own.get("key") and set(args) <= set(own):
            return f" --env-config={file.stem}"
    return ""


def _env_args(file: Path) -> dict[str, Any]:
    return read_yaml(file).get("env_args") or {}


def _inline(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).replace("\n...", "").strip()


def _line(name: str, value: Any) -> str:
    return f"{name}: {_inline(value)}"
