"""The last batches of states that a VAE was given, to draw updates from."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor


class StateWindow:
    """Keeps the last batches.

    Hosts that train many times on each fresh batch and then discard it make a VAE forget: its KL falls at every new
    batch. A window of several batches keeps what was learned.

    Args:
        batches: how many are kept.
        size: number of features S.
    """

    def __init__(self, batches: int, size: int) -> None:
        self.batches: deque[Tensor] = deque(maxlen=batches)
        self.states = torch.empty(0, size)  # of all batches, [M, S]

    def add(self, states: Tensor) -> bool:
        """Takes in states [M, S]; returns whether they are new: the last batch once more does not count again."""
        if len(states) == 0 or (self.batches and torch.equal(self.batches[-1], states)):
            return False
        self.batches.append(states.clone())
        self.states = torch.cat(list(self.batches))
        return True

    def draw(self, count: int) -> Tensor:
        """``count`` of the states, without replacement; all of them where count is 0 or there are no more."""
        total = len(self.states)
        if count == 0 or count >= total:
            return self.states
        return self.states[torch.randperm(total)[:count].to(self.states.device)]

    def to(self, device: str) -> None:
        """Moves the states."""
        self.load([batch.to(device) for batch in self.batches])

    def load(self, batches: list[Tensor]) -> None:
        """Takes up batches, the last ones where they are more than are kept."""
        self.batches = deque(batches, maxlen=self.batches.maxlen)
        if self.batches:
            self.states = torch.cat(list(self.batches))

    def state_dict(self) -> dict[str, Any]:
        """The batches."""
        return {"window": [batch.cpu().clone() for batch in self.batches]}
