"""One step of all agents with arrays instead of tensors, which are cheaper to slice and to join for few copies."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..modules.gru import Array


class InputRows:
    """The networks' inputs ``obs, last action, agent`` in memory that is used again at each step.

    Args:
        n_actions, n_agents: sizes of the last two parts; 0 leaves a part out.
    """

    def __init__(self, n_actions: int, n_agents: int) -> None:
        self.n_actions, self.n_agents = n_actions, n_agents
        self.rows: Array = np.empty((0, 0, 0), np.float32)

    def of(self, obs: Array, last_actions: Array) -> Array:
        """[E, N, O] and [E, N, U] -> [E, N, I], until the next call."""
        copies, agents, size = obs.shape
        end = size + self.n_actions
        if len(self.rows) != copies:
            self.rows = np.empty((copies, agents, end + self.n_agents), np.float32)
            if self.n_agents:
                self.rows[..., end:] = np.eye(self.n_agents)
        self.rows[..., :size] = obs
        if self.n_actions:
            self.rows[..., size:end] = last_actions
        return self.rows


def array_step(
    agents: Iterable[Any], members: list[Any], inputs: Array, hidden: Array, n_outputs: int
) -> tuple[Tensor, Tensor]:
    """Outputs [E, N, U] and hidden [E, N, H] from inputs [E, N, I] and hidden [E, N, H].

    Args:
        agents: the networks, with ``decision(rows, hidden)``.
        members: the agents that each network computes, as slices or lists of indices.
        inputs, hidden: arrays.
        n_outputs: U.
    """
    copies, n, _ = inputs.shape
    if len(members) == 1:
        for agent in agents:
            outputs, after = agent.decision(inputs.reshape(copies * n, -1), hidden.reshape(copies * n, -1))
        return torch.from_numpy(outputs.reshape(copies, n, -1)), torch.from_numpy(after.reshape(hidden.shape))
    outputs, after = np.empty((copies, n, n_outputs), np.float32), np.empty(hidden.shape, np.float32)
    for own, agent in zip(members, agents, strict=True):
        rows = (np.ascontiguousarray(x[:, own]).reshape(-1, x.shape[2]) for x in (inputs, hidden))
        for whole, part in zip((outputs, after), agent.decision(*rows), strict=True):
            whole[:, own] = part.reshape(copies, -1, whole.shape[2])
    return torch.from_numpy(outputs), torch.from_numpy(after)
