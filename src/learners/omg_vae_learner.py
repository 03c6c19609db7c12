"""The OMG VAE learner: a base learner trains the agents, and a state VAE learns beside it on the same batches.

The VAE is the subgoal prior of OMG (Yu, Jiang and Lu, NeurIPS 2024, section 4.1): it maximises
``E_q[log p(s|g)] - KL(q(g|s) || N(0, I))`` over the states met while the agents are being trained. Agents and VAE
share a batch and nothing else: no gradient passes between them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..components.normalisers import RunningMeanStd
from ..components.optimisers import make_optimiser, optimiser_step
from ..components.schedules import linear
from ..config.schema import key, read
from ..modules.losses import kl_standard_normal, squared_error
from ..modules.vae import StateVAE
from ..registry import resolve
from ..types import Batch, MetricLogger, PathLike, TrainingError
from ..utils.metrics import Grid, IntervalStats

ACTIVE_VARIANCE = 0.01  # a latent unit is active where Var_x(E q(z|x)) is at least this (Burda et al. 2015)
STATE_CLIP = 10.0  # standard deviations: a feature that is nearly always constant must not rule the loss


@dataclass(frozen=True)
class OMGVAEConfig:
    """Keys of ``learner: omg_vae_learner``; the base learner's own keys join them."""

    base_learner: str = key("q_learner", component="learner", help="trains the agents")
    vae_lr: float = key(3e-4, above=0, help="learning rate of the VAE")
    omg_vae_alpha: float = key(0.01, low=0, help="KL weight after the ramp")
    vae_alpha_ramp: int = key(1000, low=0, help="learner updates over which the KL weight rises from 0")
    vae_optimiser: Literal["adam", "rmsprop"] = key("adam", help="optimiser of the VAE")
    vae_betas: list[float] = key([0.5, 0.999], low=0, high=0.999999, help="Adam's")
    optim_alpha: float = key(0.9, low=0, high=1, help="RMSprop's smoothing constant: Adam has none")
    optim_eps: float = key(1e-5, above=0, help="the optimiser's epsilon")
    grad_norm_clip: float = key(10.0, above=0, help="largest gradient norm")
    vae_latent_dim: int = key(16, low=1, help="Z")
    vae_hidden_dim: int = key(128, low=1, help="width of the encoder's and the decoder's layers")
    vae_log_var_limit: float = key(5.0, above=0, help="bound of |log_var|: limit * tanh(raw / limit)")
    vae_mu_l2: float = key(0.0, low=0, help="weight of the mean over the batch of sum_z mu^2")
    learner_log_interval: int = key(1000, low=1, help="environment steps between logs")


