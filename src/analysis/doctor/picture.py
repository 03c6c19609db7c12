"""Draws the picture of a diagnosis: verdict and evidence as text at the top, the measured series below."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..figures import INK, MUTED, new_figure, save_figure
from ..panels import BLUE, GREEN, PURPLE, VERMILLION, Panel
from ..plots import draw_panel
from ..runs import Series, finite
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
WIDTH, LINE, WRAP = 10.0, 0.168, 150  # width and height of a line of text in inches, characters per line
MAX_FINDINGS = 3  # findings written in the picture; the report has all
FOOT = "steps  ·  shaded: the window measured  ·  dashed: the line for drift and oscillation"
EVIDENCE = 7  # numbers written for each finding


def draw_diagnosis(diagnosis: Diagnosis, series: Mapping[str, Series], target: Path, title: str) -> Path:
    """Draws verdict and evidence, the KL with its straight line, and the other series."""
    from matplotlib.gridspec import GridSpec

    below = [panel for panel in PANELS if panel.metric in series and len(series[panel.metric])][:6]
    rows, words = -(-len(below) // 3), _words(diagnosis)
    head = 0.52 + LINE * len(words)
    height = head + 3.3 + 2.0 * rows + 0.25
    figure = new_figure(WIDTH, height, dpi=150)
    verdict = "healthy" if diagnosis.healthy else diagnosis.findings[0].symptom.replace("_", " ")
    colour = GREEN if diagnosis.healthy else VERMILLION
    place: dict[str, Any] = {"x": 0.055, "va": "top", "ha": "left", "parse_math": False}
    figure.text(y=1 - 0.12 / height, s=verdict, fontsize=14, fontweight="bold", color=colour, **place)
    figure.text(
        0.985, 1 - 0.17 / height, title[-90:], fontsize=8, color=MUTED, va="top", ha="right", parse_math=False
    )
    for i, (text, tint, weight) in enumerate(words):
        figure.text(y=1 - (0.44 + LINE * i) / height, s=text, fontsize=8, color=tint, fontweight=weight, **place)
    # Fixed margins, because a layout engine would draw everything twice and drawing takes half the command's time.
    grid = GridSpec(1 + rows, 3, figure=figure, height_ratios=[1.6] + [1.0] * rows, left=0.055, right=0.985,
                    top=1 - (head + 0.3) / height, bottom=0.55 / height, wspace=0.22, hspace=0.4)  # fmt: skip
    main = figure.add_subplot(grid[0, :])
    _draw(main, TOP, series, diagnosis)
    _draw_line(main, series, diagnosis)
    for i, panel in enumerate(below):
        ax = figure.add_subplot(grid[1 + i // 3, i % 3])
        _draw(ax, panel, series, diagnosis)
        _narrow(ax)
    figure.supxlabel(FOOT, y=0.1 / height, va="bottom", fontsize=7.5, color=MUTED)
    return save_figure(figure, target)


def _words(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    """The lines of text above the panels, as (text, colour, weight)."""
    m, lines = diagnosis.measured, []
    known = [f"{name} {m[key]:{form}}" for name, key, form in (
        ("KL", "kl_mean", ".3g"), ("drift", "kl_drift", "+.0%"), ("oscillation", "kl_oscillation", ".1%"),
        ("KL at the end", "kl_at_end", ".3g"), ("reconstruction", "recon_mean", ".3g"),
        ("KL weight", "kl_weight", ".3g"), ("active units", "active_units", ".3g"),
    ) if isinstance(m.get(key), int | float)]  # fmt: skip
    if isinstance(m.get("unexplained"), float):
        known.append(f"explained {1 - m['unexplained']:.0%}")
    lines.append(("   ".join(known), MUTED, "normal"))
    for place, finding in enumerate(diagnosis.findings[:MAX_FINDINGS], start=1):
        lines += _finding_lines(finding, place)
    more = [finding.symptom for finding in diagnosis.findings[MAX_FINDINGS:]]
    if more:
        lines.append((f"and {', '.join(more)}", MUTED, "normal"))
    return lines


def _finding_lines(finding: Finding, place: int) -> list[tuple[str, str, str]]:
    """The lines of one finding: its name, cause, evidence and remedy."""
    tint = MUTED if finding.symptom in HARMLESS else VERMILLION
    name = f"{place}. {finding.symptom.replace('_', ' ')}  (confidence {finding.confidence:.0%})"
    numbers = list(finding.evidence.items())[:EVIDENCE]
    evidence = [f"{k.replace('_', ' ')} {f'{v:.4g}' if isinstance(v, float) else v}" for k, v in numbers]
    remedy = "   ".join(f"{key}: {value}" for key, value in finding.remedy.items()) or finding.advice
    cause = finding.cause[:1].upper() + finding.cause[1:] + "."
    texts = {cause: INK, f"evidence: {', '.join(evidence)}": MUTED, f"remedy: {remedy}" if remedy else "": BLUE}
    lines = [(line, colour, "normal") for text, colour in texts.items() for line in textwrap.wrap(text, WRAP)]
    return [("", INK, "normal"), (name, tint, "bold"), *lines]


def _narrow(ax: Any) -> None:
    """Adapts a small panel: no legend (the first panel has one) and a short caption."""
    legend = ax.get_legend()
    if legend is not None:
        legend.remove()
    last = [part for part in ax.get_title("right").split("  ·  ") if part.startswith("last")]
    ax.set_title("".join(last), loc="right", fontsize=7, color=MUTED, pad=5)


def _draw(ax: Any, panel: Panel, series: Mapping[str, Series], diagnosis: Diagnosis) -> None:
    """Draws a metric, with the measured window shaded."""
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


def _draw_line(ax: Any, series: Mapping[str, Series], diagnosis: Diagnosis) -> None:
    """Draws the straight line from which drift and oscillation are measured."""
    kl = series.get("vae_kl_loss")
    if kl is None or "kl_drift" not in diagnosis.measured or ax.get_yscale() == "log":
        return
    part = finite(diagnosis.window.of(kl))
    if len(part) >= 3:
        slope, level = straight_line(part.t, part.value)
        ends = part.t[[0, -1]]
        ax.plot(ends, level + slope * ends, "--", color=INK, linewidth=1.0)
