"""The curves of a report, with intervals over seeds, as data for its charts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..analysis.comparison_picture import SECONDS, colours_of
from ..analysis.groups import Group, on_grid
from ..analysis.improvement import Floats, performance_profile, profile_band
from ..analysis.runs import Series, finite
from ..analysis.statistics import interquartile_mean

POINTS = 80  # of each curve
REPS = 500
STEPS = "environment steps"
# Metrics that a reader can choose besides the compared one, where runs have logged them.
METRICS = ("return_mean", "vae_kl_loss", "vae_recon_loss", "vae_explained_variance", "test_vae_explained_variance",
           "vae_active_units", "test_omg_hit_ratio", "loss", "entropy", "epsilon")  # fmt: skip
Chart = dict[str, Any]


def charts_of(groups: Sequence[Group], metric: str) -> list[Chart]:
    """A chart for each environment: ``{"task", "metrics": {metric: {axis: lines}}}``; ``metric`` comes first."""
    colours = colours_of(sorted({group.label for group in groups}))
    charts = []
    for task in dict.fromkeys(group.task for group in groups):
        of_task = [group for group in groups if group.task == task]
        metrics = {metric: axes_of([(group, list(group.curves)) for group in of_task], colours)}
        for name in METRICS:
            known = [(g, [r.metrics.get(name) for r in g.records]) for g in of_task]
            logged = [(g, [c for c in curves if c is not None and len(finite(c))]) for g, curves in known]
            complete = [(g, curves) for g, curves in logged if len(curves) == len(g.records)]
            if name != metric and complete:
                metrics[name] = axes_of(complete, colours)
        charts.append({"task": task, "metrics": metrics})
    return charts


def axes_of(curves: Sequence[tuple[Group, list[Series]]], colours: dict[str, str]) -> dict[str, Any]:
    """The lines over steps and, if all runs recorded them, over seconds."""
    axes = {STEPS: lines_of(curves, colours)}
    timed = [
        (group, [Series(np.interp(c.t, r.wall.t, r.wall.value), c.value)
                 for c, r in zip(of_group, group.records, strict=True) if len(r.wall)])
        for group, of_group in curves
    ]  # fmt: skip
    if all(len(after) == len(before) for (_, after), (_, before) in zip(timed, curves, strict=True)):
        axes[SECONDS] = lines_of(timed, colours)
    return axes


def lines_of(curves: Sequence[tuple[Group, list[Series]]], colours: dict[str, str]) -> dict[str, Any]:
    """``{"x": [X], "lines": [{"label", "colour", "mid", "low", "high"}]}``; null beyond the end of a group's runs.

    The middle is the interquartile mean over seeds, the band a 95% bootstrap interval over seeds.
    """
    ends = [min(float(curve.t[-1]) for curve in of_group) for _, of_group in curves]
    x = np.linspace(0, max(ends), POINTS)
    lines = []
    for (group, of_group), end in zip(curves, ends, strict=True):
        table = np.stack([on_grid(curve, x) for curve in of_group])  # [seeds, X]
        mid, low, high = band(table)
        inside = x <= end * (1 + 1e-9)
        label = f"{group.label} ({len(of_group)})"
        bounds = {"low": numbers(low, inside), "high": numbers(high, inside)} if len(table) > 1 else {}
        lines.append({"label": label, "colour": colours[group.label], "mid": numbers(mid, inside), **bounds})
    return {"x": numbers(x), "lines": lines}


def band(table: Floats) -> tuple[Floats, Floats, Floats]:
    """Interquartile mean over seeds and its 95% bootstrap interval at each point: [seeds, X] -> 3 x [X]."""
    mid = interquartile_mean(table, axis=0)
    if len(table) == 1:
        return mid, mid, mid
    rows = np.random.default_rng(0).integers(len(table), size=(REPS, len(table)))
    draws = interquartile_mean(table[rows], axis=1)  # [reps, X]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return mid, low, high


def profiles_of(scaled: dict[str, list[Floats]]) -> dict[str, Any]:
    """Performance profiles as lines over the normalised score."""
    tau = np.linspace(0, 1, POINTS)
    lines = []
    for label, colour in colours_of(sorted(scaled)).items():
        low, high = profile_band(scaled[label], tau)
        bounds = {"low": numbers(low), "high": numbers(high)}
        lines.append({"label": label, "colour": colour, "mid": numbers(performance_profile(scaled[label], tau)),
                      **bounds})  # fmt: skip
    return {"x": numbers(tau), "lines": lines}


def numbers(values: Floats, inside: NDArray[np.bool_] | None = None) -> list[float | None]:
    """Values with four significant digits, for JSON; null where they are outside or not finite."""
    shown = np.isfinite(values) if inside is None else np.isfinite(values) & inside
    return [float(f"{value:.4g}") if ok else None for value, ok in zip(values.tolist(), shown, strict=True)]
