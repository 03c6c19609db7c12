"""MeLIBA (Zintgraf et al. 2021): a belief about the opponents' fixed type and their changing state.

A hierarchical VAE. From the history tau_t it infers q(m | tau_t), the type, which does not change during an episode,
and q(m_t | tau_t, m), the state of mind at step t. A recurrent decoder predicts the opponents' actions at step t and
the steps after it from m, m_t and what the learner observes then. The objective at each step is

    E [sum_k log p(a_{t+k} | o_t, ..., o_{t+k}, m, m_t)] - beta (KL(q(m | tau_t) || q(m | tau_{t-1}))
                                                                 + KL(q(m_t | tau_t, m) || N(0, I))).

The prior of the type is the belief of the step before, N(0, I) at the begin of an episode, as in variBAD (Zintgraf et
al. 2020). The policy is conditioned on the belief: means and log-variances of both distributions.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..components.episode_batch import EpisodeBatch
from ..components.rollout import Rollout
from ..config.schema import key
from ..modules.cell import make_cell
from ..modules.encoder import encoder_for
from ..modules.linear import Linear
from ..modules.losses import kl_gaussians, kl_standard_normal, masked_mean, sample_gaussian, tanh_bound
from ..modules.vae import mlp
from ..types import feature_size
from .horizon import check_horizon, states_ahead, steps_until
from .model import BaseLearner, HorizonKeys, ModelConfig
from .naive import ActionModel

LOG_VAR_LIMIT = 5.0


@dataclass(frozen=True)
class MelibaConfig(ModelConfig, HorizonKeys):
    meliba_type_dim: int = key(8, low=1, help="size of the latent of the opponents' fixed type")
    meliba_state_dim: int = key(8, low=1, help="size of the latent of the opponents' changing state")
    meliba_beta: float = key(0.1, low=0, help="weight of both KLs, in nats, beside the likelihood of H steps")


class MelibaModel(ActionModel):
    """The features are the encoded history [..., W] and the observation [..., O], which the decoder reads, too."""

    Config = MelibaConfig

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        c, width = self.config, self.width
        self.horizon = c.model_horizon
        self.condition_dim = 2 * (c.meliba_type_dim + c.meliba_state_dim)
        self.type_net = mlp([width, width, 2 * c.meliba_type_dim])
        self.state_net = mlp([width + c.meliba_type_dim, width, 2 * c.meliba_state_dim])
        reads = SimpleNamespace(encoder=c.encoder, env_info=self.info)
        self.seen, size = encoder_for(reads, "obs", feature_size(scheme, "obs"))
        latents = c.meliba_type_dim + c.meliba_state_dim
        self.first = Linear(latents, width)  # the decoder's first recurrent state
        self.fc = Linear(size, width)
        self.fc_type = Linear(c.meliba_type_dim, width)
        self.cell: Any = make_cell(c.cell, width, width)
        self.out = Linear(width, self.n_subjects * self.n_outputs)

    def prepare(self, args: Any, base: BaseLearner, steps: int, from_memory: bool) -> None:
        check_horizon("model_horizon", self.horizon, steps)

    def features(self, batch: EpisodeBatch) -> Tensor:
        return torch.cat([super().features(batch), batch["obs"]], dim=-1)

    def belief_about_type(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """q(m | tau): mean and bounded log-variance, [..., Z] each, from histories [..., W]."""
        mu, raw = self.type_net(history).chunk(2, dim=-1)
        return mu, tanh_bound(raw, LOG_VAR_LIMIT)

    def belief_about_state(self, history: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        """q(m_t | tau, m) likewise, for types [..., Z]."""
        mu, raw = self.state_net(torch.cat([history, kind], dim=-1)).chunk(2, dim=-1)
        return mu, tanh_bound(raw, LOG_VAR_LIMIT)

    def condition_of(self, features: Tensor) -> Tensor:
        """Means and log-variances of the type and, for the type's mean, of the state, detached: [..., D]."""
        history = features[..., : self.width]
        mu, log_var = self.belief_about_type(history)
        return torch.cat([mu, log_var, *self.belief_about_state(history, mu)], dim=-1).detach()

    def action_outputs(self, features: Tensor) -> Tensor:
        """The predictions for the present step, from the means of the belief."""
        history, obs = features[..., : self.width], features[..., self.width :]
        kind, _ = self.belief_about_type(history)
        mind, _ = self.belief_about_state(history, kind)
        return self.decode(kind, mind, self.fc(self.seen(obs))[..., None, :])[..., 0, :]

    def decode(self, kind: Tensor, mind: Tensor, seen: Tensor) -> Tensor:
        """Latents m [..., Z] and m_t [..., Y], encoded observations of H steps [..., H, W] -> [..., H, M * P]."""
        first = torch.tanh(self.first(torch.cat([kind, mind], dim=-1)))
        first = F.pad(first, (0, self.cell.state_size - self.width))
        inputs = F.relu(seen + self.fc_type(kind)[..., None, :])
        states, _ = self.cell(inputs.flatten(0, -3), first.flatten(0, -2)[None].contiguous())
        return self.out(self.cell.output(states)).unflatten(0, kind.shape[:-1])

    def loss(self, batch: Rollout, features: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """The negative of the objective, a mean over steps. Its likelihood is a sum over the steps within the horizon
        that are in the rollout and the episode; that of a step is a mean over the opponents that act."""
        history, obs = features[..., : self.width], features[..., self.width :]
        mu, log_var = self.belief_about_type(history)
        kind = sample_gaussian(mu, log_var)
        mu_t, log_var_t = self.belief_about_state(history, kind)
        mind = sample_gaussian(mu_t, log_var_t)

        steps, over = self._every_step(targets), batch["begins"][:, 1 : targets.shape[1] + 1, 0].float()
        valid = steps_until(over, self.horizon)  # [E, T, H], as are the steps
        seen = states_ahead(self.fc(self.seen(obs)).flatten(2), steps).unflatten(-1, (-1, self.width))
        taken = states_ahead(targets.flatten(2), steps).unflatten(-1, targets.shape[2:]).transpose(2, 3)
        outputs = self.decode(kind, mind, seen.transpose(2, 3))  # [E, T, N, H, M * P]
        nll, correct, acted = self.action_loss(outputs, taken)  # [E, T, N, H] each
        counts = valid[:, :, None] * acted * mask[..., None]
        likelihood = masked_mean((nll * counts).sum(dim=-1), mask)

        kl_type, known = self._kl_of_type(batch, mu, log_var)
        kl_state = kl_standard_normal(mu_t, log_var_t).sum(dim=-1)
        kls = masked_mean(kl_type, mask * known), masked_mean(kl_state, mask)
        numbers = {
            "model_kl_type": kls[0].detach(),
            "model_kl_state": kls[1].detach(),
            "model_horizon_accuracy": masked_mean(correct, counts),
            **self.action_numbers(nll[..., 0], correct[..., 0], counts[..., 0]),
        }
        return likelihood + self.config.meliba_beta * (kls[0] + kls[1]), numbers

    def _every_step(self, targets: Tensor) -> Tensor:
        """The numbers of all steps within the horizon, for ``states_ahead``: [E, T, H]."""
        return torch.arange(self.horizon, device=targets.device).expand(*targets.shape[:2], -1)

    def _kl_of_type(self, batch: Rollout, mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
        """The KL of the type's belief from the step before, [E, T, N], and 1 where that is in the rollout, [E, T, 1].

        At the begin of an episode it is that from N(0, I).
        """
        begins = batch["begins"][:, : mu.shape[1]].float()  # [E, T, 1]
        goes_on = (1.0 - begins)[..., None]
        before, log_var_before = (torch.cat([x[:, :1], x[:, :-1]], dim=1) * goes_on for x in (mu, log_var))
        known = torch.ones_like(begins)
        known[:, 0] = begins[:, 0]
        return kl_gaussians(mu, log_var, before, log_var_before).sum(dim=-1), known
