"""Subgoal inference: q_phi(g | tau_t, s_t), a conditional VAE, and its decoder p_theta(s_t | g, tau_t) (section 4.1).

The CVAE maximises E_q [log p_theta(s_t | g, tau_t)] - KL(q_phi(. | tau_t, s_t) || p_psi(. | s^g_t)), where s^g_t is
the state that the selector chose in hindsight. Both distributions are diagonal Gaussians; the KL has a closed form.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ...components.optimisers import make_optimiser
from ...components.rollout import Rollout
from ...components.vae_config import VAEOptimiserConfig, VAEShapeKeys
from ...components.vae_optimiser import VAEOptimiser
from ...config.schema import key
from ...modules.hidden import hidden_layer
from ...modules.linear import Linear
from ...modules.losses import calibrated_nll, kl_gaussians, sample_gaussian, squared_error
from ...modules.vae import bounded, code_size, mlp
from ..model import ModelKeys
from ..places import PlaceInference
from .prior import SubgoalPrior


@dataclass(frozen=True)
class InferenceConfig(ModelKeys, VAEOptimiserConfig, VAEShapeKeys):
    # ``omg_inference: mlp`` reads only vae_lr, optim_eps and grad_norm_clip of the optimiser's keys
    omg_inference: Literal["cvae", "mlp"] = key("cvae", help="mlp: regress on the mean of the selected subgoal")


class SubgoalInference(PlaceInference):
    """q_phi and p_theta, and their updates.

    The decoder's tau_t encodes the observations up to o_{t-1}, so that it does not contain s_t.
    """

    learning_rate = "vae_lr"
    prior: SubgoalPrior

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        self.condition_dim = code_size(self.config.vae_latent_dim, self.info.state_shape)
        self.fc = Linear(self.width, self.width)
        self.posterior = Linear(self.width, 2 * self.condition_dim)
        self.decoder = mlp([self.condition_dim + self.width, self.width, self.info.state_shape])

    def infer(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features [..., W] -> mean and bounded log-variance of q_phi, [..., Z] each."""
        mu, raw = hidden_layer(features, self.fc, head=self.posterior.pair).chunk(2, dim=-1)
        return mu, bounded(raw, self.config.vae_log_var_bound, self.config.vae_log_var_limit)

    def condition_of(self, features: Tensor) -> Tensor:
        """The inferred subgoal: the mean of q_phi, [..., Z], detached."""
        return hidden_layer(features, self.fc, head=self.posterior.pair)[..., : self.condition_dim].detach()

    def decode(self, goal: Tensor, before: Tensor) -> Tensor:
        """Subgoals [..., Z] and the features of the previous step [..., W] -> standardised states [..., S]."""
        return self.decoder(torch.cat([goal, before], dim=-1))

    def start_training(self) -> None:
        c = self.config
        if c.omg_inference == "mlp":
            self.optimiser = make_optimiser("adam", self.parameters(), c.vae_lr, eps=c.optim_eps)
        else:
            self.optimiser = VAEOptimiser(self, c, self.skipped)  # also sets the KL weight

    def update(self, batch: Rollout, targets: Tensor, mask: Tensor) -> dict[str, Any]:
        """One update towards the selected subgoal states s^g_t, ``targets`` [E, T, N, S]."""
        features = self.features(batch)[:, :-1]
        counts = mask > 0
        counts[:, 0] = False  # the features of the previous step are not in the rollout
        if not counts.any():
            return {}
        mu, log_var = self.infer(features[counts])
        mu_p, log_var_p = self.prior.encode(targets[counts])
        kl = kl_gaussians(mu, log_var, mu_p, log_var_p)
        if self.config.omg_inference == "mlp":
            loss = (mu - mu_p).square().sum(dim=-1).mean()
            norm, kl_loss = self.descend(loss), kl.detach().sum(dim=-1).mean()
            return {"omg_loss": loss.detach(), "omg_kl_loss": kl_loss, "omg_grad_norm": norm}
        decoded = self.decode(sample_gaussian(mu, log_var), self._before(batch, features)[counts])
        states = batch["state"][:, :-1, None].flatten(3).expand(-1, -1, self.info.n_agents, -1)
        now = self.prior.features.inputs(states[counts])  # standardised
        nll = calibrated_nll(decoded, now) if self.config.vae_decoder == "calibrated" else None
        numbers = self.optimiser.descend(squared_error(decoded, now).mean(), mu, kl, nll)
        return {f"omg_{name.removeprefix('vae_')}": value for name, value in numbers.items()}

    def _before(self, batch: Rollout, features: Tensor) -> Tensor:
        """The features of the previous step, zeros where an episode begins: [E, T, N, W]."""
        before = torch.zeros_like(features)
        before[:, 1:] = features[:, :-1] * (1.0 - batch["begins"][:, 1:-1].float())[..., None]
        return before
