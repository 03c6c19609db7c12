"""Reads runs, joins resumed runs to their predecessors, and groups runs that differ only in their seed."""

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config.files import read_json, usable_path
from ..types import ConfigError, OmarlError
from .runs import EMPTY, SACRED_METRICS, Series, is_run, read_config, read_limited, read_metrics, series_of

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

# Names of the return, in order of preference: omarl's first, then those of forks.
RETURNS = ("test_return_mean", "test_total_return_mean", "test_battle_won_mean", "return_mean", "total_return_mean")
SHORT = 0.8  # a run shorter than this share of the group's longest run is reported
# Keys in which runs of one group may differ: seed, paths, hardware and logging intervals.
MAY_DIFFER = {"seed", "label", "checkpoint_path", "load_step", "local_results_path", "unique_token", "env_workers",
            "env_timeout", "env_restarts", "torch_threads", "compiled_threads", "trust", "use_cuda",
            "use_tensorboard", "observers", "save_model", "save_model_interval",
            "save_buffer", "log_interval", "runner_log_interval", "learner_log_interval", "t_max",
            "max_seconds"}  # fmt: skip
FEW = 5  # an interval over fewer seeds is unreliable


class Record(NamedTuple):
    """A run's files."""

    run: Path  # its folder
    config: dict[str, Any]
    metrics: Mapping[str, Series]  # by name; a joined run's metrics include those of its predecessors
    wall: Series  # seconds since the command's start, by environment step; empty if the run did not record them
    before: tuple[Path, ...] = ()  # the predecessors that it resumes, oldest first
    version: str = ""  # of omarl or the fork, with its commit; empty if unknown


class Group(NamedTuple):
    """Runs that differ only in their seed."""

    task: str  # the environment's key
    label: str  # of the runs, or the algorithm
    curves: tuple[Series, ...]  # one for each run
    records: tuple[Record, ...] = ()


def group_runs(records: Sequence[Record], metric: str, by: Sequence[str], until: int = 0) -> list[Group]:
    """Groups runs by environment and label; the values of the keys ``by`` become part of the label.

    Curves end at ``until``, if necessary at an interpolated point; 0 keeps them complete. Raises ConfigError if none
    of the runs logged the metric.
    """
    groups: dict[tuple[str, str], list[tuple[Record, Series]]] = {}
    without = []
    for record in records:
        metrics, config = record.metrics, record.config
        name = metric if metric else next((name for name in RETURNS if name in metrics), "")
        if name not in metrics or not np.isfinite(metrics[name].value).any():
            without.append(record.run)
            continue
        settings = [f"{k}={config[k]}" for k in by if k in config]
        label = " ".join([name_of(config, record.run), *settings])
        curve = cut(metrics[name], until) if until else metrics[name]
        groups.setdefault((task_of(config, record.run), label), []).append((record, curve))
    wanted = metric or f"a return ({', '.join(RETURNS)})"
    if not groups:
        raise ConfigError(f"metric: none of the {len(without)} runs has logged {wanted}")
    for run in without:
        log.warning("left out: %s has not logged %s", run, metric or "a return")
    return [
        Group(task, label, tuple(curve for _, curve in pairs), tuple(record for record, _ in pairs))
        for (task, label), pairs in sorted(groups.items(), key=lambda item: item[0])
    ]


