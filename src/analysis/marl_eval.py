"""Exports curves in the format of marl-eval (https://github.com/instadeepai/marl-eval, its README)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .groups import Group, on_grid
from .runs import finite

MOST_STEPS = 100


def exported(groups: Sequence[Group], metric: str, finals: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Environment -> task -> algorithm -> run -> step -> numbers.

    marl-eval needs as many steps in every run, so all curves are interpolated to as many evenly spaced steps as the
    shortest has points. ``finals`` holds each group's final scores, one for each run.
    """
    points = min(min(len(finite(curve)) for group in groups for curve in group.curves), MOST_STEPS)
    tasks: dict[str, Any] = {}
    for group, of_runs in zip(groups, finals, strict=True):
        end = min(float(curve.t[-1]) for g in groups if g.task == group.task for curve in g.curves)
        grid = np.linspace(0 if points > 1 else end, end, points)
        runs = {}
        for i, (curve, record, final) in enumerate(zip(group.curves, group.records, of_runs, strict=True)):
            values, wall = on_grid(curve, grid).tolist(), record.wall
            seconds = np.interp(grid, wall.t, wall.value).tolist() if len(wall) else [None] * points
            steps: dict[str, Any] = {
                f"step_{k}": {"step_count": round(t), metric: [value]}
                | ({} if second is None else {"elapsed_time": second})
                for k, (t, value, second) in enumerate(zip(grid.tolist(), values, seconds, strict=True))
            }
            runs[f"run_{i}"] = {**steps, "absolute_metrics": {metric: [final]}}
        tasks.setdefault(group.task.lower(), {})[group.label.lower()] = runs
    return {"omarl": tasks}
