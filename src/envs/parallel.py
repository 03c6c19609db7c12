"""PettingZoo's ParallelEnv: all living agents act at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .adapter import Adapter, living, outcome
from .arrays import Frame


class ParallelAdapter(Adapter):
    """One ParallelEnv in array form."""

    def __init__(self, env: Any, key: str, episode_limit: int) -> None:
        agents = env.possible_agents
        seen, done = [env.observation_space(a) for a in agents], [env.action_space(a) for a in agents]
        super().__init__(env, key, episode_limit, agents, seen, done)

    def reset(self, seed: int | None, frame: Frame) -> None:
        observations, infos = self.env.reset() if seed is None else self.env.reset(seed=seed)
        self._alive = living(self.agents, self.env.agents, {}, {})
        self.write(frame, observations, infos, self._alive, self._alive)

    def step(self, actions: list[int], frame: Frame, reward: NDArray[np.float32]) -> tuple[bool, bool]:
        played = self._alive
        joint = zip(self.agents, actions, self.starts, played, strict=True)
        observations, rewards, terminations, truncations, infos = self.env.step(
            {agent: action + start for agent, action, start, plays in joint if plays}
        )
        # By possible agents: `env.agents` has already lost those whose last step this was.
        reward[:] = [rewards.get(a, 0) if plays else 0 for a, plays in zip(self.agents, played, strict=True)]
        self._alive = living(self.agents, self.env.agents, terminations, truncations)
        if any(self._alive):
            self.write(frame, observations, infos, self._alive, self._alive)
            return False, False
        cut_off, shown = outcome(self.agents, played, terminations, truncations)
        self.write(frame, observations, infos, shown, shown)
        self.conclude(frame)
        return not cut_off, cut_off
