"""An agent's network without its last layer, and the head that maps its features to action values or logits."""

from typing import Any

import torch
from torch import Tensor, nn

from ..encoder import encoder_for
from ..gaussian_policy import shrink, with_log_std
from ..hidden import hidden_layer
from ..linear import Linear, pair_of_heads
from .rnn_agent import RNNAgent


class FeatureAgent(RNNAgent):
    """``RNNAgent`` whose outputs are its features [..., H]. Arguments: as there."""

    def __init__(self, input_shape: int, args: Any) -> None:
        super().__init__(input_shape, args)
        self.decides = self.has_fused_step and self.has_plain_step and type(self).head is FeatureAgent.head
        del self.fc2, self.value

    def head(self, features: Tensor) -> Tensor:
        return features


class ConditionedHead(nn.Module):
    """A hidden layer over features, observation and condition, followed by one output for each action.

    The condition enters after the recurrent layer. The same history can therefore be evaluated under many
    conditions, and each further condition costs one pass of this head only. The observation enters here a second
    time, because the meaning of a condition for the next action depends on the current observation, which the
    recurrent state need not preserve completely.

    Args:
        hidden_dim: H.
        obs_dim: O.
        condition_dim: D, 0 for none.
        n_actions: U.
        args: see ``modules.encoder.encoder_for``; the observations that the head reads are encoded ones.
        n_numbers: D numbers of an action, whose log standard deviations are further outputs that depend on nothing.
        duelling: outputs are value + advantage - mean(advantage) (Wang et al. 2016).
    """

    def __init__(
        self,
        hidden_dim: int,
        obs_dim: int,
        condition_dim: int,
        n_actions: int,
        args: Any,
        n_numbers: int = 0,
        duelling: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, obs_dim = encoder_for(args, "obs", obs_dim)
        self.fc1 = Linear(hidden_dim + obs_dim + condition_dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, n_actions)
        self.value = Linear(hidden_dim, 1) if duelling else None
        self.log_std = nn.Parameter(torch.zeros(n_numbers)) if n_numbers else None
        if n_numbers:
            shrink(self.fc2)

    def forward(self, *parts: Tensor | None) -> Tensor:
        """Features [..., H], observations that ``encoder`` has encoded, and conditions [..., D] -> outputs.

        The parts may already be concatenated into one tensor. A part that is None is left out.
        """
        present = [part for part in parts if part is not None]
        inputs = present[0] if len(present) == 1 else torch.cat(present, dim=-1)
        outputs = hidden_layer(inputs, self.fc1, head=pair_of_heads(self.fc2, self.value))
        return outputs if self.log_std is None else with_log_std(outputs, self.log_std)
