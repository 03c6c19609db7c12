"""Creates, saves and draws simple matplotlib figures without a display."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import OmarlError
from ..utils.files import write_files

INK, MUTED, RULE = "#222222", "#757575", "#E6E6E6"


def new_figure(width: float, height: float, **options: Any) -> Any:
    """Creates a white figure of this size in inches; matplotlib is imported here, when it is needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, target: Path) -> Path:
    """Writes a figure atomically in the format of the target's ending.

    Raises:
        OmarlError: the format is unknown, or the file cannot be written.
    """
    kind = target.suffix[1:].lower() or "png"
    known = sorted(figure.canvas.get_supported_filetypes())
    if kind not in known:
        raise OmarlError(f"{target}: pictures cannot be written as .{kind}; choose one of {', '.join(known)}")
    picture = BytesIO()
    figure.savefig(picture, format=kind)
    return write_files(target.parent, {target.name: picture.getvalue()})[0]


def draw_matrix(values: NDArray[np.float64], rows: list[str], columns: list[str], title: str, target: Path) -> Path:
    """Draws numbers [rows, columns] as coloured cells, with a colour scale for each column."""
    figure = new_figure(2.2 + 0.62 * len(columns), 1.7 + 0.42 * len(rows), dpi=130, layout="constrained")
    ax = figure.add_subplot()
    known = np.isfinite(values)
    low, high = np.where(known, values, np.inf).min(axis=0), np.where(known, values, -np.inf).max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    ax.imshow(np.where(known, (values - low) / span, np.nan), cmap="Blues", vmin=-0.1, vmax=1.4, aspect="auto")
    for r, c in np.ndindex(values.shape):
        text = f"{values[r, c]:.3g}" if known[r, c] else "-"
        ax.text(c, r, text, ha="center", va="center", fontsize=7, color=INK)
    ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=7, parse_math=False)
    ax.set_yticks(range(len(rows)), rows, fontsize=8, parse_math=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(title, loc="left", fontsize=9, fontweight="bold", color=INK, parse_math=False)
    return save_figure(figure, target)
