"""Writes the table and the picture of an ablation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .figures import new_figure, save_figure
from .statistics import mean_interval
from .symptoms import DRIFT, OSCILLATION

COLUMNS = (
    ("kl", "KL, nats"),
    ("kl_drift", "KL drift"),
    ("kl_oscillation", "KL oscillation"),
    ("recon", "reconstruction"),
    ("explained_variance", "explained variance"),
    ("held_out_explained_variance", "held-out explained variance"),
    ("active_units", "active units"),
    ("clipped_share", "clipped share"),
)
SAWTOOTH = (("kl_sawtooth", "KL sawtooth"), ("recon_sawtooth", "reconstruction sawtooth"))  # refreshed batches
SHARES = ("kl_drift", "kl_oscillation", "kl_sawtooth", "recon_sawtooth", "clipped_share")


def count_stable(results: list[Mapping[str, Any]]) -> int:
    """The number of seeds with a stable KL: |drift| <= 10%, oscillation and sawtooth <= 5% over the last half."""
    return sum(
        abs(r["kl_drift"]) <= DRIFT and max(r["kl_oscillation"], r.get("kl_sawtooth", 0.0)) <= OSCILLATION
        for r in results
    )


def cell(results: list[Mapping[str, Any]], name: str) -> str:
    """Formats a table cell: mean ± half the interval's width."""
    values = np.array([result[name] for result in results], dtype=float)
    if not np.isfinite(values).all():
        return f"not finite in {int((~np.isfinite(values)).sum())}"
    interval = mean_interval(values)
    half = (interval.high - interval.low) / 2
    if name in SHARES:
        return f"{100 * interval.point:.1f} ± {100 * half:.1f}%"
    return f"{interval.point:.3g} ± {half:.2g}"


def table(summary: Mapping[str, Any]) -> str:
    """Formats the table as Markdown."""
    seeds = summary["seeds"]
    columns = COLUMNS + SAWTOOTH if summary.get("regime") == "refresh" else COLUMNS
    lines = [
        "| setting | " + " | ".join(title for _, title in columns) + " | stable KL |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    for name, results in summary["results"].items():
        cells = " | ".join(cell(results, column) for column, _ in columns)
        lines.append(f"| {name} | {cells} | {count_stable(results)}/{seeds} |")
    return "\n".join(lines)


def write_report(summary: Mapping[str, Any], folder: Path) -> None:
    """Writes ``ablation.md`` and ``ablation.png`` into ``folder``."""
    refresh = summary.get("regime") == "refresh"
    data = (
        f"batch by batch in the order of collection ({summary['batch']} states and "
        f"{summary['updates_per_batch']} updates each, then the batch is discarded)"
        if refresh
        else f"on this identical stream ({summary['states_per_update']} states per update)"
    )
    text = (
        f"# VAE settings on {summary['environment']}{', refreshed batches' if refresh else ''}\n\n"
        f"`python main.py ablate --config=omg_vae{' with regime=refresh' if refresh else ''}` records the states of "
        f"one run of {summary['t_max']} environment steps. It then trains only the VAE {data}, with "
        f"{summary['seeds']} seeds for each setting. Drift and oscillation of the KL are measured over the last half "
        "of the updates (definitions: `analysis/symptoms.py`). Sawtooth is the size of a loss's jump at the start of "
        "a new batch. Cells are means over seeds ± half the width of the 95% interval. "
        f'"Stable KL" counts the seeds with |drift| <= {DRIFT:.0%} and oscillation and sawtooth <= '
        f"{OSCILLATION:.0%}. Each setting changes one thing of the first. Reconstruction losses of different "
        "formulas are not comparable; explained variance is.\n\n"
        f"{table(summary)}\n\n"
        f"Recording took {summary['record_seconds']} s, the trainings {summary['train_seconds']} s.\n\n"
        "![KL by setting](ablation.png)\n"
    )
    (folder / "ablation.md").write_text(text, encoding="utf-8")
    draw(summary, folder / "ablation.png")


def draw(summary: Mapping[str, Any], path: Path) -> None:
    """Draws a small panel for each setting with the KL of every seed over updates."""
    results = summary["results"]
    columns = 5
    rows = -(-len(results) // columns)
    figure = new_figure(3.1 * columns, 2.3 * rows, dpi=110, layout="constrained")
    figure.suptitle(f"KL over updates, {summary['environment']}, one line per seed", x=0.01, ha="left", weight="bold")
    for i, (name, runs) in enumerate(results.items()):
        ax = figure.add_subplot(rows, columns, i + 1)
        for one in runs:
            kl = np.array(one["curves"]["vae_kl_loss"], dtype=float)
            ax.plot(np.arange(1, len(kl) + 1) * 20, kl, color="#0072B2", alpha=0.45, linewidth=0.8)
        ax.axvspan(len(kl) * 10, len(kl) * 20, color="#F2F2F2", zorder=0)
        ax.set_title(f"{name}\nstable in {count_stable(runs)} of {len(runs)}", fontsize=8, loc="left")
        finite = [v for one in runs for v in one["curves"]["vae_kl_loss"] if np.isfinite(v)]
        if finite:
            ax.set_ylim(min(0.0, min(finite)), 1.1 * float(np.quantile(finite, 0.99)))
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
