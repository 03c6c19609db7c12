"""Draws docs/kl-curves.png: three KL curves of real runs, and the KL of this package's VAE on such states.

    python benchmarks/kl_curves.py

Reads tests/data/curves (digitised from public pictures) and benchmarks/vae_states/curves.csv (``vae_states.py``).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
CURVES = (
    ("refreshed_batches", "Sawtooth: alpha 0.001,\na new batch every 900 updates"),
    ("collapse_from_the_start", "Collapse: alpha 0.01\nfrom the start"),
    ("collapse_by_ramp", "Slow collapse: alpha\non a ramp to 0.01"),
)
OURS = "The default here, same kind of states,\na new batch every 700 updates"
POINT = 20  # updates averaged in each point of omarl's curves
BLUE, GREEN, GREY = "#0072B2", "#009E73", "#767676"


def real(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Updates and KL of one digitised curve."""
    with (ROOT / "tests" / "data" / "curves" / f"{name}.csv").open() as file:
        rows = [(float(r["update"]), float(r["kld_loss"])) for r in csv.DictReader(file) if r["kld_loss"]]
    table = np.array(rows)
    return table[:, 0], table[:, 1]


def default_curves() -> list[np.ndarray]:
    """The KL of each seed of the default on the stag hunt with refreshed batches."""
    with (ROOT / "benchmarks" / "vae_states" / "curves.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["setting"] == "default"]
    return [np.array(r["kl"].split(), dtype=float) for r in rows]


def main() -> None:
    """Draws the four panels side by side."""
    figure = Figure(figsize=(13, 3.4), dpi=115, layout="constrained")
    FigureCanvasAgg(figure)
    for i, (name, title) in enumerate(CURVES):
        ax = figure.add_subplot(1, 4, i + 1)
        ax.plot(*real(name), color=BLUE, linewidth=1.2)
        ax.set_title(title, fontsize=10, loc="left")
        ax.set_ylabel("KL, nats" if i == 0 else "")
    ax = figure.add_subplot(1, 4, 4)
    for kl in default_curves():
        ax.plot(np.arange(1, len(kl) + 1) * POINT, kl, color=GREEN, linewidth=0.9, alpha=0.6)
    ax.axhline(5 * np.log(16), color=GREY, linestyle="--", linewidth=1)
    ax.annotate(
        "entropy of the states",
        (0.98, 5 * np.log(16) - 0.4),
        xycoords=("axes fraction", "data"),
        va="top",
        ha="right",
        fontsize=8.5,
        color=GREY,
    )
    ax.set_title(OURS, fontsize=10, loc="left")
    for ax in figure.axes:
        ax.set_ylim(bottom=0)
        ax.set_xlabel("VAE updates", fontsize=9)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(ROOT / "docs" / "kl-curves.png")


if __name__ == "__main__":
    main()