def problems(groups: Sequence[Group]) -> list[str]:
    """Reasons why the runs of a group may not be comparable repetitions, and groups with few seeds; a line each."""
    lines = []
    for group in groups:
        name = f"{group.label} on {group.task}"
        configs = [record.config for record in group.records]
        keys = sorted({key for config in configs for key in config} - MAY_DIFFER)
        differ = [key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)]
        if differ:
            lines.append(f"{name}: runs differ in {', '.join(differ)}; by=[{differ[0]}] separates them")
        ends = [float(curve.t[-1]) for curve in group.curves]
        if min(ends) < SHORT * max(ends):
            run = group.records[ends.index(min(ends))].run
            end = f"step {min(ends):,.0f}, where {run} ends"
            lines.append(f"{name}: compared up to {end}; another run has {max(ends):,.0f}")
        seeds = Counter(str(config["seed"]) for config in configs if config.get("seed") is not None)
        for seed, count in seeds.items():
            if count > 1:
                runs = ", ".join(
                    str(record.run) for record in group.records if str(record.config.get("seed")) == seed
                )
                lines.append(f"{name}: {count} runs have the seed {seed}, and each counts separately: {runs}")
        for record in group.records:
            if record.before:
                lines.append(f"{name}: {record.run} is joined to {record.before[-1]}, which it resumes")
            elif source := record.config.get("checkpoint_path"):
                lines.append(f"{name}: {record.run} resumes {source}, which was not found; its curve starts there")
    lines += unequal(groups)
    few = [f"{group.label} on {group.task} ({len(group.curves)})" for group in groups if len(group.curves) < FEW]
    if few:
        lines.append(f"fewer than {FEW} seeds, so the interval is unreliable: {', '.join(few)}")
    return lines


def unequal(groups: Sequence[Group]) -> list[str]:
    """Reasons why groups may not be comparable with each other: budgets and versions; a line each."""
    lines = []
    for task in dict.fromkeys(group.task for group in groups):
        ends = {group.label: min(float(c.t[-1]) for c in group.curves) for group in groups if group.task == task}
        if min(ends.values()) < SHORT * max(ends.values()):
            steps = ", ".join(f"{label} {end:,.0f}" for label, end in ends.items())
            lines.append(f"{task}: algorithms have unequal steps ({steps}); until=... compares equal ones")
    versions = Counter(record.version for group in groups for record in group.records if record.version)
    if len(versions) > 1:
        lines.append(f"runs of different versions: {', '.join(f'{v} ({n} runs)' for v, n in versions.items())}")
    return lines


def cut(curve: Series, until: float) -> Series:
    """The part of a curve up to a step; its last value is interpolated linearly."""
    inside = curve.t < until
    if inside.all():
        return curve
    end = on_grid(curve, np.array([float(until)]))
    return Series(np.append(curve.t[inside], until), np.append(curve.value[inside], end))


def name_of(config: Mapping[str, Any], run: Path) -> str:
    """A run's ``label``, or its algorithm if it has no label (or PyMARL's default label)."""
    label = config.get("label")
    return str(label if label and label != "default_label" else config.get("name") or run.parent.parent.name)


def task_of(config: Mapping[str, Any], run: Path) -> str:
    """The environment's name, without the prefixes that omarl and forks use for MPE and lbforaging."""
    env_args = config.get("env_args")
    name = str(env_args.get("key") or env_args.get("map_name") or "") if isinstance(env_args, Mapping) else ""
    name = name or str(config.get("env") or run.parent.name)
    name = name.rpartition(":")[2].removeprefix("mpe2.")
    return re.sub(r"^pz-mpe2?-", "", name).replace("-", "_") if name.startswith("pz-") else name


def on_grid(curve: Series, grid: Floats) -> Floats:
    """The curve at the steps ``grid``, interpolated linearly, constant before its first and after its last point."""
    finite = np.isfinite(curve.value)
    return np.interp(grid, curve.t[finite], curve.value[finite])


def read_record(run: Path) -> Record:
    """Reads a run."""
    metrics = read_metrics(run)
    wall = metrics["wall_s"] if "wall_s" in metrics else sacred_clock(run)
    return Record(run, read_config(run), metrics, wall, version=version_of(run))


def version_of(run: Path) -> str:
    """The version and commit of the program in Sacred's run.json, ``omarl 0.2.0 (1a2b3c4)``; empty if unknown."""
    try:
        experiment = read_json(run / "run.json")["experiment"]
        names = [str(text).split("==") for text in experiment["dependencies"] if str(text).startswith("omarl==")]
        commits = [
            str(each["commit"])[:7] + ("+" if each.get("dirty") else "") for each in experiment["repositories"]
        ]
    except (ConfigError, LookupError, TypeError, ValueError, AttributeError):
        return ""
    parts = [" ".join(name) for name in names[:1]] + [f"({commit})" for commit in commits[:1]]
    return " ".join(parts)


