"""Compares learning curves of Sacred runs (omarl's or a PyMARL fork's), with intervals over seeds."""

import glob
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..config.keys import CurvesKeys
from ..config.schema import key, new_default
from ..types import ConfigError
from ..utils.files import write_files
from .comparison_picture import POINTS, SECONDS, draw_comparison, draw_profiles
from .comparison_table import Comparison, Row
from .groups import Group, group_runs, join_resumed, on_grid, problems, read_record
from .improvement import improvements, interval_over_tasks, normalised
from .marl_eval import exported
from .runs import METRICS, SACRED_METRICS, Series, finite, is_run
from .statistics import stratified_bootstrap_interval

log = logging.getLogger(__name__)

LAST = 0.1  # the final return is the mean over this last share of a run


@dataclass(frozen=True)
class CompareConfig(CurvesKeys):
    """Keys of the command ``compare``."""

    x: Literal["steps", "seconds"] = key("steps", help="the axis of the curves that are drawn")
    out: str = new_default(CurvesKeys, "out", "comparison")


def compare(config: CompareConfig, write: bool = True) -> Comparison:
    """Groups runs by environment and algorithm; ``write`` writes tables, pictures and an export into ``config.out``.

    The files are comparison.md, .csv and .png, marl_eval.json, and profiles.png for several environments.

    Raises:
        ConfigError: there are no runs, none logged the metric, or none has a key of ``by``.
        OmarlError: the files cannot be written.
    """
    groups = read_groups(config)
    for line in problems(groups):
        log.warning(line)
    finals = [finals_of(group) for group in groups]
    scores: dict[str, dict[str, list[float]]] = {}
    for group, values in zip(groups, finals, strict=True):
        scores.setdefault(group.task, {})[group.label] = values
    scaled = normalised(scores) if len(scores) > 1 else {}
    overall = [(label, interval_over_tasks(strata)) for label, strata in sorted(scaled.items())]
    result = Comparison([row_of(group) for group in groups], [], improvements(scores), overall)
    if not write:
        return result
    out = Path(config.out).expanduser()
    export = json.dumps(exported(groups, config.metric or "return", finals))
    texts = {"comparison.md": markdown(config, result), "comparison.csv": result.csv(), "marl_eval.json": export}
    files = write_files(out, texts)
    drawn = groups if config.x == "steps" else over_seconds(groups)
    unit = "environment steps" if config.x == "steps" else SECONDS
    files.append(draw_comparison(drawn, out / "comparison.png", config.metric or "test return", unit))
    if scaled:
        files.append(draw_profiles(scaled, out / "profiles.png"))
    return result._replace(files=files)


def read_groups(config: CompareConfig) -> list[Group]:
    """The runs that ``config`` names, in groups that differ only in their seed. Errors: see ``compare``."""
    records = [read_record(run) for run in find_runs(words(config.runs))]
    by = words(config.by)
    if unknown := [name for name in by if not any(name in record.config for record in records)]:
        raise ConfigError(f"by: no run has the key {unknown[0]!r}")
    return group_runs(join_resumed(records), config.metric, by, config.until)


def markdown(config: CompareConfig, result: Comparison) -> str:
    """The page of a comparison."""
    parts = [
        "# Comparison",
        f"{config.metric or 'Test return'}: interquartile mean over seeds with a 95% interval (stratified bootstrap, "
        f"one number per seed). Final: mean over the last {LAST:.0%} of the steps. Curve: mean over all steps. "
        "Seconds: time from the command's start to the last compared step, including tests, median over seeds.",
        result.markdown(),
        "![curves](comparison.png)",
    ]
    if result.pairs:
        parts += [
            "Probability that the final score of a run of the better algorithm is higher than that of a run of the "
            "other one, with a 95% bootstrap interval; p: two-sided Mann-Whitney U test, corrected by Holm's method "
            f"for {len(result.pairs)} pairs.",
            result.pairs_markdown(),
        ]
    if result.overall:
        parts += [
            "Over all environments: interquartile mean of final scores, scaled so that on each environment 0 is the "
            "lowest run of all algorithms and 1 the highest, with a 95% interval (stratified bootstrap).",
            result.overall_markdown(),
            "![performance profiles](profiles.png)",
        ]
    return "\n\n".join(parts) + "\n"


def over_seconds(groups: Sequence[Group]) -> list[Group]:
    """The groups with curves over seconds since the command's start; without the runs that did not record them."""
    timed = []
    for group in groups:
        pairs = [(r, curve) for r, curve in zip(group.records, group.curves, strict=True) if len(r.wall)]
        if pairs:
            curves = tuple(Series(np.interp(c.t, r.wall.t, r.wall.value), c.value) for r, c in pairs)
            timed.append(group._replace(curves=curves, records=tuple(record for record, _ in pairs)))
        else:
            log.warning(f"left out: {group.label} on {group.task} has recorded no times")
    if not timed:
        raise ConfigError("x: none of the runs has recorded seconds")
    return timed


def words(value: list[str] | str) -> list[str]:
    """Parses a list written without quotes, ``[a, b]``, ``a,b`` or ``a``; a real list is returned unchanged."""
    if not isinstance(value, str):
        return value
    return [word.strip() for word in value.strip().strip("[]").split(",") if word.strip()]


def find_runs(patterns: Sequence[str]) -> list[Path]:
    """All runs below the folders that match the patterns, without duplicates, in order."""
    if not patterns:
        raise ConfigError("runs: name the runs, runs=[FOLDER, ...]; patterns such as results/**/iql/* are allowed")
    runs: dict[Path, None] = {}
    for pattern in patterns:
        below = []
        for place in sorted(glob.glob(str(Path(pattern).expanduser()), recursive=True)):  # noqa: PTH207  (absolute too)
            inside = [Path(place)] if is_run(Path(place)) else sorted(Path(folder) for folder, _, _ in os.walk(place))
            below += [folder for folder in inside if is_run(folder)]
        if not below:
            raise ConfigError(f"runs: {pattern} contains no run (a folder with {METRICS} or {SACRED_METRICS})")
        runs |= dict.fromkeys(below)
    return list(runs)


def finals_of(group: Group) -> list[float]:
    """The mean over the last share of each run, up to the end of the shortest one."""
    end = min(float(curve.t[-1]) for curve in group.curves)
    finals = []
    for curve in group.curves:
        known = finite(curve)
        last = known.value[(known.t >= (1 - LAST) * end) & (known.t <= end)]
        finals.append(float(last.mean()) if len(last) else float(known.value[-1]))
    return finals


def row_of(group: Group) -> Row:
    """The table row of a group: one number per seed; curves are compared up to the end of the shortest run."""
    end = min(float(curve.t[-1]) for curve in group.curves)
    middles = (np.arange(POINTS) + 0.5) * end / POINTS
    areas = [float(np.mean(on_grid(curve, middles))) for curve in group.curves]
    final, area = (stratified_bootstrap_interval(np.array(values)) for values in (finals_of(group), areas))
    seconds = [
        float(np.interp(end, record.wall.t, record.wall.value)) for record in group.records if len(record.wall)
    ]
    median = float(np.median(seconds)) if seconds else float("nan")
    return Row(group.task, group.label, len(group.curves), end, final, area, median)
