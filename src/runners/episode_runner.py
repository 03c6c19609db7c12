"""Environments and a controller to finished episodes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..components.episode_batch import EpisodeBatch, Scheme, step_shape, stored_keys
from ..types import MetricLogger, Observation, VecEnv

NUMPY_TYPES = {torch.float32: np.float32, torch.long: np.int64, torch.uint8: np.uint8}


@dataclass
class EpisodeStats:
    """What finished episodes were like, whatever the learner's reward.

    Attributes:
        returns: [N] each: every agent's undiscounted return.
        lengths: transitions of each episode.
    """

    returns: list[NDArray[np.float64]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def log(self, logger: MetricLogger, agents: tuple[str, ...], t_env: int, prefix: str = "") -> None:
        """Logs the means, where there is an episode, and forgets the episodes.

        ``return_mean`` is the mean over episodes of the sum over agents.
        """
        if not self.lengths:
            return
        returns = np.stack(self.returns)
        joint = returns.sum(axis=1)
        logger.log_stat(f"{prefix}return_mean", float(joint.mean()), t_env)
        logger.log_stat(f"{prefix}return_std", float(joint.std()), t_env)
        logger.log_stat(f"{prefix}return_min", float(joint.min()), t_env)
        logger.log_stat(f"{prefix}return_max", float(joint.max()), t_env)
        for i, agent in enumerate(agents):
            logger.log_stat(f"{prefix}return_mean/{agent}", float(returns[:, i].mean()), t_env)
        logger.log_stat(f"{prefix}ep_length_mean", float(np.mean(self.lengths)), t_env)
        self.returns.clear()
        self.lengths.clear()


class EpisodeRunner:
    """Steps E copies without a pause and hands out episodes as they finish.

    Args:
        env: E copies.
        mac: what ``initial_carry`` and ``act`` are asked of.
        scheme, groups: see ``components.episode_batch.make_scheme``.
        args: namespace with ``common_reward``, ``reward_scalarisation``, ``device``.
        test_mode: no exploration, and steps do not count.

    Attributes:
        t_env: environment steps taken, over all copies.
        episodes: episodes finished.
    """

    def __init__(
        self,
        env: VecEnv,
        mac: Any,
        scheme: Scheme,
        groups: dict[str, int],
        args: Any,
        test_mode: bool = False,
    ) -> None:
        self.env, self.mac, self.scheme, self.groups = env, mac, scheme, groups
        self.common_reward, self.device = args.common_reward, args.device
        self.scalarise: Any = np.mean if args.reward_scalarisation == "mean" else np.sum
        self.test_mode = test_mode
        self.t_env = 0
        self.episodes = 0
        self.stats = EpisodeStats()
        self.keys = [name for name in stored_keys(scheme) if name != "filled"]
        length = env.info.episode_limit + 1
        self.store = {
            name: np.zeros(
                (env.n_envs, length, *step_shape(scheme, groups, name)), NUMPY_TYPES[scheme[name]["dtype"]]
            )
            for name in self.keys
        }
        self.rows = np.arange(env.n_envs)
        self.observation: Observation | None = None

    def _begin(self) -> None:
        """New episodes in every copy."""
        n_envs, info = self.env.n_envs, self.env.info
        self.t = np.zeros(n_envs, dtype=np.int64)
        self.returns = np.zeros((n_envs, info.n_agents))
        self.carry = self.mac.initial_carry(n_envs)
        self.fresh_carry = self.carry.clone()
        self.last_actions = torch.zeros(n_envs, info.n_agents, info.n_actions, device=self.device)
        self.observation = self.env.reset()
        self._write(self.observation, self.rows, self.t)

    def _write(self, observation: Observation, rows: NDArray[np.int64], t: NDArray[np.int64]) -> None:
        names = ("obs", "state", "avail_actions", "agent_mask")
        arrays: tuple[NDArray[Any], ...] = (
            observation.obs,
            observation.state,
            observation.avail,
            observation.agent_mask,
        )
        for name, array in zip(names, arrays, strict=True):
            self.store[name][rows, t] = array if len(rows) == self.env.n_envs else array[rows]

    def _step(self) -> NDArray[np.int64]:
        """One decision in every copy; returns the copies whose episode it ended."""
        assert self.observation is not None
        actions, self.carry = self.mac.act(
            self.observation, self.last_actions, self.carry, self.t_env, self.test_mode
        )
        chosen = actions.cpu().numpy()
        step = self.env.step(chosen)
        rows, t = self.rows, self.t
        reward = self.scalarise(step.reward, axis=1, keepdims=True) if self.common_reward else step.reward
        self.store["actions"][rows, t, :, 0] = chosen
        self.store["reward"][rows, t] = reward
        self.store["terminated"][rows, t, 0] = step.terminated
        self.store["truncated"][rows, t, 0] = step.truncated
        self._write(step.final, rows, t + 1)
        self.returns += step.reward
        self.t = t + 1
        self.last_actions = F.one_hot(actions, self.env.info.n_actions).float()
        self.observation = step.observation
        if not self.test_mode:
            self.t_env += self.env.n_envs
        return np.flatnonzero(step.terminated | step.truncated)

    def _finish(self, ended: NDArray[np.int64]) -> EpisodeBatch:
        """Takes the episodes of copies ``ended`` out, and begins those copies' next episodes."""
        lengths = self.t[ended]
        longest = int(lengths.max())
        steps = np.arange(longest + 1)
        data: dict[str, Tensor] = {}
        for name in self.keys:
            episodes = self.store[name][ended, : longest + 1]
            episodes[steps[None, :] > lengths[:, None]] = 0  # what an earlier, longer episode left there
            if name in ("actions", "reward", "terminated", "truncated"):
                episodes[np.arange(len(ended)), lengths] = 0
            data[name] = torch.from_numpy(episodes)
        filled = (steps[None, :] <= lengths[:, None]).astype(np.uint8)[..., None]
        data["filled"] = torch.from_numpy(filled)
        self.stats.returns.extend(self.returns[ended].copy())
        self.stats.lengths.extend(int(length) for length in lengths)
        self.episodes += len(ended)
        self._restart(ended)
        return EpisodeBatch(self.scheme, self.groups, data)

    def _restart(self, ended: NDArray[np.int64]) -> None:
        assert self.observation is not None
        self.t[ended] = 0
        self.returns[ended] = 0.0
        rows = torch.from_numpy(ended).to(self.carry.device)
        self.carry = self.carry.index_copy(0, rows, self.fresh_carry[rows])
        self.last_actions[rows.to(self.last_actions.device)] = 0.0
        self._write(self.observation, ended, np.zeros_like(ended))

    def run(self) -> EpisodeBatch:
        """Steps until at least one episode is finished, and returns what is."""
        if self.observation is None:
            self._begin()
        ended = self._step()
        while not len(ended):
            ended = self._step()
        return self._finish(ended)

    def collect(self, n_episodes: int) -> list[EpisodeBatch]:
        """At least ``n_episodes`` fresh episodes, the same number from every copy.

        (Taking those that finish first would favour short episodes.)
        """
        quota = -(-n_episodes // self.env.n_envs)
        done = np.zeros(self.env.n_envs, dtype=np.int64)
        batches: list[EpisodeBatch] = []
        kept, self.stats = EpisodeStats(), EpisodeStats()
        self._begin()
        while (done < quota).any():
            ended = self._step()
            if not len(ended):
                continue
            wanted = done[ended] < quota
            done[ended] += 1
            batch = self._finish(ended)
            if wanted.any():
                batches.append(batch[np.flatnonzero(wanted)])
                kept.returns.extend(r for r, w in zip(self.stats.returns, wanted, strict=True) if w)
                kept.lengths.extend(n for n, w in zip(self.stats.lengths, wanted, strict=True) if w)
            self.stats = EpisodeStats()
        self.stats = kept
        return batches


class Stopwatch:
    """Environment steps per second since the last look."""

    def __init__(self, t_env: int = 0) -> None:
        self.t_env, self.then = t_env, time.perf_counter()

    def rate(self, t_env: int) -> float:
        """Steps per second since the last call."""
        now = time.perf_counter()
        rate = (t_env - self.t_env) / max(now - self.then, 1e-9)
        self.t_env, self.then = t_env, now
        return rate
