"""Naive opponent modelling: what the opponents will do, foretold from history; the policy is told the odds."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ...components.rollout import Rollout
from ...modules.linear import Linear
from ...modules.losses import masked_mean
from .action_model import ActionModel


class NaiveModel(ActionModel):
    """``p(a^-i_t | history)`` by cross-entropy. Arguments: see ``HistoryModel``."""

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        self.condition_dim = self.n_subjects * self.n_actions
        self.fc = Linear(self.width, self.width)
        self.out = Linear(self.width, self.condition_dim)

    def action_logits(self, features: Tensor) -> Tensor:
        """Features [..., W] -> [..., M * U]."""
        return self.out(F.relu(self.fc(features)))

    def condition(self, features: Tensor) -> Tensor:
        """The odds of each opponent's next action, [..., M * U]."""
        logits = self.action_logits(features).detach()
        return logits.unflatten(-1, (self.n_subjects, self.n_actions)).softmax(dim=-1).flatten(-2)

    def losses(
        self, batch: Rollout, features: Tensor, mask: Tensor, taken: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and numbers for logs, from features [E, T, N, W], mask [E, T, N], actions [E, T, N, M]."""
        loss, hits = self.action_loss(self.action_logits(features), taken)
        return masked_mean(loss, mask), {"model_action_accuracy": masked_mean(hits, mask)}
