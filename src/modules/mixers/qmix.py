"""QMIX: the team's value grows with each agent's, by weights that the state sets (Rashid et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ...config.schema import key, read
from ..linear import Linear


@dataclass(frozen=True)
class QMixConfig:
    """Keys of ``mixer: qmix``."""

    mixing_embed_dim: int = key(32, low=1, help="width of the mixing network's hidden layer")
    hypernet_embed: int = key(64, low=1, help="width of the networks that make its weights")


class QMixer(nn.Module):
    """Two layers over the agents' values whose weights are not negative: ``w2' elu(W1' values + b1) + b2``.

    Absolute outputs of hypernetworks of the state are the weights W1, w2; b1 is linear in the state, b2 a small
    network of it. So d team / d agent >= 0, and the agents' greedy actions are the team's.

    Args:
        state_shape: S.
        args: namespace or mapping with ``n_agents`` and the keys of ``QMixConfig``.
    """

    Config = QMixConfig

    def __init__(self, state_shape: int, args: Any) -> None:
        super().__init__()
        config = read(QMixConfig, args)
        self.n_agents = args["n_agents"] if isinstance(args, dict) else args.n_agents
        self.embed = embed = config.mixing_embed_dim

        def hypernet(outputs: int, width: int) -> nn.Sequential:
            return nn.Sequential(Linear(state_shape, width), nn.ReLU(), Linear(width, outputs))

        self.weight1 = hypernet(self.n_agents * embed, config.hypernet_embed)
        self.weight2 = hypernet(embed, config.hypernet_embed)
        self.bias1 = Linear(state_shape, embed)
        self.bias2 = hypernet(1, embed)

    def forward(self, values: Tensor, state: Tensor) -> Tensor:
        """Values [..., N] and states [..., S] -> the team's value [..., 1]."""
        lead = values.shape[:-1]
        w1 = self.weight1(state).abs().view(*lead, self.n_agents, self.embed)
        hidden = F.elu((values.unsqueeze(-2) @ w1).squeeze(-2) + self.bias1(state))
        w2 = self.weight2(state).abs()
        return (hidden * w2).sum(dim=-1, keepdim=True) + self.bias2(state)
