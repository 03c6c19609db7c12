"""Writing a diagnosis down: diagnosis.json, diagnosis.md, diagnosis.png and suggested.yaml."""

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

# What belongs to one run and not to the next: where it lay, what it went on from, how it drew.
NOT_REPEATED = ("seed", "checkpoint_path", "load_step", "evaluate", "local_results_path", "__doc__")
DEFAULT_ENV = "simple_tag"


def write_report(
    diagnosis: Diagnosis, run: Path, out: str, series: Mapping[str, Series], config: Mapping[str, Any]
) -> Diagnosis:
    """Writes the four files; where neither ``out`` was given nor the run's directory takes them, says so.

    Raises:
        OmarlError: ``out`` was given and cannot be written.
    """
    folder = Path(out).expanduser() if out else run_directory(run)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = _write_all(diagnosis, run, folder, series, config)
    except OSError as error:
        why = error.strerror or str(error)
        if out:
            raise OmarlError(f"out: cannot write into {folder} ({why})") from None
        note = f"Nothing was written: {folder} takes no files ({why}). Give another folder with out=DIR."
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
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def markdown(diagnosis: Diagnosis, run: Path) -> str:
    """The diagnosis to read."""
    window = diagnosis.window
    verdict = "healthy" if diagnosis.healthy else f"**{diagnosis.findings[0].symptom}**"
    lines = [f"# Diagnosis of {run}", "", f"Verdict: {verdict}", ""]
    if diagnosis.measured:
        lines += [f"Measured over environment steps {window.start:,.0f} to {window.end:,.0f}:", ""]
        lines += ["| number | value |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in diagnosis.measured.items()]
        lines.append("")
    for finding in diagnosis.findings:
        lines += [f"## {finding.symptom}", "", f"{_sentence(finding.cause)} (sure: {finding.confidence:.0%})", ""]
        lines += [f"- {name}: {value}" for name, value in finding.evidence.items()] + [""]
        if finding.remedy:
            lines += ["```yaml", yaml.safe_dump(finding.remedy, sort_keys=False).rstrip(), "```", ""]
        if finding.advice:
            lines += [f"What to change: {finding.advice}", ""]
        if finding.explains:
            lines += [f"It brings with it: {', '.join(finding.explains)}.", ""]
    if diagnosis.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in diagnosis.notes), ""]
    remedied = any(finding.remedy for finding in diagnosis.findings)
    advised = any(finding.advice for finding in diagnosis.findings)
    what = " with the remedies." if remedied else ", and what to change as comments." if advised else "."
    lines += ["`suggested.yaml` holds the run's configuration" + what, ""]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def remedies(diagnosis: Diagnosis) -> dict[str, tuple[Any, str]]:
    """Each key to change: its value and the symptom that asks for it; of two that want one, the first named."""
    wanted: dict[str, tuple[Any, str]] = {}
    for finding in diagnosis.findings:
        for name, value in finding.remedy.items():
            wanted.setdefault(name, (value, finding.symptom))
    return wanted


def suggested_yaml(diagnosis: Diagnosis, config: Mapping[str, Any], run: Path, path: Path) -> str:
    """Of our run a complete ``--config`` file with the remedies; of another its own keys, remedies as comments."""
    if not is_ours(config):
        return _of_another(diagnosis, config, run)
    wanted, base = remedies(diagnosis), _own(config)
    lines = [
        f"# The configuration of {run}, with what its diagnosis suggests.",
        f"# python main.py --config={path}{_env_option(config)}",
    ]
    lines += ["# Nothing needed changing.", ""] if not wanted else [""]
    for name, (value, symptom) in wanted.items():
        before = f"was {_inline(base[name])}" if name in base else "new"
        lines.append(f"{_line(name, value)}   # {symptom}: {before}")
    lines += [""] if wanted else []
    lines += [_line(name, value) for name, value in base.items() if name not in wanted]
    return "\n".join(lines) + "\n"


def _of_another(diagnosis: Diagnosis, config: Mapping[str, Any], run: Path) -> str:
    """A VAE that is not ours does not read our keys: its configuration as it is, what to change in words."""
    lines = [f"# What the diagnosis of {run} suggests. The VAE is not omarl's: these are changes in its code."]
    lines += [f"# {finding.symptom}: {finding.advice}" for finding in diagnosis.findings if finding.advice]
    lines += ["# Nothing needed changing."] if len(lines) == 1 else []
    kept = {
        name: value for name, value in config.items() if isinstance(value, str | int | float | bool | list | None)
    }
    return "\n".join([*lines, "", *(_line(name, value) for name, value in kept.items())]) + "\n"


def _own(config: Mapping[str, Any]) -> dict[str, Any]:
    """The run's keys. One from before ``vae_formula`` keeps the loss that it was trained with."""
    kept = {name: value for name, value in config.items() if name not in NOT_REPEATED}
    return kept if "vae_formula" in config or "base_learner" not in config else kept | {"vae_formula": "mean"}


def _env_option(config: Mapping[str, Any]) -> str:
    """`` --env-config=NAME`` where the default environment's arguments would mix with the run's own."""
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
