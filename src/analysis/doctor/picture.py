"""The picture of a diagnosis: the series it rests on, the window that was measured, the first findings."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..plots import BLUE, GREEN, INK, MUTED, PURPLE, VERMILLION, Panel, draw_panel, save_figure
from ..runs import Series
from ..symptoms import straight_line
from .findings import Diagnosis, Finding
from .rules_of_causes import DEAD_NATS

SHADE = "#F1F4F7"
TOP = Panel("vae_kl_loss", "KL divergence", BLUE, loss=True)
PANELS = (
    Panel("vae_recon_loss", "Reconstruction loss", BLUE, loss=True),
    Panel("vae_alpha", "KL weight", PURPLE),
    Panel("vae_grad_norm", "Gradient norm", VERMILLION, loss=True),
    Panel("vae_explained_variance", "Explained variance", GREEN),
    Panel("vae_active_units", "Active latent units", GREEN),
    Panel("vae_loss", "Total VAE loss", BLUE, loss=True),
)


def draw_diagnosis(diagnosis: Diagnosis, series: Mapping[str, Series], target: Path, title: str) -> Path:
    """Draws the KL, large, with the line and the numbers the verdict rests on; the other series below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

    below = [panel for panel in PANELS if panel.metric in series][:6]
    rows = -(-len(below) // 3)
    height = 4.1 + 2.1 * rows
    figure = Figure(figsize=(10, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    head = "healthy" if diagnosis.healthy else diagnosis.findings[0].symptom.replace("_", " ")
    figure.suptitle(f"{head}  ·  {title}", x=0.014, y=1 - 0.14 / height, va="top", ha="left", fontsize=11,
                    fontweight="bold", color=INK, parse_math=False)  # fmt: skip
    # Fixed margins: a layout engine would draw everything twice, and half the command's time goes into drawing.
    grid = GridSpec(1 + rows, 3, figure=figure, height_ratios=[1.6] + [1.0] * rows, left=0.055, right=0.985,
                    top=1 - 0.72 / height, bottom=0.62 / height, wspace=0.22, hspace=0.36)  # fmt: skip
    main = figure.add_subplot(grid[0, :2])
    words = figure.add_subplot(grid[0, 2])
    _draw(main, TOP, series, diagnosis)
    _draw_line(main, series, diagnosis)
    _write(words, diagnosis)
    for place, panel in enumerate(below):
        ax = figure.add_subplot(grid[1 + place // 3, place % 3])
        _draw(ax, panel, series, diagnosis)
        legend = ax.get_legend()
        if legend is not None:
            legend.remove()  # the first panel's serves them all
    figure.supxlabel("environment steps  ·  shaded: the window that was measured", y=0.14 / height, va="bottom",
                     fontsize=8, color=MUTED)  # fmt: skip
    return save_figure(figure, target)


def _draw(ax: Any, panel: Panel, series: Mapping[str, Series], diagnosis: Diagnosis) -> None:
    """A metric over the shaded window."""
    window = diagnosis.window
    if panel.metric in series and len(series[panel.metric]):
        draw_panel(ax, panel, dict(series))
    else:
        ax.text(0.5, 0.5, f"{panel.title}: not logged", ha="center", transform=ax.transAxes, color=MUTED)
        ax.set_axis_off()
    end = max((s.t[-1] for s in series.values() if len(s)), default=1.0)
    ax.set_xlim(-0.02 * max(end, 1), 1.02 * max(end, 1))
    if window.end > window.start:
        ax.axvspan(window.start, window.end, color=SHADE, zorder=0, linewidth=0)


def _draw_line(ax: Any, series: Mapping[str, Series], diagnosis: Diagnosis) -> None:
    """The straight line that drift and oscillation are measured against."""
    if "vae_kl_loss" not in series or "kl_drift" not in diagnosis.measured:
        return
    part = diagnosis.window.of(series["vae_kl_loss"])
    finite = np.isfinite(part.value)
    if finite.sum() < 3:
        return
    slope, level = straight_line(part.t[finite], part.value[finite])
    ends = np.array([part.t[finite][0], part.t[finite][-1]])
    ax.plot(ends, level + slope * ends, "--", color=INK, linewidth=1.0)
    m = diagnosis.measured
    told = m["kl_mean"] > DEAD_NATS
    label = (
        f"drift {m['kl_drift']:+.1%}   oscillation {m.get('kl_oscillation', 0):.1%}" if told else "carries nothing"
    )
    box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    middle = (ends.mean(), float(level + slope * ends.mean()))
    ax.annotate(label, middle, xytext=(0, 24), textcoords="offset points", ha="center", fontsize=8, color=INK,
                bbox=box)  # fmt: skip


def _write(ax: Any, diagnosis: Diagnosis) -> None:
    """The first findings in words."""
    ax.set_axis_off()
    y = 1.0
    if diagnosis.healthy:
        ax.text(0, y, "healthy", transform=ax.transAxes, va="top", fontsize=10, fontweight="bold", color=GREEN)
        y -= 0.14
    for finding in diagnosis.findings[:2]:
        y = _write_finding(ax, finding, y)


def _write_finding(ax: Any, finding: Finding, y: float) -> float:
    """One finding from height ``y`` downwards; returns where the next may begin."""
    plain = {"transform": ax.transAxes, "va": "top", "parse_math": False}
    name = finding.symptom.replace("_", " ")
    ax.text(0, y, f"{name}  ({finding.confidence:.0%})", fontsize=9.5, fontweight="bold", color=VERMILLION, **plain)
    cause = textwrap.wrap(finding.cause, 46)
    ax.text(0, y - 0.09, "\n".join(cause), fontsize=7.5, color=INK, linespacing=1.35, **plain)
    y -= 0.12 + 0.068 * len(cause)
    if finding.remedy:
        text = "\n".join(f"{key}: {value}" for key, value in finding.remedy.items())
        ax.text(0, y, text, fontsize=7.5, color=BLUE, family="monospace", linespacing=1.35, **plain)
        y -= 0.068 * len(finding.remedy)
    return y - 0.07
