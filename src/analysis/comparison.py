"""Many runs side by side: learning curves of any Sacred runs, ours or a PyMARL fork's, with intervals over seeds."""

from __future__ import annotations

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
from ..types import ConfigError, OmarlError
from ..utils.files import write_atomically
from .groups import Group, doubts, grouped, on_grid
from .lineage import is_run, joined, read_record
from .plots import AGENT_COLOURS, INK, MUTED, save_figure
from .runs import METRICS, SACRED_METRICS, Series
from .statistics import Interval, stratified_bootstrap_interval

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

POINTS = 100  # of a curve's common grid
LAST = 0.1  # share of a run whose mean is its final return


@dataclass(frozen=True)
class CompareConfig(RunsKeys):
    """Keys of the command ``compare``."""

    metric: str = key("", help="the metric to compare; empty: the test return")
    by: list[str] | str = key("", help="keys that also separate groups of runs, such as lr")
    until: int = key(0, low=0, help="use the curves up to this step only; 0: all of them")
    out: str = new_default(RunsKeys, "out", "comparison")


class Row(NamedTuple):
    """One line of the table: a group's final return and the mean of its curve, with 95% intervals over seeds.

    ``seconds`` is the median over runs of the time from the command's start to the last step compared; NaN where no
    run says.
    """

    task: str
    label: str
    seeds: int
    steps: float
    final: Interval
    area: Interval
    seconds: float = float("nan")


def compare(config: CompareConfig) -> tuple[list[Row], list[Path]]:
    """Reads the runs, groups them by environment and algorithm, writes comparison.md, .csv and .png.

    Returns:
        The table's rows and the files.

    Raises:
        ConfigError: no runs, none that logged the metric, or none that has a key of ``by``.
        OmarlError: the files cannot be written.
    """
    found = find_runs(words(config.runs))
    read = [read_record(run) for run in found]
    by = words(config.by)
    if unknown := [name for name in by if not any(name in record.config for record in read)]:
        raise ConfigError(f"by: no run has the key {unknown[0]!r}")
    groups = grouped(joined(read), config.metric, by, config.until)
    for line in doubts(groups):
        log.warning(line)
    rows = [row_of(group) for group in groups]
    out = Path(config.out).expanduser()
    try:
        out.mkdir(parents=True, exist_ok=True)
        texts = {"comparison.md": markdown(rows, config), "comparison.csv": as_csv(rows)}
        files = [write_atomically(out / name, text) for name, text in texts.items()]
    except OSError as error:
        raise OmarlError(f"out: cannot write into {out} ({error.strerror or error})") from None
    return rows, [*files, draw_comparison(groups, out / "comparison.png", config.metric or "test return")]


def words(value: list[str] | str) -> list[str]:
    """A list as it is, or one written without quotes: ``[a, b]``, ``a,b`` or ``a``."""
    if not isinstance(value, str):
        return value
    return [word.strip() for word in value.strip().strip("[]").split(",") if word.strip()]


def find_runs(patterns: Sequence[str]) -> list[Path]:
    """Every run below the folders that the patterns stand for, each once, in order."""
    if not patterns:
        raise ConfigError("runs: say which, runs=[DIRECTORY, ...]; a pattern such as results/**/iql/* will do")
    runs: dict[Path, None] = {}
    for pattern in patterns:
        places = sorted(glob.glob(str(Path(pattern).expanduser()), recursive=True))  # noqa: PTH207  (absolute ones too)
        below = [run for place in places for run in _runs_below(Path(place))]
        if not below:
            raise ConfigError(f"runs: {pattern} holds no run (a folder with {METRICS} or {SACRED_METRICS})")
        runs |= dict.fromkeys(below)
    return list(runs)


