"""Small environments with known numbers, each for one difficulty of multi-agent environments."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv


class Toy(ParallelEnv):
    """Three agents of unequal sizes; observations count steps. ``ending`` is the kind of end."""

    metadata = {"name": "toy"}  # noqa: RUF012

    def __init__(self, length: int = 3, ending: str = "terminate", dies_at: int = 0, max_cycles: int = 10) -> None:
        self.possible_agents = ["ant_0", "ant_1", "bee"]
        self.length, self.ending, self.dies_at, self.max_cycles = length, ending, dies_at, max_cycles
        self.received: dict[str, int] = {}

    def observation_space(self, agent: str) -> spaces.Space:
        return spaces.Box(-np.inf, np.inf, (4 if agent == "bee" else 2,), np.float32)

    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Discrete(5, start=10) if agent == "bee" else spaces.Discrete(3)

    def observe(self) -> dict[str, Any]:
        return {
            agent: np.full(self.observation_space(agent).shape, 10 * i + self.t + 1, np.float64)
            for i, agent in enumerate(self.possible_agents)
            if agent in self.playing
        }

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        self.t = 0
        self.playing = self.agents = self.possible_agents[:]
        return self.observe(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        assert set(actions) == set(self.agents), f"actions of {sorted(actions)} for {self.agents}"
        self.received = actions
        self.t += 1
        self.playing = self.agents
        over = self.t >= self.length
        ends = {agent: (over and self.ending != "truncate") for agent in self.agents}
        cuts = {agent: (over and self.ending == "truncate") for agent in self.agents}
        if over and self.ending == "mixed":
            ends["bee"], cuts["bee"] = False, True
        if self.t == self.dies_at:
            ends["ant_1"] = True
        rewards = {a: 5.0 if self.t == self.dies_at and a == "ant_1" else 0.5 + self.t for a in self.agents}
        result = self.observe(), rewards, ends, cuts, {agent: {} for agent in self.agents}
        self.agents = [a for a in self.agents if not ends[a] and not cuts[a]]
        return result


class Stateful(Toy):
    """The state is an image."""

    def state(self) -> np.ndarray:
        return np.full((2, 2, 3), 51, np.uint8)


class StateUntilTheEnd(Toy):
    """The state is the step; it cannot be read when the episode is over."""

    def state(self) -> np.ndarray:
        if not self.agents:
            raise AttributeError("nobody is left")
        return np.array([self.t], np.float32)


class BrokenState(Toy):
    """The attribute ``state`` is a dict, as in rock-paper-scissors."""

    state = {}  # type: ignore[assignment] # noqa: RUF012


class Endless(Toy):
    """Never ends, and declares no limit."""

    def __init__(self) -> None:
        super().__init__(length=10**9)
        del self.max_cycles


class Limited(Endless):
    """Never ends; states its limit as the attribute ``name``, of itself or of what it wraps."""

    def __init__(self, name: str, steps: Any = 7, inside: bool = False) -> None:
        super().__init__()
        owner = Bare() if inside else self
        setattr(owner, name, steps)
        if inside:
            self.env = owner


class Unlimited(Toy):
    """Ends by itself after ``length`` steps, and states no limit. ``early``: the first one ends after one step."""

    def __init__(self, length: int = 3, ending: str = "terminate", early: bool = False) -> None:
        super().__init__(length, ending)
        self.usual, self.is_early = (length, ending), early
        del self.max_cycles

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        self.length, self.ending = (1, "terminate") if self.is_early else self.usual
        self.is_early = False
        return super().reset(seed, options)


class Bare:
    """An object without attributes."""


class MaskedInObs(Toy):
    """Only action ``t % 3`` is available; the mask is in the observation."""

    def observation_space(self, agent: str) -> spaces.Space:
        return spaces.Dict({"action_mask": spaces.MultiBinary(3), "observation": spaces.Discrete(20)})

    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Discrete(3)

    def mask(self) -> np.ndarray:
        return np.eye(3, dtype=np.int8)[self.t % 3]

    def observe(self) -> dict[str, Any]:
        return {agent: {"observation": self.t, "action_mask": self.mask()} for agent in self.playing}


class MaskedInInfo(MaskedInObs):
    """The same mask, in info."""

    def observation_space(self, agent: str) -> spaces.Space:
        return spaces.Discrete(20)

    def observe(self) -> dict[str, Any]:
        return dict.fromkeys(self.playing, self.t)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        observations, _ = super().reset()
        return observations, {agent: {"action_mask": self.mask()} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        *rest, infos = super().step(actions)
        return (*rest, {agent: {"action_mask": self.mask()} for agent in infos})  # type: ignore[return-value]


class NothingAvailable(MaskedInObs):
    """Masks every action from the second step on."""

    def mask(self) -> np.ndarray:
        return np.full(3, self.t < 1)


class Continuous(Toy):
    """The ants have a number in [2, 6] and one without bounds, the bee a 3 x 1 array with a lower bound only."""

    def action_space(self, agent: str) -> spaces.Space:
        if agent == "bee":
            return spaces.Box(np.float32(-1), np.float32(np.inf), (3, 1))
        return spaces.Box(np.array([2, -np.inf], np.float32), np.array([6, np.inf], np.float32))


class Switches(Toy):
    """The ants choose one of 3 and one of 2, the bee one of 4, counted from 10."""

    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Discrete(4, start=10) if agent == "bee" else spaces.MultiDiscrete([3, 2], start=[0, 1])


class Bits(Toy):
    def action_space(self, agent: str) -> spaces.Space:
        return spaces.MultiBinary(2)


class MixedActions(Toy):
    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Box(0, 1, (2,)) if agent == "bee" else spaces.Discrete(3)


class Words(Toy):
    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Text(5)


class TupleOfWords(Toy):
    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Tuple((spaces.Text(5),))


class ContinuousTurns(AECEnv):
    """``left`` and ``right`` give a number in [0, 1] in turn; the episode ends after three rounds."""

    metadata = {"name": "continuous_turns"}  # noqa: RUF012
    max_cycles = 3

    def __init__(self) -> None:
        self.possible_agents = ["left", "right"]

    def observation_space(self, agent: str) -> spaces.Space:
        return spaces.Box(-1, 10, (1,), np.float32)

    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Box(0, 1, (1,), np.float32)

    def observe(self, agent: str) -> Any:
        return np.array([len(self.played)], np.float32)

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.played: list[tuple[str, float]] = []
        self.agents, self.agent_selection = self.possible_agents[:], "left"
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations, self.truncations = dict.fromkeys(self.agents, False), dict.fromkeys(self.agents, False)
        self.infos: dict[str, dict] = {agent: {} for agent in self.agents}

    def step(self, action: Any) -> None:
        self.played.append((self.agent_selection, float(action[0])))
        self.rewards = dict.fromkeys(self.agents, float(action[0]))
        self.agent_selection = "right" if self.agent_selection == "left" else "left"
        if len(self.played) == 6:
            self.terminations = dict.fromkeys(self.agents, True)


class Spaceless(Toy):
    def observation_space(self, agent: str) -> spaces.Space:
        raise KeyError(agent)


class Raising(Toy):
    def step(self, actions: dict[str, int]) -> Any:
        if self.t == 1:
            raise ValueError("the roof\nfell in")
        return super().step(actions)


class RaisingInReset(Toy):
    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        if seed:  # the copies fail; the environment that only gives its spaces has seed 0 and does not
            raise KeyError("no such level")
        return super().reset()


class RaisingAtOnce(Toy):
    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        raise OSError("no display")


class NotANumber(Toy):
    """NaN in ``what`` at the second step."""

    def __init__(self, what: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.what = what

    def state(self) -> np.ndarray:
        return np.array([np.nan if self.what == "state" and self.t == 2 else 1.0])

    def step(self, actions: dict[str, int]) -> Any:
        observations, rewards, *rest = super().step(actions)
        if self.t == 2 and self.what == "reward":
            rewards["ant_1"] = np.inf
        if self.t == 2 and self.what == "observation":
            observations["bee"][3] = np.nan
        return (observations, rewards, *rest)


class Suicidal(Toy):
    """Kills its own process at the second step."""

    def step(self, actions: dict[str, int]) -> Any:
        if self.t == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(actions)


class Slow(Toy):
    def step(self, actions: dict[str, int]) -> Any:
        time.sleep(2e-3)
        return super().step(actions)


class Stuck(Toy):
    def step(self, actions: dict[str, int]) -> Any:
        time.sleep(1000)


class Gambler(Toy):
    """Draws from the generators of Python, NumPy, the environment and its space."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.luck = spaces.Discrete(1000)
        self.rng = np.random.default_rng()

    def observation_space(self, agent: str) -> spaces.Space:
        return spaces.Box(-np.inf, np.inf, (5,))

    def action_space(self, agent: str) -> spaces.Space:
        return self.luck

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.length = int(self.rng.integers(2, 6))
        return super().reset()

    def observe(self) -> dict[str, Any]:
        draws = [random.random(), np.random.rand(), np.random.randn(), self.rng.random(), self.luck.sample()]
        return {agent: np.array(draws) + i for i, agent in enumerate(self.playing)}