def sacred_clock(run: Path) -> Series:
    """Seconds since run.json's start by step, from the timestamps in Sacred's metrics.json; empty if unknown."""
    try:
        start = datetime.fromisoformat(read_json(run / "run.json")["start_time"])
        columns = json.loads(read_limited(run / SACRED_METRICS)).values()
        pairs = [pair for column in columns for pair in zip(column["steps"], column["timestamps"], strict=False)]
        stamps = sorted((float(step), datetime.fromisoformat(stamp)) for step, stamp in pairs)
        seconds = [(stamp.replace(tzinfo=None) - start.replace(tzinfo=None)).total_seconds() for _, stamp in stamps]
    except (OmarlError, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return EMPTY
    return series_of([step for step, _ in stamps], seconds)


def join_resumed(records: Sequence[Record]) -> list[Record]:
    """Puts the curves of each resumed run's predecessors before its own.

    ``checkpoint_path`` names the predecessor, which may be among the records or elsewhere. A predecessor is removed
    from the result if a successor of the same name includes its curves.
    """
    known = {record.run.resolve(): record for record in records}
    joined = [_with_predecessors(record, known, ()) for record in records]
    included = {(run.resolve(), _name(record)) for record in joined for run in record.before}
    kept = [record for record in joined if (record.run.resolve(), _name(record)) not in included]
    return kept or list(records)  # empty if runs resume each other in a circle


def _name(record: Record) -> tuple[str, str]:
    return str(record.config.get("name")), str(record.config.get("label"))


def _with_predecessors(record: Record, known: Mapping[Path, Record], after: tuple[Path, ...]) -> Record:
    """``record`` joined to all its predecessors; ``after`` stops at runs that resume each other in a circle."""
    place = predecessor(str(record.config.get("checkpoint_path") or ""), known)
    if place is None or place in (*after, record.run.resolve()):
        return record
    past = known[place] if place in known else read_record(place)
    past = _with_predecessors(past, known, (*after, record.run.resolve()))
    start = min((float(series.t[0]) for series in record.metrics.values() if len(series)), default=0.0)
    names = dict.fromkeys([*past.metrics, *record.metrics])
    metrics = {name: _concatenated(past.metrics.get(name), record.metrics.get(name), start) for name in names}
    wall = record.wall
    if len(wall) and len(past.wall):
        offset = float(np.interp(start, past.wall.t, past.wall.value))
        wall = _concatenated(past.wall, Series(wall.t, wall.value + offset), start)
    return record._replace(metrics=metrics, wall=wall, before=(*past.before, past.run))


def predecessor(checkpoint: str, known: Mapping[Path, Record]) -> Path | None:
    """The folder of the run that a checkpoint belongs to.

    ``checkpoint`` may be the path of the run, of its folder ``checkpoints``, or of one checkpoint. A relative path
    refers to the folder of the earlier command, so it is compared with the ends of the known runs' paths.
    """
    if not checkpoint:
        return None
    try:
        path = usable_path(checkpoint, "checkpoint_path")
    except ConfigError:
        return None
    own = re.sub(r"/checkpoints(/[^/]+)?/?$", "", str(path).rstrip("/"))
    for place in (path, Path(own)):
        if place.resolve() in known or is_run(place):
            return place.resolve()
    ending = Path(own).parts
    matches = [run for run in known if not Path(own).is_absolute() and run.parts[-len(ending) :] == ending]
    return matches[0] if len(matches) == 1 else None


def _concatenated(past: Series | None, present: Series | None, start: float) -> Series:
    """``past`` before the step ``start``, then ``present``."""
    parts = [past[past.t < start]] if past is not None else []
    parts += [present] if present is not None else []
    return Series(np.concatenate([p.t for p in parts]), np.concatenate([p.value for p in parts]))
