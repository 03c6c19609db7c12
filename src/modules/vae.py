"""The state VAE: q_psi(g|s) and its decoder p_omega(s|g) (OMG, Yu, Jiang and Lu, NeurIPS 2024, section 4.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .grid_nets import Grid, GridDecoder, GridEncoder
from .linear import Linear
from .losses import clamp_bound, sample_gaussian, softplus_bound, tanh_bound


class VAEOutput(NamedTuple):
    """What one pass gives.

    Attributes:
        recon: the decoder's outputs, [..., S].
        mu, log_var: the posterior over the code, [..., Z]; ``log_var`` is bounded already.
        z: the sampled code, [..., Z].
    """

    recon: Tensor
    mu: Tensor
    log_var: Tensor
    z: Tensor


def mlp(sizes: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def bounded(raw: Tensor, bound: str, limit: float) -> Tensor:
    """``log_var`` from a network's output, of any shape; see ``StateVAE`` for the arguments."""
    if bound == "tanh":
        return tanh_bound(raw, limit)
    if bound == "clamp":
        return clamp_bound(raw, limit)
    if bound == "softplus":
        return softplus_bound(raw)
    return raw


class StateVAE(nn.Module):
    """A VAE over standardised states with a diagonal Gaussian code.

    Args:
        state_dim: S.
        latent_dim: Z.
        hidden_dim: width of the two hidden layers on either side.
        bound: what keeps log_var in bounds: ``tanh`` | ``clamp`` (both at ``limit``) | ``softplus`` | ``none``;
            ``exp_clamp`` leaves it alone too, its loss clamps. See ``losses``.
        limit: bound of |log_var|.
        log_var_init: the log_var that the posterior starts around, before its bound.
        grid: where planes lie in the state, for convolutional networks; None: multi-layer perceptrons.
    """

    encoder: nn.Module
    decoder: nn.Module

    def __init__(
        self,
        state_dim: int,
        latent_dim: int,
        hidden_dim: int,
        bound: str,
        limit: float,
        log_var_init: float = 0.0,
        grid: Grid | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim, self.bound, self.limit = latent_dim, bound, limit
        if grid is None:
            self.encoder = mlp([state_dim, hidden_dim, hidden_dim, 2 * latent_dim])
            self.decoder = mlp([latent_dim, hidden_dim, hidden_dim, state_dim])
        else:
            self.encoder = GridEncoder(grid, hidden_dim, 2 * latent_dim)
            self.decoder = GridDecoder(grid, latent_dim, hidden_dim)
        head = [layer for layer in self.encoder.modules() if isinstance(layer, nn.Linear)][-1]
        with torch.no_grad():
            head.bias[latent_dim:] += log_var_init

    def encode(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """States [..., S] to the posterior's ``mu`` and bounded ``log_var``, both [..., Z]."""
        mu, raw = self.encoder(states).chunk(2, dim=-1)
        return mu, bounded(raw, self.bound, self.limit)

    def decode(self, z: Tensor) -> Tensor:
        """Codes [..., Z] to the decoder's outputs [..., S]: see ``components.likelihood``."""
        return self.decoder(z)

    def forward(self, states: Tensor) -> VAEOutput:
        """Encodes, samples and decodes states [..., S]."""
        mu, log_var = self.encode(states)
        z = sample_gaussian(mu, log_var)
        return VAEOutput(self.decode(z), mu, log_var, z)
