"""A causal transformer over the last steps of an episode, in place of a recurrent layer."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config.schema import key, read
from ...types import ConfigError
from ..encoder import encoder_for
from ..linear import Linear
from .rnn_agent import NetworkKeys


@dataclass(frozen=True)
class TransformerConfig(NetworkKeys):
    """Keys of ``agent: transformer``."""

    transformer_window: int = key(16, low=2, help="C, steps that each layer attends to, the present one included")
    transformer_layers: int = key(
        2, low=1, help="number of layers; the features depend on the last L (C - 1) + 1 steps"
    )
    transformer_heads: int = key(4, low=1, help="number of attention heads in each layer")


class Layer(nn.Module):
    """Attention to the last C steps, and a perceptron; each is added to its input, and reads it normalised.

    Instead of positions there is a trained bias for each head and each distance in steps. The last linear layers are
    0 at first, so that the features of an untrained network are those of the present step (as in Parisotto et al.
    2020, where gates have this effect).
    """

    def __init__(self, width: int, window: int, heads: int) -> None:
        super().__init__()
        self.window, self.heads = window, heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value, self.joined = (Linear(width, size) for size in (width, 2 * width, width))
        self.fc1, self.fc2 = Linear(width, 2 * width), Linear(2 * width, width)
        self.bias = nn.Parameter(torch.zeros(heads, window))
        for layer in (self.joined, self.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, before: Tensor, missing: Tensor) -> Tensor:
        """Inputs of T steps [M, T, H] and of the C - 1 steps before them [M, C-1, H] -> outputs [M, T, H].

        ``missing`` [M, C-1] is 1 where there was no step before, because the episode had not begun.
        """
        every = torch.cat([before, x], dim=1)
        normalised = self.norm1(every)
        queries = self._by_head(self.query(normalised[:, self.window - 1 :]))
        keys, values = map(self._by_head, self.key_value(normalised).chunk(2, dim=-1))
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5  # [M, heads, T, C-1+T]
        steps = x.shape[1]
        # from step t, which is at t + C - 1, the distance to each of all steps
        distance = torch.arange(steps, device=x.device)[:, None] + self.window - 1
        distance = distance - torch.arange(every.shape[1], device=x.device)
        outside = (distance < 0) | (distance >= self.window)
        scores = scores + self.bias[:, distance.clamp(0, self.window - 1)]
        absent = F.pad(missing, (0, steps))[:, None, None] > 0
        weights = scores.masked_fill(outside | absent, -torch.inf).softmax(dim=-1)
        x = x + self.joined((weights @ values).transpose(1, 2).flatten(2))
        return x + self.fc2(F.relu(self.fc1(self.norm2(x))))

    def _by_head(self, x: Tensor) -> Tensor:
        """[M, K, H] -> [M, heads, K, H / heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class TransformerAgent(nn.Module):
    """Features of the last steps: a linear layer of each step's input, then L layers of attention.

    The recurrent state is a window: the inputs of each layer at the last C - 1 steps, zeros where the episode was
    shorter, and the number of these steps. Gradients reach steps within a rollout; the window before it is constant,
    as the recurrent state is. Outputs step by step and along a rollout are equal. Related: Transformer-XL (Dai et al.
    2019), whose windows are segments.

    Args:
        input_shape: size of the agent's input, which begins with its observation.
        args: see ``RNNAgent``.

    Raises:
        ConfigError: the width is no multiple of the number of heads.
    """

    Config = TransformerConfig
    is_recurrent = True

    def __init__(self, input_shape: int, args: Any) -> None:
        super().__init__()
        c = read(TransformerConfig, args)
        if c.hidden_dim % c.transformer_heads:
            raise ConfigError(f"transformer_heads: {c.transformer_heads} do not divide hidden_dim={c.hidden_dim}")
        self.hidden_dim, self.window = c.hidden_dim, c.transformer_window
        self.encoder, encoded = encoder_for(args, "obs", input_shape)
        self.fc1 = Linear(encoded, c.hidden_dim)
        sizes = c.hidden_dim, c.transformer_window, c.transformer_heads
        self.layers = nn.ModuleList(Layer(*sizes) for _ in range(c.transformer_layers))
        self.norm = nn.LayerNorm(c.hidden_dim)
        self.state_size = c.transformer_layers * (c.transformer_window - 1) * c.hidden_dim + 1

    def init_hidden(self) -> Tensor:
        """An empty window: zeros, [1, S]."""
        return self.fc1.weight.new_zeros(1, self.state_size)

    def forward(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """One step: inputs [M, I], hidden reshapeable to [M, S] -> features [M, H], hidden [M, S]."""
        features, hidden = self.unroll(inputs[:, None], hidden.reshape(-1, self.state_size))
        return features[:, 0], hidden

    def unroll(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """A sequence: inputs [M, T, I], hidden [M, S] -> features [M, T, H], the last hidden [M, S]."""
        known, length, steps = hidden[:, -1:], self.window - 1, inputs.shape[1]
        windows = hidden[:, :-1].unflatten(-1, (len(self.layers), length, self.hidden_dim))
        age = torch.arange(
            length, 0, -1, device=inputs.device
        )  # of each step in the window, from the first to the last
        missing = (age > known).to(inputs.dtype)
        x, kept = F.relu(self.fc1(self.encoder(inputs))), []
        for layer, window in zip(self.layers, windows.unbind(dim=1), strict=True):
            kept.append(torch.cat([window, x], dim=1)[:, steps:])
            x = layer(x, window, missing)
        known = (known + steps).clamp(max=length)
        return self.norm(x), torch.cat([*(each.flatten(1) for each in kept), known], dim=-1)
