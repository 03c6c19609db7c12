"""Runs a recurrent network along rows of steps and resets its state where an episode begins."""

from typing import Any

import torch
from torch import Tensor


def as_rows(steps: Tensor) -> Tensor:
    """[E, T, N, I] -> [E*N, T, I], stored time first in memory, the layout that recurrent networks use."""
    return steps.transpose(0, 1).flatten(1, 2).transpose(0, 1)


def from_rows(rows: Tensor, n: int) -> Tensor:
    """[E*N, T, U] -> [E, T, N, U], for N = ``n``."""
    return rows.unflatten(0, (-1, n)).transpose(1, 2)


def unroll_rows(agent: Any, rows: Tensor, hidden: Tensor, begins: Tensor | None = None) -> Tensor:
    """Outputs [M, T, U] along inputs [M, T, I], from hidden [M, H].

    Args:
        agent: has ``forward(inputs, hidden)`` and ``init_hidden()``; if it also has ``unroll(rows, hidden)``, that
            is used. ``unroll`` also takes ``begins``, bool [M, T], where ``restarts(rows)``, if there is one.
        rows: the inputs.
        hidden: the recurrent state before the first step.
        begins: [M, T, 1], 1 where an episode begins; None if every row is one episode.
    """
    if begins is not None and getattr(agent, "is_recurrent", True):
        return _unroll_restarting(agent, rows, hidden, begins)
    return _unroll_agent(agent, rows, hidden)


def _unroll_agent(agent: Any, rows: Tensor, hidden: Tensor) -> Tensor:
    """Outputs [M, T, U] along inputs [M, T, I], from hidden [M, H]."""
    if hasattr(agent, "unroll"):
        return agent.unroll(rows, hidden)[0]
    outputs = []
    for t in range(rows.shape[1]):  # PyMARL's agents only have single steps
        out, hidden = agent(rows[:, t], hidden)
        outputs.append(out)
    return torch.stack(outputs, dim=1)


def _unroll_restarting(agent: Any, rows: Tensor, hidden: Tensor, begins: Tensor) -> Tensor:
    """As ``unroll_rows``, with the recurrent state reset where ``begins`` [M, T, 1] is 1.

    Each episode's part of a row becomes a separate row, so that a recurrent network that cannot reset its state still
    runs in one call.
    """
    m, steps = rows.shape[:2]
    starts = begins.squeeze(-1) > 0
    starts[:, 0] = False  # ``hidden`` is already the state there
    if not starts.any():
        return _unroll_agent(agent, rows, hidden)
    restarts = getattr(agent, "restarts", None)
    if restarts is not None and restarts(rows):
        return agent.unroll(rows, hidden, starts)[0]
    part = starts.long().cumsum(dim=1)  # [M, T]: the part of its row that a step belongs to
    first_part = torch.cat([part.new_zeros(1), (part[:, -1] + 1).cumsum(dim=0)[:-1]])
    segment = part + first_part[:, None]  # [M, T]: parts numbered over all rows
    n_segments = int(segment[-1, -1]) + 1
    clock = torch.arange(steps, device=rows.device).expand(m, -1)
    began = torch.where(starts, clock, torch.zeros_like(clock)).cummax(dim=1).values
    place = clock - began  # [M, T]: the index of the step within its part
    longest = int(place.max()) + 1
    padded = rows.new_zeros(n_segments, longest, rows.shape[2]).index_put((segment, place), rows)
    fresh = agent.init_hidden().expand(n_segments, -1)
    begun = fresh.index_copy(0, first_part, hidden.to(fresh.dtype)) if len(first_part) else fresh
    return _unroll_agent(agent, padded, begun)[segment, place]
