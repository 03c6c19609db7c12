"""One seed, independent streams."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seeds Python's, NumPy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def stream_seed(seed: int, stream: int, t_env: int = 0) -> int:
    """A seed for a part of the run (its environments, its tests, its replay), independent of the others.

    ``t_env`` is the step that a resumed run goes on from.
    """
    entropy = [seed, stream, t_env] if t_env else [seed, stream]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def rng_state() -> dict[str, Any]:
    """The state of torch's generators (the only global ones that a training draws from)."""
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Puts back what ``rng_state`` gave."""
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_initialized():
        there = torch.cuda.device_count()  # fewer, it may be, than where the run began
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"][:there]])
