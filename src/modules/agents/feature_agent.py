"""An agent's network up to its last layer: what a head turns into values or logits, under a condition."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..linear import Linear
from .rnn_agent import RNNAgent


class FeatureAgent(RNNAgent):
    """``RNNAgent`` whose outputs are its features [..., H]. Arguments: as there."""

    def __init__(self, input_shape: int, args: Any) -> None:
        super().__init__(input_shape, args)
        del self.fc2, self.value

    def _head(self, features: Tensor) -> Tensor:
        return features


class ConditionedHead(nn.Module):
    """A hidden layer over features, observation and condition, then one output for each action.

    The condition enters after the recurrence, so that the same history can be judged under many conditions at the
    price of this head alone. The observation enters again beside it: what a condition means for the next move
    depends on what is seen now, which a recurrent state need not keep whole.

    Args:
        hidden_dim: H.
        obs_dim: O.
        condition_dim: D, 0 for none.
        n_actions: U.
    """

    def __init__(self, hidden_dim: int, obs_dim: int, condition_dim: int, n_actions: int) -> None:
        super().__init__()
        self.fc1 = Linear(hidden_dim + obs_dim + condition_dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, n_actions)

    def forward(self, *parts: Tensor | None) -> Tensor:
        """Features [..., H], observations [..., O] and conditions [..., D], or joined ones, or None -> [..., U]."""
        given = [part for part in parts if part is not None]
        inputs = given[0] if len(given) == 1 else torch.cat(given, dim=-1)
        return self.fc2(F.relu(self.fc1(inputs)))
