"""The picture of ``vae_states.py``: KL curves of the stag hunt, and explained variance on all families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from state_families import TABLE, Spec
from vae_measures import POINT

COLOURS = {"first": "#D55E00", "final": "#999999", "default": "#0072B2", "ceiling": "#000000"}
NAMES = {"first": "first settings", "final": "final settings", "default": "our default"}

Row = dict[str, str]


def size_of(spec: Spec) -> int:
    """The number of features."""
    return spec.features if isinstance(spec.features, int) else int(spaces.flatdim(spec.features))


def draw(rows: list[Row], curves: list[Row], path: Path) -> None:
    """Three panels of KL curves above two of explained variance."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=(1, 1.45)))
    panels = above.subplots(1, 3)
    above.suptitle("KL on the stag hunt, refreshed batches: one line a seed", x=0.01, ha="left", weight="bold")
    batches = {(int(row["updates"]), int(row["batches"])) for row in rows}
    for ax, setting in zip(panels, NAMES, strict=True):
        lines = [np.array(row["kl"].split(), float) for row in curves if row["setting"] == setting]
        _kl_panel(ax, lines, setting, batches)
    below.suptitle(
        "Explained variance of held-out states: median and range over seeds", x=0.01, ha="left", weight="bold"
    )
    left, right = below.subplots(1, 2, sharey=True)
    for ax, regime in ((left, "replay"), (right, "refresh")):
        _variance_panel(ax, [row for row in rows if row["regime"] == regime], regime)
    left.set_yticks(range(len(TABLE)), TABLE)
    left.set_ylim(len(TABLE) - 0.4, -0.6)
    for setting, name in {**NAMES, "ceiling": "plain autoencoder"}.items():
        left.plot([], [], "|" if setting == "ceiling" else "o", color=COLOURS[setting], label=name)
    below.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path)


def _kl_panel(ax: Any, lines: list[np.ndarray], setting: str, batches: set[tuple[int, int]]) -> None:
    for kl in lines:
        ax.plot(np.arange(1, len(kl) + 1) * POINT, kl, color=COLOURS[setting], alpha=0.6, linewidth=0.9)
    if len(batches) == 1:
        total, count = next(iter(batches))
        for i in range(1, count):
            ax.axvline(total / count * i, color="#DDDDDD", linewidth=0.8, zorder=0)
    ax.set_title(NAMES[setting], fontsize=10, loc="left")
    ax.set_xlabel("updates; grey lines: a new batch", fontsize=8)
    ax.set_ylabel("KL, nats", fontsize=8)
    ax.set_ylim(bottom=0)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def _variance_panel(ax: Any, rows: list[Row], regime: str) -> None:
    for i, family in enumerate(TABLE):
        for offset, setting in zip((-0.24, 0.0, 0.24), NAMES, strict=True):
            values = _explained(rows, family, setting)
            if len(values):
                ax.plot([values.min(), values.max()], [i + offset] * 2, color=COLOURS[setting], linewidth=1.5)
                ax.plot(np.median(values), i + offset, "o", color=COLOURS[setting], markersize=5)
        ceiling = _explained(rows, family, "ceiling")
        if len(ceiling):
            ax.plot(np.median(ceiling), i + 0.24, "|", color=COLOURS["ceiling"], markersize=13)
    ax.set_title(regime, fontsize=10, loc="left")
    ax.set_xlim(-0.02, 1.02)
    ax.grid(axis="x", color="#EEEEEE")
    ax.tick_params(labelsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def _explained(rows: list[Row], family: str, setting: str) -> np.ndarray:
    """One value for each seed, cut at 0, where the axis ends."""
    found = [float(row["explained_variance"]) for row in rows if (row["family"], row["setting"]) == (family, setting)]
    values = np.array(found)
    return np.clip(values[np.isfinite(values)], 0.0, 1.0)
