"""What a report says of single runs: health of the VAE, results with held-out opponents, command, machine."""

import csv
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..analysis.doctor.examination import examine_run
from ..analysis.groups import Group, Record
from ..analysis.improvement import interval_over_opponents
from ..analysis.statistics import Interval, stratified_bootstrap_interval
from ..config.files import read_json
from ..types import ConfigError, OmarlError

KL = "vae_kl_loss"
MANIFEST = "sweep.json"
MANIFESTS_ABOVE = 5  # folders above a run in which a sweep's manifest is sought


class Health(NamedTuple):
    """The diagnosis of a run's VAE."""

    healthy: bool
    verdict: str
    detail: str


def health_of(record: Record) -> Health | None:
    """The doctor's verdict; None for a run without a VAE."""
    if KL not in record.metrics:
        return None
    try:
        diagnosis, _, _ = examine_run(record.run, {})
    except OmarlError as error:
        return Health(False, "not examined", str(error))
    first = diagnosis.findings[0] if diagnosis.findings else None
    verdict = "healthy" if diagnosis.healthy or first is None else first.symptom.replace("_", " ")
    return Health(diagnosis.healthy, verdict, "" if first is None else first.cause)


class AgainstOpponents(NamedTuple):
    """Mean returns of one task's algorithms against the opponents of a pool."""

    task: str
    columns: list[str]  # algorithms
    rows: list[tuple[str, str, list[Interval | None]]]  # kind (opponent, family, all), name, one cell per algorithm


def against_opponents(groups: Sequence[Group]) -> list[AgainstOpponents]:
    """The content of the runs' evaluation.json, with intervals over seeds; ``all``: over seeds and opponents."""
    tables = []
    for task in dict.fromkeys(group.task for group in groups):
        found = {g.label: [e for r in g.records if (e := evaluation_of(r.run))] for g in groups if g.task == task}
        found = {label: runs for label, runs in found.items() if runs}
        names = dict.fromkeys(name for runs in found.values() for run in runs for name in run)
        rows = [(kind, name, [_cell(runs, (kind, name)) for runs in found.values()]) for kind, name in names]
        if rows:
            order = {"all": 0, "family": 1, "opponent": 2}
            tables.append(AgainstOpponents(task, list(found), sorted(rows, key=lambda row: order.get(row[0], 3))))
    return tables


def _cell(runs: Sequence[dict[tuple[str, str], float]], name: tuple[str, str]) -> Interval | None:
    values = [run[name] for run in runs if name in run]
    if not values:
        return None
    if name[0] != "all":
        return stratified_bootstrap_interval(values)
    opponents = [key for key in runs[0] if key[0] == "opponent"]
    if not opponents or any(key not in run for run in runs for key in opponents):
        return stratified_bootstrap_interval(values)
    return interval_over_opponents(np.array([[run[key] for key in opponents] for run in runs]))


def evaluation_of(run: Path) -> dict[tuple[str, str], float]:
    """(kind, name) -> mean return, from the last checkpoint that was evaluated against a pool; empty without one."""
    files = sorted(run.glob("checkpoints/*/evaluation.json"), key=lambda file: file.parent.stat().st_mtime)
    for file in reversed(files):
        try:
            rows = read_json(file).get("by_opponent", [])
            return {(str(row["of"]), str(row["name"])): float(row["return"]) for row in rows}
        except (ConfigError, LookupError, TypeError, ValueError, AttributeError):
            continue
    return {}


def matrices(folders: Sequence[str]) -> list[tuple[str, list[list[str]]]]:
    """The matrices of ``crossplay`` in and below these folders: path and rows, the header first."""
    files = dict.fromkeys(
        file for folder in folders if Path(folder).is_dir() for file in sorted(Path(folder).rglob("crossplay.csv"))
    )
    found = []
    for file in files:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = [row for row in csv.reader(lines) if row]
        if len(rows) > 1:
            found.append((str(file.parent), rows))
    return found


class Origin(NamedTuple):
    """Where a run comes from."""

    command: str
    version: str
    machine: str
    status: str


def origin_of(record: Record) -> Origin:
    """The command of a run, from its sweep or from Sacred's run.json, with versions and machine, where known."""
    try:
        stored = read_json(record.run / "run.json")
    except ConfigError:
        stored = {}
    host, meta, experiment = (_mapping(stored.get(name)) for name in ("host", "meta", "experiment"))
    words = meta.get("words") or _words_in_sweep(record.run)
    words = [str(word) for word in words if not str(word).startswith("--id=")]  # it names this run's own folder
    command = shlex.join(["python", "main.py", *words]) if words else ""
    system = host.get("os")
    parts = [host.get("cpu"), system[-1] if isinstance(system, list) and system else None,
             f"Python {host['python_version']}" if "python_version" in host else None]  # fmt: skip
    packages = [str(name) for name in experiment.get("dependencies", []) if not str(name).startswith("omarl")]
    machine = ", ".join([*(str(part) for part in parts if part), *packages])
    return Origin(command, record.version, machine, str(stored.get("status", "")))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _words_in_sweep(run: Path) -> list[str]:
    """The words of a run's command in the manifest of the sweep that made it; none if there is no sweep."""
    for folder in list(run.resolve().parents)[:MANIFESTS_ABOVE]:
        if (folder / MANIFEST).is_file():
            try:
                entry = read_json(folder / MANIFEST)["runs"][str(run.resolve().relative_to(folder))]
                return [str(word) for word in entry["command"]]
            except (ConfigError, LookupError, TypeError):
                return []
    return []
