"""Opponent models that foretell what opponents will do next."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...components.episode_batch import EpisodeBatch
from ...components.masks import transition_mask
from .history_model import HistoryModel


class ActionModel(HistoryModel):
    """Has the log-odds of each opponent's next action. Arguments: see ``HistoryModel``."""

    measure = "model_action_accuracy"

    def action_logits(self, features: Tensor) -> Tensor:
        """Features [..., W] -> [..., M * U]."""
        raise NotImplementedError

    def action_loss(self, logits: Tensor, taken: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and accuracy, [E, T, N] each, of logits [E, T, N, M * U] against actions [E, T, N, M]."""
        by_opponent = logits.unflatten(-1, (self.n_subjects, self.n_actions))
        loss = F.cross_entropy(by_opponent.flatten(0, -2), taken.flatten(), reduction="none").view(taken.shape)
        return loss.mean(dim=-1), (by_opponent.argmax(dim=-1) == taken).float().mean(dim=-1)

    @torch.no_grad()
    def hits(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """Actions foretold rightly: see ``HistoryModel``."""
        features = self.features(batch, self.initial_carry(batch.batch_size))
        _, right = self.action_loss(self.action_logits(features[:, :-1]), self.actions_taken(batch))
        mask = transition_mask(batch)[..., None].expand_as(right)
        return {"hits": (right * mask).sum(dim=(0, 2)), "count": mask.sum(dim=(0, 2))}
