"""A value for each agent, from what it sees or from the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config.schema import key, read
from ..linear import Linear


@dataclass(frozen=True)
class ValueCriticConfig:
    """Keys of the critic."""

    critic: Literal["own", "central"] = key("own", help="own: from the agent's observation; central: and the state")
    critic_hidden_dim: int = key(64, low=1, help="width of the critic's two hidden layers")
    critic_layer_norm: bool = key(False, help="normalise each hidden layer, before its activation")


class ValueCritic(nn.Module):
    """Two hidden layers, shared by all agents, which are told apart by their index.

    A central critic sees the agent's observation beside the state: what is local to the agent need not be found
    in the state again (Yu et al. 2022, section 5.1).

    Args:
        scheme: PyMARL's, for the sizes of ``obs`` and ``state``.
        args: namespace or mapping with ``n_agents`` and the keys of ``ValueCriticConfig``.
        condition_dim: D, of what an opponent model adds; 0 for none.
    """

    def __init__(self, scheme: Any, args: Any, condition_dim: int = 0) -> None:
        super().__init__()
        config = read(ValueCriticConfig, args)
        n_agents = args["n_agents"] if isinstance(args, dict) else args.n_agents
        self.is_central, width = config.critic == "central", config.critic_hidden_dim
        size = _size(scheme, "obs") + (_size(scheme, "state") if self.is_central else 0) + n_agents
        size += condition_dim
        self.identity = nn.Buffer(torch.eye(n_agents), persistent=False)
        self.fc1, self.fc2, self.out = Linear(size, width), Linear(width, width), Linear(width, 1)
        self.norm1 = nn.LayerNorm(width) if config.critic_layer_norm else nn.Identity()
        self.norm2 = nn.LayerNorm(width) if config.critic_layer_norm else nn.Identity()

    def forward(self, obs: Tensor, state: Tensor, condition: Tensor | None = None) -> Tensor:
        """Observations [..., N, O], states [..., S] and conditions [..., N, D] -> values [..., N]."""
        parts = [obs, self.identity.expand(*obs.shape[:-1], -1)]
        if self.is_central:
            parts.append(state.unsqueeze(-2).expand(*obs.shape[:-1], -1))
        if condition is not None:
            parts.append(condition)
        hidden = F.relu(self.norm1(self.fc1(torch.cat(parts, dim=-1))))
        return self.out(F.relu(self.norm2(self.fc2(hidden)))).squeeze(-1)


def _size(scheme: Any, name: str) -> int:
    vshape = scheme[name]["vshape"]
    return vshape if isinstance(vshape, int) else int(torch.Size(vshape).numel())
