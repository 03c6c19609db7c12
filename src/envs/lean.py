"""PettingZoo environments without the wrappers that an adapter makes needless: about twice as fast."""

from __future__ import annotations

from typing import Any


def lean(env: Any) -> Any:
    """The same environment, faster where it wears PettingZoo's own wrappers; any other as it is.

    The wrappers left out check the order of calls and the range of actions, which is done here already, once
    for all copies, and make a parallel environment of an AECEnv.
    """
    try:
        from pettingzoo.utils.conversions import aec_to_parallel_wrapper
        from pettingzoo.utils.wrappers import AssertOutOfBoundsWrapper, OrderEnforcingWrapper
    except ImportError:  # then it is not one of PettingZoo's
        return env
    # By the exact class: one that derives from these does something of its own.
    if type(env) is aec_to_parallel_wrapper:
        return Cycle(env.aec_env)
    while type(env) in (AssertOutOfBoundsWrapper, OrderEnforcingWrapper):
        env = env.env
    return env


class Cycle:
    """An AECEnv played as a ParallelEnv: a step is one turn of every agent.

    Does what PettingZoo's ``aec_to_parallel_wrapper`` does, but looks at the agents once a step: the wrapper
    observes each of them before its turn too, and throws that away.
    """

    def __init__(self, aec_env: Any) -> None:
        self._env = lean(aec_env)
        self.unwrapped = aec_env.unwrapped
        self.possible_agents = aec_env.possible_agents
        self.observation_space = self._env.observation_space
        self.action_space = self._env.action_space
        self.state = self._env.state
        self.close = self._env.close

    @property
    def agents(self) -> list[Any]:
        """Those still playing; none at an episode's end."""
        return self._env.agents

    def reset(self, seed: int | None = None) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """As a ParallelEnv's."""
        env = self._env
        env.reset(seed=seed)
        return {agent: env.observe(agent) for agent in env.agents}, dict(env.infos)

    def step(self, actions: dict[Any, int]) -> tuple[dict[Any, Any], ...]:
        """As a ParallelEnv's."""
        env = self._env
        agents = env.agents[:]
        rewards = dict.fromkeys(agents, 0.0)
        for agent in agents:
            if agent != env.agent_selection:
                raise RuntimeError(f"it is the turn of {env.agent_selection}, not {agent}: not a parallel game")
            env.step(actions[agent])
            for given in env.agents:
                rewards[given] += env.rewards[given]
        terminations, truncations, infos = dict(env.terminations), dict(env.truncations), dict(env.infos)
        observations = {agent: env.observe(agent) for agent in env.agents}
        while env.agents and (terminations[env.agent_selection] or truncations[env.agent_selection]):
            env.step(None)
        return observations, rewards, terminations, truncations, infos