class Turns(AECEnv):
    """Each turn adds the action to the actor's tally; ``frail`` dies on its second turn, the others continue."""

    metadata = {"name": "turns"}  # noqa: RUF012

    def __init__(self, rounds: int = 3, ending: str = "terminate", max_cycles: int = 4) -> None:
        self.possible_agents = ["frail", "tough_0", "tough_1"]
        self.rounds, self.ending, self.max_cycles = rounds, ending, max_cycles

    def observation_space(self, agent: str) -> spaces.Space:
        mask = spaces.Box(0, 1, (4,), np.int8)
        return spaces.Dict({"observation": spaces.Box(-99, 99, (1, 2), np.int64), "action_mask": mask})

    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Discrete(4)

    def observe(self, agent: str) -> dict[str, np.ndarray]:
        mask = np.array([0, 1, 1, 1] if agent == self.agent_selection else [0, 0, 0, 0], np.int8)
        return {"observation": np.array([[self.tally[agent], self.t]]), "action_mask": mask}

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.t = 0
        self.agents = self.possible_agents[:]
        self.tally = dict.fromkeys(self.agents, 0)
        self.rewards = dict.fromkeys(self.agents, 0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}
        self.agent_selection = self.agents[0]

    def step(self, action: int | None) -> None:
        actor = self.agent_selection
        if self.terminations[actor] or self.truncations[actor]:
            self._was_dead_step(action)
            return
        self.t += 1
        self.tally[actor] += action
        order = self.agents
        self.agent_selection = order[(order.index(actor) + 1) % len(order)]
        self.rewards = {agent: float(action) if agent == actor else -0.25 for agent in self.agents}
        if actor == "frail" and self.tally["frail"] > 1:
            self.terminations["frail"] = True
            self._deads_step_first()
        if self.t >= 3 * self.rounds - 1:
            flags = self.truncations if self.ending == "truncate" else self.terminations
            flags.update(dict.fromkeys(self.agents, True))


