"""Seeds random generators, and derives independent streams from one seed."""

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
    """Derives the seed of one part of a run (environments, tests, replay), independent of the other parts.

    ``t_env`` is the environment step at which a resumed run continues.
    """
    entropy = [seed, stream, t_env] if t_env else [seed, stream]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def rng_state() -> dict[str, Any]:
    """The state of torch's generators, the only global ones that training uses."""
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Restores the state returned by ``rng_state``."""
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_initialized():
        n_devices = torch.cuda.device_count()  # may be fewer than when the state was saved
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"][:n_devices]])
