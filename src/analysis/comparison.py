"""Compares learning curves of Sacred runs (omarl's or a PyMARL fork's), with intervals over seeds."""

import csv
import glob
import io
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config.keys import RunsKeys
from ..config.schema import key, new_default
from ..types import ConfigError
from ..utils.files import write_files
from .figures import INK, MUTED, new_figure, save_figure
from .groups import Group, group_runs, join_resumed, on_grid, problems, read_record
from .plots import AGENT_COLOURS
from .runs import METRICS, SACRED_METRICS, finite, is_run
from .statistics import Interval, stratified_bootstrap_interval

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

POINTS = 100  # points of the common grid of curves
LAST = 0.1  # the final return is the mean over this last share of a run


@dataclass(frozen=True)
class CompareConfig(RunsKeys):
    """Keys of the command ``compare``."""

    metric: str = key("", help="the metric to compare; empty: the test return")
    by: list[str] | str = key("", help="keys that also separate groups of runs, such as lr")
    until: int = key(0, low=0, help="use the curves up to this step only; 0: all of them")
    out: str = new_default(RunsKeys, "out", "comparison")


class Row(NamedTuple):
    """One line of the table: a group's final return and the mean of its curve, with 95% intervals over seeds."""

    task: str
    label: str
    seeds: int
    steps: float
    final: Interval
    area: Interval
    seconds: float = float("nan")  # median time from the command's start to the last compared step; NaN if unknown


class Comparison(NamedTuple):
    """The result of a comparison; ``str`` gives a table for the console."""

    rows: list[Row]  # one for each environment and algorithm
    files: list[Path]  # the written files

    def __str__(self) -> str:
        lines = [
            f"{row.task:32} {row.label:24} {row.seeds:2} seeds  {_format_seconds(row):>8} s  "
            f"final {_format_interval(row.final):28} curve {_format_interval(row.area)}"
            for row in self.rows
        ]
        return "\n".join([*lines, *(f"written: {file}" for file in self.files)])

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [
            "| environment | algorithm | seeds | steps | seconds | final | curve |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            intervals = [_format_interval(interval) for interval in (row.final, row.area)]
            cells = (row.task, row.label, str(row.seeds), f"{row.steps:,.0f}", _format_seconds(row), *intervals)
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:  # notebooks display it
        return self.markdown()

    def csv(self) -> str:
        """The table as CSV; the bounds are empty for a single seed."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["environment", "algorithm", "seeds", "steps", "final", "final_low", "final_high", "curve",
                         "curve_low", "curve_high", "seconds"])  # fmt: skip
        for row in self.rows:
            numbers = [value if np.isfinite(value) else "" for value in (*row.final, *row.area, row.seconds)]
            writer.writerow([row.task, row.label, row.seeds, int(row.steps), *numbers])
        return text.getvalue()


def compare(config: CompareConfig, write: bool = True) -> Comparison:
    """Groups runs by environment and algorithm; ``write`` writes comparison.md, .csv and .png into ``config.out``.

    Raises:
        ConfigError: there are no runs, none logged the metric, or none has a key of ``by``.
        OmarlError: the files cannot be written.
    """
    records = [read_record(run) for run in find_runs(words(config.runs))]
    by = words(config.by)
    if unknown := [name for name in by if not any(name in record.config for record in records)]:
        raise ConfigError(f"by: no run has the key {unknown[0]!r}")
    groups = group_runs(join_resumed(records), config.metric, by, config.until)
    for line in problems(groups):
        log.warning(line)
    result = Comparison([row_of(group) for group in groups], [])
    if not write:
        return result
    text = (
        f"# Comparison\n\n{config.metric or 'Test return'}: interquartile mean over seeds with a 95% interval "
        f"(stratified bootstrap, one number per seed). Final: mean over the last {LAST:.0%} of the steps. Curve: "
        "mean over all steps. Seconds: time from the command's start to the last compared step, including tests, "
        f"median over seeds.\n\n{result.markdown()}\n\n![curves](comparison.png)\n"
    )
    out = Path(config.out).expanduser()
    files = write_files(out, {"comparison.md": text, "comparison.csv": result.csv()})
    picture = draw_comparison(groups, out / "comparison.png", config.metric or "test return")
    return result._replace(files=[*files, picture])


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


def row_of(group: Group) -> Row:
    """The table row of a group: one number per seed; curves are compared up to the end of the shortest run."""
    end = min(float(curve.t[-1]) for curve in group.curves)
    finals, areas = [], []
    for curve in group.curves:
        known = finite(curve)
        last = known.value[(known.t >= (1 - LAST) * end) & (known.t <= end)]
        finals.append(float(last.mean()) if len(last) else float(known.value[-1]))
        areas.append(float(np.mean(on_grid(curve, (np.arange(POINTS) + 0.5) * end / POINTS))))
    final, area = (stratified_bootstrap_interval(np.array(values)) for values in (finals, areas))
    seconds = [
        float(np.interp(end, record.wall.t, record.wall.value)) for record in group.records if len(record.wall)
    ]
    median = float(np.median(seconds)) if seconds else float("nan")
    return Row(group.task, group.label, len(group.curves), end, final, area, median)


def _format_interval(interval: Interval) -> str:
    if not np.isfinite(interval.low):
        return f"{interval.point:.4g}"
    return f"{interval.point:.4g} [{interval.low:.4g}, {interval.high:.4g}]"


def _format_seconds(row: Row) -> str:
    return f"{row.seconds:,.0f}" if np.isfinite(row.seconds) else "-"


def draw_comparison(groups: Sequence[Group], target: Path, metric: str) -> Path:
    """Draws a panel for each environment, with a line and its interval for each algorithm."""
    tasks = sorted({group.task for group in groups})
    columns = min(len(tasks), 3)
    rows = -(-len(tasks) // columns)
    figure = new_figure(4.6 * columns + 0.6, 3.5 * rows, dpi=130, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    labels = sorted({group.label for group in groups})
    colours = {label: AGENT_COLOURS[i % len(AGENT_COLOURS)] for i, label in enumerate(labels)}
    for ax, task in zip(axes, tasks, strict=False):
        for group in (g for g in groups if g.task == task):
            grid = np.linspace(0, min(float(curve.t[-1]) for curve in group.curves), POINTS)
            lines = np.stack([on_grid(curve, grid) for curve in group.curves])  # [seeds, points]
            bounds = [stratified_bootstrap_interval(column, reps=300) for column in lines.T]
            point, low, high = (np.array(values) for values in zip(*bounds, strict=True))
            style = "-" if labels.index(group.label) < len(AGENT_COLOURS) else "--"
            name = f"{group.label} ({len(group.curves)})"
            ax.plot(grid, point, style, color=colours[group.label], lw=1.8, label=name.replace("$", r"\$"))
            if len(lines) > 1:
                ax.fill_between(grid, low, high, color=colours[group.label], alpha=0.18, lw=0)
        ax.set_title(task, fontsize=10, color=INK, loc="left", parse_math=False)
        ax.tick_params(labelsize=8, colors=MUTED)
        ax.spines[["top", "right"]].set_visible(False)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
        ax.legend(fontsize=8, frameon=False)
    for ax in list(axes):
        ax.set_visible(False)
    figure.supylabel(metric, fontsize=9, color=MUTED)
    figure.supxlabel("environment steps", fontsize=9, color=MUTED)
    return save_figure(figure, target)
