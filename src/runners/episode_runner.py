"""Collects finished episodes from copies of an environment."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..components.episode_batch import EpisodeBatch, stored_keys
from ..types import Observation
from .player import OBSERVATION_KEYS, EpisodeStats, Player


class EpisodeRunner(Player):
    """Steps E copies continuously and returns episodes as they finish. Arguments: see ``Player``."""

    def prepare(self, args: Any) -> None:
        """Allocates arrays for one episode of each copy."""
        self.keys = [name for name in stored_keys(self.scheme) if name != "filled"]
        self.store = self.zeros(self.keys, self.env.info.episode_limit + 1)
        self.rows = np.arange(self.env.n_envs)

    def begin(self) -> Observation:
        """Starts new episodes in all copies."""
        observation = super().begin()
        self._write(observation, self.rows, self.t)
        return observation

    def state_dict(self) -> dict[str, Any]:
        """Adds the steps of the episodes in progress."""
        longest = int(self.t.max()) + 1
        store = {name: torch.from_numpy(self.store[name][:, :longest].copy()) for name in self.keys}
        return {**super().state_dict(), "store": store}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``Player.load_state_dict``."""
        for name, steps in state["store"].items():
            self.store[name][:, : steps.shape[1]] = steps.numpy()
        super().load_state_dict(state)
        begun = np.flatnonzero(self.t == 0)
        if self.observation is not None:
            self._write(self.observation, begun, self.t[begun])

    def _write(self, observation: Observation, rows: NDArray[np.int64], t: NDArray[np.int64]) -> None:
        """Writes the current observations of the copies ``rows`` at their steps ``t``."""
        arrays: tuple[NDArray[Any], ...] = observation
        for name, array in zip(OBSERVATION_KEYS, arrays, strict=True):
            self.store[name][rows, t] = array[rows]

    def _step(self) -> NDArray[np.int64]:
        """Takes one step in every copy and returns the indices of the copies whose episode ended."""
        first = int(self.t[0])
        together = (self.t == first).all()  # then a slice selects the step of all copies, in a third of the time
        rows, t = (slice(None), first) if together else (self.rows, self.t.copy())
        chosen, step = self.step()
        self.store["actions"][rows, t] = chosen
        self.store["reward"][rows, t] = self.learners_reward(step)
        self.store["terminated"][rows, t, 0] = step.terminated
        self.store["truncated"][rows, t, 0] = step.truncated
        for name, array in zip(OBSERVATION_KEYS, step.final, strict=True):
            self.store[name][rows, t + 1] = array
        ended = np.flatnonzero(step.terminated | step.truncated)
        if step.lost is None:
            return ended
        self.drop(np.flatnonzero(step.lost))
        return ended[~step.lost[ended]]

    def drop(self, lost: NDArray[np.int64]) -> None:
        """See ``Player.drop``; the next episodes of these copies start."""
        super().drop(lost)
        assert self.observation is not None
        self._write(self.observation, lost, np.zeros_like(lost))

    def _finish(self, ended: NDArray[np.int64]) -> EpisodeBatch:
        """Returns the episodes of the copies ``ended`` as a batch and starts the next episodes of these copies."""
        lengths = self.t[ended]
        longest = int(lengths.max())
        steps = np.arange(longest + 1)
        data: dict[str, Tensor] = {}
        for name in self.keys:
            episodes = self.store[name][ended, : longest + 1]
            episodes[steps[None, :] > lengths[:, None]] = 0  # remove data of an earlier, longer episode
            if name in ("actions", "reward", "terminated", "truncated"):
                episodes[np.arange(len(ended)), lengths] = 0
            data[name] = torch.from_numpy(episodes)
        filled = (steps[None, :] <= lengths[:, None]).astype(np.uint8)[..., None]
        data["filled"] = torch.from_numpy(filled)
        self.restart(ended)
        assert self.observation is not None
        self._write(self.observation, ended, np.zeros_like(ended))
        return EpisodeBatch(self.scheme, self.groups, data)

    def run(self) -> EpisodeBatch:
        """Steps until at least one episode finishes, and returns the finished episodes."""
        if self.observation is None:
            self.begin()
        ended = self._step()
        while not len(ended):
            ended = self._step()
        return self._finish(ended)

    def episodes_per_copy(self, n_episodes: int) -> int:
        """The number of episodes that ``collect`` takes from each copy."""
        return -(-n_episodes // self.env.n_envs)

    def collect(self, n_episodes: int) -> list[EpisodeBatch]:
        """Collects at least ``n_episodes`` new episodes, the same number from every copy.

        Taking the episodes that finish first would favour short episodes.
        """
        quota = self.episodes_per_copy(n_episodes)
        done = np.zeros(self.env.n_envs, dtype=np.int64)
        batches: list[EpisodeBatch] = []
        kept, self.stats = EpisodeStats(), EpisodeStats()
        self.begin()
        while (done < quota).any():
            ended = self._step()
            if not len(ended):
                continue
            wanted = done[ended] < quota
            done[ended] += 1
            batch = self._finish(ended)
            if wanted.any():
                batches.append(batch[np.flatnonzero(wanted)])
                kept.add(self.stats, wanted)
            self.stats = EpisodeStats()
        self.stats = kept
        return batches
