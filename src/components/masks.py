"""Masks of the real steps of a padded batch, computed only from keys that every PyMARL host provides."""

from typing import Any

import torch
from torch import Tensor


def has_key(batch: Any, name: str) -> bool:
    """Whether a batch (omarl's or a host's) has the key ``name``."""
    return name in batch.scheme


def ended(batch: Any) -> Tensor:
    """1 on the transition that ended an episode by termination or truncation: float [B, T+1]."""
    end = batch["terminated"].squeeze(-1).float()
    if has_key(batch, "truncated"):
        end = torch.maximum(end, batch["truncated"].squeeze(-1).float())
    return end


def transition_mask(batch: Any) -> Tensor:
    """1 where a transition was taken: float [B, T].

    The mask includes the transition that ended the episode. It excludes the final observation and the padding.
    """
    mask = batch["filled"][:, :-1].squeeze(-1).float().clone()  # a host's tensor may already be float: do not modify
    mask[:, 1:] = mask[:, 1:] * (ended(batch)[:, :-2].cumsum(dim=1) == 0)
    return mask


def alive_mask(batch: Any, n_agents: int) -> Tensor:
    """1 where an agent is alive: float [B, T+1, N]. Without the key ``agent_mask``, all filled steps are 1."""
    if has_key(batch, "agent_mask"):
        return batch["agent_mask"].float()
    return batch["filled"].float().expand(-1, -1, n_agents)


def is_common(batch: Any, n_agents: int) -> bool:
    """Whether several agents receive one reward (``common_reward``). Then it goes on after an agent's death."""
    return n_agents > 1 and batch["reward"].shape[2] == 1


def own_rewards(batch: Any, alive: Tensor) -> Tensor:
    """The rewards of the transitions that count for each agent: [B, T, N], or [B, T, 1] if they are common.

    An agent's own rewards end with its death. ``alive``: [B, T+1, N].
    """
    reward: Tensor = batch["reward"][:, :-1]
    return reward if is_common(batch, alive.shape[2]) else reward * alive[:, :-1]


def values_of_living(values: Tensor, alive: Tensor, common: bool) -> Tensor:
    """Values [..., N], where a dead agent has no value of its own.

    It is 0 unless rewards are common. Then the dead still have a part in them, and get the mean value of the living,
    which estimate the same return (0 if none lives).
    """
    living = values * alive
    if not common:
        return living
    mean = living.sum(dim=-1, keepdim=True) / alive.sum(dim=-1, keepdim=True).clamp(min=1.0)
    return torch.where(alive > 0, living, mean)
