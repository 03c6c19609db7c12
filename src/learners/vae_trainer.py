"""One VAE, trained stably: the loss, the KL weight's schedule, the optimiser, and the numbers that say how it goes.

Who feeds it states (a learner beside its agents, a recorded stream) is not its business.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..components.normalisers import RunningMeanStd
from ..components.optimisers import load_optimiser, make_optimiser, optimiser_step
from ..components.schedules import PIController, cyclical, linear, sigmoid
from ..config.schema import key
from ..modules.losses import (
    EXP_CLAMP,
    calibrated_nll,
    free_bits,
    kl_exp_clamped,
    kl_standard_normal,
    squared_error,
)
from ..modules.vae import StateVAE

ACTIVE_VARIANCE = 0.01  # a latent unit is active where Var_x(E q(z|x)) is at least this (Burda et al. 2015)
STATE_CLIP = 10.0  # standard deviations: a feature that is nearly always constant must not rule the loss
BOUND_SHARE = 0.99  # log_var this close to its bound counts as standing at it
PI_RANGE = 10.0  # the controlled KL weight stays between 0 and this many times omg_vae_alpha


@dataclass(frozen=True)
class VAEConfig:
    """Keys of a stably trained VAE. Each remedy is one of them; docs/vae-stability.md says what each is good for."""

    vae_lr: float = key(3e-4, above=0, help="learning rate of the VAE")
    vae_lr_warmup: int = key(0, low=0, help="updates over which the learning rate rises from 0")
    vae_optimiser: Literal["adam", "rmsprop"] = key("adam", help="optimiser of the VAE")
    vae_betas: list[float] = key([0.5, 0.999], low=0, high=0.999999, length=2, help="Adam's")
    optim_alpha: float = key(0.9, low=0, high=1, help="RMSprop's smoothing constant: Adam has none")
    optim_eps: float = key(1e-5, above=0, help="the optimiser's epsilon")
    grad_norm_clip: float = key(10.0, above=0, help="largest gradient norm")
    vae_grad_skip: float = key(0.0, low=0, help="leave updates out whose gradient norm is above; 0: none")

    omg_vae_alpha: float = key(0.01, low=0, help="KL weight")
    vae_alpha_schedule: Literal["constant", "linear", "sigmoid", "cyclical", "pi"] = key(
        "linear", help="how the KL weight gets there; pi: moved so that the KL stays at vae_kl_target"
    )
    vae_alpha_ramp: int = key(1000, low=0, help="learner updates of the linear or sigmoid ramp, or of one cycle")
    vae_kl_target: float = key(15.0, above=0, help="nats, of vae_alpha_schedule: pi")
    vae_pi_kp: float = key(0.1, low=0, help="proportional gain, in units of omg_vae_alpha")
    vae_pi_ki: float = key(0.01, low=0, help="integral gain for each update, in units of omg_vae_alpha")
    vae_free_bits: float = key(0.0, low=0, help="nats of each latent that cost nothing")

    vae_latent_dim: int = key(16, low=1, help="Z")
    vae_hidden_dim: int = key(128, low=1, help="width of the encoder's and the decoder's layers")
    vae_log_var_bound: Literal["tanh", "softplus", "clamp", "exp_clamp", "none"] = key(
        "tanh", help="what keeps log_var in bounds; exp_clamp is for comparison only"
    )
    vae_log_var_limit: float = key(5.0, above=0, help="bound of |log_var|, of tanh and clamp")
    vae_log_var_init: float = key(0.0, help="where log_var starts, before its bound: above 0 a wide posterior")
    vae_mu_l2: float = key(0.0, low=0, help="weight of the mean over the batch of sum_z mu^2")
    vae_decoder: Literal["mse", "calibrated"] = key("mse", help="calibrated: sigma-VAE; set omg_vae_alpha=1")


class VAETrainer:
    """The state VAE with everything that its training needs.

    The loss, per state and then averaged over the batch's states:
    ``mean_S (s - s_hat)^2  +  alpha_t * sum_Z KL(q(z|s) || N(0, 1))  +  vae_mu_l2 * sum_Z mu^2``,
    with states standardised by running statistics that are part of the model.
    ``vae_free_bits`` counts each latent's KL above that many nats alone; ``vae_decoder: calibrated`` puts
    ``losses.calibrated_nll`` in the first term's place.

    Args:
        state_dim: S.
        config: see ``VAEConfig``.
        network: to be trained in the state VAE's place; its owner then calls ``descend`` with what it says.
    """

    def __init__(self, state_dim: int, config: VAEConfig, network: nn.Module | None = None) -> None:
        c = self.config = config
        self.vae: Any = network or StateVAE(
            state_dim,
            c.vae_latent_dim,
            c.vae_hidden_dim,
            c.vae_log_var_bound,
            c.vae_log_var_limit,
            c.vae_log_var_init,
        )
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
        self.lr_scale = 1.0  # of vae_lr: what watching the training has taken from it
        self.updates = 0
        self.handed_over = False  # whether the KL weight went to the controller in the middle of a training
        self.controller = self._controller(c.vae_kl_target) if c.vae_alpha_schedule == "pi" else None

    def notices(self) -> list[str]:
        """What the user should know about the configuration, a line each."""
        c, lines = self.config, []
        if c.vae_optimiser == "adam":
            lines.append(
                f"optim_alpha={c.optim_alpha:g} is RMSprop's smoothing constant and the VAE trains with Adam: "
                "not used by it (vae_betas is what Adam reads)"
            )
        if c.vae_log_var_bound == "exp_clamp":
            lines.append(
                "warning: vae_log_var_bound=exp_clamp counts exp(log_var) as 10 at most inside the KL; above that "
                "the KL pushes log_var up without end and falls below zero. For comparison only: tanh is the cure"
            )
        if c.vae_decoder == "calibrated" and c.omg_vae_alpha != 1.0:
            lines.append(
                f"vae_decoder=calibrated is the ELBO at omg_vae_alpha=1; at {c.omg_vae_alpha:g} it weighs the KL "
                "on the scale of a sum over the state"
            )
        return lines

    @property
    def lr(self) -> float:
        """The learning rate after the warm-up."""
        return self.config.vae_lr * self.lr_scale

    @property
    def alpha(self) -> float:
        """The KL weight of the next update."""
        c = self.config
        if self.controller is not None:
            return self.controller.weight
        if c.vae_alpha_schedule == "linear":
            return linear(0.0, c.omg_vae_alpha, c.vae_alpha_ramp, self.updates)
        if c.vae_alpha_schedule == "sigmoid":
            return sigmoid(c.omg_vae_alpha, c.vae_alpha_ramp, self.updates)
        if c.vae_alpha_schedule == "cyclical":
            return cyclical(c.omg_vae_alpha, max(c.vae_alpha_ramp, 1), self.updates)
        return c.omg_vae_alpha

    def _controller(self, target: float, start: float | None = None) -> PIController:
        c = self.config
        unit = c.omg_vae_alpha or 0.01
        return PIController(target, c.vae_pi_kp * unit, c.vae_pi_ki * unit, 0.0, PI_RANGE * unit, start)

    def hand_alpha_to_controller(self, kl_target: float) -> None:
        """From now on the KL weight is moved so that the KL stays at ``kl_target`` nats."""
        self.controller = self._controller(kl_target, start=self.alpha)
        self.handed_over = True

    def update(self, states: Tensor) -> dict[str, Tensor | float]:
        """One update on raw states [M, S].

        Returns:
            The update's numbers: see docs/metrics.md.
        """
        self.normaliser.update(states)
        target = self.normaliser.normalise(states, STATE_CLIP)
        out = self.vae(target)
        return self.descend(target, out.recon, out.mu, self._kl(out.mu, out.log_var))

    def descend(self, target: Tensor, prediction: Tensor, mu: Tensor, kl: Tensor) -> dict[str, Tensor | float]:
        """One update on targets and their reconstructions [M, S], the posterior's mean and its KL [M, Z]."""
        c = self.config
        recon = squared_error(prediction, target).mean()
        kl_loss = kl.sum(dim=-1).mean()
        alpha = self.alpha
        fit = calibrated_nll(prediction, target) if c.vae_decoder == "calibrated" else recon
        loss = fit + alpha * (free_bits(kl, c.vae_free_bits).sum() if c.vae_free_bits else kl_loss)
        if c.vae_mu_l2:
            loss = loss + c.vae_mu_l2 * mu.square().sum(dim=-1).mean()
        self._set_lr()
        grad_norm = optimiser_step(self.optimiser, loss, self.parameters, c.grad_norm_clip, c.vae_grad_skip)
        self.updates += 1
        if self.controller is not None:
            self.controller.update(kl_loss.item())
        numbers: dict[str, Tensor | float] = {
            "vae_loss": loss,
            "vae_recon_loss": recon,
            "vae_kl_loss": kl_loss,
            "vae_alpha": alpha,
            "vae_grad_norm": grad_norm,
            "vae_clipped_share": (grad_norm > c.grad_norm_clip).float(),
        }
        if c.vae_grad_skip:
            numbers["vae_skipped_share"] = (~(grad_norm <= c.vae_grad_skip)).float()
        return numbers

    def _kl(self, mu: Tensor, log_var: Tensor) -> Tensor:
        kl = kl_exp_clamped if self.config.vae_log_var_bound == "exp_clamp" else kl_standard_normal
        return kl(mu, log_var)

    def _set_lr(self) -> None:
        warmup = self.config.vae_lr_warmup
        lr = self.lr * min(1.0, (self.updates + 1) / warmup) if warmup else self.lr
        for group in self.optimiser.param_groups:
            group["lr"] = lr

    @torch.no_grad()
    def describe(self, states: Tensor) -> dict[str, float]:
        """How well raw states [M, S] are coded, by the posterior's mean.

        Returns:
            ``vae_explained_variance``: 1 - MSE / variance, both summed over the standardised state's
            dimensions; ``vae_active_units``: latents with Var_x(mu) >= 0.01 (Burda et al. 2015);
            ``vae_recon_loss`` and ``vae_kl_loss`` as in training, but from the mean code; and where log_var
            and mu stand, see docs/metrics.md.
        """
        target = self.normaliser.normalise(states, STATE_CLIP)
        mu, log_var = self.vae.encode(target)
        error = squared_error(self.vae.decode(mu), target).mean()
        variance = target.var(dim=0, unbiased=False).mean()
        kl = self._kl(mu, log_var)
        by_latent = kl.mean(dim=0).sort(descending=True).values
        top = by_latent[: math.ceil(len(by_latent) / 4)].sum() / by_latent.sum().clamp(min=1e-12)
        values = {
            "vae_explained_variance": 1.0 - error / variance.clamp(min=1e-12),
            "vae_active_units": (mu.var(dim=0, unbiased=False) >= ACTIVE_VARIANCE).sum(),
            "vae_recon_loss": error,
            "vae_kl_loss": kl.sum(dim=-1).mean(),
            "vae_kl_top_share": top,
            "vae_log_var_bound_share": self._at_bound(log_var).float().mean(),
            "vae_log_var_mean": log_var.mean(),
            "vae_log_var_max": log_var.max(),
            "vae_mu_abs_max": mu.abs().max(),
        }
        return {name: float(value) for name, value in values.items()}

    def _at_bound(self, log_var: Tensor) -> Tensor:
        c = self.config
        if c.vae_log_var_bound == "exp_clamp":
            return log_var > math.log(EXP_CLAMP)
        if c.vae_log_var_bound in ("tanh", "clamp"):
            return log_var.abs() >= BOUND_SHARE * c.vae_log_var_limit
        return torch.zeros_like(log_var)

    def is_finite(self) -> bool:
        """Whether every parameter is."""
        return all(bool(torch.isfinite(p).all()) for p in self.parameters)

    def cuda(self) -> None:
        """Moves the VAE and its statistics to the GPU."""
        self.vae.cuda()
        self.normaliser.to("cuda")

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on."""
        return {
            "vae": copy.deepcopy(self.vae.state_dict()),
            "log_var": [self.vae.bound, self.vae.limit],
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "normaliser": self.normaliser.state_dict(),
            "updates": self.updates,
            "lr_scale": self.lr_scale,
            "controller": None if self.controller is None else self.controller.state_dict(),
            "handed_over": self.handed_over,
            "schedule": self.config.vae_alpha_schedule,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up ``state_dict``; what the configuration says of the KL weight is its own."""
        self.vae.load_state_dict(state["vae"])
        load_optimiser(self.optimiser, state["optimiser"])
        self.normaliser.load_state_dict(state["normaliser"])
        self.updates, self.lr_scale = state["updates"], state["lr_scale"]
        self._load_controller(state)

    def _load_controller(self, state: Mapping[str, Any]) -> None:
        """Goes on with a controller that is still asked for, towards the present target; or with the one that the
        weight was handed over to, unless there is another schedule now."""
        schedule, saved = self.config.vae_alpha_schedule, state["controller"]
        handed_over = state.get("handed_over", schedule != "pi") and state.get("schedule", schedule) == schedule
        if saved is None or not (handed_over or schedule == "pi"):
            return
        self.handed_over = handed_over
        target = saved["target"] if handed_over else self.config.vae_kl_target
        self.controller = self._controller(target)
        self.controller.load_state_dict({**saved, "target": target})
