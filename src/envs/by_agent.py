"""A Gymnasium environment with Dicts of one space for each agent, played as a ParallelEnv."""

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces

from .values import RESET, STEP, unpacked

INTERFACE = "Gymnasium, Dicts by agent"


def as_parallel(env: Any) -> Any:
    """``ByAgent`` of a Gymnasium environment with Dicts of one space for each agent; any other one unchanged."""
    if hasattr(env, "possible_agents"):
        return env
    observed, acted = getattr(env, "observation_space", None), getattr(env, "action_space", None)
    if not (isinstance(observed, spaces.Dict) and isinstance(acted, spaces.Dict)):
        return env
    return ByAgent(env, observed, acted) if observed.keys() == acted.keys() else env


class ByAgent:
    """``env`` with the agents and spaces of a ParallelEnv (for example of multigrid).

    An agent is in play until its flag, or a flag for all, has ended the episode for it.
    """

    def __init__(self, env: Any, observed: spaces.Dict, acted: spaces.Dict) -> None:
        self.env, self.unwrapped = env, env.unwrapped
        self.possible_agents = list(acted.spaces)
        self.agents: list[Any] = []
        self._observed, self._acted = observed.spaces, acted.spaces
        self.close = env.close

    def observation_space(self, agent: Any) -> spaces.Space:
        return self._observed[agent]

    def action_space(self, agent: Any) -> spaces.Space:
        return self._acted[agent]

    def reset(self, seed: int | None = None) -> Any:
        """As ``ParallelEnv.reset``."""
        result = unpacked(self.env.reset(seed=seed), RESET)
        self.agents = self.possible_agents[:]
        return result

    def step(self, actions: dict[Any, Any]) -> tuple[Any, ...]:
        """As ``ParallelEnv.step``."""
        observations, rewards, *flags, infos = unpacked(self.env.step(actions), STEP)
        ended = [each if isinstance(each, Mapping) else dict.fromkeys(self.agents, bool(each)) for each in flags]
        self.agents = [agent for agent in self.agents if not any(each.get(agent) for each in ended)]
        return observations, rewards, *ended, infos
