"""How often opponent models are right on test episodes, and what ``replay`` draws of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Counts = dict[
    str, Tensor
]  # of each step, [T]: hits, count (of how many), and the hits of a guess where known (chance)

MIN_SHARE = 0.25  # of the largest count: steps that fewer episodes reach are left out
RISEN = 0.9  # share of the way from the first step's accuracy to the best


class Drawing(NamedTuple):
    """Of an episode of T steps against M opponents.

    Attributes:
        captions: a line for each step, T+1.
        inferred: [T+1, M, 2], the place inferred for each opponent, NaN where there is none; None: no places.
        odds: [T+1, K, 3], places and their probabilities, of all opponents; None: no probabilities.
        horizon: steps of the opponents' way that are drawn ahead.
    """

    captions: list[str]
    inferred: NDArray[Any] | None = None
    odds: NDArray[Any] | None = None
    horizon: int = 5


def rates(name: str, reports: Sequence[Counts]) -> dict[str, float]:
    """``name``: the share of hits over all steps; beside it ``<prefix>_hit_chance`` where chance is known, and
    ``<prefix>_steps_to_adapt``. {} where nothing was counted."""
    found = added(reports)
    if not found or not found["count"].sum():
        return {}
    count, prefix = found["count"].sum(), name.partition("_")[0]
    values = {name: float(found["hits"].sum() / count)}
    if "chance" in found:
        values[f"{prefix}_hit_chance"] = float(found["chance"].sum() / count)
    values[f"{prefix}_steps_to_adapt"] = steps_to_adapt(found["hits"], found["count"])
    return values


def added(reports: Sequence[Counts]) -> Counts:
    """The sum of counts of episodes of different lengths; {} where there are none."""
    reports = [report for report in reports if report]
    longest = max((len(report["count"]) for report in reports), default=0)
    names = reports[0] if reports else ()
    padded = {n: [F.pad(r[n].float(), (0, longest - len(r[n]))) for r in reports] for n in names}
    return {name: torch.stack(each).sum(dim=0) for name, each in padded.items()}


def steps_to_adapt(hits: Tensor, count: Tensor) -> float:
    """The first step of an episode at which the share of hits [T] has made nine tenths of its way to its best."""
    known = count >= MIN_SHARE * count.max()
    share = torch.where(known, hits / count.clamp(min=1.0), torch.zeros_like(hits))
    wanted = share[0] + RISEN * (share.max() - share[0])
    return float((share >= wanted).nonzero()[0, 0])
