"""Draws a run's losses, latent space and returns over environment steps as one picture."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import PathLike
from ..utils.metric_names import bounds, is_companion
from .figures import INK, MUTED, RULE, new_figure, save_figure
from .panels import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION, Panel, first_panels, last_panels
from .runs import EMPTY, Series, read_config, read_metrics

Floats = NDArray[np.float64]

MAX_POINTS = 1000  # points drawn per line, about two per pixel
MAX_AGENTS = 6  # agents in one panel; more are not distinguishable
LOG_SPAN = 100  # a loss is drawn on a log axis if its maximum exceeds this many times its median
LEGEND_ROOM = 0.09  # share of a panel's height for each row of the legend, plus once as a margin
LEAST_VARIANCE = -0.1  # lower limit of the axis; the explained variance before training may be far below it
AGENT_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
AGENT_PREFIX = "return_mean/"


@dataclass
class Curve:
    """The line and bands of one metric; all arrays are [points], NaN where nothing is drawn.

    ``low`` and ``high`` are the extremes of all values that a point represents: the logged ``_min`` and ``_max``, or
    the values averaged by thinning. ``below`` and ``above`` are one logged standard deviation away from the mean,
    limited to these extremes and to the metric's possible values, because mean minus standard deviation of a skewed
    loss may be negative.
    """

    t: Floats
    mean: Floats
    below: Floats
    above: Floats
    low: Floats
    high: Floats
    per_point: int


def draw_curves(run_dir: PathLike, out: PathLike | None = None) -> Path:
    """Draws the curves of a finished or running run and returns the picture's path.

    Args:
        run_dir: the folder of ``metrics.jsonl`` or Sacred's ``metrics.json``.
        out: the picture; by default ``curves.png`` in the run's folder. Its ending determines the format.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    target = Path(out) if out is not None else Path(run_dir) / "curves.png"
    metrics = read_metrics(run_dir)
    config = read_config(run_dir)
    last, left_out = last_panels(metrics)
    first, end = (
        [partial(draw_panel, panel=panel, metrics=metrics) for panel in panels]
        for panels in (first_panels(metrics, config), last)
    )
    names = [n for n in metrics if n.startswith(AGENT_PREFIX) and not is_companion(n, metrics)]
    agents = {n.removeprefix(AGENT_PREFIX): metrics[n] for n in names}
    by_agent = [partial(_draw_agents, agents=agents)] if 0 < len(agents) <= MAX_AGENTS else []
    drawings = [*first, *by_agent, *end]
    columns = {0: 1, 1: 1, 2: 2, 4: 2}.get(len(drawings), 3)
    rows = max(1, -(-len(drawings) // columns))
    layout = ConstrainedLayoutEngine(w_pad=0.11, h_pad=0.09, wspace=0.02, hspace=0.03)
    figure = new_figure(10, 0.9 + 2.3 * rows, dpi=150, layout=layout)
    title = _title(Path(run_dir), config)
    figure.suptitle(title, x=0.014, ha="left", fontsize=11, fontweight="bold", color=INK, parse_math=False)
    last_step = max([1, *(m.t[-1] for m in metrics.values())])
    for place, draw in enumerate(drawings, start=1):
        ax = figure.add_subplot(rows, columns, place)
        draw(ax)
        ax.set_xlim(-0.02 * last_step, 1.02 * last_step)
    if drawings:
        more = f"  ·  {left_out} further metrics not drawn" if left_out else ""
        figure.supxlabel(f"environment steps{more}", fontsize=8, color=MUTED)
    else:
        text = "nothing logged yet" if not metrics else "none of the logged metrics is drawn here"
        figure.text(0.5, 0.45, text, ha="center", fontsize=13, color=MUTED)
    return save_figure(figure, target)


def _title(run: Path, config: dict[str, Any]) -> str:
    """The run's name, environment and seed, as far as they are known."""
    env_args, seed = config.get("env_args"), config.get("seed")
    env = env_args.get("key") if isinstance(env_args, dict) else config.get("env")
    parts = [config.get("name"), env, None if seed is None else f"seed {seed}"]
    return "  ·  ".join(str(p) for p in parts if p) or run.resolve().name


def _companion(metrics: dict[str, Series], metric: str, suffix: str, t: Floats) -> Floats:
    """``<metric>_<suffix>`` at steps ``t`` [points]; for ``return_mean`` also PyMARL's ``return_std``."""
    other = metrics.get(f"{metric}_{suffix}", metrics.get(f"{metric.removesuffix('_mean')}_{suffix}", EMPTY))
    values = np.full(len(t), np.nan)
    _, places, logged = np.intersect1d(t, other.t, return_indices=True)
    values[places] = other.value[logged]
    return values


def _curve(metrics: dict[str, Series], metric: str) -> Curve:
    """Thins a metric to ``MAX_POINTS`` means of neighbours, with their extremes, so that spikes stay visible."""
    series = metrics[metric]
    std, low, high = (_companion(metrics, metric, s, series.t) for s in ("std", "min", "max"))
    least, greatest = bounds(metric)
    unknown = np.isnan(std + series.value)
    below = np.where(unknown, np.nan, np.fmax(np.maximum(series.value - std, least), low))
    above = np.where(unknown, np.nan, np.fmin(np.minimum(series.value + std, greatest), high))
    size = max(1, -(-len(series) // MAX_POINTS))  # k, logged points per drawn point
    t, mean, below, above, low, high = (_rows(x, size) for x in (series.t, series.value, below, above, low, high))
    if size > 1:
        low, high = np.fmin(low, mean), np.fmax(high, mean)
    return Curve(_mean(t), _mean(mean), _mean(below), _mean(above), np.fmin.reduce(low, axis=1),
                 np.fmax.reduce(high, axis=1), size)  # fmt: skip


def _rows(values: Floats, size: int) -> Floats:
    """[points] -> [ceil(points / size), size]; infinities and the padding of the last row are NaN."""
    values = np.where(np.isfinite(values), values, np.nan)
    return np.append(values, np.full(-len(values) % size, np.nan)).reshape(-1, size)


def _mean(rows: Floats) -> Floats:
    """The mean of each row's finite values, [rows, k] -> [rows]; NaN for a row without any."""
    count = np.isfinite(rows).sum(axis=1)
    return np.where(count > 0, np.nansum(rows, axis=1) / np.maximum(count, 1), np.nan)


def draw_panel(ax: Any, panel: Panel, metrics: dict[str, Series]) -> None:
    """Draws one metric: its line, a band of one standard deviation, and a paler band from minimum to maximum."""
    curve = _curve(metrics, panel.metric)
    floor = -np.inf
    known = curve.mean[np.isfinite(curve.mean)]
    if panel.loss and len(known) and known.min() > 0 and known.max() > LOG_SPAN * np.median(known):
        floor = float(known.min() / 3)  # limits bands that reach towards zero on a log axis
        ax.set_yscale("log")
    _draw_line(ax, curve, panel.colour, "mean")
    _draw_band(ax, curve, curve.below, curve.above, floor, panel.colour, 0.26, "±1 std")
    _draw_band(ax, curve, curve.low, curve.high, floor, panel.colour, 0.15, "min to max")
    beside = [(name, label) for name, label in panel.beside if name in metrics]
    for (name, label), style in zip(beside, (SKY, MUTED), strict=False):
        _draw_line(ax, _curve(metrics, name), style, label)
    if np.isfinite(floor):
        ax.set_ylim(bottom=floor)
    if panel.metric.endswith("explained_variance") and np.nanmax(curve.mean, initial=-1.0) > 0:
        ax.set_ylim(bottom=max(ax.get_ylim()[0], LEAST_VARIANCE))
    notes = [f"{label} {metrics[name].value[-1]:.3g}" for name, label in panel.noted if name in metrics]
    _dress(ax, panel.title, "  ·  ".join([*notes, _caption(metrics[panel.metric], curve)]))
    if len(ax.collections) or beside:
        _legend(ax, 4)


def _draw_band(
    ax: Any, curve: Curve, low: Floats, high: Floats, floor: float, colour: str, alpha: float, label: str
) -> None:
    """Draws a band from ``low`` to ``high`` [points], limited by ``floor``; isolated points get a bar."""
    if not np.isfinite(low + high).any():
        return
    low, high = np.maximum(low, floor), np.maximum(high, floor)
    ax.fill_between(curve.t, low, high, color=colour, alpha=alpha, linewidth=0, label=label)
    isolated = _isolated(low + high)
    if isolated.any():
        ax.vlines(curve.t[isolated], low[isolated], high[isolated], color=colour, alpha=alpha, linewidth=7)


def _draw_agents(ax: Any, agents: dict[str, Series]) -> None:
    for (name, series), colour in zip(agents.items(), AGENT_COLOURS, strict=False):
        _draw_line(ax, _curve({name: series}, name), colour, name)
    _dress(ax, "Return by agent, training", "")
    _legend(ax, 2)


def _draw_line(ax: Any, curve: Curve, colour: str, label: str) -> None:
    """Draws a line, and a dot at each isolated point, which the line would not show."""
    ax.plot(curve.t, curve.mean, color=colour, linewidth=1.3, label=label, solid_joinstyle="round")
    isolated = _isolated(curve.mean)
    ax.plot(curve.t[isolated], curve.mean[isolated], ".", color=colour, markersize=6)


def _isolated(values: Floats) -> NDArray[np.bool_]:
    """True for finite values without a finite neighbour, [points]."""
    finite = np.isfinite(values)
    return finite & ~(np.append(finite[1:], False) | np.append(False, finite[:-1]))


def _caption(series: Series, curve: Curve) -> str:
    """The last value, the number of logged points per drawn point, and the number of non-finite values."""
    finite = np.flatnonzero(np.isfinite(series.value))
    parts = [f"last {series.value[finite[-1]]:.3g}"] if len(finite) else []
    if curve.per_point > 1:
        parts.append(f"{curve.per_point:,} logged per point")
    if len(finite) < len(series):
        parts.append(f"{len(series) - len(finite):,} not finite")
    return "  ·  ".join(parts)


def _dress(ax: Any, title: str, caption: str) -> None:
    """Sets title, caption and axes; steps are written as 20k."""
    from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

    ax.set_title(title, loc="left", fontsize=9, fontweight="bold", color=INK, pad=5)
    ax.set_title(caption, loc="right", fontsize=7, color=MUTED, pad=5)
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if ax.get_yscale() == "log":
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(NullLocator())
    ax.tick_params(labelsize=7.5, colors=MUTED, length=0)
    ax.grid(axis="y", color=RULE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color("#BBBBBB")


def _legend(ax: Any, columns: int) -> None:
    """Draws the legend above the curves and extends the axis for it."""
    low, high = ax.get_ylim()
    rows = -(-len(ax.get_legend_handles_labels()[0]) // columns)
    room = LEGEND_ROOM * (1 + rows)
    ax.set_ylim(low, high * (high / low) ** room if ax.get_yscale() == "log" else high + room * (high - low))
    ax.legend(fontsize=6.5, labelcolor=MUTED, loc="upper right", ncols=columns, framealpha=0.8, edgecolor="none",
              handlelength=1.4, columnspacing=1.0, borderpad=0.2)  # fmt: skip
