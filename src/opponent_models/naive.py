"""Naive opponent modelling: the policy is conditioned on predictions of the opponents' next actions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..components.episode_batch import EpisodeBatch
from ..components.masks import transition_mask
from ..components.rollout import Rollout
from ..modules.hidden import hidden_layer
from ..modules.linear import Linear
from ..modules.losses import masked_mean
from .evaluation import Counts, Drawing
from .model import OpponentModel


class ActionModel(OpponentModel):
    """Base of the models that predict the opponents' next actions: a distribution of the environment's kind each.

    P outputs describe the distribution of one opponent's action: logits of choices, means and log standard deviations
    of numbers.
    """

    accuracy_name = "model_action_accuracy"

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        self.distribution = self.observed.distribution
        self.kind, self.n_outputs = self.distribution.kind, self.distribution.n_outputs  # the latter is P
        full = self.info.full
        own = self.observed.own[[full.agents.index(name) for name in self.subjects]]
        self.own = nn.Buffer(torch.from_numpy(own), persistent=False)  # [M, U], see ``ObservedActions``

    def action_outputs(self, features: Tensor) -> Tensor:
        """Features [..., W] -> [..., M * P]."""
        raise NotImplementedError

    def action_loss(self, outputs: Tensor, taken: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss and accuracy of outputs [E, T, N, M * P] for the actions ``taken`` (``actions_taken``).

        The loss is the negative log-likelihood in nats: the cross-entropy of choices, the negative log-density of
        numbers. Both results are means over the opponents that acted. Returns [E, T, N] each, and 1 where an opponent
        acted.
        """
        by_opponent = self._by_opponent(outputs)
        acted, actions = self.observed.acted(taken), self.observed.actions(taken)
        log_prob, _ = self.distribution.log_prob_and_entropy(by_opponent, actions, self.own)
        correct = torch.zeros_like(log_prob)
        if self.kind.has_choices:
            correct = self.distribution.hit_rate(by_opponent, actions)
        count = acted.sum(dim=-1)
        loss, accuracy = ((each * acted).sum(dim=-1) / count.clamp(min=1) for each in (-log_prob, correct))
        return loss, accuracy, count.clamp(max=1).float()

    def _by_opponent(self, outputs: Tensor) -> Tensor:
        """[..., M * P] -> the distributions' outputs [..., M, P]."""
        return self.distribution.predicted(outputs.unflatten(-1, (self.n_subjects, self.n_outputs)))

    def action_numbers(self, loss: Tensor, correct: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Metrics: the accuracy of choices, and the loss if numbers are among the actions."""
        numbers = {"model_action_accuracy": masked_mean(correct, mask)} if self.kind.has_choices else {}
        return numbers | ({"model_action_nll": masked_mean(loss.detach(), mask)} if self.kind.limits else {})

    @torch.no_grad()
    def evaluate(self, batches: Sequence[EpisodeBatch]) -> dict[str, float]:
        values = super().evaluate(batches)
        return values | self._likelihood(batches) if self.kind.limits else values

    def _likelihood(self, batches: Sequence[EpisodeBatch]) -> dict[str, float]:
        """The negative log-likelihood of the actions of complete episodes, and that of their marginal distribution.

        The latter is of one normal distribution for each number, or one categorical distribution for each choice, of
        each opponent: it knows the frequencies of the actions, but not the histories.
        """
        total, count, taken = 0.0, 0.0, []
        for batch in batches:
            actions, mask = self.actions_taken(batch), transition_mask(batch)
            loss, _, acted = self.action_loss(self.action_outputs(self.features(batch)[:, :-1]), actions)
            mask = mask[..., None] * acted
            total, count = total + float((loss * mask).sum()), count + float(mask.sum())
            taken.append(actions[:, :, 0][transition_mask(batch) > 0])  # [R, M, W]
        if not count:
            return {}
        known = torch.cat(taken)
        acted, columns = self.observed.acted(known), known[..., : self.observed.n_actions]
        each = ((columns[acted[:, m], m], own) for m, own in enumerate(self.own))
        marginal = [self.distribution.marginal_nll(encoded)[own].sum() for encoded, own in each]
        weights = acted.float().mean(dim=0)
        chance = (torch.stack(marginal).nan_to_num() * weights).sum() / weights.sum()
        return {"model_action_nll": total / count, "model_action_nll_chance": float(chance)}

    @torch.no_grad()
    def hits(self, batch: EpisodeBatch) -> Counts:
        """The numbers of correct predictions and of predictions at each step of each complete episode.

        A prediction is for all opponents that acted; it is correct to the share of correct choices. {} without any.
        """
        if not self.kind.has_choices:
            return {}
        outputs = self.action_outputs(self.features(batch)[:, :-1])
        _, correct, acted = self.action_loss(outputs, self.actions_taken(batch))
        mask = transition_mask(batch)[..., None] * acted
        return {"hits": (correct * mask).sum(dim=2), "count": mask.sum(dim=2)}

    @torch.no_grad()
    def draw(self, batch: EpisodeBatch) -> Drawing:
        """Captions: each opponent's most probable next action, and the action taken."""
        steps = int(batch["filled"].sum())
        outputs = self._by_opponent(self.action_outputs(self.features(batch)[0, :steps, 0]))
        likeliest = self.distribution.mode(outputs, torch.ones_like(self.own)).reshape(steps, self.n_subjects, -1)
        taken = self.actions_taken(batch)[0, :, 0]
        acted, actions = self.observed.acted(taken), self.observed.actions(taken)
        captions = []
        for t in range(steps):
            parts = []
            for m, name in enumerate(self.subjects):
                if name == self.info.agents[0]:
                    continue  # the learner whose predictions are shown
                did = f", did {self._text(actions[t, m])}" if t + 1 < steps and acted[t, m] else ""
                sure = f" ({float(outputs[t, m].softmax(-1).max()):.2f})" if not self.kind.shape else ""
                parts.append(f"{name}: predicted {self._text(likeliest[t, m])}{sure}{did}")
            captions.append("; ".join(parts))
        return Drawing(captions)

    def _text(self, action: Tensor) -> str:
        """A stored action [A] in words."""
        choices = len(self.kind.heads) if self.kind.shape else 1
        return " ".join([*(f"{int(x)}" for x in action[:choices]), *(f"{float(x):+.2f}" for x in action[choices:])])


class NaiveModel(ActionModel):
    """``p(a^-i_t | history)``, trained by maximum likelihood."""

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        self.condition_dim = self.n_subjects * self.n_outputs
        self.fc = Linear(self.width, self.width)
        self.out = Linear(self.width, self.condition_dim)

    def action_outputs(self, features: Tensor) -> Tensor:
        return hidden_layer(features, self.fc, head=self.out.pair)

    def condition_of(self, features: Tensor) -> Tensor:
        """The distribution of each opponent's next action, [..., M * P], detached: probabilities of choices, means
        and standard deviations of numbers."""
        return self.distribution.summary(self._by_opponent(self.action_outputs(features).detach())).flatten(-2)

    def loss(self, batch: Rollout, features: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Any]]:
        loss, correct, acted = self.action_loss(self.action_outputs(features), targets)
        return masked_mean(loss, mask * acted), self.action_numbers(loss, correct, mask * acted)
