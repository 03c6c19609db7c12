"""An environment with continuous actions and a known optimum."""

from __future__ import annotations

import functools

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Aim(ParallelEnv):
    """Two archers observe their own target in [1, 3] and name a number in [0, 8]; 4 steps of new targets.

    The reward is minus the squared distance from the target. The first ``choosers`` of the archers have integers from
    0 to 4 as targets, and their number is the sum of two choices from 0 to 2, MultiDiscrete([3, 3]).
    """

    metadata = {"name": "aim_v0"}  # noqa: RUF012
    max_cycles = 4

    def __init__(self, choosers: int = 0) -> None:
        self.possible_agents = ["archer_0", "archer_1"]
        self.choosers = self.possible_agents[:choosers]

    @functools.cache  # noqa: B019
    def observation_space(self, agent):
        return spaces.Box(-2.0, 2.0, (1,), np.float32)

    @functools.cache  # noqa: B019
    def action_space(self, agent):
        return spaces.MultiDiscrete([3, 3]) if agent in self.choosers else spaces.Box(0.0, 8.0, (1,), np.float32)

    def _observe(self):
        self.targets = {
            agent: self.random.integers(5) if agent in self.choosers else self.random.uniform(1, 3)
            for agent in self.possible_agents
        }
        return {agent: np.array([target - 2], np.float32) for agent, target in self.targets.items()}

    def reset(self, seed=None, options=None):
        self.random, self.t, self.agents = np.random.default_rng(seed), 0, self.possible_agents[:]
        return self._observe(), {agent: {} for agent in self.agents}

    def step(self, actions):
        assert all(self.action_space(agent).contains(action) for agent, action in actions.items())
        self.t += 1
        rewards = {agent: -float((actions[agent].sum() - target) ** 2) for agent, target in self.targets.items()}
        over = dict.fromkeys(self.possible_agents, self.t == self.max_cycles)
        result = self._observe(), rewards, over, dict.fromkeys(over, False), {agent: {} for agent in over}
        if self.t == self.max_cycles:
            self.agents = []
        return result

    def render(self):
        return np.full((16, 16, 3), 50 * self.t, np.uint8)
