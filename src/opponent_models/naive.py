"""Naive opponent modelling: the policy is conditioned on a prediction of the opponents' next actions."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ..components.rollout import Rollout
from ..modules.linear import Linear
from ..modules.losses import masked_mean
from .action_model import ActionModel


class NaiveModel(ActionModel):
    """``p(a^-i_t | history)``, trained by cross-entropy. Arguments: see ``OpponentModel``."""

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        self.condition_dim = self.n_subjects * self.n_actions
        self.fc = Linear(self.width, self.width)
        self.out = Linear(self.width, self.condition_dim)

    def action_logits(self, features: Tensor) -> Tensor:
        """Features [..., W] -> [..., M * U]."""
        return self.out(F.relu(self.fc(features)))

    def condition_of(self, features: Tensor) -> Tensor:
        """The probabilities of each opponent's next action, [..., M * U], detached."""
        logits = self.action_logits(features).detach()
        return logits.unflatten(-1, (self.n_subjects, self.n_actions)).softmax(dim=-1).flatten(-2)

    def loss(self, batch: Rollout, features: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Cross-entropy of the actions ``targets`` [E, T, N, M]."""
        loss, correct = self.action_loss(self.action_logits(features), targets)
        return masked_mean(loss, mask), {"model_action_accuracy": masked_mean(correct, mask)}
