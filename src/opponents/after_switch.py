"""Rewards and the accuracy of a model in test episodes, by the number of steps since the opponent has changed."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
EDGES = (0, 5, 10, 20, 40)  # the first steps of the intervals of which the console shows the means


class Trace(NamedTuple):
    """One test episode of T steps."""

    switches: tuple[int, ...]  # the first step of each new opponent
    rewards: Floats  # [T], summed over learners
    hits: Floats  # [<= T], the number of right predictions
    predictions: Floats  # [<= T], the number of predictions


def steps_since(trace: Trace) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each step [T]: the steps since the opponent began to play, and whether it took over from another one."""
    steps = np.arange(len(trace.rewards))
    begins = np.array([0, *trace.switches])
    which = np.searchsorted(begins, steps, side="right") - 1
    return steps - begins[which], which > 0


def by_steps_since(traces: Iterable[Trace], switched: bool) -> dict[str, list[Any]]:
    """Means over the steps of opponents that took over, or of the first ones in each episode, at equal ``steps``.

    ``count`` is the number of steps behind each mean ``reward``; ``accuracy`` is None where nothing was predicted,
    and missing if nothing was predicted anywhere. {} without such steps.
    """
    found: list[NDArray[Any]] = []
    for trace in traces:
        since, is_later = steps_since(trace)
        hits, predictions = (_padded(each, len(since)) for each in (trace.hits, trace.predictions))
        found.append(np.stack([since, trace.rewards, hits, predictions])[:, is_later == switched])
    columns = np.concatenate(found, axis=1) if found else np.zeros((4, 0))
    if not columns.shape[1]:
        return {}
    since = columns[0].astype(np.int64)
    sums: list[NDArray[Any]] = [np.bincount(since, each) for each in (np.ones(len(since)), *columns[1:])]
    count, reward, hits, predictions = sums
    series = {"steps": list(range(len(count))), "count": count.tolist(), "reward": (reward / count).tolist()}
    if predictions.any():
        pairs = zip(hits.tolist(), predictions.tolist(), strict=True)
        series |= {"predictions": predictions.tolist(), "accuracy": [h / n if n else None for h, n in pairs]}
    return series


def _padded(values: Floats, length: int) -> Floats:
    return np.concatenate([values[:length], np.zeros(max(length - len(values), 0))])


def format_series(series: Mapping[str, list[Any]]) -> str:
    """The means in the intervals from ``EDGES`` on, in one line for the console."""
    parts = []
    for low, high in zip(EDGES, (*EDGES[1:], len(series["steps"])), strict=True):
        count = sum(series["count"][low:high])
        if not count:
            break
        reward = _mean(series["reward"][low:high], series["count"][low:high])
        text = f"{low}-{min(high, len(series['steps'])) - 1}: {reward:.3g}"
        if "accuracy" in series and sum(series["predictions"][low:high]):
            text += f" ({_mean(series['accuracy'][low:high], series['predictions'][low:high]):.2f})"
        parts.append(text)
    accuracy = " (and accuracy)" if "accuracy" in series else ""
    return f"reward per step{accuracy} by steps since a switch: {', '.join(parts)}"


def _mean(values: list[float | None], weights: list[float]) -> float:
    return sum((value or 0.0) * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