def _runs_below(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    if is_run(place):
        return [place]
    return sorted(Path(folder) for folder, _, _ in os.walk(place) if is_run(Path(folder)))


def row_of(group: Group) -> Row:
    """Every seed enters as one number; runs are compared as far as the shortest goes."""
    end = min(float(curve.t[-1]) for curve in group.curves)
    finals = [_mean_between(curve, (1 - LAST) * end, end) for curve in group.curves]
    areas = [float(np.mean(on_grid(curve, (np.arange(POINTS) + 0.5) * end / POINTS))) for curve in group.curves]
    return Row(
        group.task, group.label, len(group.curves), end, stratified_bootstrap_interval(np.array(finals)),
        stratified_bootstrap_interval(np.array(areas)), _seconds(group, end),
    )  # fmt: skip


def _seconds(group: Group, end: float) -> float:
    """When the runs were at a step: the median of those that say."""
    told = [float(np.interp(end, record.wall.t, record.wall.value)) for record in group.records if len(record.wall)]
    return float(np.median(told)) if told else float("nan")


def _mean_between(curve: Series, low: float, high: float) -> float:
    inside = curve.value[(curve.t >= low) & (curve.t <= high)]
    inside = inside[np.isfinite(inside)]
    return float(inside.mean()) if len(inside) else float(curve.value[np.isfinite(curve.value)][-1])


def _said(interval: Interval) -> str:
    if not np.isfinite(interval.low):
        return f"{interval.point:.4g}"
    return f"{interval.point:.4g} [{interval.low:.4g}, {interval.high:.4g}]"


def _clock(row: Row) -> str:
    return f"{row.seconds:,.0f}" if np.isfinite(row.seconds) else "-"


def markdown(rows: Sequence[Row], config: CompareConfig) -> str:
    """The table."""
    lines = [
        "# Comparison",
        "",
        f"{config.metric or 'Test return'}: interquartile mean over seeds with a 95% interval (stratified bootstrap, "
        f"each seed one number). Final: the last {LAST:.0%} of the steps; curve: the mean over all of them. Seconds: "
        "from the command's start to the last step compared, tests included, the median over seeds.",
        "",
        "| environment | algorithm | seeds | steps | seconds | final | curve |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (row.task, row.label, str(row.seeds), f"{row.steps:,.0f}", _clock(row), _said(row.final))
        lines.append("| " + " | ".join([*cells, _said(row.area)]) + " |")
    return "\n".join([*lines, "", "![curves](comparison.png)", ""])


def as_csv(rows: Sequence[Row]) -> str:
    """The table for a spreadsheet; bounds are empty where one seed leaves none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["environment", "algorithm", "seeds", "steps", "final", "final_low", "final_high", "curve",
                     "curve_low", "curve_high", "seconds"])  # fmt: skip
    for row in rows:
        numbers = [value if np.isfinite(value) else "" for value in (*row.final, *row.area, row.seconds)]
        writer.writerow([row.task, row.label, row.seeds, int(row.steps), *numbers])
    return text.getvalue()


def draw_comparison(groups: Sequence[Group], target: Path, metric: str) -> Path:
    """A panel for each environment, a line with its band for each algorithm."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = sorted({group.task for group in groups})
    columns = min(len(tasks), 3)
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(4.6 * columns + 0.6, 3.5 * rows), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
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
            ax.plot(grid, point, style, color=colours[group.label], lw=1.8, label=name)
            if len(lines) > 1:
                ax.fill_between(grid, low, high, color=colours[group.label], alpha=0.18, lw=0)
        ax.set_title(task, fontsize=10, color=INK, loc="left")
        ax.tick_params(labelsize=8, colors=MUTED)
        ax.spines[["top", "right"]].set_visible(False)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
        ax.legend(fontsize=8, frameon=False)
    for ax in list(axes):
        ax.set_visible(False)
    figure.supylabel(metric, fontsize=9, color=MUTED)
    figure.supxlabel("environment steps", fontsize=9, color=MUTED)
    return save_figure(figure, target)


def format_rows(rows: Sequence[Row], files: Sequence[Path]) -> str:
    """For the console."""
    lines = [
        f"{row.task:32} {row.label:24} {row.seeds:2} seeds  {_clock(row):>8} s  final {_said(row.final):28} "
        f"curve {_said(row.area)}"
        for row in rows
    ]
    return "\n".join([*lines, *(f"written: {file}" for file in files)])
