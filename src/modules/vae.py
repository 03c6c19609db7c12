"""The state VAE: q_psi(g|s) and its decoder p_omega(s|g) (OMG, Yu, Jiang and Lu, NeurIPS 2024, section 4.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .grid_nets import Grid, GridDecoder, GridEncoder
from .linear import Linear
from .losses import clamp_bound, sample_gaussian, softplus_bound, tanh_bound

FEWEST, MOST = 16, 64  # latents where their number follows from the state's size


def code_size(wanted: int, state_dim: int) -> int:
    """Z: ``wanted``; where that is 0, one latent for every two features, but 16 to 64."""
    return wanted or min(max(state_dim // 2, FEWEST), MOST)


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


def _set_to_zero(network: nn.Module) -> None:
    """Sets the last linear layer to 0."""
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


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
        linear_path: adds a linear map to each perceptron, from its inputs to its outputs. The perceptrons' last
            layers start at 0, so the VAE starts as a linear one. Rare bits, and values that occur together for the
            first time, pass through the linear maps; perceptrons alone learn combinations by heart.
    """

    encoder: nn.Module
    decoder: nn.Module
    encoder_line: nn.Module | None
    decoder_line: nn.Module | None

    def __init__(
        self,
        state_dim: int,
        latent_dim: int,
        hidden_dim: int,
        bound: str,
        limit: float,
        log_var_init: float = 0.0,
        grid: Grid | None = None,
        linear_path: bool = False,
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
        has_lines = linear_path and grid is None
        self.encoder_line = Linear(state_dim, 2 * latent_dim) if has_lines else None
        self.decoder_line = Linear(latent_dim, state_dim) if has_lines else None
        if has_lines:
            for network in (self.encoder, self.decoder):
                _set_to_zero(network)
        with torch.no_grad():
            head.bias[latent_dim:] += log_var_init

    def encode(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """States [..., S] to the posterior's ``mu`` and bounded ``log_var``, both [..., Z]."""
        out = self.encoder(states)
        if self.encoder_line is not None:
            out = out + self.encoder_line(states)
        mu, raw = out.chunk(2, dim=-1)
        return mu, bounded(raw, self.bound, self.limit)

    def decode(self, z: Tensor) -> Tensor:
        """Codes [..., Z] to the decoder's outputs [..., S]: see ``components.likelihood``."""
        out = self.decoder(z)
        return out if self.decoder_line is None else out + self.decoder_line(z)

    def forward(self, states: Tensor) -> VAEOutput:
        """Encodes, samples and decodes states [..., S]."""
        mu, log_var = self.encode(states)
        z = sample_gaussian(mu, log_var)
        return VAEOutput(self.decode(z), mu, log_var, z)
