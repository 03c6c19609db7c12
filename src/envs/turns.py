"""An AECEnv whose agents all act in each cycle of turns, played as a ParallelEnv without PettingZoo's wrappers."""

from collections.abc import Mapping
from typing import Any

from ..types import EnvError

Flags = Mapping[Any, Any]  # agent -> flag; agents may be missing


def remove_dead(env: Any, terminated: Flags, truncated: Flags) -> None:
    """Steps an AECEnv with None for each dead agent, which removes it.

    Raises:
        EnvError: it is the turn of an agent that the environment has removed.
    """
    while env.agents:
        agent = env.agent_selection
        if agent not in terminated:
            raise EnvError(f"it is the turn of {agent}, which is not in agents any more")
        if not (terminated[agent] or truncated[agent]):
            return
        env.step(None)


def lean(env: Any) -> Any:
    """The same environment without PettingZoo's own wrappers, about twice as fast; any other environment unchanged.

    These check the order of calls and the range of actions, which ``VectorEnv`` checks once for all copies, clip
    numbers to their bounds, as the conversion of actions does (``actions``), and make a parallel environment of an
    AECEnv.
    """
    try:
        from pettingzoo.utils.conversions import aec_to_parallel_wrapper
        from pettingzoo.utils.wrappers import (
            AssertOutOfBoundsWrapper,
            ClipOutOfBoundsWrapper,
            OrderEnforcingWrapper,
        )
    except ImportError:  # then it is not one of PettingZoo's
        return env
    # Only the exact class: a subclass may behave differently.
    if type(env) is aec_to_parallel_wrapper:
        return Cycle(env.aec_env)
    while type(env) in (AssertOutOfBoundsWrapper, ClipOutOfBoundsWrapper, OrderEnforcingWrapper):
        env = env.env
    return env


# Wrappers that check calls, clip actions that are in their bounds already, or limit the length of episodes, which
# ``EnvInfo`` states
_NEUTRAL = {("gymnasium", name) for name in ("OrderEnforcing", "PassiveEnvChecker", "TimeLimit")} | {
    ("pettingzoo", name) for name in ("OrderEnforcingWrapper", "AssertOutOfBoundsWrapper", "ClipOutOfBoundsWrapper")
}


def bare(env: Any) -> Any:
    """The environment inside wrappers that change nothing; inside another wrapper, that wrapper."""
    while True:
        kind = type(env)
        if isinstance(env, Cycle):
            env = env.turns
        elif (kind.__module__.partition(".")[0], kind.__name__) in _NEUTRAL:
            env = env.env
        else:
            return env


class Cycle:
    """An AECEnv played as a ParallelEnv: a step is one turn of every agent.

    Like PettingZoo's ``aec_to_parallel_wrapper``, but observes the agents once a step: the wrapper also observes each
    agent before its turn, and discards the result.
    """

    def __init__(self, aec_env: Any) -> None:
        self.turns = lean(aec_env)
        self.unwrapped = aec_env.unwrapped
        self.possible_agents = aec_env.possible_agents
        self.observation_space, self.action_space = self.turns.observation_space, self.turns.action_space
        self.state, self.close = self.turns.state, self.turns.close

    @property
    def agents(self) -> list[Any]:
        """The agents in play; empty at an episode's end."""
        return self.turns.agents

    def reset(self, seed: int | None = None) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Observations and infos by agent, as ``ParallelEnv.reset``."""
        env = self.turns
        env.reset(seed=seed)
        return {agent: env.observe(agent) for agent in env.agents}, dict(env.infos)

    def step(self, actions: dict[Any, int]) -> tuple[dict[Any, Any], ...]:
        """Observations, rewards, terminations, truncations and infos by agent, as ``ParallelEnv.step``."""
        env = self.turns
        agents = env.agents[:]
        rewards = dict.fromkeys(agents, 0.0)
        for agent in agents:
            if agent != env.agent_selection:
                raise RuntimeError(f"it is the turn of {env.agent_selection}, not {agent}: not a parallel game")
            env.step(actions[agent])
            for receiver in env.agents:
                rewards[receiver] += env.rewards[receiver]
        terminations, truncations, infos = dict(env.terminations), dict(env.truncations), dict(env.infos)
        observations = {agent: env.observe(agent) for agent in env.agents}
        remove_dead(env, terminations, truncations)
        return observations, rewards, terminations, truncations, infos
