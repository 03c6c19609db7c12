"""Collects rollouts: the same number of steps from every copy of an environment."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..components.episode_batch import stored_keys
from ..components.rollout import Ends, Rollout
from ..config.keys import RolloutKeys
from ..config.schema import read
from ..modules.encoder import as_features
from ..types import Observation
from .player import OBSERVATION_KEYS, Player


class RolloutRunner(Player):
    """Steps E copies T times and returns these steps as a rollout; an episode may span several rollouts.

    Against a pool, ``batch["opponent"]`` is the number of the member that plays at each step (``PoolEnv.playing``).
    A rollout's memory is overwritten by the next rollout. Arguments: see ``Player``.
    """

    Config = RolloutKeys
    on_policy = True

    @property
    def _has_opponents(self) -> bool:
        return hasattr(self.env, "playing")

    @property
    def _carried(self) -> list[str]:
        """The batch keys of the step that two rollouts share."""
        return [*OBSERVATION_KEYS, "begins", *(["opponent"] if self._has_opponents else [])]

    def prepare(self, args: Any) -> None:
        """Allocates arrays for one rollout."""
        self.length = read(RolloutKeys, args).rollout_steps
        self.scheme = {**self.scheme, "begins": {"vshape": (1,), "dtype": torch.uint8}}
        if self._has_opponents:
            self.scheme["opponent"] = {"vshape": (1,), "dtype": torch.long}
        self.store = self.zeros(stored_keys(self.scheme), self.length + 1)
        self.store["filled"][...] = 1

    def begin(self) -> Observation:
        """Starts new episodes in all copies."""
        observation = super().begin()
        self._write(observation, 0)
        self.store["begins"][:, 0] = 1
        return observation

    def state_dict(self) -> dict[str, Any]:
        """Adds the last observation of the previous rollout, and where episodes begin there."""
        last = {name: torch.from_numpy(self.store[name][:, self.length].copy()) for name in self._carried}
        return {**super().state_dict(), "store": last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``Player.load_state_dict``."""
        for name, values in state["store"].items():
            self.store[name][:, self.length] = values.numpy()
        super().load_state_dict(state)
        if self.observation is not None:
            self._write(self.observation, self.length)
            self.store["begins"][self.t == 0, self.length] = 1

    def _write(self, observation: Observation, t: int) -> None:
        for name, array in zip(OBSERVATION_KEYS, observation, strict=True):
            self.store[name][:, t] = array
        if self._has_opponents:
            env: Any = self.env
            self.store["opponent"][:, t, 0] = env.playing

    def run(self) -> Rollout:
        """Returns the next T steps of every copy."""
        if self.observation is None:
            self.begin()
        else:  # the last observation of the previous rollout is the first of this one
            for name in self._carried:
                self.store[name][:, 0] = self.store[name][:, self.length]
        carry, last_actions = self.carry, self.last_actions.clone()
        ends: list[Ends] = []
        for t in range(self.length):
            chosen, step = self.step()
            self.store["actions"][:, t] = chosen
            self.store["reward"][:, t] = self.learners_reward(step)
            self.store["terminated"][:, t, 0] = step.terminated
            self.store["truncated"][:, t, 0] = step.truncated
            self._write(step.observation, t + 1)
            over = step.terminated | step.truncated
            self.store["begins"][:, t + 1, 0] = over
            if over.any():
                ended = np.flatnonzero(over)
                rows = torch.from_numpy(ended)
                obs, state, *masks = (torch.from_numpy(array[ended]) for array in step.final)
                memory = self.last_actions[rows], self.carry[rows]
                features = as_features(obs), as_features(state)
                ends.append(Ends._make([rows, torch.full_like(rows, t), *features, *masks, *memory]))
                lost = np.zeros_like(over) if step.lost is None else step.lost
                self.restart(ended[~lost[ended]])
                self.drop(ended[lost[ended]])
        data: dict[str, Tensor] = {name: torch.from_numpy(array) for name, array in self.store.items()}
        joined = Ends._make(torch.cat(tensors) for tensors in zip(*ends, strict=True)) if ends else None
        rollout = Rollout(self.scheme, self.groups, data, carry, last_actions, joined)
        return rollout if str(self.device) == "cpu" else rollout.to(self.device)
