"""Environments that differ in form from PettingZoo's contract, as real ones do; each can be played."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from toy_envs import MaskedInObs, Pair, Toy, Turns


class Vectors(Toy):
    """Rewards are vectors of two numbers: the time, and 1 for bee."""

    def step(self, actions: dict[str, int]) -> Any:
        observations, rewards, *rest = super().step(actions)
        vectors = {agent: np.array([self.t, agent == "bee"], np.float32) for agent in rewards}
        return (observations, vectors, *rest)


class VectorTurns(Turns):
    """The turn-based game with rewards as lists of two numbers."""

    def step(self, action: int | None) -> None:
        super().step(action)
        self.rewards = {agent: [value, 10.0] for agent, value in self.rewards.items() if not isinstance(value, list)}


class VectorPair(Pair):
    """Two agents with three rewards each, or with one vector for both."""

    def __init__(self, joint: bool = False) -> None:
        super().__init__(length=5)
        self.joint, self.max_steps = joint, 5

    def step(self, action: tuple[int, int]) -> Any:
        observations, _, *rest = super().step(action)
        rewards = [1.0, 2.0, 3.0]
        return (observations, rewards if self.joint else [rewards, [4.0, 5.0, 6.0]], *rest)


class ForAll(Toy):
    """Only ``__all__`` reports the end, as in RLlib; ``agents`` remains full."""

    def step(self, actions: dict[str, int]) -> Any:
        observations, rewards, ends, cuts, infos = super().step(actions)
        self.agents = self.possible_agents[:]
        return observations, rewards, {"__all__": any(ends.values())}, {"__all__": any(cuts.values())}, infos


class NothingAtTheEnd(Toy):
    """The observations are those of living agents; the last ones are empty."""

    def step(self, actions: dict[str, int]) -> Any:
        observations, *rest = super().step(actions)
        return ({agent: row for agent, row in observations.items() if agent in self.agents}, *rest)


class MaskBesideBox(MaskedInObs):
    """The mask is in the observation, but not in its space; ``entry`` is the other one."""

    def __init__(self, entry: str = "observation", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.entry = entry

    def observation_space(self, agent: str) -> spaces.Space:
        return spaces.Box(0, 99, (2,))

    def observe(self) -> dict[str, Any]:
        rows = {self.entry: np.array([self.t, 7]), "action_mask": self.mask()}
        return dict.fromkeys(self.playing, rows)


class AnyOrder(Toy):
    """Agents and dictionaries come in an order that changes at every step; ``possible_agents`` is a set."""

    def __init__(self) -> None:
        super().__init__(length=4)
        self.possible_agents = {*self.possible_agents}  # type: ignore[assignment]

    def observe(self) -> dict[str, Any]:
        names = ["ant_0", "ant_1", "bee"]
        return {a: np.full(4 if a == "bee" else 2, 10 * names.index(a) + self.t) for a in self.shuffled()}

    def shuffled(self) -> list[str]:
        names = ["ant_0", "ant_1", "bee"]
        return names[self.t % 3 :] + names[: self.t % 3]

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.t = 0
        self.agents = self.shuffled()
        return self.observe(), {}

    def step(self, actions: dict[str, int]) -> Any:
        self.t += 1
        self.received = actions
        over = self.t >= 4
        self.agents = [] if over else self.shuffled()
        rewards = {a: {"ant_0": 1.0, "ant_1": 2.0, "bee": 3.0}[a] for a in self.shuffled()}
        return self.observe(), rewards, dict.fromkeys(self.shuffled(), over), {}, {}


class Box:
    """A space of the old package gym."""

    __module__ = "gym.spaces.box"
    shape = (2,)


class OldSpaces(Toy):
    def observation_space(self, agent: str) -> Any:
        return Box()


class OldActions(Toy):
    def action_space(self, agent: str) -> Any:
        return Box()


class OldPair(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = Box()  # type: ignore[assignment]


def single_agent() -> gymnasium.Env:
    return gymnasium.make("CartPole-v1")


def single_agent_with_a_table() -> gymnasium.Env:
    env = gymnasium.make("CartPole-v1")
    low = np.arange(4.0).reshape(2, 2)
    env.observation_space = spaces.Box(low, low + 1)
    return env


class ByNumber(gymnasium.Env):
    """Two agents, 0 and 1, in Dicts, as in multigrid; agent 0 ends one step before agent 1."""

    max_steps = 3

    def __init__(self) -> None:
        self.observation_space = spaces.Dict({i: spaces.Box(0, 99, (2 + i,)) for i in range(2)})
        self.action_space = spaces.Dict({i: spaces.Discrete(2 + i) for i in range(2)})

    def observe(self) -> dict[int, Any]:
        return {i: np.full(2 + i, 10 * i + self.t, np.float32) for i in range(2)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.t = 0
        return self.observe(), {}

    def step(self, actions: dict[int, int]) -> Any:
        self.t += 1
        rewards = {i: 10.0 * i + actions.get(i, -1) for i in range(2)}
        return self.observe(), rewards, {0: self.t >= 2, 1: False}, {0: False, 1: self.t >= 3}, {}


class LostTurn(Turns):
    """After an agent has died and was removed, it is its turn again."""

    def step(self, action: int | None) -> None:
        super().step(action)
        if "frail" not in self.agents:
            self.agent_selection = "frail"


class FailsToClose(Toy):
    def close(self) -> None:
        raise SystemExit


def says_what_is_missing() -> Any:
    raise ImportError("OpenDrift not installed: pip install DSSE[coverage]")


def doubled_spread() -> Any:
    """simple_spread in a wrapper that shows every observation twice."""
    from mpe2 import simple_spread_v3
    from pettingzoo.utils.wrappers import BaseParallelWrapper

    class Doubled(BaseParallelWrapper):
        def observation_space(self, agent: str) -> spaces.Space:
            return spaces.Box(-np.inf, np.inf, (2 * self.env.observation_space(agent).shape[0],))

        def reset(self, seed: int | None = None, options: Any = None) -> Any:
            observations, infos = self.env.reset(seed=seed)
            return {agent: np.tile(row, 2) for agent, row in observations.items()}, infos

        def step(self, actions: dict[str, int]) -> Any:
            observations, *rest = self.env.step(actions)
            return ({agent: np.tile(row, 2) for agent, row in observations.items()}, *rest)

    return Doubled(simple_spread_v3.parallel_env())
