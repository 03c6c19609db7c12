"""Which steps of a padded batch are real: computed once here, from what every PyMARL host provides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def has_key(batch: Any, name: str) -> bool:
    """Whether a batch, ours or a host's, holds ``name``."""
    return name in batch.scheme


def ended(batch: Any) -> Tensor:
    """1 on the transition that ended an episode, terminated or truncated: float [B, T+1]."""
    end = batch["terminated"].squeeze(-1).float()
    if has_key(batch, "truncated"):
        end = torch.maximum(end, batch["truncated"].squeeze(-1).float())
    return end


def transition_mask(batch: Any) -> Tensor:
    """1 where a transition was really taken: float [B, T].

    A step counts until the one that ended the episode, that one included; the final observation and the
    padding after it do not.
    """
    mask = batch["filled"][:, :-1].squeeze(-1).float().clone()  # a host's may be float already: not ours to change
    mask[:, 1:] = mask[:, 1:] * (ended(batch)[:, :-2].cumsum(dim=1) == 0)
    return mask


def alive_mask(batch: Any, n_agents: int) -> Tensor:
    """1 where an agent is alive: float [B, T+1, N]; all that is filled where the batch does not say."""
    if has_key(batch, "agent_mask"):
        return batch["agent_mask"].float()
    return batch["filled"].float().expand(-1, -1, n_agents)
