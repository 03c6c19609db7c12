"""The recurrent Q network of PyMARL (linear, GRU, linear), with a duelling head or a minGRU as options."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config.keys import CellKeys, EncoderKeys
from ...config.schema import key, read
from ..cell import make_cell
from ..encoder import encoder_for
from ..gru import Around, Array, Given, Network
from ..hidden import hidden_layer
from ..linear import Linear, linear, pair_of_heads


@dataclass(frozen=True)
class NetworkKeys(EncoderKeys):
    """Keys of every agent's network."""

    hidden_dim: int = key(64, low=1, help="H, the width of the agent's layers")


@dataclass(frozen=True)
class RNNAgentConfig(CellKeys, NetworkKeys):
    """Keys of ``agent: rnn`` and ``agent: mingru``."""

    use_rnn: bool = key(True, help="False: a linear layer replaces the recurrent layer")
    layer_norm: bool = key(False, help="normalise each hidden layer (Ba et al. 2016), before its activation")
    duelling: bool = key(True, help="value and advantage heads (Wang et al. 2016)")


class RNNAgent(nn.Module):
    """Computes the Q values (or logits) of one agent from its input and its recurrent state.

    ``forward`` is PyMARL's single step. ``unroll`` runs a sequence in one call of the fused GRU, with the same
    weights and the same result. A subclass may fix the ``cell``, which is otherwise a key.

    Args:
        input_shape: size of the agent's input, which begins with its observation.
        args: namespace or mapping with ``n_actions``, the keys of ``RNNAgentConfig`` and, for images, ``env_info``.
    """

    Config = RNNAgentConfig
    cell = ""

    def __init__(self, input_shape: int, args: Any) -> None:
        super().__init__()
        config = read(RNNAgentConfig, args)
        n_actions = args["n_actions"] if isinstance(args, dict) else args.n_actions
        self.hidden_dim = config.hidden_dim
        self.is_recurrent = config.use_rnn
        self.encoder, encoded = encoder_for(args, "obs", input_shape)
        self.fc1 = Linear(encoded, config.hidden_dim)
        self.norm1 = nn.LayerNorm(config.hidden_dim) if config.layer_norm else nn.Identity()
        self.norm2 = nn.LayerNorm(config.hidden_dim) if config.layer_norm else nn.Identity()
        sizes = config.hidden_dim, config.hidden_dim
        self.rnn: Any = make_cell(self.cell or config.cell, *sizes) if config.use_rnn else Linear(*sizes)
        self.state_size: int = getattr(self.rnn, "state_size", config.hidden_dim)
        is_plain = not config.layer_norm and type(self).features is RNNAgent.features
        self.encodes = is_plain and hasattr(self.rnn, "encoded")  # the cell can run the layer before it
        self.has_own_head = type(self).head is RNNAgent.head
        # whether ``decision`` is all that ``forward`` does, without gradients and where there are compiled functions
        self.has_plain_step = type(self).forward is RNNAgent.forward and isinstance(self.encoder, nn.Identity)
        # whether the cell can compute a step with the layers around it
        self.has_fused_step = hasattr(self.rnn, "decision") and type(self).features is RNNAgent.features
        # whether ``unroll`` takes ``begins`` where the cell does; one of a subclass may not
        self.may_restart = hasattr(self.rnn, "restarts") and type(self).unroll is RNNAgent.unroll
        self.decides = self.has_fused_step and self.has_plain_step and self.has_own_head
        self.fc2 = Linear(config.hidden_dim, n_actions)
        self.value = Linear(config.hidden_dim, 1) if config.duelling else None

    def init_hidden(self) -> Tensor:
        """Zeros, [1, S], on the agent's device; S = H for a GRU."""
        return self.fc1.weight.new_zeros(1, self.state_size)

    def forward(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """One step: inputs [M, I], hidden reshapeable to [M, S] -> Q [M, U], hidden [M, S]."""
        hidden = hidden.reshape(-1, self.state_size)
        if not self.is_recurrent:
            return self.head(F.relu(self.norm2(self.rnn(self.features(inputs))))), hidden
        if self.has_fused_step and self.rnn.decides(inputs):
            outputs, hidden = self._decide(self.encoder(inputs)[:, None], hidden[:, None])
            return (outputs if self.has_own_head else self.head(outputs))[:, 0], hidden[:, 0]
        hidden = self.rnn.step(self.features(inputs), hidden)
        return self.head(self.norm2(self.rnn.output(hidden))), hidden

    def _decide(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """``decision`` for encoded inputs [E, N, I] and hidden [E, N, H] -> outputs [E, N, U or H] and hidden."""
        rows, before = (each.contiguous().numpy() for each in (inputs, hidden))
        width = self.fc2.out_features if self.has_own_head else self.hidden_dim
        out, after = np.empty((*rows.shape[:2], width), np.float32), np.empty_like(before)
        self.decision(Given(rows, rows[..., :0], 0, np.arange(rows.shape[1]), before), after, out)
        return torch.from_numpy(out), torch.from_numpy(after)

    def step(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """``forward`` for N agents in E copies: inputs [E, N, I], hidden [E, N, S] -> Q [E, N, U], hidden."""
        if self.decides and self.rnn.decides(inputs):
            return self._decide(inputs, hidden)
        outputs, state = self(inputs.flatten(0, 1), hidden.flatten(0, 1))
        return outputs.unflatten(0, inputs.shape[:2]), state.view_as(hidden)

    def decision(self, given: Given, after: Array, out: Array) -> None:
        """One compiled step of the agents ``given.members``: writes their states and outputs.

        See ``GRU.decision``; without a head of its own, what a head would read are the outputs.
        """
        parts: Any = self._modules  # a fifth of the time of attributes
        head: list[Tensor] = []
        if self.has_own_head:
            value = parts.get("value")
            head = [*parts["fc2"].pair, *(() if value is None else value.pair)]
        norms = () if isinstance(parts["norm1"], nn.Identity) else (parts["norm1"], parts["norm2"])
        parts["rnn"].decision(Around(parts["fc1"], head, norms), given, after, out)

    def restarts(self, inputs: Tensor) -> bool:
        """Whether ``unroll`` takes ``begins`` for such inputs."""
        return self.may_restart and self.rnn.restarts(inputs)

    def unroll(self, inputs: Tensor, hidden: Tensor, begins: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A sequence: inputs [M, T, I], hidden [M, S] -> Q [M, T, U], the last hidden [M, S].

        Where ``begins``, bool [M, T], is true, an episode begins: see ``GRU.forward``.
        """
        first, where = hidden.unsqueeze(0).contiguous(), {} if begins is None else {"begins": begins}
        if self.encodes and self.has_own_head:
            outputs, last = self.rnn.encoded(self.fc1, self.encoder(inputs), first, self.head_pair(), **where)
            return outputs, last.squeeze(0)
        if not self.is_recurrent:
            return self.head(F.relu(self.norm2(self.rnn(self.features(inputs))))), hidden
        if self.encodes:
            states, last = self.rnn.encoded(self.fc1, self.encoder(inputs), first, **where)
        else:
            states, last = self.rnn(self.features(inputs), first, **where)
        return self.head(self.norm2(self.rnn.output(states))), last.squeeze(0)

    def beside(self, other: "RNNAgent", by_time: Tensor) -> Network:
        """This agent with another one beside it, along inputs [T, M, I], for ``gru.beside``; only if ``encodes``."""
        own, others = ((*each.fc1.pair, *each.rnn.weights, *each.head_pair()) for each in (self, other))
        return Network(by_time, self.init_hidden().expand(by_time.shape[1], -1), own, others)

    def features(self, inputs: Tensor) -> Tensor:
        """What the recurrent layer reads."""
        return hidden_layer(self.encoder(inputs), self.fc1, self.norm1)

    def head(self, features: Tensor) -> Tensor:
        """Features [..., H] -> Q [..., U]: ``value + advantage - mean(advantage)``, computed as one linear layer."""
        return self.fc2(features) if self.value is None else linear(features, *self.head_pair())

    def head_pair(self) -> tuple[Tensor, Tensor]:
        """Weight [U, H] and bias [U] of the linear layer that ``head`` is."""
        return pair_of_heads(self.fc2, self.value)


class MinGRUAgent(RNNAgent):
    """``RNNAgent`` with a minGRU instead of the GRU: fewer operations, and gates that do not need the last state."""

    cell = "mingru"
