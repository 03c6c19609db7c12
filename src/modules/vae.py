"""The state VAE: q_psi(g|s) and its decoder p_omega(s|g) (OMG, Yu, Jiang and Lu, NeurIPS 2024, section 4.1)."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .encoder import Part
from .grid_nets import GridDecoder, GridEncoder
from .linear import Linear
from .losses import EXP_CLAMP, clamp_bound, sample_gaussian, softplus_bound, tanh_bound


def code_size(wanted: int, state_dim: int) -> int:
    """Z: ``wanted``; if that is 0, one latent for every two features, but 16 to 64."""
    return wanted or min(max(state_dim // 2, 16), 64)


def latents_in(weights: Mapping[str, Tensor]) -> int:
    """Z of a state VAE's weights: the number of inputs of the decoder's first linear layer.

    Raises:
        ValueError: they have no such layer.
    """
    for name, weight in weights.items():
        if name.startswith("decoder.") and weight.dim() == 2:
            return weight.shape[1]
    raise ValueError("the weights are not those of a state VAE")


class VAEOutput(NamedTuple):
    """The result of ``StateVAE.forward``."""

    recon: Tensor  # the decoder's outputs, [..., S]
    mu: Tensor  # [..., Z]
    log_var: Tensor  # bounded, [..., Z]
    z: Tensor  # the sampled code, [..., Z]


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


def at_bound(log_var: Tensor, bound: str, limit: float) -> Tensor:
    """Whether bounded values are within 1% of their bound, or in the KL's clamp for ``exp_clamp``."""
    if bound == "exp_clamp":
        return log_var > math.log(EXP_CLAMP)
    return log_var.abs() >= 0.99 * limit if bound in ("tanh", "clamp") else torch.zeros_like(log_var)


class StateVAE(nn.Module):
    """A VAE over standardised states with a diagonal Gaussian code.

    Args:
        state_dim: S.
        latent_dim: Z.
        hidden_dim: width of the two hidden layers on either side.
        bound: the bound of log_var: ``tanh`` | ``clamp`` (both at ``limit``) | ``softplus`` | ``none``;
            ``exp_clamp`` does not bound it either, but its KL clamps. See ``losses``.
        limit: bound of |log_var|.
        log_var_init: the posterior's approximate initial log_var, before its bound.
        groups: the images and grids in the state (``encoder.grids_of``), for convolutional networks; none:
            multi-layer perceptrons.
        linear_path: adds a linear map to each perceptron, from its inputs to its outputs. The perceptrons' last
            layers start at 0, so that the VAE is linear at first. Rare bits, and values that occur together for the
            first time, pass through the linear maps; perceptrons only memorise combinations.
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
        groups: Sequence[Sequence[Part]] = (),
        linear_path: bool = False,
    ) -> None:
        super().__init__()
        self.bound, self.limit = bound, limit
        if not groups:
            self.encoder = mlp([state_dim, hidden_dim, hidden_dim, 2 * latent_dim])
            self.decoder = mlp([latent_dim, hidden_dim, hidden_dim, state_dim])
        else:
            self.encoder = GridEncoder(groups, state_dim, hidden_dim, 2 * latent_dim)
            self.decoder = GridDecoder(groups, state_dim, latent_dim, hidden_dim)
        head, last = (
            [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
            for network in (self.encoder, self.decoder)
        )
        has_lines = linear_path and not groups
        self.encoder_line = Linear(state_dim, 2 * latent_dim) if has_lines else None
        self.decoder_line = Linear(latent_dim, state_dim) if has_lines else None
        if has_lines:
            for parameter in (head.weight, head.bias, last.weight, last.bias):
                nn.init.zeros_(parameter)
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