class OMGVAELearner:
    """PyMARL's learner interface around a base learner and the state VAE.

    The loss, per state and then averaged over the batch's real states:
    ``mean_S (s - s_hat)^2  +  alpha_t * sum_Z KL(q(z|s) || N(0, 1))  +  vae_mu_l2 * sum_Z mu^2``,
    with states standardised by running statistics that are saved with the model, and
    ``alpha_t = omg_vae_alpha * min(1, update / vae_alpha_ramp)``.

    Args:
        mac: the controller, handed on to the base learner.
        scheme: PyMARL's; ``scheme["state"]["vshape"]`` gives S.
        logger: ``log_stat(key, value, t)``.
        args: namespace or mapping with the declared keys.
    """

    Config = OMGVAEConfig

    def __init__(self, mac: Any, scheme: Any, logger: MetricLogger, args: Any) -> None:
        c = self.config = read(OMGVAEConfig, args)
        self.logger = logger
        self.base = resolve("learner", c.base_learner)(mac, scheme, logger, args)
        vshape = scheme["state"]["vshape"]
        state_dim = vshape if isinstance(vshape, int) else math.prod(vshape)
        self.vae = StateVAE(state_dim, c.vae_latent_dim, c.vae_hidden_dim, c.vae_log_var_limit)
        self.normaliser = RunningMeanStd(state_dim)
        self.parameters = list(self.vae.parameters())
        self.optimiser = make_optimiser(
            c.vae_optimiser,
            self.parameters,
            c.vae_lr,
            betas=(c.vae_betas[0], c.vae_betas[1]),
            alpha=c.optim_alpha,
            eps=c.optim_eps,
        )
        self.updates = 0
        self.stats = IntervalStats()
        self.log_grid = Grid(c.learner_log_interval)
        if c.vae_optimiser == "adam" and logger.console_logger is not None:
            logger.console_logger.info(
                f"optim_alpha={c.optim_alpha:g} is RMSprop's smoothing constant and the VAE trains with Adam: "
                "not used by it (vae_betas is what Adam reads)"
            )

    @property
    def alpha(self) -> float:
        """The KL weight of the next update."""
        c = self.config
        return linear(0.0, c.omg_vae_alpha, c.vae_alpha_ramp, self.updates)

    def train(self, batch: Batch, t_env: int, episode_num: int) -> None:
        """One update of the agents, then one of the VAE on the batch's real states.

        Raises:
            TrainingError: a loss is not finite.
        """
        self.base.train(batch, t_env, episode_num)
        self.train_vae(self.real_states(batch))
        if self.log_grid.due(t_env):
            self._log(batch, t_env)

    @staticmethod
    def real_states(batch: Batch) -> Tensor:
        """The states that were met, final ones included, padding left out: [M, S]."""
        states = batch["state"].flatten(2)
        return states[batch["filled"].squeeze(-1) > 0]

    def train_vae(self, states: Tensor) -> None:
        """One update on raw states [M, S]."""
        self.normaliser.update(states)
        target = self.normaliser.normalise(states, STATE_CLIP)
        out = self.vae(target)
        recon = squared_error(out.recon, target).mean()
        kl = kl_standard_normal(out.mu, out.log_var).sum(dim=-1).mean()
        alpha = self.alpha
        loss = recon + alpha * kl
        if self.config.vae_mu_l2:
            loss = loss + self.config.vae_mu_l2 * out.mu.square().sum(dim=-1).mean()
        grad_norm = optimiser_step(self.optimiser, loss, self.parameters, self.config.grad_norm_clip)
        self.updates += 1
        self.stats.add(
            {
                "vae_loss": loss,
                "vae_recon_loss": recon,
                "vae_kl_loss": kl,
                "vae_alpha": alpha,
                "vae_grad_norm": grad_norm,
                "vae_clipped_share": (grad_norm > self.config.grad_norm_clip).float(),
            }
        )

    @torch.no_grad()
    def describe(self, states: Tensor) -> dict[str, float]:
        """How well raw states [M, S] are coded, by the posterior's mean.

        Returns:
            ``vae_explained_variance``: 1 - MSE / variance, both summed over the standardised state's
            dimensions; ``vae_active_units``: latents with Var_x(mu) >= 0.01 (Burda et al. 2015);
            ``vae_recon_loss`` and ``vae_kl_loss`` as in training, but from the mean code.
        """
        target = self.normaliser.normalise(states, STATE_CLIP)
        mu, log_var = self.vae.encode(target)
        error = squared_error(self.vae.decode(mu), target).mean()
        variance = target.var(dim=0, unbiased=False).mean()
        return {
            "vae_explained_variance": (1.0 - error / variance.clamp(min=1e-12)).item(),
            "vae_active_units": float((mu.var(dim=0, unbiased=False) >= ACTIVE_VARIANCE).sum().item()),
            "vae_recon_loss": error.item(),
            "vae_kl_loss": kl_standard_normal(mu, log_var).sum(dim=-1).mean().item(),
        }

    def evaluate(self, batches: list[Batch]) -> dict[str, float]:
        """``describe`` on the states of episodes that were not trained on."""
        return self.describe(torch.cat([self.real_states(batch) for batch in batches]))

    def _log(self, batch: Batch, t_env: int) -> None:
        self.stats.flush(self.logger, t_env)
        described = self.describe(self.real_states(batch))
        for name in ("vae_explained_variance", "vae_active_units"):
            self.logger.log_stat(name, described[name], t_env)
        if not all(torch.isfinite(p).all() for p in self.parameters):
            raise TrainingError(
                f"the VAE is not finite at step {t_env}: lower vae_lr ({self.config.vae_lr:g}) "
                f"or grad_norm_clip ({self.config.grad_norm_clip:g})"
            )

    def cuda(self) -> None:
        """Moves both learners to the GPU."""
        self.base.cuda()
        self.vae.cuda()
        self.normaliser.to("cuda")

    def save_models(self, path: PathLike) -> None:
        """The base learner's files, and ``vae.th``: the VAE, its optimiser and the state statistics."""
        self.base.save_models(path)
        torch.save(self._own_state(), Path(path) / "vae.th")

    def load_models(self, path: PathLike) -> None:
        """Reads what ``save_models`` wrote."""
        self.base.load_models(path)
        device = self.parameters[0].device
        self._load_own_state(torch.load(Path(path) / "vae.th", map_location=device, weights_only=True))

    def _own_state(self) -> dict[str, Any]:
        return {
            "vae": copy.deepcopy(self.vae.state_dict()),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "normaliser": self.normaliser.state_dict(),
            "updates": self.updates,
        }

    def _load_own_state(self, state: Mapping[str, Any]) -> None:
        self.vae.load_state_dict(state["vae"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.normaliser.load_state_dict(state["normaliser"])
        self.updates = state["updates"]

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on, the base learner's included where it offers it."""
        base = self.base.state_dict() if hasattr(self.base, "state_dict") else None
        return {"base": base, **self._own_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up ``state_dict``."""
        if state["base"] is not None:
            self.base.load_state_dict(state["base"])
        self._load_own_state(state)
