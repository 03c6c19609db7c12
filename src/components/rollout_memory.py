"""The last rollouts, for opponent models that learn from more than the newest one."""

from __future__ import annotations

import torch

from .rollout import Ends, Rollout


class RolloutMemory:
    """Copies of consecutive rollouts, without their conditions; the runner reuses a rollout's own memory.

    Not part of checkpoints: a resumed run fills it again.

    Args:
        capacity: rollouts kept.
        window: consecutive rollouts of one sample.
    """

    def __init__(self, capacity: int, window: int) -> None:
        self.capacity, self.window = capacity, window
        self.rollouts: list[Rollout] = []

    def insert(self, batch: Rollout) -> None:
        """Keeps a rollout, and drops the oldest beyond the capacity."""
        data = {name: tensor.clone() for name, tensor in batch.data.items()}
        kept = Rollout(batch.scheme, batch.groups, data, batch.carry.clone(), batch.last_actions.clone(), batch.ends)
        self.rollouts.append(kept)
        del self.rollouts[: -self.capacity]

    def sample(self) -> Rollout:
        """``window`` consecutive rollouts from a random place, or all where there are fewer, as one rollout."""
        window = min(self.window, len(self.rollouts))
        first = int(torch.randint(len(self.rollouts) - window + 1, ()))
        return joined(self.rollouts[first : first + window])


def joined(rollouts: list[Rollout]) -> Rollout:
    """Consecutive rollouts as one rollout of all their steps, with the first one's carry."""
    first = rollouts[0]
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in first.data}
    ends, steps = [], 0
    for rollout in rollouts:
        length = rollout.max_seq_length - 1
        is_last = rollout is rollouts[-1]  # elsewhere the last observation is the next rollout's first
        for name, tensors in parts.items():
            tensors.append(rollout.data[name] if is_last else rollout.data[name][:, :length])
        if rollout.ends is not None:
            ends.append(rollout.ends._replace(step=rollout.ends.step + steps))
        steps += length
    data = {name: torch.cat(tensors, dim=1) for name, tensors in parts.items()}
    all_ends = Ends._make(torch.cat(tensors) for tensors in zip(*ends, strict=True)) if ends else None
    return Rollout(first.scheme, first.groups, data, first.carry, first.last_actions, all_ends)
