"""One VAE update: the KL weight, the optimiser and what is logged of them, whatever the VAE models."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..config.keys import RMSpropKeys
from ..config.schema import key, new_default
from ..modules.losses import free_bits
from .kl_weight import KLWeight
from .optimisers import load_optimiser, make_optimiser, optimiser_step


@dataclass(frozen=True)
class VAEOptimiserConfig(RMSpropKeys):
    """Keys of a stably trained VAE. Each remedy is one of them; docs/vae-stability.md says what each is good for."""

    vae_lr: float = key(3e-4, above=0, help="learning rate of the VAE")
    vae_lr_warmup: int = key(0, low=0, help="updates over which the learning rate rises from 0")
    vae_optimiser: Literal["adam", "rmsprop"] = key("adam", help="optimiser of the VAE")
    vae_betas: list[float] = key([0.5, 0.999], low=0, high=0.999999, length=2, help="Adam's beta1 and beta2")
    optim_alpha: float = new_default(RMSpropKeys, "optim_alpha", 0.9)
    vae_grad_skip: float = key(0.0, low=0, help="skip updates whose gradient norm is larger; 0: skip none")

    omg_vae_alpha: float = key(0.01, low=0, help="KL weight; docs/metrics.md states its unit")
    vae_alpha_schedule: Literal["constant", "linear", "sigmoid", "cyclical", "pi"] = key(
        "linear", help="how the KL weight changes; pi: a controller holds the KL at vae_kl_target"
    )
    vae_alpha_ramp: int = key(1000, low=0, help="updates of the linear or sigmoid ramp, or of one cycle")
    vae_kl_target: float = key(15.0, above=0, help="KL in nats that vae_alpha_schedule=pi holds")
    vae_pi_kp: float = key(0.1, low=0, help="proportional gain of vae_alpha_schedule=pi, in units of omg_vae_alpha")
    vae_pi_ki: float = key(0.01, low=0, help="integral gain for each update, in units of omg_vae_alpha")
    vae_free_bits: float = key(0.0, low=0, help="nats of each latent, averaged over the batch, without cost")
    vae_mu_l2: float = key(0.0, low=0, help="weight of the batch mean of sum_z mu^2, in units of omg_vae_alpha")


class VAEOptimiser:
    """Descends ``fit + beta_t * KL`` where ``beta_t = beta_per_alpha * alpha_t``.

    Args:
        network: what is trained.
        config: see ``VAEOptimiserConfig``.
        beta_per_alpha: what one unit of ``omg_vae_alpha`` weighs in the loss.
    """

    def __init__(self, network: nn.Module, config: VAEOptimiserConfig, beta_per_alpha: float = 1.0) -> None:
        c = self.config = config
        self.network, self.beta_per_alpha = network, beta_per_alpha
        self.parameters = list(network.parameters())
        self.optimiser = make_optimiser(
            c.vae_optimiser,
            self.parameters,
            c.vae_lr,
            betas=(c.vae_betas[0], c.vae_betas[1]),
            alpha=c.optim_alpha,
            eps=c.optim_eps,
        )
        self.lr_scale = 1.0  # of vae_lr: vae_watch lowers it
        self.updates = 0
        self.weight = KLWeight(c)

    @property
    def lr(self) -> float:
        """The learning rate after the warm-up."""
        return self.config.vae_lr * self.lr_scale

    @property
    def alpha(self) -> float:
        """The KL weight of the next update, in the unit of ``omg_vae_alpha``."""
        return self.weight.at(self.updates)

    def descend(
        self, recon: Tensor, mu: Tensor, kl: Tensor, fit: Tensor | None = None, scale: float = 1.0
    ) -> dict[str, Tensor | float]:
        """One update.

        Args:
            recon: reconstruction loss, scalar; logged.
            mu: the posterior's mean [M, Z].
            kl: the posterior's KL of each latent [M, Z], nats.
            fit: what is minimised in the place of ``recon``; None: ``recon``.
            scale: the loss is divided by it before the gradient is taken, so that ``grad_norm_clip`` means the same
                for states of any size.

        Returns:
            The update's numbers: see docs/metrics.md.
        """
        c, alpha = self.config, self.alpha
        beta = self.beta_per_alpha * alpha
        kl_loss = kl.sum(dim=-1).mean()
        loss = recon if fit is None else fit
        loss = loss + beta * (free_bits(kl, c.vae_free_bits).sum() if c.vae_free_bits else kl_loss)
        if c.vae_mu_l2:
            loss = loss + self.beta_per_alpha * c.vae_mu_l2 * mu.square().sum(dim=-1).mean()
        self._set_lr()
        grad_norm = optimiser_step(self.optimiser, loss / scale, self.parameters, c.grad_norm_clip, c.vae_grad_skip)
        self.updates += 1
        if self.weight.controller is not None:
            self.weight.follow(kl_loss.item())
        numbers: dict[str, Tensor | float] = {
            "vae_loss": loss.detach(),
            "vae_recon_loss": recon.detach(),
            "vae_kl_loss": kl_loss.detach(),
            "vae_alpha": alpha,
            "vae_beta": beta,
            "vae_grad_norm": grad_norm,
            "vae_clipped_share": (grad_norm > c.grad_norm_clip).float(),
        }
        if c.vae_grad_skip:
            numbers["vae_skipped_share"] = (~(grad_norm <= c.vae_grad_skip)).float()
        return numbers

    def _set_lr(self) -> None:
        warmup = self.config.vae_lr_warmup
        lr = self.lr * min(1.0, (self.updates + 1) / warmup) if warmup else self.lr
        for group in self.optimiser.param_groups:
            group["lr"] = lr

    def is_finite(self) -> bool:
        """Whether every parameter is."""
        return all(bool(torch.isfinite(p).all()) for p in self.parameters)

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on, beside the network."""
        return {
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "updates": self.updates,
            "lr_scale": self.lr_scale,
            **self.weight.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up ``state_dict``; the configuration's KL weight wins over the saved one."""
        load_optimiser(self.optimiser, state["optimiser"])
        self.updates, self.lr_scale = state["updates"], state["lr_scale"]
        self.weight.load_state_dict(state)
