"""Naive opponent modelling: the policy is conditioned on predictions of the opponents' next actions."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..components.episode_batch import EpisodeBatch
from ..components.masks import transition_mask
from ..components.rollout import Rollout
from ..modules.linear import Linear
from ..modules.losses import masked_mean
from .evaluation import Counts, Drawing
from .model import OpponentModel


class ActionModel(OpponentModel):
    """Base of the models that predict the opponents' next actions."""

    accuracy_name = "model_action_accuracy"

    def action_logits(self, features: Tensor) -> Tensor:
        """Features [..., W] -> [..., M * U]."""
        raise NotImplementedError

    def action_loss(self, logits: Tensor, taken: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropy and accuracy of logits [E, T, N, M * U] for actions [E, T, N, M], which are -1 if unknown.

        Both are means over the opponents that acted. Returns [E, T, N] each, and 1 where an opponent acted.
        """
        by_opponent = logits.unflatten(-1, (self.n_subjects, self.n_actions))
        loss = F.cross_entropy(by_opponent.flatten(0, -2), taken.flatten(), reduction="none", ignore_index=-1)
        acted = (taken >= 0).sum(dim=-1)
        correct = (by_opponent.argmax(dim=-1) == taken).float().sum(dim=-1)
        count = acted.clamp(min=1)
        return loss.view(taken.shape).sum(dim=-1) / count, correct / count, acted.clamp(max=1).float()

    @torch.no_grad()
    def hits(self, batch: EpisodeBatch) -> Counts:
        """The numbers of correct predictions and of predictions at each step of complete episodes.

        A prediction is for all opponents that acted; it is correct to the share of correct actions.
        """
        logits = self.action_logits(self.features(batch)[:, :-1])
        _, correct, acted = self.action_loss(logits, self.actions_taken(batch))
        mask = transition_mask(batch)[..., None] * acted
        return {"hits": (correct * mask).sum(dim=(0, 2)), "count": mask.sum(dim=(0, 2))}

    @torch.no_grad()
    def draw(self, batch: EpisodeBatch) -> Drawing:
        """Captions: each opponent's most probable next action, and the action taken."""
        steps = int(batch["filled"].sum())
        logits = self.action_logits(self.features(batch)[0, :steps, 0])
        probability, likeliest = logits.unflatten(-1, (self.n_subjects, self.n_actions)).softmax(-1).max(-1)
        taken = self.actions_taken(batch)[0, :, 0]
        captions = []
        for t in range(steps):
            parts = []
            for m, name in enumerate(self.subjects):
                did = f", did {int(taken[t, m])}" if t + 1 < steps and taken[t, m] >= 0 else ""
                parts.append(f"{name}: predicted {int(likeliest[t, m])} ({float(probability[t, m]):.2f}){did}")
            captions.append("; ".join(parts))
        return Drawing(captions)


class NaiveModel(ActionModel):
    """``p(a^-i_t | history)``, trained by cross-entropy."""

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        self.condition_dim = self.n_subjects * self.n_actions
        self.fc = Linear(self.width, self.width)
        self.out = Linear(self.width, self.condition_dim)

    def action_logits(self, features: Tensor) -> Tensor:
        return self.out(F.relu(self.fc(features)))

    def condition_of(self, features: Tensor) -> Tensor:
        """The probabilities of each opponent's next action, [..., M * U], detached."""
        logits = self.action_logits(features).detach()
        return logits.unflatten(-1, (self.n_subjects, self.n_actions)).softmax(dim=-1).flatten(-2)

    def loss(self, batch: Rollout, features: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Any]]:
        loss, correct, acted = self.action_loss(self.action_logits(features), targets)
        return masked_mean(loss, mask * acted), {"model_action_accuracy": masked_mean(correct, mask * acted)}
