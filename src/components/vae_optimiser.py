"""One update of a VAE, for any data: the KL weight, the optimiser and their metrics."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..modules.losses import free_bits
from .kl_weight import KLWeight
from .optimisers import SkippedUpdates, load_optimiser, make_optimiser, optimiser_step
from .vae_config import VAEOptimiserConfig


class VAEOptimiser:
    """Minimises ``fit + beta_t * KL`` of a network, with ``beta_t = beta_per_alpha * alpha_t``.

    Updates that are not finite are skipped and counted in ``skipped``.
    """

    beta_per_alpha = 1.0  # weight in the loss of one unit of ``omg_vae_alpha``

    def __init__(self, network: nn.Module, config: VAEOptimiserConfig, skipped: SkippedUpdates | None = None) -> None:
        c = self.config = config
        self.parameters = list(network.parameters())
        betas = c.vae_betas[0], c.vae_betas[1]
        self.optimiser = make_optimiser(
            c.vae_optimiser, self.parameters, c.vae_lr, betas=betas, alpha=c.optim_alpha, eps=c.optim_eps
        )
        self.skipped = skipped or SkippedUpdates("the VAE", "vae_lr")
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
        """One update; returns its metrics (docs/metrics.md).

        Args:
            recon: reconstruction loss, scalar; logged.
            mu: the posterior's mean [M, Z].
            kl: the posterior's KL of each latent [M, Z], nats.
            fit: the term that is minimised instead of ``recon``; None: ``recon``.
            scale: divides the loss whose gradient is computed, so that ``grad_norm_clip`` does not depend on the
                size of the state.
        """
        c, alpha = self.config, self.alpha
        beta = self.beta_per_alpha * alpha
        kl_loss = kl.sum(dim=-1).mean()
        loss = recon if fit is None else fit
        loss = loss + beta * (free_bits(kl, c.vae_free_bits).sum() if c.vae_free_bits else kl_loss)
        if c.vae_mu_l2:
            loss = loss + self.beta_per_alpha * c.vae_mu_l2 * mu.square().sum(dim=-1).mean()
        warmup = c.vae_lr_warmup
        lr = self.lr * min(1.0, (self.updates + 1) / warmup) if warmup else self.lr
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        grad_norm = optimiser_step(
            self.optimiser, loss / scale, self.parameters, c.grad_norm_clip, self.skipped, c.vae_grad_skip
        )
        self.updates += 1
        if self.weight.controller is not None:
            self.weight.controller.update(kl_loss.item())
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

    def is_finite(self) -> bool:
        """Whether all parameters are finite."""
        return all(bool(torch.isfinite(p).all()) for p in self.parameters)

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on, except the network."""
        return {
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "updates": self.updates,
            "lr_scale": self.lr_scale,
            "skipped": self.skipped.state_dict(),
            **self.weight.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``. The configured KL weight has priority over the saved one."""
        load_optimiser(self.optimiser, state["optimiser"])
        self.updates, self.lr_scale = state["updates"], state["lr_scale"]
        if "skipped" in state:
            self.skipped.load_state_dict(state["skipped"])
        self.weight.load_state_dict(state)
