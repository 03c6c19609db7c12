"""PLASTIC-Policy (Barrett and Stone 2015): a belief about which of the known types of opponents plays.

The types are the training members of the pool. For each of them a model of its actions is learned from the steps
that it plays. A type's weight is multiplied by ``1 - eta (1 - p)`` for each observed action, where p is the
probability that the type's model gave to it (polynomial weights, Blum and Mansour 2007). With eta = 1 this is Bayes'
rule. A smaller eta bounds the loss of weight from one action, because the learned models are wrong in places.

In the paper each type has a policy of its own, and the policy of the likeliest type acts. Here one policy is
conditioned on the belief or, with ``plastic_condition: likeliest``, on the likeliest type. In the paper a type's
model reads the current state; here it reads the history.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..components.episode_batch import EpisodeBatch
from ..components.rollout import Rollout
from ..config.schema import key
from ..modules.hidden import hidden_layer
from ..modules.linear import Linear
from ..modules.losses import masked_mean
from ..modules.softmax import log_softmax, softmax
from ..types import ConfigError
from .model import ModelConfig
from .naive import ActionModel

LEAST = 1e-6  # probability of an action that a type's model can give


@dataclass(frozen=True)
class PlasticConfig(ModelConfig):
    plastic_eta: float = key(
        0.1, above=0, high=1, help="largest share of a type's weight that one action can take; 1: Bayes' rule"
    )
    plastic_condition: Literal["posterior", "likeliest"] = key(
        "posterior", help="the condition: the probability of each type, or 1 for the likeliest"
    )


class PlasticModel(ActionModel):
    """K types; all opponents together are of one type, the member that plays.

    The features are the encoded history [..., W] and the logarithm of the belief [..., K]. Behind the encoder's
    state, the carry has the features of the last step, which predicted the action that is observed next, and the
    belief.
    """

    Config = PlasticConfig

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        self.condition_dim = self.n_types = len(self.info.members)  # K
        if not self.n_types:
            raise ConfigError("opponent_model: plastic infers which training member of a pool plays, and the pool "
                              "has none; make one with scripts or runs")  # fmt: skip
        self.fc = Linear(self.width, self.width)
        self.common = Linear(self.width, self.n_subjects * self.n_outputs)
        self.out = Linear(self.width, self.n_types * self.n_subjects * self.n_outputs)
        # The types' models are equal at first: random differences between them would be taken for evidence.
        torch.nn.init.zeros_(self.out.weight)
        torch.nn.init.zeros_(self.out.bias)

    def outputs_by_type(self, history: Tensor) -> Tensor:
        """Encoded histories [..., W] -> each type's predictions [..., K, M * P].

        They are the sum of a part that all types share and one of each type.
        """
        hidden = hidden_layer(history, self.fc)
        return self.common(hidden)[..., None, :] + self.out(hidden).unflatten(-1, (self.n_types, -1))

    def action_outputs(self, features: Tensor) -> Tensor:
        """The predictions of the likeliest type, [..., M * P]."""
        likeliest = features[..., self.width :].argmax(dim=-1)[..., None, None]
        outputs = self.outputs_by_type(features[..., : self.width])
        return outputs.gather(-2, likeliest.expand(*outputs.shape[:-2], 1, outputs.shape[-1])).squeeze(-2)

    def condition_of(self, features: Tensor) -> Tensor:
        belief = features[..., self.width :].detach()
        if self.config.plastic_condition == "likeliest":
            return F.one_hot(belief.argmax(dim=-1), self.n_types).to(belief.dtype)
        return softmax(belief)

    def initial_carry(self, n: int) -> Tensor:
        """The logarithms of equal weights are 0: [n, N, S + W + K]."""
        state = super().initial_carry(n)
        size = 0 if self.is_shared else self.width + self.n_types
        return F.pad(state, (0, size))

    def step(self, obs: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        sizes = [carry.shape[-1] - self.width - self.n_types, self.width, self.n_types]
        state, before, belief = carry.split(sizes, dim=-1)
        belief = log_softmax(belief + self.evidence(before, obs))
        history, state = self.encoder(obs.flatten(0, 1), state.flatten(0, 1))
        history = history.view(*obs.shape[:2], -1)
        after = torch.cat([state.view(*obs.shape[:2], -1), history, belief], dim=-1)
        return self.condition_of(torch.cat([history, belief], dim=-1)), after

    def features(self, batch: EpisodeBatch) -> Tensor:
        """The encoded history and the belief at each step, [E, T+1, N, W + K]."""
        history, obs = super().features(batch), batch["obs"]
        memory = history.new_zeros(*history.shape[:1], history.shape[2], self.width + self.n_types)
        if not self.is_shared:
            memory = self.own_carry(batch)[..., -memory.shape[-1] :]
        before, belief = memory.split([self.width, self.n_types], dim=-1)
        evidence = self.evidence(torch.cat([before[:, None], history[:, :-1].detach()], dim=1), obs)
        goes_on = torch.ones_like(obs[..., :1])
        if "begins" in batch.data:
            goes_on = goes_on - batch["begins"].float()[..., None]
        beliefs = []
        for t in range(obs.shape[1]):
            belief = log_softmax(belief * goes_on[:, t] + evidence[:, t])
            beliefs.append(belief)
        return torch.cat([history, torch.stack(beliefs, dim=1)], dim=-1)

    @torch.no_grad()
    def evidence(self, before: Tensor, obs: Tensor) -> Tensor:
        """The logarithm of each type's factor, [..., K], from the features [..., W] of the last step and the
        observations [..., O], which contain the opponents' last actions.

        Opponents that did not act say nothing; neither does the first observation of an episode. Densities of numbers
        are divided by that of the type with the largest one, which makes them at most 1.
        """
        taken = obs[..., self.last_actions].unflatten(-1, (-1, self.observed.width))[..., self.subject_indices, :]
        acted, actions = self.observed.acted(taken), self.observed.actions(taken)  # [..., M], [..., M, A]
        outputs = self.outputs_by_type(before)  # [..., K, M * P]
        by_opponent = self.distribution.predicted(outputs.unflatten(-1, (self.n_subjects, self.n_outputs)))
        actions = actions[..., None, :, :].expand(*by_opponent.shape[:-1], -1)
        log_prob, _ = self.distribution.log_prob_and_entropy(by_opponent, actions, self.own)  # [..., K, M]
        if self.kind.limits:
            log_prob = log_prob - log_prob.amax(dim=-2, keepdim=True)
        loss = 1.0 - log_prob.exp().clamp(LEAST, 1.0)
        factors = torch.log1p(-self.config.plastic_eta * loss) * acted[..., None, :]
        return factors.sum(dim=-1)

    def loss(self, batch: Rollout, features: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """The negative log-likelihood of the actions under the model of the member that plays."""
        playing = batch["opponent"][:, : features.shape[1], None]  # [E, T, 1, 1]
        outputs = self.outputs_by_type(features[..., : self.width])
        index = playing[..., None].expand(*outputs.shape[:-2], 1, outputs.shape[-1])
        loss, correct, acted = self.action_loss(outputs.gather(-2, index).squeeze(-2), targets)
        belief = features[..., self.width :].detach()
        found = (belief.argmax(dim=-1) == playing[..., 0]).float()
        numbers = {
            "model_type_accuracy": masked_mean(found, mask),
            "model_type_nll": masked_mean(-belief.gather(-1, playing.expand(*belief.shape[:-1], 1))[..., 0], mask),
            **self.action_numbers(loss, correct, mask * acted),
        }
        return masked_mean(loss, mask * acted), numbers
