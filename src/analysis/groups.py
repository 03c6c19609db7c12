"""Runs that differ in their seed alone, put together; and what is doubtful about them."""

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

# Ours first, then what forks call it.
RETURNS = ("test_return_mean", "test_total_return_mean", "test_battle_won_mean", "return_mean", "total_return_mean")
SHORT = 0.8  # share of a group's longest run; a shorter one is told
# keys that runs of one group may differ in: seeds, where they lie, what they ran on and how often they wrote
REPEATED = {"seed", "label", "checkpoint_path", "load_step", "local_results_path", "unique_token", "env_workers",
            "torch_threads", "use_cuda", "use_tensorboard", "save_model", "save_model_interval", "save_buffer",
            "log_interval", "runner_log_interval", "learner_log_interval", "t_max"}  # fmt: skip
FEW = 5  # seeds; an interval over fewer is mostly luck


class Group(NamedTuple):
    """Runs that differ in their seed alone.

    Attributes:
        task: the environment's key.
        label: the runs' own, or the algorithm.
        curves: one a run.
        records: the runs.
    """

    task: str
    label: str
    curves: tuple[Series, ...]
    records: tuple[Record, ...] = ()


def grouped(
    records: Sequence[Record],
    metric: str,
    by: Sequence[str],
    until: int = 0,
) -> list[Group]:
    """Runs of one environment and one name together; the settings of ``by`` join the name.

    Curves end at ``until``, between two points of theirs if need be; 0 leaves them whole.

    Raises:
        ConfigError: none of the runs has a number of the metric.
    """
    found: dict[tuple[str, str], list[tuple[Record, Series]]] = {}
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
        found.setdefault((task_of(config, record.run), label), []).append((record, curve))
    wanted = metric or f"a return ({', '.join(RETURNS)})"
    if not found:
        raise ConfigError(f"metric: none of the {len(without)} runs has logged {wanted}")
    for run in without:
        log.warning("left out: %s has not logged %s", run, metric or "a return")
    return [
        Group(task, label, tuple(curve for _, curve in pairs), tuple(record for record, _ in pairs))
        for (task, label), pairs in sorted(found.items(), key=lambda item: item[0])
    ]


def doubts(groups: Sequence[Group]) -> list[str]:
    """What makes runs of a group no mere repetitions with other seeds, or too few of them, a line each."""
    lines = [line for group in groups for line in _doubts_of(group)]
    few = [f"{group.label} on {group.task} ({len(group.curves)})" for group in groups if len(group.curves) < FEW]
    if few:
        lines.append(f"fewer than {FEW} seeds, too few for an interval to be relied on: {', '.join(few)}")
    return lines


def _doubts_of(group: Group) -> list[str]:
    name, lines = f"{group.label} on {group.task}", []
    said = [record.config for record in group.records]
    keys = sorted({key for config in said for key in config} - REPEATED)
    differ = [key for key in keys if any(config.get(key) != said[0].get(key) for config in said)]
    if differ:
        lines.append(f"{name}: runs differ in {', '.join(differ)}; by=[{differ[0]}] tells them apart")
    ends = [float(curve.t[-1]) for curve in group.curves]
    if min(ends) < SHORT * max(ends):
        run = group.records[ends.index(min(ends))].run
        lines.append(f"{name}: compared up to step {min(ends):,.0f}, where {run} ends; another has {max(ends):,.0f}")
    seeds = Counter(config["seed"] for config in said if config.get("seed") is not None)
    for seed, count in seeds.items():
        if count > 1:
            runs = ", ".join(str(record.run) for record in group.records if record.config.get("seed") == seed)
            lines.append(f"{name}: {count} runs have the seed {seed} and each counts as one of its own: {runs}")
    for record in group.records:
        if record.before:
            lines.append(f"{name}: {record.run} is joined to {record.before[-1]}, which it goes on from")
        elif source := record.config.get("checkpoint_path"):
            lines.append(f"{name}: {record.run} goes on from {source}, which is not found; its curve begins there")
    return lines


def cut(curve: Series, until: float) -> Series:
    """A curve's part up to a step; what it has there lies in a straight line between the points on both sides."""
    inside = curve.t < until
    if inside.all():
        return curve
    end = on_grid(curve, np.array([float(until)]))
    return Series(np.append(curve.t[inside], until), np.append(curve.value[inside], end))


def name_of(config: Mapping[str, Any], run: Path) -> str:
    """A run's ``label``, or its algorithm where it has none (or PyMARL's default)."""
    label = config.get("label")
    return str(label if label and label != "default_label" else config.get("name") or run.parent.parent.name)


def task_of(config: Mapping[str, Any], run: Path) -> str:
    """What was played; forks' names for MPE and lbforaging are ours without what stands before."""
    env_args = config.get("env_args")
    name = str(env_args.get("key") or env_args.get("map_name") or "") if isinstance(env_args, Mapping) else ""
    name = name or str(config.get("env") or run.parent.name)
    name = name.rpartition(":")[2].removeprefix("mpe2.")
    return re.sub(r"^pz-mpe2?-", "", name).replace("-", "_") if name.startswith("pz-") else name


def on_grid(curve: Series, grid: Floats) -> Floats:
    """The curve between its points in straight lines, level before the first and after the last."""
    finite = np.isfinite(curve.value)
    return np.interp(grid, curve.t[finite], curve.value[finite])
