"""Games in which opponents die or wait, with scripted players and places, for tests of opponent models."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium
import numpy as np
from omarl.games.game import Game, Scripts
from omarl.games.layout import Layout
from pettingzoo import AECEnv, ParallelEnv

NAMES = ["learner", "frail", "tough"]
STEPS = 8
DIES_AT = 3  # steps that ``frail`` plays


class Ones(Scripts):
    """Plays action 1 or 2 at every step, whatever is available."""

    defaults = ("one",), ("two",)

    def __init__(self, names, noise, info, seats, n_envs, seed):
        self.action, self.seats = np.array([["one", "two"].index(name) + 1 for name in names]), seats

    def act(self, rows, which, obs, avail):
        return np.repeat(self.action[which][:, None], len(self.seats), axis=1)


class Square(Game):
    """An observation is the position of its player."""

    scripts = Ones

    @staticmethod
    def layout(info):
        return Layout(np.arange(2 * info.n_agents).reshape(-1, 2), near=0.4)


def where(agent: str, t: int) -> np.ndarray:
    """The position of an agent after ``t`` steps, never 0."""
    return np.array([1.0 + t, 10.0 * (1 + NAMES.index(agent))], np.float32)


class Mortal(ParallelEnv):
    """``frail`` dies after ``DIES_AT`` of ``STEPS`` steps; its position is 0 from then on."""

    metadata = {"name": "mortal_v0"}  # noqa: RUF012
    game = Square
    max_cycles = STEPS

    def __init__(self, render_mode: str | None = None) -> None:
        self.possible_agents = list(NAMES)

    @functools.cache  # noqa: B019
    def observation_space(self, agent):
        return gymnasium.spaces.Box(-99.0, 99.0, (2,), np.float32)

    @functools.cache  # noqa: B019
    def action_space(self, agent):
        return gymnasium.spaces.Discrete(3)

    def reset(self, seed=None, options=None):
        self.agents, self.t = list(NAMES), 0
        return {a: where(a, 0) for a in self.agents}, {a: {} for a in self.agents}

    def step(self, actions):
        self.t += 1
        agents, over = self.agents, self.t >= STEPS
        dead = {a: self.t == DIES_AT and a == "frail" for a in agents}
        seen = {a: where(a, self.t) for a in agents}
        self.agents = [a for a in agents if not dead[a] and not over]
        nothing: dict[str, Any] = {a: {} for a in agents}
        return seen, dict.fromkeys(agents, 0.0), dead, dict.fromkeys(agents, over), nothing


class Turns(AECEnv):
    """The three players act in turn."""

    metadata = {"name": "turns_v0"}  # noqa: RUF012
    game = Square
    max_cycles = STEPS

    def __init__(self, render_mode: str | None = None) -> None:
        self.possible_agents = list(NAMES)

    @functools.cache  # noqa: B019
    def observation_space(self, agent):
        return gymnasium.spaces.Box(-99.0, 99.0, (2,), np.float32)

    @functools.cache  # noqa: B019
    def action_space(self, agent):
        return gymnasium.spaces.Discrete(3)

    def observe(self, agent):
        return where(agent, self.t)

    def reset(self, seed=None, options=None):
        self.agents, self.t = list(NAMES), 0
        self.rewards = self._cumulative_rewards = dict.fromkeys(NAMES, 0.0)
        self.terminations, self.truncations = dict.fromkeys(NAMES, False), dict.fromkeys(NAMES, False)
        self.infos: dict[str, Any] = {a: {} for a in NAMES}
        self.agent_selection = NAMES[0]

    def step(self, action):
        if self.terminations[self.agent_selection] or self.truncations[self.agent_selection]:
            self._was_dead_step(action)
            return
        self.t += 1
        self.agent_selection = NAMES[self.t % len(NAMES)]
        if self.t >= STEPS:
            self.truncations = dict.fromkeys(NAMES, True)
