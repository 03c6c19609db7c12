"""How well opponent models tell what opponents do: measured on test episodes, for logs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..components.episode_batch import EpisodeBatch
from ..components.masks import transition_mask
from ..opponents.boards import opponents_places


@torch.no_grad()
def action_accuracy(model: Any, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
    """Opponents' actions foretold rightly, and how many there were."""
    features = model.features(batch, model.initial_carry(batch.batch_size))
    _, hits = model.action_loss(model.action_logits(features[:, :-1]), model.actions_taken(batch))
    mask = transition_mask(batch)[..., None].expand_as(hits)
    return (hits * mask).sum(), mask.sum()


@torch.no_grad()
def subgoal_hits(model: Any, prior: Any, batch: EpisodeBatch, horizon: int) -> dict[str, Tensor]:
    """How often opponents pass, within ``horizon`` steps, through the place that the inferred subgoal decodes to.

    Returns:
        ``hits``; ``chance``, the same for subgoals of other episodes; ``count``, of steps with a full horizon ahead.
        A hit is all opponents' places within half a cell (foraging) or 0.1 (tag) of those decoded, on each axis.
    """
    places, near = opponents_places(model.info)
    if not places or batch.batch_size < 2:
        return {}
    features = model.features(batch, model.initial_carry(batch.batch_size))
    goals = model.condition(features)[:, :, 0]  # the first learner's
    decoded = prior.decode(goals)[..., places]  # [B, T+1, P]
    true = batch["state"].flatten(2)[..., places]
    filled = batch["filled"].squeeze(-1) > 0
    hits, chance, count = (torch.zeros(()) for _ in range(3))
    steps = true.shape[1] - horizon
    for t in range(max(steps, 0)):
        ahead, whole = true[:, t + 1 : t + 1 + horizon], filled[:, t + horizon]
        for name, guess in (("hits", decoded[:, t]), ("chance", decoded[:, t].roll(1, dims=0))):
            passed = ((ahead - guess[:, None]).abs() <= near).all(dim=-1).any(dim=1) & whole
            if name == "hits":
                hits += passed.sum()
            else:
                chance += passed.sum()
        count += whole.sum()
    return {"hits": hits, "chance": chance, "count": count}
