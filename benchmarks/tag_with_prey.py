"""simple_tag with three learning predators and a scripted prey, as a PettingZoo environment.

If the prey learns too, the predators' return depends on the prey as much as on them. With a scripted prey, the
returns of different frameworks are comparable. The prey runs away from the nearest predator and turns back at the
edge, beyond which mpe2 gives it a penalty. It moves at every second step only, since it is faster than the predators.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from mpe2 import simple_tag_v3
from pettingzoo import ParallelEnv

PREY = "agent_0"
REST, LEFT, RIGHT, DOWN, UP = range(5)
EDGE = 0.9  # mpe2 gives a penalty beyond this coordinate


def flee(prey: np.ndarray, predators: np.ndarray) -> int:
    """The prey's action, one of mpe2's five, from its position [2] and the predators' positions [n, 2]."""
    nearest = predators[np.square(predators - prey).sum(1).argmin()]
    wish = prey - nearest
    wish = np.where(np.abs(prey) > EDGE, -2 * np.sign(prey), wish)
    axis = int(np.abs(wish).argmax())
    return ((LEFT, RIGHT), (DOWN, UP))[axis][int(wish[axis] > 0)]


class TagWithPrey(ParallelEnv):
    """mpe2's simple_tag_v3 for the predators; the prey is scripted."""

    metadata: ClassVar = {"name": "tag_with_prey", "is_parallelizable": True}
    render_mode = None  # SuperSuit reads it

    def __init__(self, max_cycles: int = 25, continuous_actions: bool = False) -> None:
        """Arguments: the number of steps of an episode; whether actions are forces in [0, 1], one for each choice."""
        self._env = simple_tag_v3.parallel_env(max_cycles=max_cycles, continuous_actions=continuous_actions)
        self._is_continuous = continuous_actions
        self._steps = 0
        self.possible_agents = [name for name in self._env.possible_agents if name != PREY]
        self.agents = self.possible_agents
        self.observation_spaces = {name: self._env.observation_space(name) for name in self.agents}
        self.action_spaces = {name: self._env.action_space(name) for name in self.agents}

    def observation_space(self, agent: str) -> object:
        """See PettingZoo."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> object:
        """See PettingZoo."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Starts a new episode."""
        seen, info = self._env.reset(seed=seed, options=options)
        self.agents = self.possible_agents
        self._steps = 0
        return self._team(seen), self._team(info)

    def step(self, actions: dict) -> tuple[dict, dict, dict, dict, dict]:
        """Steps with the predators' actions and the prey's scripted action."""
        places = {agent.name: agent.state.p_pos for agent in self._env.unwrapped.world.agents}
        predators = np.stack([places[name] for name in self.possible_agents])
        self._steps += 1
        prey = flee(places[PREY], predators) if self._steps % 2 else REST
        action = np.eye(5, dtype=np.float32)[prey] if self._is_continuous else prey
        outcome = self._env.step({**actions, PREY: action})
        self.agents = [name for name in self._env.agents if name != PREY]
        observations, rewards, terminations, truncations, infos = map(self._team, outcome)
        return observations, rewards, terminations, truncations, infos

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    @staticmethod
    def _team(values: dict) -> dict:
        return {name: value for name, value in values.items() if name != PREY}


parallel_env = TagWithPrey
