"""How well opponent models tell what opponents do: measured on test episodes, for logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..components.episode_batch import EpisodeBatch
from ..opponents.boards import opponents_places

ENOUGH = 0.25  # of the steps seen where most are: less says more of who is left than of what is known
RISEN = 0.9


@torch.no_grad()
def subgoal_hits(model: Any, prior: Any, batch: EpisodeBatch, horizon: int) -> dict[str, Tensor]:
    """How often opponents pass, within ``horizon`` steps, through the place that the inferred subgoal decodes to.

    Returns:
        Of each step, [T + 1 - horizon]: ``hits``; ``chance``, the same for subgoals of other episodes; ``count``, of
        episodes with a full horizon ahead. An opponent hits within half a cell (foraging) or 0.1 (tag) of the place
        decoded for it, on each axis; an episode's hit is the share of its opponents that do. Nothing where the state
        does not say where opponents are.
    """
    places, near = opponents_places(model.info, model.subjects)
    steps = batch.max_seq_length - horizon
    if not places or batch.batch_size < 2 or steps < 1:
        return {}
    features = model.features(batch, model.initial_carry(batch.batch_size))
    goals = model.condition(features)[:, :, 0]  # the first learner's
    decoded = prior.decode(goals)[..., places]  # [B, T+1, P]
    true = batch["state"].flatten(2)[..., places]
    filled = batch["filled"].squeeze(-1) > 0
    found = {name: torch.zeros(steps) for name in ("hits", "chance", "count")}
    for t in range(steps):
        ahead, whole = true[:, t + 1 : t + 1 + horizon], filled[:, t + horizon]
        for name, guess in (("hits", decoded[:, t]), ("chance", decoded[:, t].roll(1, dims=0))):
            close = ((ahead - guess[:, None]).abs() <= near).unflatten(-1, (-1, 2)).all(dim=-1)  # [B, K, M]
            found[name][t] = (close.any(dim=1).float().mean(dim=-1) * whole).sum()
        found["count"][t] = whole.sum()
    return found


def added(reports: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Reports of batches with episodes of different lengths, put together; {} where there is nothing in them."""
    reports = [report for report in reports if report]
    longest = max((len(report["count"]) for report in reports), default=0)
    names = reports[0] if reports else ()
    padded = {n: [F.pad(r[n].float(), (0, longest - len(r[n]))) for r in reports] for n in names}
    return {name: torch.stack(each).sum(dim=0) for name, each in padded.items()}


def steps_to_adapt(hits: Tensor, count: Tensor) -> float:
    """The first step of an episode at which the share of hits has made nine tenths of its way to its best.

    Args:
        hits, count: of each step, [T]. Steps that few episodes reach are left out.
    """
    known = count >= ENOUGH * count.max()
    share = torch.where(known, hits / count.clamp(min=1.0), torch.zeros_like(hits))
    enough = share[0] + RISEN * (share.max() - share[0])
    return float((share >= enough).nonzero()[0, 0])
