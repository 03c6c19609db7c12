"""Replay buffer of complete episodes."""

from typing import Any

import numpy as np
import torch

from ..types import ConfigError
from .episode_batch import EpisodeBatch, Scheme, bytes_per_step, step_shape, stored_keys


def replay_bytes(scheme: Scheme, groups: dict[str, int], capacity: int, episode_limit: int) -> int:
    """The bytes of a full replay buffer. Arguments: see ``ReplayBuffer``."""
    return capacity * (episode_limit + 1) * bytes_per_step(scheme, groups)


class ReplayBuffer:
    """Stores the last ``capacity`` episodes; sampling is uniform over episodes, without replacement.

    In main memory, the system allocates memory as episodes are inserted; ``budget.py`` checks the full size before
    the run starts. ``episode_limit`` is T, the most transitions of an episode.
    """

    def __init__(
        self,
        scheme: Scheme,
        groups: dict[str, int],
        capacity: int,
        episode_limit: int,
        rng: np.random.Generator,
        device: Any = "cpu",
    ) -> None:
        self.scheme, self.groups, self.capacity, self.rng = scheme, groups, capacity, rng
        self.keys = stored_keys(scheme)
        shapes = {name: step_shape(scheme, groups, name) for name in self.keys}
        self.bytes = replay_bytes(scheme, groups, capacity, episode_limit)
        self.data = {
            name: self._zeros((capacity, episode_limit + 1, *shapes[name]), scheme[name]["dtype"], device)
            for name in self.keys
        }
        self.steps = np.zeros(capacity, dtype=np.int64)
        self.next_slot = 0
        self.n_episodes = 0

    @staticmethod
    def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: Any) -> torch.Tensor:
        if torch.device(device).type != "cpu":
            return torch.zeros(shape, dtype=dtype, device=device)
        # numpy's zeros allocate pages on first use; torch.zeros would allocate all the memory now
        return torch.from_numpy(np.zeros(shape, dtype=torch.zeros(0, dtype=dtype).numpy().dtype))

    def insert(self, batch: EpisodeBatch) -> None:
        """Adds the batch's episodes; a full buffer replaces its oldest ones."""
        slots = (self.next_slot + np.arange(batch.batch_size)) % self.capacity
        rows = torch.from_numpy(slots)
        length = batch.max_seq_length
        for name in self.keys:
            self.data[name][rows, :length] = batch.data[name].to(self.data[name].device)
            self.data[name][rows, length:] = 0
        self.steps[slots] = batch["filled"].sum(dim=(1, 2), dtype=torch.long).cpu().numpy()
        self.next_slot = int((self.next_slot + batch.batch_size) % self.capacity)
        self.n_episodes = min(self.n_episodes + batch.batch_size, self.capacity)

    def sample(self, batch_size: int) -> EpisodeBatch:
        """Draws ``batch_size`` different episodes, padded to the longest of them."""
        slots = self.rng.choice(self.n_episodes, batch_size, replace=False)
        length = int(self.steps[slots].max())
        rows = torch.from_numpy(slots)
        data = {name: tensor[:, :length][rows] for name, tensor in self.data.items()}
        return EpisodeBatch(self.scheme, self.groups, data)

    def state_dict(self) -> dict[str, Any]:
        """The stored episodes (without unused slots) and the index of the oldest one, until the next ``insert``."""
        full = self.n_episodes == self.capacity  # then nothing is copied: a slice would be saved with all its memory
        held = {name: tensor if full else tensor[: self.n_episodes].clone() for name, tensor in self.data.items()}
        return {
            "data": held,
            "steps": torch.from_numpy(self.steps[: self.n_episodes].copy()),
            "oldest": self.next_slot if self.n_episodes == self.capacity else 0,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the newest episodes that fit; ConfigError if shapes differ (another environment or episode limit)."""
        held = len(state["steps"])
        newest = [(int(state["oldest"]) + i) % held for i in range(held)][-self.capacity :]
        for name, tensor in state["data"].items():
            if name not in self.data or tensor.shape[1:] != self.data[name].shape[1:]:
                raise ConfigError("checkpoint_path: its replay buffer holds episodes of another shape")
            self.data[name][: len(newest)] = tensor[newest].to(self.data[name].device)
        self.steps[: len(newest)] = state["steps"].numpy()[newest]
        self.n_episodes = len(newest)
        self.next_slot = len(newest) % self.capacity
