"""Environments with one fault each, for faulty_environments.py and the tests: ``world(fault=NAME)``.

``FAULTS`` maps a fault's name to its environment, a text that the message must contain, and where it is tried: in the
main process (0 workers), in 2 workers, or both.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

AGENTS = ["ant", "bee"]
TRIED_STEPS = 5  # of a copy in training
Both = tuple[Any, Any]


class World(ParallelEnv):
    """Two agents, three actions, random observations of three numbers and episodes of six steps; no fault.

    A fault is a method that replaces one of these: ``start`` (at the end of reset), ``move`` (at the third step),
    ``view`` (an observation at the third step or later), ``pay`` (the rewards), ``end`` (the result of step).
    """

    metadata = {"name": "world"}  # noqa: RUF012

    def __init__(self, **faults: Any) -> None:
        self.possible_agents = AGENTS[:]
        self.faults = faults
        self.t = self.episode = self.steps = 0
        if "make" in faults:
            faults["make"](self)

    def observation_space(self, agent: str) -> spaces.Space:
        return self.faults.get("space", spaces.Box(-1, 1, (3,), np.float32))

    def action_space(self, agent: str) -> spaces.Space:
        return self.faults.get("actions", spaces.Discrete(3))

    def observe(self) -> Any:
        view = self.faults.get("view")
        seen: Any = {a: self.rng.random(3) for a in AGENTS}
        if isinstance(self.observation_space("bee"), spaces.Discrete):
            seen = {a: int(self.rng.integers(4)) for a in AGENTS}
        for agent in AGENTS if isinstance(self.observation_space("bee"), spaces.Dict) else ():
            seen[agent] = {"observation": seen[agent].astype(np.float32), "action_mask": np.ones(3, np.int8)}
        return view(seen) if view is not None and self.t >= 3 else seen

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.rng = np.random.default_rng(seed)
        self.t, self.episode = 0, self.episode + 1
        self.agents = AGENTS[:]
        result = self.observe(), {agent: {} for agent in AGENTS}
        return self.faults["start"](self, result) if "start" in self.faults else result

    def step(self, actions: dict[str, int]) -> Any:
        self.t, self.steps = self.t + 1, self.steps + 1
        if self.t == 3 and "move" in self.faults:
            self.faults["move"](self)
        over = dict.fromkeys(AGENTS, self.t >= 6)
        pay = self.faults.get("pay")
        rewards: Any = dict.fromkeys(AGENTS, 1.0)
        rewards = pay(rewards) if pay is not None and self.t >= 3 else rewards
        result = self.observe(), rewards, over, dict.fromkeys(AGENTS, False), {agent: {} for agent in AGENTS}
        if self.t >= 6:
            self.agents = []
        return self.faults["end"](self, result) if "end" in self.faults and self.t >= 3 else result

    def close(self) -> None:
        if "stop" in self.faults:
            self.faults["stop"](self)


class WithState(World):
    """A world with a state of two numbers; the fault ``state`` changes it from the third step on."""

    def state(self) -> Any:
        return self.faults["state"](self) if self.t >= 3 else np.zeros(2)


class Turns(AECEnv):
    """Two agents in turns; after the third turn ``fault`` changes the environment."""

    metadata = {"name": "turns"}  # noqa: RUF012

    def __init__(self, fault: Callable[[Any], None]) -> None:
        self.possible_agents, self.fault = AGENTS[:], fault

    def observation_space(self, agent: str) -> spaces.Space:
        return spaces.Discrete(50)

    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Discrete(3)

    def observe(self, agent: str) -> int:
        return self.t + self.first

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.t, self.first = 0, seed % 7 if seed else 0
        self.agents = AGENTS[:]
        self.rewards = dict.fromkeys(AGENTS, 0.0)
        self.terminations, self.truncations = dict.fromkeys(AGENTS, False), dict.fromkeys(AGENTS, False)
        self.infos = {agent: {} for agent in AGENTS}
        self.agent_selection = "ant"

    def step(self, action: int | None) -> None:
        self.t += 1
        self.agent_selection = AGENTS[self.t % 2]
        self.terminations = dict.fromkeys(AGENTS, self.t >= 8)
        if self.t >= 3:
            self.fault(self)


class Pair(gymnasium.Env):
    """Two agents in Tuples; ``fault`` changes the result of the third step."""

    def __init__(self, fault: Callable[[Any], Any] | None = None, start: Callable[[Any], Any] | None = None) -> None:
        self.observation_space = spaces.Tuple([spaces.Box(0, 1, (2,))] * 2)
        self.action_space = spaces.Tuple([spaces.Discrete(3)] * 2)
        self.fault, self.start = fault, start

    def _show(self) -> Both:
        return self.np_random.random(2), self.np_random.random(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self.start(self._show()) if self.start else (self._show(), {})

    def step(self, action: Any) -> Any:
        self.t += 1
        result = self._show(), [1.0, 1.0], self.t >= 6, False, {}
        return self.fault(result) if self.fault and self.t >= 3 else result


def forever(*_: Any) -> None:
    time.sleep(10**6)


def busy(*_: Any) -> None:
    while True:
        pass


def catching(*_: Any) -> None:
    while True:
        with suppress(Exception):
            time.sleep(1)


def stubborn(*_: Any) -> None:
    while True:
        with suppress(BaseException):
            time.sleep(1)


def compiled(*_: Any) -> None:
    sum(itertools.repeat(0, 10**14))  # holds the lock of the interpreter


def locked(*_: Any) -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def with_child(*_: Any) -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(10**6)"])
    forever()


def matching(*_: Any) -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")


def if_stepped(method: Callable[[Any], None]) -> Callable[[World], None]:
    """A fault of ``close`` in copies that have been trained in."""
    return lambda world: method(world) if world.steps > TRIED_STEPS else None


def later(action: Callable[[], Any]) -> Callable[[World, Any], Any]:
    """A fault of the second and later resets."""

    def start(world: World, result: Any) -> Any:
        if world.episode > 1:
            action()
        return result

    return start


def fails(error: BaseException) -> Callable[..., Any]:
    """A method that raises."""

    def method(*_: Any) -> None:
        raise error

    return method


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Base(BaseException):
    """No Exception."""


def deep(*_: Any) -> None:
    deep()


def kill(number: int) -> Callable[..., None]:
    """A method that sends its process a signal."""
    return lambda *_: os.kill(os.getpid(), number)


def once(world: World) -> None:
    """Ends the process in the first episode of each copy; later processes of the same copy live."""
    marker = os.environ.get("FAULTY_WORLDS_MARKER", "")
    if marker and not Path(marker).exists():
        Path(marker).touch()
        os._exit(7)


class Fault(NamedTuple):
    make: Callable[[], Any]
    message: str  # a line must contain it
    where: tuple[int, ...] = (0, 2)  # numbers of workers
    succeeds: bool = False  # the training ends without an error


def changed(agent: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Replaces the entry of one agent."""
    return lambda entries: {**entries, agent: value}


