"""The stag hunt as a PettingZoo environment.

Run it with ``PYTHONPATH=benchmarks python main.py --config=omg_vae with env_args.key=stag_hunt_env t_max=60000``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv
from stag_hunt import CELLS, LIMIT, MOVES, PLANES, SIZE, StagHunt

Observations = dict[str, NDArray[np.float32]]


class StagHuntEnv(ParallelEnv):
    """Two hunters observe all five planes; the state contains the planes once."""

    metadata = {"name": "stag_hunt"}  # noqa: RUF012 (PettingZoo's interface)

    def __init__(self) -> None:
        self.max_cycles = LIMIT
        self.possible_agents = ["hunter_0", "hunter_1"]
        self.agents: list[str] = []
        planes = spaces.Box(0, 1, (len(PLANES), SIZE, SIZE), np.float32)
        self.observation_spaces = dict.fromkeys(self.possible_agents, planes)
        self.action_spaces = {agent: spaces.Discrete(len(MOVES)) for agent in self.possible_agents}
        self.state_space = spaces.Box(0, 1, (len(PLANES) * CELLS,), np.float32)
        self.game = StagHunt(np.random.default_rng())

    def observation_space(self, agent: str) -> spaces.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Observations, dict[str, Any]]:
        if seed is not None:
            self.game = StagHunt(np.random.default_rng(seed))
        self.game.reset()
        self.agents = list(self.possible_agents)
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[Any, ...]:
        _, rewards, ended = self.game.step((actions["hunter_0"], actions["hunter_1"]))
        agents, no = self.agents, dict.fromkeys(self.agents, False)
        if ended:
            self.agents = []
        # the game's only end is its limit of steps
        truncated = dict.fromkeys(agents, ended)
        return self._observations(), dict(zip(agents, rewards, strict=True)), no, truncated, {a: {} for a in agents}

    def state(self) -> NDArray[np.float32]:
        return self.game.state()

    def _observations(self) -> Observations:
        shape = (len(PLANES), SIZE, SIZE)
        return {agent: self.game.observation(i).reshape(shape) for i, agent in enumerate(self.possible_agents)}


def parallel_env(max_cycles: int = LIMIT) -> StagHuntEnv:
    """The environment; its episodes last ``LIMIT`` steps."""
    return StagHuntEnv()
