"""Groups runs that differ only in their seed, and reports problems of such groups."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..types import ConfigError
from .lineage import Record
from .runs import Series

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

# Names of the return, in order of preference: omarl's first, then those of forks.
RETURNS = ("test_return_mean", "test_total_return_mean", "test_battle_won_mean", "return_mean", "total_return_mean")
SHORT = 0.8  # a run shorter than this share of the group's longest run is reported
# Keys in which runs of one group may differ: seed, paths, hardware and logging intervals.
MAY_DIFFER = {"seed", "label", "checkpoint_path", "load_step", "local_results_path", "unique_token", "env_workers",
            "torch_threads", "use_cuda", "use_tensorboard", "save_model", "save_model_interval", "save_buffer",
            "log_interval", "runner_log_interval", "learner_log_interval", "t_max"}  # fmt: skip
FEW = 5  # an interval over fewer seeds is unreliable


class Group(NamedTuple):
    """Runs that differ only in their seed.

    Attributes:
        task: the environment's key.
        label: the label of the runs, or the algorithm.
        curves: one curve for each run.
        records: the runs.
    """

    task: str
    label: str
    curves: tuple[Series, ...]
    records: tuple[Record, ...] = ()


def group_runs(records: Sequence[Record], metric: str, by: Sequence[str], until: int = 0) -> list[Group]:
    """Groups runs by environment and label; the values of the keys ``by`` become part of the label.

    Curves end at ``until``, if necessary at an interpolated point; 0 keeps them complete.

    Raises:
        ConfigError: none of the runs logged the metric.
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
    lines = [line for group in groups for line in _problems_of(group)]
    few = [f"{group.label} on {group.task} ({len(group.curves)})" for group in groups if len(group.curves) < FEW]
    if few:
        lines.append(f"fewer than {FEW} seeds, so the interval is unreliable: {', '.join(few)}")
    return lines


def _problems_of(group: Group) -> list[str]:
    name, lines = f"{group.label} on {group.task}", []
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
    seeds = Counter(config["seed"] for config in configs if config.get("seed") is not None)
    for seed, count in seeds.items():
        if count > 1:
            runs = ", ".join(str(record.run) for record in group.records if record.config.get("seed") == seed)
            lines.append(f"{name}: {count} runs have the seed {seed}, and each counts separately: {runs}")
    for record in group.records:
        if record.before:
            lines.append(f"{name}: {record.run} is joined to {record.before[-1]}, which it resumes")
        elif source := record.config.get("checkpoint_path"):
            lines.append(f"{name}: {record.run} resumes {source}, which was not found; its curve starts there")
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
