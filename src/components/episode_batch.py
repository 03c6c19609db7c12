"""Episodes as padded tensors, with PyMARL's keys and indexing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..modules.action_distributions import distribution
from ..modules.encoder import as_features
from ..types import DISCRETE, EnvInfo, PathLike

Scheme = dict[str, dict[str, Any]]
TORCH_TYPES: dict[Any, torch.dtype] = {np.float32: torch.float32, np.uint8: torch.uint8}


def make_scheme(info: EnvInfo, common_reward: bool) -> tuple[Scheme, dict[str, int]]:
    """PyMARL's scheme and groups for an environment.

    ``obs`` and ``state`` are bytes if they are pixels (``EnvInfo.obs_dtype``); ``EpisodeBatch`` returns them as
    features. ``terminated`` marks true terminations only; the separate key ``truncated`` marks truncations.
    ``actions_onehot`` are the features of actions: one-hot only if actions are discrete, see
    ``modules/action_distributions.py``.
    """
    kind = info.actions
    actions = {"vshape": kind.shape or (1,), "dtype": torch.float32 if kind.dtype is np.float32 else torch.long}
    scheme: Scheme = {
        "state": {"vshape": (info.state_shape,), "dtype": TORCH_TYPES[info.state_dtype]},
        "obs": {"vshape": (info.obs_shape,), "group": "agents", "dtype": TORCH_TYPES[info.obs_dtype]},
        "actions": {**actions, "group": "agents", "kind": kind},
        "avail_actions": {"vshape": (info.n_actions,), "group": "agents", "dtype": torch.uint8},
        "agent_mask": {"vshape": (1,), "group": "agents", "dtype": torch.uint8, "squeeze": True},
        "reward": {"vshape": (1 if common_reward else info.n_agents,), "dtype": torch.float32},
        "terminated": {"vshape": (1,), "dtype": torch.uint8},
        "truncated": {"vshape": (1,), "dtype": torch.uint8},
        "filled": {"vshape": (1,), "dtype": torch.uint8},
        "actions_onehot": {"vshape": (info.n_actions,), "group": "agents", "dtype": torch.float32},
    }
    return scheme, {"agents": info.n_agents}


def step_shape(scheme: Scheme, groups: dict[str, int], name: str) -> tuple[int, ...]:
    """The shape of one step of ``name``, without batch and time."""
    entry = scheme[name]
    group = (groups[entry["group"]],) if "group" in entry else ()
    return group if entry.get("squeeze") else (*group, *entry["vshape"])


def stored_keys(scheme: Scheme) -> list[str]:
    """The keys that are kept in memory. One-hot actions are not: they are computed on access."""
    return [name for name in scheme if name != "actions_onehot"]


def bytes_per_step(scheme: Scheme, groups: dict[str, int], names: Iterable[str] | None = None) -> int:
    """The bytes of one step of one episode: of the keys that are kept in memory, or of ``names``."""
    names = stored_keys(scheme) if names is None else names
    return sum(math.prod(step_shape(scheme, groups, name)) * scheme[name]["dtype"].itemsize for name in names)


class EpisodeBatch:
    """B episodes, padded to T+1 steps: ``batch["obs"]`` is [B, T+1, N, O], and so on."""

    carry: Tensor | None = None  # see ``Rollout``; None for complete episodes
    ends: Any = None

    def __init__(self, scheme: Scheme, groups: dict[str, int], data: dict[str, Tensor]) -> None:
        self.scheme, self.groups, self.data = scheme, groups, data
        self.batch_size, self.max_seq_length = data["filled"].shape[:2]  # B, T+1

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        return self.data["filled"].device

    def to(self, device: Any) -> EpisodeBatch:
        """Moves the tensors in place and also returns the batch, because PyMARL uses both conventions."""
        self.data = {name: tensor.to(device, non_blocking=True) for name, tensor in self.data.items()}
        return self

    def save(self, path: PathLike) -> None:
        """Writes all tensors to a file for ``torch.load``: ``data`` and, of a rollout, ``carry`` and ``ends``."""
        ends = None if self.ends is None else self.ends._asdict()
        torch.save({"data": self.data, "carry": self.carry, "ends": ends}, path)

    def __getitem__(self, item: Any) -> Any:
        """A key gives a tensor; slices give a smaller batch (an integer keeps its dimension, as in PyMARL)."""
        if isinstance(item, str):
            if item == "actions_onehot" and item not in self.data:
                self.data[item] = self._one_hot_actions()
            return as_features(self.data[item]) if item in ("obs", "state") else self.data[item]
        episodes, steps = item if isinstance(item, tuple) else (item, slice(None))
        episodes, steps = (slice(i, i + 1) if isinstance(i, int) else i for i in (episodes, steps))
        if isinstance(episodes, np.ndarray):
            episodes = torch.from_numpy(episodes)
        data = {name: tensor[episodes][:, steps] for name, tensor in self.data.items()}
        return EpisodeBatch(self.scheme, self.groups, data)

    def stored(self, name: str) -> Tensor:
        """The tensor of a key as it is in memory: bytes if its features are pixels."""
        return self.data[name]

    def _one_hot_actions(self) -> Tensor:
        """The features of actions; padding has zeros, not the one-hot vector of action 0."""
        n_actions, kind = self.scheme["actions_onehot"]["vshape"][0], self.scheme["actions"].get("kind", DISCRETE)
        return distribution(kind, n_actions).encode(self.data["actions"]) * self.data["filled"].unsqueeze(-1)

    def __repr__(self) -> str:
        return f"EpisodeBatch({self.batch_size} episodes, {self.max_seq_length} steps, {', '.join(self.data)})"