def without(agent: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda entries: {name: entry for name, entry in entries.items() if name != agent}


def masked(mask: Any) -> Callable[[], World]:
    space = spaces.Dict({"observation": spaces.Box(0, 1, (3,), np.float32), "action_mask": spaces.MultiBinary(3)})
    return lambda: World(space=space, view=lambda seen: {a: {**seen[a], "action_mask": mask} for a in seen})


def views(value: Any) -> Callable[[], World]:
    return lambda: World(view=changed("bee", value))


def pays(value: Any) -> Callable[[], World]:
    return lambda: World(pay=changed("bee", value))


def appear(world: World, result: Any) -> Any:
    world.agents = [*world.agents, "wasp"]
    return result


def emptied(world: World, result: Any) -> Any:
    world.agents = []
    return result


made = itertools.count()


def sizes_differ() -> World:
    return World(space=spaces.Box(-1, 1, (3 + (next(made) > 1),), np.float32))


LATE = "took longer than"
ONLY_WORKERS = (2,)
ONLY_HERE = (0,)
NO_LIMIT = (2,)  # code that cannot be interrupted in the main process

HANGS: Mapping[str, Fault] = {
    "hangs in the constructor": Fault(lambda: World(make=forever), f"{LATE} 3 s (env_timeout) in its constructor"),
    "hangs in reset": Fault(lambda: World(start=forever), f"{LATE} 3 s (env_timeout) in reset (copy"),
    "hangs in the second reset": Fault(lambda: World(start=later(forever)), f"{LATE} 3 s (env_timeout) in reset"),
    "hangs in step": Fault(lambda: World(move=forever), f"{LATE} 3 s (env_timeout) in step (copy"),
    "hangs in step, busy": Fault(lambda: World(move=busy), f"{LATE} 3 s"),
    "hangs in step, catches Exception": Fault(lambda: World(move=catching), f"{LATE} 3 s"),
    "hangs in step, waits for a lock": Fault(lambda: World(move=locked), f"{LATE} 3 s"),
    "hangs in step, in a regular expression": Fault(lambda: World(move=matching), f"{LATE} 3 s"),
    "hangs in step, catches everything": Fault(lambda: World(move=stubborn), f"{LATE} 3 s", NO_LIMIT),
    "hangs in step, in compiled code": Fault(lambda: World(move=compiled), f"{LATE} 3 s", NO_LIMIT),
    "hangs in step, with a child process": Fault(lambda: World(move=with_child), f"{LATE} 3 s", ONLY_WORKERS),
    "hangs in state": Fault(lambda: WithState(state=forever), f"{LATE} 3 s (env_timeout) in step (copy"),
    "hangs in close": Fault(lambda: World(stop=forever), f"{LATE} 3 s (env_timeout) in close (copy 0)"),
    "hangs in close after training": Fault(lambda: World(stop=if_stepped(forever)), " close", succeeds=True),
    "waits in a turn": Fault(lambda: Turns(forever), f"{LATE} 3 s (env_timeout) in step (copy"),
}
DEATHS: Mapping[str, Fault] = {
    "exits in step": Fault(lambda: World(move=lambda _: os._exit(3)), "died (exit code 3), in step", ONLY_WORKERS),
    "exits in the second reset": Fault(
        lambda: World(start=later(lambda: os._exit(3))), "died (exit code 3), in reset", ONLY_WORKERS
    ),
    "exits once": Fault(lambda: World(move=once), "restart 1 of 1", ONLY_WORKERS, succeeds=True),
    "kills its process": Fault(lambda: World(move=kill(signal.SIGKILL)), "died (exit code -9)", ONLY_WORKERS),
    "terminates its process": Fault(lambda: World(move=kill(signal.SIGTERM)), "died (exit code -15)", ONLY_WORKERS),
    "aborts": Fault(lambda: World(move=lambda _: os.abort()), "died (exit code -6)", ONLY_WORKERS),
    "reads a null pointer": Fault(
        lambda: World(move=lambda _: ctypes.string_at(0)), "died (exit code -11)", ONLY_WORKERS
    ),
    "sys.exit in step": Fault(lambda: World(move=lambda _: sys.exit(2)), "raised in step (copy 0): SystemExit: 2"),
    "sys.exit in reset": Fault(lambda: World(start=later(lambda: sys.exit("over"))), "SystemExit: over"),
    "sys.exit in the constructor": Fault(lambda: World(make=lambda _: sys.exit(2)), "cannot be made: SystemExit: 2"),
    "KeyboardInterrupt": Fault(lambda: World(move=fails(KeyboardInterrupt())), "KeyboardInterrupt", ONLY_WORKERS),
}
ERRORS: Mapping[str, Fault] = {
    "raises in the constructor": Fault(lambda: World(make=fails(OSError("no display"))), "OSError: no display"),
    "raises in reset": Fault(lambda: World(start=fails(KeyError("level"))), "KeyError: 'level'"),
    "raises in step": Fault(lambda: World(move=fails(ValueError("x"))), "raised in step (copy 0): ValueError: x"),
    "raises in close": Fault(lambda: World(stop=fails(ValueError("x"))), "raised in close (copy 0): ValueError: x"),
    "raises in close after training": Fault(
        lambda: World(stop=if_stepped(fails(ValueError("x")))),
        "raised in close (copy 0): ValueError: x",
        succeeds=True,
    ),
    "raises in state": Fault(lambda: WithState(state=fails(ValueError("x"))), "raised in step (copy 0)"),
    "raises a text of many lines": Fault(lambda: World(move=fails(ValueError("a\nb\n" * 50))), "a b a b"),
    "raises a text of a megabyte": Fault(lambda: World(move=fails(ValueError("a" * 10**6))), "aaaa ..."),
    "raises without a text": Fault(lambda: World(move=fails(UnprintableError())), "Error: (without a text)"),
    "raises a BaseException": Fault(lambda: World(move=fails(Base("x"))), "Base: x"),
    "raises StopIteration": Fault(lambda: World(move=fails(StopIteration())), "StopIteration"),
    "recurses without end": Fault(lambda: World(move=deep), "RecursionError"),
    "has no memory": Fault(lambda: World(move=fails(MemoryError())), "MemoryError"),
}
OBSERVATIONS: Mapping[str, Fault] = {
    "observation too long": Fault(views(np.zeros(4)), "the observation of bee has shape (4,)"),
    "observation too short": Fault(views(np.zeros(2)), "the observation of bee has shape (2,)"),
    "observation of one number": Fault(views(np.zeros(1)), "the observation of bee has shape (1,)"),
    "observation without axes": Fault(views(1.5), "the observation of bee does not fit its space Box"),
    "observation with an axis too many": Fault(views(np.zeros((3, 3))), "the observation of bee has shape (3, 3)"),
    "observation None": Fault(views(None), "the observation of bee is None"),
    "observation of texts": Fault(views(["a", "b", "c"]), "the observation of bee does not fit"),
    "observation NaN": Fault(views(np.full(3, np.nan)), "the observation of bee is not finite"),
    "observation infinite": Fault(views(np.full(3, np.inf)), "the observation of bee is not finite"),
    "observation 1e30": Fault(views(np.full(3, 1e30)), "the observation of bee has the value 1e+30"),
    "observation 1e300": Fault(views(np.full(3, 1e300)), "the observation of bee is not finite"),
    "observation missing": Fault(lambda: World(view=without("bee")), "there is no observation of bee"),
    "observations in a list": Fault(lambda: World(view=lambda seen: [*seen.values()]), "the observations are a list"),
    "observation outside its Discrete space": Fault(
        lambda: World(space=spaces.Discrete(4), view=changed("bee", 4)), "value 4 is outside its Discrete space of 4"
    ),
    "mask too long": Fault(masked(np.ones(4)), "the action mask of ant has shape (4,)"),
    "mask too short": Fault(masked(np.ones(2)), "the action mask of ant has shape (2,)"),
    "mask of texts": Fault(masked("abc"), "the action mask of ant is 'abc'"),
    "mask without an action": Fault(masked(np.zeros(3)), "no action is available to ant"),
    "state changes its size": Fault(lambda: WithState(state=lambda _: np.zeros(3)), "the state has 3 values"),
    "state NaN": Fault(lambda: WithState(state=lambda _: np.full(2, np.nan)), "the state is not finite"),
}
REWARDS: Mapping[str, Fault] = {
    "reward missing": Fault(lambda: World(pay=without("bee")), "there is no reward of bee"),
    "reward None": Fault(pays(None), "the reward of bee is None, which is not a number"),
    "reward a text": Fault(pays("1.5"), "the reward of bee is '1.5', which is not a number"),
    "reward a vector": Fault(pays(np.ones(2)), "the reward of bee has shape (2,)"),
    "reward complex": Fault(pays(1j), "the reward of bee is 1j"),
    "reward NaN": Fault(pays(np.nan), "the reward of bee is not finite"),
    "reward 1e30": Fault(pays(-1e30), "the reward of bee has the value -1e+30"),
    "reward 1e300": Fault(pays(1e300), "the reward of bee is not finite"),
    "rewards in a list": Fault(lambda: World(pay=lambda _: [1.0, 1.0]), "the rewards are a list"),
}
INTERFACES: Mapping[str, Fault] = {
    "no agents after reset": Fault(lambda: World(start=emptied), "no agent is in play after reset"),
    "an unknown agent appears": Fault(lambda: World(end=appear), "agents has wasp, but possible_agents does not"),
    "step returns four values": Fault(lambda: World(end=lambda _, r: r[:4]), "step returned 4 values"),
    "step returns None": Fault(lambda: World(end=lambda *_: None), "step returned a NoneType"),
    "reset returns observations only": Fault(lambda: World(start=lambda _, r: r[0]), "reset returned a dict"),
    "terminations in a list": Fault(
        lambda: World(end=lambda _, r: (*r[:2], [False, False], *r[3:])), "the terminations are a list"
    ),
    "actions that are texts": Fault(lambda: World(actions=spaces.Text(2)), "has actions Text"),
    "copies with different spaces": Fault(sizes_differ, "copies differ in agents or sizes", ONLY_HERE),
    "an unknown agent has its turn": Fault(
        lambda: Turns(lambda env: setattr(env, "agent_selection", "wasp")), "agent_selection is 'wasp'"
    ),
    "rewards of a turn are missing": Fault(
        lambda: Turns(lambda env: setattr(env, "rewards", {})), "there is no reward of ant"
    ),
    "gymnasium: three rewards for two agents": Fault(
        lambda: Pair(lambda r: (r[0], [1.0] * 3, *r[2:])), "there are rewards of shape (3,) for 2 agents"
    ),
    "gymnasium: a reward None": Fault(
        lambda: Pair(lambda r: (r[0], [1.0, None], *r[2:])), "the reward of agent_1 is"
    ),
    "gymnasium: three observations for two agents": Fault(
        lambda: Pair(lambda r: ((*r[0], r[0][0]), *r[1:])), "the observations are 3 values"
    ),
    "gymnasium: step returns four values": Fault(lambda: Pair(lambda r: r[:4]), "step returned 4 values"),
    "gymnasium: reset returns observations only": Fault(lambda: Pair(start=lambda seen: seen), "the infos are a"),
}
FAULTS: dict[str, Fault] = {
    "no fault": Fault(World, "", succeeds=True), **HANGS, **DEATHS, **ERRORS, **OBSERVATIONS, **REWARDS, **INTERFACES
}  # fmt: skip


def world(fault: str) -> Any:
    """The environment with this fault."""
    return FAULTS[fault].make()
