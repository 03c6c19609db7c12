"""A uniform sample of all states that a run has trained on."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class StateSample:
    """Keeps ``capacity`` of the states added so far, each with the same probability.

    Each state has a random number, and those with the largest numbers stay (reservoir sampling with random keys,
    Efraimidis and Spirakis 2006, with equal weights). Its generator is its own, so that other numbers do not change.
    """

    def __init__(self, capacity: int, seed: int = 0) -> None:
        self.capacity = capacity
        self.generator = torch.Generator().manual_seed(seed)
        self.states = torch.empty(0)
        self.numbers = torch.empty(0)

    def add(self, states: Tensor) -> None:
        """Adds rows [M, S]."""
        rows = states.detach().cpu()
        numbers = torch.cat([self.numbers, torch.rand(len(rows), generator=self.generator)])
        known = torch.cat([self.states, rows]) if len(self.numbers) else rows
        if len(numbers) > self.capacity:
            numbers, stay = numbers.topk(self.capacity)
            known = known[stay]
        self.states, self.numbers = known.clone(), numbers

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next sample depends on."""
        return {"states": self.states, "numbers": self.numbers, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``."""
        self.states, self.numbers = state["states"].cpu(), state["numbers"].cpu()
        self.generator.set_state(state["generator"].cpu())
