"""How often opponent models are right on test episodes, for logs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Counts = dict[
    str, Tensor
]  # of each step, [T]: hits, count (of how many), and the hits of a guess where known (chance)

MIN_SHARE = 0.25  # of the largest count: steps that fewer episodes reach are left out
RISEN = 0.9  # share of the way from the first step's accuracy to the best


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


@torch.no_grad()
def place_hits(guess: Tensor, true: Tensor, filled: Tensor, horizon: int, near: float) -> Counts:
    """How often opponents pass within ``horizon`` steps through the places inferred for them.

    Args:
        guess: [B, T+1, 2 M], the inferred places.
        true: [B, T+1, 2 M], where the opponents are.
        filled: [B, T+1], 1 on real steps.
        horizon: H.
        near: the largest distance, on each axis, that counts as the same place.

    Returns:
        [T + 1 - H]: ``hits``, the share of an episode's M opponents that pass, summed over episodes; ``chance``,
        the same for places inferred in other episodes; ``count``, of episodes with a full horizon ahead. {} where
        there is no place, no second episode, or no step with a horizon.
    """
    steps = guess.shape[1] - horizon
    if not guess.shape[2] or len(guess) < 2 or steps < 1:
        return {}
    found = {name: torch.zeros(steps) for name in ("hits", "chance", "count")}
    for t in range(steps):
        ahead, is_full = true[:, t + 1 : t + 1 + horizon], filled[:, t + horizon] > 0
        for name, place in (("hits", guess[:, t]), ("chance", guess[:, t].roll(1, dims=0))):
            close = ((ahead - place[:, None]).abs() <= near).unflatten(-1, (-1, 2)).all(dim=-1)  # [B, H, M]
            found[name][t] = (close.any(dim=1).float().mean(dim=-1) * is_full).sum()
        found["count"][t] = is_full.sum()
    return found


def added(reports: Sequence[Counts]) -> Counts:
    """The sum of counts of episodes of different lengths; {} where there are none."""
    reports = [report for report in reports if report]
    longest = max((len(report["count"]) for report in reports), default=0)
    names = reports[0] if reports else ()
    padded = {n: [F.pad(r[n].float(), (0, longest - len(r[n]))) for r in reports] for n in names}
    return {name: torch.stack(each).sum(dim=0) for name, each in padded.items()}


def steps_to_adapt(hits: Tensor, count: Tensor) -> float:
    """The first step of an episode at which the share of hits has made nine tenths of its way to its best.

    Args:
        hits, count: of each step, [T].
    """
    known = count >= MIN_SHARE * count.max()
    share = torch.where(known, hits / count.clamp(min=1.0), torch.zeros_like(hits))
    wanted = share[0] + RISEN * (share.max() - share[0])
    return float((share >= wanted).nonzero()[0, 0])
