"""An environment for each kind of action, in which an opponent dies, for tests of opponents and their models."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from omarl.envs.actions import actions_by_score
from omarl.games.game import Game, Scripts
from pettingzoo import ParallelEnv

STEPS, DIES_AT = 6, 2
BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
# of agents with all parts of an action, and of ``tough``, which lacks one if the kind allows it
SPACES: dict[str, tuple[spaces.Space, spaces.Space]] = {
    "discrete": (spaces.Discrete(3), spaces.Discrete(3)),
    "heads": (spaces.MultiDiscrete([3, 2]), spaces.MultiDiscrete([3, 2])),
    "bits": (spaces.MultiBinary(2), spaces.MultiBinary(2)),
    "continuous": (BOX, spaces.Box(-1.0, 1.0, (1,), np.float32)),
    "tuple": (spaces.Tuple((spaces.Discrete(3), BOX)), spaces.Tuple((spaces.Discrete(3), BOX))),
    "dict": (spaces.Dict({"turn": BOX, "fire": spaces.Discrete(3)}), spaces.Dict({"fire": spaces.Discrete(3)})),
    "mixed": (BOX, spaces.Discrete(3)),
}


class Still(Scripts):
    """Plays the first choices and the numbers 0: what a missing action looks like in arrays."""

    defaults = ("still",), ("still",)

    def __init__(self, names, noise, info, seats, n_envs, seed):
        self.info, self.seats = info, seats

    def act(self, rows, which, obs, avail):
        kind = self.info.actions
        return np.zeros((len(rows), len(self.seats), *kind.shape), kind.dtype)


class StillGame(Game):
    scripts = Still


class Kinds(ParallelEnv):
    """Observations count steps; ``frail`` dies after ``DIES_AT`` of ``STEPS`` steps."""

    metadata = {"name": "kinds_v0"}  # noqa: RUF012
    game = StillGame
    max_cycles = STEPS

    def __init__(self, kind: str) -> None:
        self.kind, self.possible_agents = kind, ["learner", "frail", "tough"]
        self.random = np.random.default_rng(0)

    @functools.cache  # noqa: B019
    def observation_space(self, agent):
        return spaces.Box(-9.0, 99.0, (2,), np.float32)

    @functools.cache  # noqa: B019
    def action_space(self, agent):
        return SPACES[self.kind][agent == "tough"]

    def _seen(self):
        return {agent: np.array([self.t, self.random.normal()], np.float32) for agent in self.agents}

    def reset(self, seed=None, options=None):
        self.random = np.random.default_rng(seed)
        self.agents, self.t = self.possible_agents[:], 0
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions):
        assert set(actions) == set(self.agents)
        assert all(self.action_space(agent).contains(action) for agent, action in actions.items())
        self.t += 1
        seen, agents = self._seen(), self.agents
        dead = {agent: agent == "frail" and self.t == DIES_AT for agent in agents}
        over = dict.fromkeys(agents, self.t == STEPS)
        self.agents = [agent for agent in agents if not dead[agent] and not over[agent]]
        nothing: dict[str, Any] = {agent: {} for agent in agents}
        return seen, dict.fromkeys(agents, 0.0), dead, over, nothing


class Trained(Kinds):
    """The same without scripted players."""

    game = None  # type: ignore[assignment]


class Restless(Still):
    """Other choices and numbers at each call."""

    def act(self, rows, which, obs, avail):
        rng = np.random.default_rng(int(1000 * obs[0, 0, 1] ** 2))
        scores = rng.random((len(rows), *avail.shape[1:]))
        return actions_by_score(self.info.actions, scores[:, self.seats] * avail[rows][:, self.seats])


class RestlessGame(StillGame):
    scripts = Restless


class Recorded(Kinds):
    """Keeps the actions that others than the learner played last."""

    game = RestlessGame
    received: ClassVar[dict[str, Any]] = {}

    def step(self, actions):
        Recorded.received = {name: action for name, action in actions.items() if name != "learner"}
        return super().step(actions)
