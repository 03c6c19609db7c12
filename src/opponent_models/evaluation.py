"""Accuracy of opponent models on test episodes, and their drawings for ``replay``."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

# For each episode and step, [B, T], or summed over episodes, [T]: hits, count (number of predictions) and, if known,
# chance (hits of a random guess).
Counts = dict[str, Tensor]

MIN_SHARE = 0.25  # of the largest count: steps with a smaller count are left out
RISEN = 0.9  # share of the way from the first step's accuracy to the best


class Drawing(NamedTuple):
    """The drawing of an episode of T steps against M opponents."""

    captions: list[str]  # T+1
    inferred: NDArray[Any] | None = None  # [T+1, M, 2], the place inferred for each opponent, or NaN
    odds: NDArray[Any] | None = None  # [T+1, K, 3], places of all opponents and their probabilities
    horizon: int = 5  # steps of the opponents' future path that are drawn


def rates(name: str, reports: Sequence[Counts]) -> dict[str, float]:
    """``name``: the share of hits over all steps; ``<prefix>_hit_chance`` if chance is known, and
    ``<prefix>_steps_to_adapt``. {} if nothing was counted."""
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
    """The sum over episodes of different lengths, [T]; {} if there are none."""
    reports = [{n: each.sum(dim=0) if each.dim() == 2 else each for n, each in r.items()} for r in reports if r]
    longest = max((len(report["count"]) for report in reports), default=0)
    names = reports[0] if reports else ()
    padded = {n: [F.pad(r[n].float(), (0, longest - len(r[n]))) for r in reports] for n in names}
    return {name: torch.stack(each).sum(dim=0) for name, each in padded.items()}


def steps_to_adapt(hits: Tensor, count: Tensor) -> float:
    """The first step of an episode at which the share of hits [T] has made 90% of its rise to the maximum."""
    known = count >= MIN_SHARE * count.max()
    share = torch.where(known, hits / count.clamp(min=1.0), torch.zeros_like(hits))
    wanted = share[0] + RISEN * (share.max() - share[0])
    return float((share >= wanted).nonzero()[0, 0])
