"""A PettingZoo environment of any size whose steps cost little, for ``scaling.py``."""

from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv

OBS, ACTIONS = 16, 5  # features of an observation, and actions


class ScalingEnv(ParallelEnv):
    """Agents see features that follow a random walk, and are rewarded for the action that the first feature names.

    Args:
        agents: their number.
        steps: of each episode.
        features: of the state, at least 1.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "scaling_env"}

    def __init__(self, agents: int = 4, steps: int = 25, features: int = 64) -> None:
        self.possible_agents = [f"agent_{i}" for i in range(agents)]
        self.agents: list[str] = []
        self.episode_limit, self.features = steps, features
        self.state_space = Box(-np.inf, np.inf, (features,), np.float32)
        self.spaces = Box(-np.inf, np.inf, (OBS,), np.float32), Discrete(ACTIONS)
        self.rng = np.random.default_rng(0)

    def observation_space(self, agent: str) -> Box:
        """The space of every agent."""
        return self.spaces[0]

    def action_space(self, agent: str) -> Discrete:
        """The space of every agent."""
        return self.spaces[1]

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begins an episode."""
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents, self.t = list(self.possible_agents), 0
        self.walk = self.rng.normal(size=self.features).astype(np.float32)
        self.seen = self.rng.normal(size=(len(self.agents), OBS)).astype(np.float32)
        return dict(zip(self.agents, self.seen, strict=True)), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        """One step of all agents."""
        wanted = (self.seen[:, 0] * ACTIONS).astype(int) % ACTIONS
        reward = {agent: float(actions[agent] == wanted[i]) for i, agent in enumerate(self.agents)}
        self.t += 1
        self.walk = self.walk * 0.9 + self.rng.normal(size=self.features).astype(np.float32) * 0.1
        self.seen = self.seen * 0.9 + self.rng.normal(size=self.seen.shape).astype(np.float32) * 0.1
        ends = {agent: self.t == self.episode_limit for agent in self.agents}
        seen = dict(zip(self.agents, self.seen, strict=True))
        found: tuple[dict[str, Any], ...] = (
            seen,
            reward,
            {agent: False for agent in self.agents},
            ends,
            {agent: {} for agent in self.agents},
        )
        if self.t == self.episode_limit:
            self.agents = []
        return found

    def state(self) -> np.ndarray[Any, Any]:
        """The random walk."""
        return self.walk
