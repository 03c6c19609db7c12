"""A controller's outputs along whole episodes."""

from typing import Any

import torch
from torch import Tensor


def unroll_ahead(mac: Any, batch: Any) -> Tensor:
    """Outputs [B, T, N, U] for the observation after each step of a rollout, under ``condition.next`` if any."""
    return unroll(mac, batch)[:, 1:] if batch.condition.next is None else mac.unroll_ahead(batch)


def unroll(mac: Any, batch: Any) -> Tensor:
    """Outputs [B, T+1, N, U] at every step of ``batch``.

    One fused call where the controller offers ``unroll``; else PyMARL's loop over t, so that a host's
    controller works.
    """
    if hasattr(mac, "unroll"):
        return mac.unroll(batch)
    mac.init_hidden(batch.batch_size)
    return torch.stack([mac.forward(batch, t=t) for t in range(batch.max_seq_length)], dim=1)


def unroll_both(mac: Any, target: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """``unroll`` of a controller and, without gradient, of its target; at the same time where it can."""
    if hasattr(mac, "can_unroll_beside") and mac.can_unroll_beside(batch):
        return mac.unroll_beside(target, batch)
    outputs = unroll(mac, batch)
    with torch.no_grad():
        return outputs, unroll(target, batch)
