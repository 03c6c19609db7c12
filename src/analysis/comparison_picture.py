"""Draws learning curves of several algorithms, and their performance profiles."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .figures import INK, MUTED, new_figure, save_figure
from .groups import Group, on_grid
from .improvement import Floats, performance_profile, profile_band
from .plots import AGENT_COLOURS
from .statistics import stratified_bootstrap_interval

POINTS = 100  # of the common grid of curves, and thresholds of a profile
SECONDS = "seconds"


def colours_of(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each algorithm; they repeat after six."""
    return {label: AGENT_COLOURS[i % len(AGENT_COLOURS)] for i, label in enumerate(labels)}


def draw_comparison(groups: Sequence[Group], target: Path, metric: str, unit: str = "environment steps") -> Path:
    """Draws a panel for each environment, with a line and its interval for each algorithm, over ``unit``."""
    tasks = sorted({group.task for group in groups})
    columns = min(len(tasks), 3)
    rows = -(-len(tasks) // columns)
    figure = new_figure(4.6 * columns + 0.6, 3.5 * rows, dpi=130, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    labels = sorted({group.label for group in groups})
    colours = colours_of(labels)
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
        if unit != SECONDS:
            ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
        ax.legend(fontsize=8, frameon=False)
    for ax in list(axes):
        ax.set_visible(False)
    figure.supylabel(metric, fontsize=9, color=MUTED)
    figure.supxlabel(unit, fontsize=9, color=MUTED)
    return save_figure(figure, target)


def draw_profiles(scaled: Mapping[str, Sequence[Floats]], target: Path) -> Path:
    """Draws the performance profile of each algorithm with its 95% band.

    ``scaled``: algorithm -> normalised scores, a stratum for each task (``improvement.normalised``).
    """
    figure = new_figure(5.2, 3.6, dpi=130, layout="constrained")
    ax = figure.add_subplot()
    tau = np.linspace(0, 1, POINTS)
    for label, colour in colours_of(sorted(scaled)).items():
        low, high = profile_band(scaled[label], tau)
        ax.step(tau, performance_profile(scaled[label], tau), where="post", color=colour, lw=1.8,
                label=label.replace("$", r"\$"))  # fmt: skip
        ax.fill_between(tau, low, high, step="post", color=colour, alpha=0.18, lw=0)
    ax.set_xlabel("normalised score", fontsize=9, color=MUTED)
    ax.set_ylabel("share of runs above it", fontsize=9, color=MUTED)
    ax.tick_params(labelsize=8, colors=MUTED)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, frameon=False)
    return save_figure(figure, target)
