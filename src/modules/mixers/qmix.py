"""QMIX: a monotonic mixing network whose weights are computed from the state (Rashid et al. 2018)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ...config.keys import EncoderKeys
from ...config.schema import key, read
from ..encoder import encoder_for
from ..linear import Linear


@dataclass(frozen=True)
class QMixConfig(EncoderKeys):
    """Keys of ``mixer: qmix``."""

    mixing_embed_dim: int = key(32, low=1, help="width of the mixing network's hidden layer")
    hypernet_embed: int = key(64, low=1, help="width of the hypernetworks that compute its weights")


class QMixer(nn.Module):
    """Two layers with non-negative weights over the agents' values: ``w2' elu(W1' values + b1) + b2``.

    W1 and w2 are the absolute outputs of hypernetworks that read the state. b1 is linear in the state, and b2 is
    the output of a small network of the state. So d team / d agent >= 0, and the greedy actions of the agents
    are the greedy joint action.

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
        self.encoder, size = encoder_for(args, "state", state_shape)

        def hypernet(outputs: int, width: int) -> nn.Sequential:
            return nn.Sequential(Linear(size, width), nn.ReLU(), Linear(width, outputs))

        self.weight1 = hypernet(self.n_agents * embed, config.hypernet_embed)
        self.weight2 = hypernet(embed, config.hypernet_embed)
        self.bias1 = Linear(size, embed)
        self.bias2 = hypernet(1, embed)

    def forward(self, values: Tensor, state: Tensor) -> Tensor:
        """Values [..., N] and states [..., S] -> the team's value [..., 1]."""
        lead, state = values.shape[:-1], self.encoder(state)
        w1 = self.weight1(state).abs().view(*lead, self.n_agents, self.embed)
        hidden = F.elu((values.unsqueeze(-2) @ w1).squeeze(-2) + self.bias1(state))
        w2 = self.weight2(state).abs()
        return (hidden * w2).sum(dim=-1, keepdim=True) + self.bias2(state)
