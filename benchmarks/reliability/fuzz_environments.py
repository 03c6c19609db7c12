"""A parallel environment that returns what it is given instead of valid values, for ``fuzz.py``."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

AGENTS = ["a_0", "a_1"]


class Fuzzed:
    """Two agents with O=3 and U=2. ``Fuzzed.replaced`` maps a part to the value that replaces its valid one.

    Parts: ``agents``, ``obs_space``, ``action_space``, ``reset``, ``obs``, ``info``, ``step``, ``reward``,
    ``terminated``, ``truncated``, ``living`` (the attribute ``agents`` after a step), ``raises`` (an exception).
    """

    replaced: ClassVar[dict[str, Any]] = {}
    metadata: ClassVar[dict[str, Any]] = {"name": "fuzzed_v0"}

    def __init__(self, **_: Any) -> None:
        self.possible_agents = self._or("agents", list(AGENTS))
        self.agents: Any = []
        self.t = 0

    def _or(self, part: str, value: Any) -> Any:
        return self.replaced.get(part, value)

    def observation_space(self, agent: str) -> Any:
        return self._or("obs_space", spaces.Box(-1.0, 1.0, (3,)))

    def action_space(self, agent: str) -> Any:
        return self._or("action_space", spaces.Discrete(2))

    def _observations(self) -> Any:
        return self._or("obs", {name: np.zeros(3, np.float32) for name in AGENTS})

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        self.agents, self.t = self._or("living", list(AGENTS)), 0
        return self._or("reset", (self._observations(), self._or("info", {name: {} for name in AGENTS})))

    def step(self, actions: Any) -> Any:
        if "raises" in self.replaced:
            raise self.replaced["raises"]
        self.t += 1
        over = self.t >= 3
        rewards = self._or("reward", dict.fromkeys(AGENTS, 0.5))
        terminated, truncated = dict.fromkeys(AGENTS, over), dict.fromkeys(AGENTS, False)
        ended = self._or("terminated", terminated), self._or("truncated", truncated)
        if over and "living" not in self.replaced:
            self.agents = []
        info = self._or("info", {name: {} for name in AGENTS})
        return self._or("step", (self._observations(), rewards, *ended, info))

    def close(self) -> None:
        """Nothing to free."""