class UnlimitedTurns(Turns):
    """A turn-based game that ends by itself, and states no limit."""

    def __init__(self) -> None:
        super().__init__()
        del self.max_cycles


class Pair(gymnasium.Env):
    """Two agents in Tuples, with a team reward, an action mask in info, and flags for each."""

    def __init__(self, length: int = 2, ending: str = "terminate") -> None:
        part = spaces.Tuple((spaces.Discrete(3, start=-1), spaces.MultiBinary(2)))
        self.observation_space = spaces.Tuple((part, part))
        self.action_space = spaces.Tuple((spaces.Discrete(2, start=1), spaces.Discrete(4)))
        self.length, self.ending = length, ending

    def _show(self) -> tuple[Any, dict[str, Any]]:
        both = (self.t % 3 - 1, np.array([1, 0]))
        return (both, both), {"action_mask": [np.array([1, 1]), np.array([0, 1, 0, 1])]}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self._show()

    def step(self, action: tuple[int, int]) -> Any:
        assert action[0] in (1, 2)
        self.t += 1
        over = self.t >= self.length
        observations, info = self._show()
        return observations, 2.5, [over and self.ending == "terminate"] * 2, over, info


class Arrays:
    """An environment with its own vectorisation."""

    vectorised = True

    def __init__(self, n_envs: int, seed: int, size: int = 1) -> None:
        self.n_envs, self.seed, self.size = n_envs, seed, size


class Recorder:
    """Records the results of a ParallelEnv, and the seeds of its resets."""

    def __init__(self, env: Any) -> None:
        self.env, self.unwrapped = env, env.unwrapped
        self.log: list[Any] = []
        self.seeds: list[int | None] = []
        self.possible_agents = env.possible_agents
        self.observation_space, self.action_space, self.state = env.observation_space, env.action_space, env.state
        recorders.append(self)

    @property
    def agents(self) -> list[str]:
        return self.env.agents

    def reset(self, seed: int | None = None) -> Any:
        self.seeds.append(seed)
        observations, infos = self.env.reset(seed=seed)
        self.log.append((observations, None, None, None, self.env.state()))
        return observations, infos

    def step(self, actions: dict[str, int]) -> Any:
        result = self.env.step(actions)
        self.log.append((*result[:4], self.env.state()))
        return result


recorders: list[Recorder] = []


def recorded_tag(**kwargs: Any) -> Recorder:
    from mpe2 import simple_tag_v3

    return Recorder(simple_tag_v3.parallel_env(**kwargs))


def noisy_tag() -> Any:
    """simple_tag with action noise, which mpe2 draws from NumPy's global generator."""
    from mpe2 import simple_tag_v3

    env = simple_tag_v3.parallel_env(max_cycles=8)
    for agent in env.unwrapped.world.agents:
        agent.u_noise = 0.5
    return env


def not_an_environment() -> object:
    return object()


class Unseeded(Toy):
    """Observations are noise that no seed determines."""

    def observe(self) -> dict[str, Any]:
        return {agent: rows + np.random.default_rng().random() for agent, rows in super().observe().items()}
