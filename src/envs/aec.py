"""PettingZoo's AECEnv: one agent acts a turn, and the others wait under a turn mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .adapter import Adapter, living, outcome
from .arrays import Frame


class AECAdapter(Adapter):
    """One AECEnv in array form: a step is one agent's turn.

    Not every AECEnv can be made parallel, so none is. Waiting agents are alive, see the game at every turn,
    and have action 0 alone, which is ignored. An agent's reward is what the turn gave it, whoever acted.
    """

    def __init__(self, env: Any, key: str, episode_limit: int) -> None:
        agents = env.possible_agents
        seen, done = [env.observation_space(a) for a in agents], [env.action_space(a) for a in agents]
        super().__init__(env, key, episode_limit, agents, seen, done)

    def reset(self, seed: int | None, frame: Frame) -> None:
        if seed is None:
            self.env.reset()
        else:
            self.env.reset(seed=seed)
        self._alive = living(self.agents, self.env.agents, self.env.terminations, self.env.truncations)
        self._write_turn(frame, self._alive)

    def step(self, actions: list[int], frame: Frame, reward: NDArray[np.float32]) -> tuple[bool, bool]:
        env, played = self.env, self._alive
        actor = self.index[env.agent_selection]
        env.step(actions[actor] + self.starts[actor])
        given = env.rewards
        reward[:] = [given.get(a, 0) if plays else 0 for a, plays in zip(self.agents, played, strict=True)]
        self._alive = living(self.agents, env.agents, env.terminations, env.truncations)
        if any(self._alive):
            self._remove_dead()
            self._write_turn(frame, self._alive)
            return False, False
        cut_off, shown = outcome(self.agents, played, env.terminations, env.truncations)
        self._write_turn(frame, shown)  # nobody is removed yet, so that all can still be observed
        self.conclude(frame)
        return not cut_off, cut_off

    def _write_turn(self, frame: Frame, alive: list[bool]) -> None:
        env, turn = self.env, self.env.agent_selection
        acting = [lives and a == turn for a, lives in zip(self.agents, alive, strict=True)]
        observations = {a: env.observe(a) for a, lives in zip(self.agents, alive, strict=True) if lives}
        self.write(frame, observations, env.infos, alive, acting)

    def _remove_dead(self) -> None:
        """Gives the dead their empty turns, which is how an AECEnv takes them out."""
        env = self.env
        while env.terminations[env.agent_selection] or env.truncations[env.agent_selection]:
            env.step(None)
