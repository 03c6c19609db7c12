"""Estimates a value for each agent from its observation, optionally also from the state and a recurrent state."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...config.keys import CellKeys, EncoderKeys
from ...config.schema import key, read
from ...types import feature_size
from ..cell import make_cell
from ..encoder import encoder_for
from ..hidden import hidden_layer
from ..linear import Linear
from ..unrolling import as_rows, from_rows, unroll_rows


@dataclass(frozen=True)
class ValueCriticConfig(CellKeys, EncoderKeys):
    """Keys of the critic."""

    critic: Literal["own", "central"] = key("own", help="own: reads the agent's observation; central: and the state")
    critic_hidden_dim: int = key(64, low=1, help="H, the width of the critic's two hidden layers")
    critic_layer_norm: bool = key(False, help="normalise each hidden layer, before its activation")
    critic_use_rnn: bool = key(False, help="a recurrent layer (cell) replaces the second hidden layer")


class ValueCritic(nn.Module):
    """Two hidden layers shared by all agents; a one-hot agent index is part of the input.

    A central critic receives the state and also the agent's observation, so that it need not extract the agent's
    local information from the state (Yu et al. 2022, section 5.1).

    Args:
        scheme: PyMARL's, for the sizes of ``obs`` and ``state``.
        args: namespace or mapping with ``n_agents`` and the keys of ``ValueCriticConfig``.
        condition_dim: D, size of an opponent model's condition; 0 for none.
    """

    def __init__(self, scheme: Any, args: Any, condition_dim: int = 0) -> None:
        super().__init__()
        config = read(ValueCriticConfig, args)
        n_agents = args["n_agents"] if isinstance(args, dict) else args.n_agents
        self.is_central, width = config.critic == "central", config.critic_hidden_dim
        self.is_recurrent = config.critic_use_rnn
        self.obs_encoder, obs_size = encoder_for(args, "obs", feature_size(scheme, "obs"))
        size = obs_size + n_agents + condition_dim
        if self.is_central:
            self.state_encoder, state_size = encoder_for(args, "state", feature_size(scheme, "state"))
            size += state_size
        self.identity = nn.Buffer(torch.eye(n_agents), persistent=False)
        self.fc1, self.out = Linear(size, width), Linear(width, 1)
        self.fc2: Any = make_cell(config.cell, width, width) if self.is_recurrent else Linear(width, width)
        self.state_size: int = getattr(self.fc2, "state_size", width)
        self.norm1 = nn.LayerNorm(width) if config.critic_layer_norm else nn.Identity()
        self.norm2 = nn.LayerNorm(width) if config.critic_layer_norm else nn.Identity()

    def init_hidden(self) -> Tensor:
        """The recurrent state at the start of an episode: zeros [1, S] on the critic's device."""
        return self.out.weight.new_zeros(1, self.state_size)

    def forward(
        self, obs: Tensor, state: Tensor | None, condition: Tensor | None = None, memory: Tensor | None = None
    ) -> Tensor:
        """Observations [..., N, O], states [..., S] and conditions [..., N, D] -> values [..., N].

        Only a central critic reads states. A recurrent critic needs its recurrent state ``memory`` [..., N, S].
        """
        hidden = self._first_layer(obs, state, condition)
        if self.is_recurrent:
            assert memory is not None
            states = self.fc2.step(hidden.flatten(0, -2), memory.flatten(0, -2))
            return self._values(states.unflatten(0, hidden.shape[:-1]))
        return hidden_layer(hidden, self.fc2, self.norm2, self.out.pair).squeeze(-1)

    def along(
        self, obs: Tensor, state: Tensor | None, condition: Tensor | None, begins: Tensor, memory: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Values of a recurrent critic along rows of steps; its state is reset where an episode begins.

        Args:
            obs, state, condition: as for ``forward``, for E rows of T steps.
            begins: [E, T, 1], 1 where an episode begins.
            memory: [E, N, S], the recurrent state before the first step.

        Returns:
            Values [E, T, N] and the recurrent state after each step, [E, T, N, S].
        """
        hidden, n_agents = self._first_layer(obs, state, condition), obs.shape[2]
        begun = begins.repeat_interleave(n_agents, dim=0)
        memories = from_rows(unroll_rows(self, as_rows(hidden), memory.flatten(0, 1), begun), n_agents)
        return self._values(memories), memories

    def restarts(self, rows: Tensor) -> bool:
        """Whether ``unroll`` takes ``begins`` for such rows."""
        return hasattr(self.fc2, "restarts") and self.fc2.restarts(rows)

    def unroll(self, rows: Tensor, hidden: Tensor, begins: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """First-layer outputs [M, T, H] and a recurrent state [M, S] -> all states [M, T, S], the last [M, S].

        Where ``begins``, bool [M, T], is true, an episode begins: see ``GRU.forward``.
        """
        where = {} if begins is None else {"begins": begins}
        memories, last = self.fc2(rows, hidden.unsqueeze(0).contiguous(), **where)
        return memories, last.squeeze(0)

    def _first_layer(self, obs: Tensor, state: Tensor | None, condition: Tensor | None) -> Tensor:
        """The first hidden layer, [..., N, H]."""
        parts = [self.obs_encoder(obs), self.identity.expand(*obs.shape[:-1], -1)]
        if self.is_central:
            assert state is not None
            parts.append(self.state_encoder(state).unsqueeze(-2).expand(*obs.shape[:-1], -1))
        if condition is not None:
            parts.append(condition)
        return hidden_layer(torch.cat(parts, dim=-1), self.fc1, self.norm1)

    def _values(self, memory: Tensor) -> Tensor:
        """Recurrent states [..., S] -> values [...]."""
        return self.out(self.norm2(self.fc2.output(memory))).squeeze(-1)
