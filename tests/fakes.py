"""Small test doubles and factories shared by the tests."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from omarl.components.episode_batch import EpisodeBatch, make_scheme
from omarl.controllers.basic_controller import BasicMAC
from omarl.opponents.pool import Member, Pool
from omarl.runners.rollout_runner import RolloutRunner
from omarl.types import EnvInfo, Observation, Step


class RecordingLogger:
    """PyMARL's logger, which stores all values."""

    def __init__(self) -> None:
        self.console_logger = logging.getLogger("test")
        self.rows: list[tuple[str, float, int]] = []

    def log_stat(self, key: str, value: float, t: int, to_sacred: bool = True) -> None:
        self.rows.append((key, float(value), t))

    def series(self, key: str) -> list[tuple[int, float]]:
        return [(t, v) for k, v, t in self.rows if k == key]


def env_info(**changes: Any) -> EnvInfo:
    """An environment with two agents, O=3, U=2, S=4 and at most five steps."""
    values = {
        "key": "fake",
        "agents": ("a_0", "a_1"),
        "agent_types": ("a", "a"),
        "obs_shape": 3,
        "obs_sizes": (3, 3),
        "n_actions": 2,
        "action_sizes": (2, 2),
        "state_shape": 4,
        "episode_limit": 5,
    }
    return EnvInfo(**{**values, **changes})


def args_for(info: EnvInfo, **changes: Any) -> SimpleNamespace:
    """The arguments that ``run.build`` passes to the parts, with small networks."""
    values = {
        "n_agents": info.n_agents,
        "n_actions": info.n_actions,
        "agent_types": info.agent_types,
        "device": "cpu",
        "common_reward": False,
        "reward_scalarisation": "sum",
        "hidden_dim": 8,
        "learner_log_interval": 10,
    }
    return SimpleNamespace(**{**values, **changes})


def random_batch(info: EnvInfo, lengths: list[int], seed: int = 0, common_reward: bool = False) -> EpisodeBatch:
    """Random episodes with these numbers of transitions, padded with zeros; each ends with a termination."""
    rng = np.random.default_rng(seed)
    scheme, groups = make_scheme(info, common_reward)
    B, T1, N, U = len(lengths), max(lengths) + 1, info.n_agents, info.n_actions
    data = {
        "obs": rng.normal(size=(B, T1, N, info.obs_shape)).astype(np.float32),
        "state": rng.normal(size=(B, T1, info.state_shape)).astype(np.float32),
        "actions": rng.integers(U, size=(B, T1, N, 1)),
        "avail_actions": np.ones((B, T1, N, U), np.uint8),
        "agent_mask": np.ones((B, T1, N), np.uint8),
        "reward": rng.normal(size=(B, T1, 1 if common_reward else N)).astype(np.float32),
        "terminated": np.zeros((B, T1, 1), np.uint8),
        "truncated": np.zeros((B, T1, 1), np.uint8),
        "filled": np.zeros((B, T1, 1), np.uint8),
    }
    for b, length in enumerate(lengths):
        data["filled"][b, : length + 1] = 1
        data["terminated"][b, length - 1] = 1
        for name in ("obs", "state", "avail_actions", "agent_mask", "actions"):
            data[name][b, length + 1 :] = 0
        data["reward"][b, length:] = 0
    return EpisodeBatch(scheme, groups, {k: torch.from_numpy(v) for k, v in data.items()})


class ClockEnv:
    """A vectorised environment whose values encode copy, episode and step.

    The episodes of copy e have the lengths ``lengths[e]``, repeated in turn. Observations and states are ``100 * e +
    10 * episode + t``. The reward of agent n at step t is ``t + n``. ``truncates``: episodes end by truncation.
    ``fails`` maps the number of a call of ``step`` to the copy that fails in it.
    """

    def __init__(
        self,
        lengths: list[list[int]],
        truncates: bool = False,
        info: EnvInfo | None = None,
        fails: dict[int, int] | None = None,
    ) -> None:
        self.info = info or env_info()
        self.fails, self.calls = fails or {}, 0
        self.lengths, self.truncates, self.n_envs = lengths, truncates, len(lengths)
        self.episode = np.full(self.n_envs, -1)
        self.t = np.zeros(self.n_envs, dtype=int)
        self.closed = False

    def _observe(self) -> Observation:
        info, E = self.info, self.n_envs
        stamp = (100.0 * np.arange(E) + 10.0 * self.episode + self.t).astype(np.float32)
        return Observation(
            obs=np.broadcast_to(stamp[:, None, None], (E, info.n_agents, info.obs_shape)).copy(),
            state=np.broadcast_to(stamp[:, None], (E, info.state_shape)).copy(),
            avail=np.ones((E, info.n_agents, info.n_actions), np.uint8),
            agent_mask=np.ones((E, info.n_agents), np.uint8),
        )

    def reset(self) -> Observation:
        self.episode += 1
        self.t[:] = 0
        return self._observe()

    def step(self, actions: np.ndarray) -> Step:
        before = self._observe()
        reward = (self.t[:, None] + np.arange(self.info.n_agents)).astype(np.float32)
        self.t += 1
        ended = np.array(
            [self.t[e] >= self.lengths[e][self.episode[e] % len(self.lengths[e])] for e in range(self.n_envs)]
        )
        final = self._observe()
        observation = final
        lost = np.arange(self.n_envs) == self.fails.get(self.calls, -1)
        self.calls += 1
        if lost.any():
            reward[lost] = 0
            for array, old in zip(final, before, strict=True):
                array[lost] = old[lost]
            ended = ended | lost
        if ended.any():
            self.episode[ended] += 1
            self.t[ended] = 0
            observation = self._observe()
        cut = ended if self.truncates else lost
        return Step(final, observation, reward, ended & ~cut, cut, lost if lost.any() else None)

    def close(self) -> None:
        self.closed = True


def rollouts_for(
    learner: Any, lengths: list[list[int]], truncates: bool, steps: int, **values: Any
) -> tuple[Any, Any]:
    """A rollout runner over ``ClockEnv`` and a learner, without recurrence, with discount 1/2 and a constant lr."""
    env = ClockEnv(lengths, truncates)
    args = args_for(env.info, rollout_steps=steps, use_rnn=False, gamma=0.5, lr_anneal=False)
    vars(args).update(values)
    scheme, groups = make_scheme(env.info, args.common_reward)
    torch.manual_seed(0)
    mac = BasicMAC(scheme, groups, args)
    return RolloutRunner(env, mac, scheme, groups, args), learner(mac, scheme, RecordingLogger(), args)


def pool_of(*names: str, split: str = "train") -> Pool:
    """A pool of scripts that is not stored in a file."""
    return Pool(Path(), "gymnasium", {}, tuple(Member(n, "script", "scripted", split, script=n) for n in names))
