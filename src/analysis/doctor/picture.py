"""The picture of a diagnosis: verdict and evidence in words on top, the series they rest on below.

Words and curves never share a place: text stands above the panels only.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..panels import BLUE, GREEN, PURPLE, VERMILLION, Panel
from ..plots import INK, MUTED, draw_panel, save_figure
from ..runs import Series
from ..symptoms import straight_line
from .findings import HARMLESS, Diagnosis, Finding

SHADE = "#EEF2F6"
TOP = Panel("vae_kl_loss", "KL divergence", BLUE, loss=True)
PANELS = (
    Panel("vae_recon_loss", "Reconstruction loss", BLUE, loss=True),
    Panel("vae_alpha", "KL weight", PURPLE),
    Panel("vae_grad_norm", "Gradient norm", VERMILLION, loss=True),
    Panel("vae_explained_variance", "Explained variance", GREEN),
    Panel("vae_active_units", "Active latent units", GREEN),
    Panel("vae_loss", "Total VAE loss", BLUE, loss=True),
)
WIDTH, LINE, WRAP = 10.0, 0.168, 150  # inches, inches of a line of text, characters of a line
SHOWN = 3  # findings in words; the report has all of them
FOOT = "steps  ·  shaded: the window measured  ·  dashed: the line for drift and oscillation"
EVIDENCE = 7  # numbers of each


def draw_diagnosis(diagnosis: Diagnosis, series: Mapping[str, Series], target: Path, title: str) -> Path:
    """Draws verdict and evidence, the KL with the line it is measured against, and the other series."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

    below = [panel for panel in PANELS if panel.metric in series and len(series[panel.metric])][:6]
    rows, words = -(-len(below) // 3), _words(diagnosis)
    head = 0.52 + LINE * len(words)
    height = head + 3.3 + 2.0 * rows + 0.25
    figure = Figure(figsize=(WIDTH, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    verdict = "healthy" if diagnosis.healthy else diagnosis.findings[0].symptom.replace("_", " ")
    colour = GREEN if diagnosis.healthy else VERMILLION
    place: dict[str, Any] = {"x": 0.055, "va": "top", "ha": "left", "parse_math": False}
    figure.text(y=1 - 0.12 / height, s=verdict, fontsize=14, fontweight="bold", color=colour, **place)
    figure.text(
        0.985, 1 - 0.17 / height, title[-90:], fontsize=8, color=MUTED, va="top", ha="right", parse_math=False
    )
    for i, (text, tint, weight) in enumerate(words):
        figure.text(y=1 - (0.44 + LINE * i) / height, s=text, fontsize=8, color=tint, fontweight=weight, **place)
    # Fixed margins: a layout engine would draw everything twice, and half the command's time goes into drawing.
    grid = GridSpec(1 + rows, 3, figure=figure, height_ratios=[1.6] + [1.0] * rows, left=0.055, right=0.985,
                    top=1 - (head + 0.3) / height, bottom=0.55 / height, wspace=0.22, hspace=0.4)  # fmt: skip
    main = figure.add_subplot(grid[0, :])
    _draw(main, TOP, series, diagnosis)
    _draw_marks(main, series, diagnosis)
    for i, panel in enumerate(below):
        ax = figure.add_subplot(grid[1 + i // 3, i % 3])
        _draw(ax, panel, series, diagnosis)
        _narrow(ax)
    figure.supxlabel(FOOT, y=0.1 / height, va="bottom", fontsize=7.5, color=MUTED)
    return save_figure(figure, target)


def _words(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    """Lines of text above the panels, with colour and weight."""
    m, lines = diagnosis.measured, []
    known = [f"{name} {m[key]:{form}}" for name, key, form in (
        ("KL", "kl_mean", ".3g"), ("drift", "kl_drift", "+.0%"), ("oscillation", "kl_oscillation", ".1%"),
        ("KL at the end", "kl_at_end", ".3g"), ("reconstruction", "recon_mean", ".3g"),
        ("KL weight", "kl_weight", ".3g"), ("active units", "active_units", ".3g"),
    ) if isinstance(m.get(key), int | float)]  # fmt: skip
    if isinstance(m.get("unexplained"), float):
        known.append(f"explained {1 - m['unexplained']:.0%}")
    lines.append(("   ".join(known), MUTED, "normal"))
    for place, finding in enumerate(diagnosis.findings[:SHOWN], start=1):
        lines += _of_finding(finding, place)
    more = [finding.symptom for finding in diagnosis.findings[SHOWN:]]
    if more:
        lines.append((f"and {', '.join(more)}", MUTED, "normal"))
    return lines


def _of_finding(finding: Finding, place: int) -> list[tuple[str, str, str]]:
    """One finding: its name and cause, its numbers, its remedy."""
    tint = MUTED if finding.symptom in HARMLESS else VERMILLION
    name = f"{place}. {finding.symptom.replace('_', ' ')}  ({finding.confidence:.0%} sure)"
    lines = [("", INK, "normal"), (name, tint, "bold")]
    lines += [
        (line, INK, "normal") for line in textwrap.wrap(f"{finding.cause[:1].upper()}{finding.cause[1:]}.", WRAP)
    ]
    numbers = [f"{k.replace('_', ' ')} {_plain(v)}" for k, v in list(finding.evidence.items())[:EVIDENCE]]
    lines += [(line, MUTED, "normal") for line in textwrap.wrap("seen: " + ", ".join(numbers), WRAP)]
    remedy = "   ".join(f"{key}: {value}" for key, value in finding.remedy.items()) or finding.advice
    lines += [(line, BLUE, "normal") for line in textwrap.wrap(f"remedy: {remedy}", WRAP)] if remedy else []
    return lines


def _plain(value: Any) -> str:
    """A number without a needless decimal."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _narrow(ax: Any) -> None:
    """For a small panel: no legend, the first panel's serves all; and a caption that leaves its title room."""
    legend = ax.get_legend()
    if legend is not None:
        legend.remove()
    last = [part for part in ax.get_title("right").split("  ·  ") if part.startswith("last")]
    ax.set_title("".join(last), loc="right", fontsize=7, color=MUTED, pad=5)


def _draw(ax: Any, panel: Panel, series: Mapping[str, Series], diagnosis: Diagnosis) -> None:
    """A metric over the shaded window."""
    window = diagnosis.window
    if panel.metric in series and len(series[panel.metric]):
        draw_panel(ax, panel, dict(series))
    else:
        ax.text(0.5, 0.5, f"{panel.title}: not logged", ha="center", transform=ax.transAxes, color=MUTED)
        ax.set_axis_off()
    ends = [s.t[[0, -1]] for s in series.values() if len(s)]
    first, last = (min(e[0] for e in ends), max(e[1] for e in ends)) if ends else (0.0, 1.0)
    margin = 0.02 * max(last - first, 1e-9)
    ax.set_xlim(first - margin, last + margin)
    if window.end > window.start:
        ax.axvspan(window.start, window.end, color=SHADE, zorder=0, linewidth=0)


def _draw_marks(ax: Any, series: Mapping[str, Series], diagnosis: Diagnosis) -> None:
    """The straight line of drift and oscillation."""
    kl = series.get("vae_kl_loss")
    if kl is None or "kl_drift" not in diagnosis.measured or ax.get_yscale() == "log":
        return
    part = diagnosis.window.of(kl)
    finite = np.isfinite(part.value)
    if finite.sum() >= 3:
        slope, level = straight_line(part.t[finite], part.value[finite])
        ends = np.array([part.t[finite][0], part.t[finite][-1]])
        ax.plot(ends, level + slope * ends, "--", color=INK, linewidth=1.0)
