"""A recurrent agent whose steps in time do not wait for each other: minGRU (Feng et al. 2024).

Its gate and its candidate depend on the input alone, so a sequence is one cumulative sum instead of a loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config.schema import key, read
from ..linear import Linear

SMALLEST = 1e-12  # a hidden state of 0 has no logarithm


@dataclass(frozen=True)
class MinGRUAgentConfig:
    """Keys of ``agent: mingru``."""

    hidden_dim: int = key(64, low=1, help="H, the width of the agent's layers")
    layer_norm: bool = key(False, help="normalise each hidden layer (Ba et al. 2016)")


def positive(x: Tensor) -> Tensor:
    """``x + 1/2`` where x >= 0, else its logistic function: continuous, and always above 0 (appendix B.2.1)."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


def log_positive(x: Tensor) -> Tensor:
    """Its logarithm, without overflow."""
    return torch.where(x >= 0, (F.relu(x) + 0.5).log(), -F.softplus(-x))


class MinGRUAgent(nn.Module):
    """Linear, minGRU, linear. ``h_t = (1 - z_t) h_{t-1} + z_t g(c_t)``, z and c linear in the input.

    Args:
        input_shape: size of the agent's input.
        args: namespace or mapping with ``n_actions`` and the keys of ``MinGRUAgentConfig``.
    """

    Config = MinGRUAgentConfig
    is_recurrent = True

    def __init__(self, input_shape: int, args: Any) -> None:
        super().__init__()
        config = read(MinGRUAgentConfig, args)
        n_actions = args["n_actions"] if isinstance(args, dict) else args.n_actions
        self.hidden_dim = width = config.hidden_dim
        self.fc1, self.gates, self.fc2 = (
            Linear(input_shape, width),
            Linear(width, 2 * width),
            Linear(width, n_actions),
        )
        self.norm1 = nn.LayerNorm(width) if config.layer_norm else nn.Identity()
        self.norm2 = nn.LayerNorm(width) if config.layer_norm else nn.Identity()

    def init_hidden(self) -> Tensor:
        """Zeros, [1, H], on the agent's device."""
        return self.fc1.weight.new_zeros(1, self.hidden_dim)

    def _gates(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The update gate and the candidate, both before their activation: [..., I] -> [..., H] each."""
        update, candidate = self.gates(F.relu(self.norm1(self.fc1(inputs)))).chunk(2, dim=-1)
        return update, candidate

    def forward(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """One step: inputs [M, I], hidden reshapeable to [M, H] -> outputs [M, U], hidden [M, H]."""
        update, candidate = self._gates(inputs)
        hidden = torch.lerp(hidden.reshape(-1, self.hidden_dim), positive(candidate), torch.sigmoid(update))
        return self.fc2(self.norm2(hidden)), hidden

    def unroll(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """A sequence: inputs [M, T, I], hidden [M, H] -> outputs [M, T, U], the last hidden [M, H].

        In logarithms (Heinsen 2023): with ``a_t`` the sum of ``log(1 - z)`` so far,
        ``log h_t = a_t + logcumsumexp(log h_0, log z_i + log g(c_i) - a_i)``.
        """
        update, candidate = self._gates(inputs)
        log_kept = -F.softplus(update).cumsum(dim=1)  # [M, T, H]
        log_new = -F.softplus(-update) + log_positive(candidate)
        before = hidden.clamp(min=SMALLEST).log().unsqueeze(1)
        terms = torch.cat([before, log_new - log_kept], dim=1).logcumsumexp(dim=1)[:, 1:]
        states = (log_kept + terms).exp()
        return self.fc2(self.norm2(states)), states[:, -1]
