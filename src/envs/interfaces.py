"""The three interfaces of environments in array form.

PettingZoo's ParallelEnv, in which all living agents act at once; its AECEnv, in which one agent acts in each turn;
and Gymnasium's Env with Tuples of observations and actions (for example lbforaging).
"""

from collections.abc import Mapping
from itertools import compress
from math import fsum
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..types import ConfigError, EnvError
from .adapter import Adapter
from .arrays import Frame
from .images import AS_THEY_ARE, Images
from .spaces import MASK_KEY, check_spaces
from .turns import remove_dead
from .values import RESET, STEP, check_dictionaries, for_each, reward_fault, unpacked

Flags = Mapping[Any, Any]  # agent -> flag; agents may be missing


class PettingZooAdapter(Adapter):
    """The part that both PettingZoo interfaces share: agents may die; rewards and flags are by agent."""

    def __init__(self, env: Any, key: str, episode_limit: int, images: Images = AS_THEY_ARE) -> None:
        agents = env.possible_agents
        if isinstance(agents, set | frozenset):  # whose order differs between processes
            agents = sorted(agents, key=str)
        observed, acted = [env.observation_space(a) for a in agents], [env.action_space(a) for a in agents]
        check_spaces(key, [*observed, *acted])
        super().__init__(env, key, episode_limit, agents, observed, acted, images)
        self._known = frozenset(self.agents)

    def _first_living(self, terminated: Flags, truncated: Flags) -> list[bool]:
        """As ``_living``, after a reset."""
        alive = self._living(terminated, truncated)
        if not any(alive):
            raise EnvError("no agent is in play after reset: agents is empty, or all are done")
        return alive

    def _living(self, terminated: Flags, truncated: Flags) -> list[bool]:
        """Which agents are in play and not done."""
        in_play = self.env.agents
        if not self._known.issuperset(in_play):
            names = ", ".join(str(agent) for agent in in_play if agent not in self._known)
            raise EnvError(f"agents has {names}, but possible_agents does not")
        return [a in in_play and not terminated.get(a) and not truncated.get(a) for a in self.agents]

    def _take(self, reward: NDArray[np.float32], rewards: Mapping[Any, float], played: list[bool]) -> None:
        """Writes rewards of all possible agents: ``env.agents`` lacks those that have just finished."""
        try:
            none = self.no_reward
            values = [rewards[a] if plays else none for a, plays in zip(self.agents, played, strict=True)]
            if self.is_weighted:
                reward[:] = self.weighted(values, 2)
            else:
                reward[:] = values
                fsum(values)  # faster than ``weighted``; TypeError if one is a text
        except EnvError:
            raise
        except Exception as error:
            raise reward_fault(rewards, list(compress(self.agents, played))) from error

    def _outcome(self, played: list[bool], terminated: Flags, truncated: Flags) -> tuple[bool, list[bool]]:
        """The end of an episode, by the flags of the agents that played its last step.

        Returns:
            Whether it was truncated (one agent is enough), or else has terminated; and the agents with a last
            observation: all that played, but after a truncation only those with a future to value.
        """
        ongoing = [plays and not terminated.get(a) for a, plays in zip(self.agents, played, strict=True)]
        cut_off = any(goes_on and truncated.get(a) for a, goes_on in zip(self.agents, ongoing, strict=True))
        return cut_off, ongoing if cut_off else played


class ParallelAdapter(PettingZooAdapter):
    """One ParallelEnv in array form."""

    def reset(self, seed: int, frame: Frame) -> None:
        observations, infos = result = unpacked(self.env.reset(seed=seed), RESET)
        check_dictionaries(result, RESET)
        self._alive = self._first_living({}, {})
        self.write(frame, observations, infos, self._alive, self._alive)

    def step(self, actions: list[Any], frame: Frame, reward: NDArray[np.float32]) -> tuple[bool, bool]:
        joint = zip(self.agents, actions, self.convert, self._alive, strict=True)
        result = unpacked(
            self.env.step({agent: convert(action) for agent, action, convert, plays in joint if plays}), STEP
        )
        try:
            return self._read(result, frame, reward)
        except Exception:
            check_dictionaries(result, STEP)
            raise

    def _read(self, result: Any, frame: Frame, reward: NDArray[np.float32]) -> tuple[bool, bool]:
        played = self._alive
        observations, rewards, terminations, truncations, infos = result
        terminations, truncations = for_each(self.agents, terminations), for_each(self.agents, truncations)
        self._take(reward, rewards, played)
        self._alive = self._living(terminations, truncations)
        if any(self._alive):
            self.write(frame, observations, infos, self._alive, self._alive)
            return False, False
        cut_off, observed = self._outcome(played, terminations, truncations)
        self._write_last(frame, observations, infos, observed)
        return not cut_off, cut_off

    def _write_last(
        self, frame: Frame, observations: Mapping[Any, Any], infos: Mapping[Any, Any], alive: list[bool]
    ) -> None:
        """Writes an episode's last observations. An agent that gets none keeps its previous one."""
        present = [lives and a in observations for a, lives in zip(self.agents, alive, strict=True)]
        missing = [i for i, lives in enumerate(alive) if lives and not present[i]]
        assert self.latest is not None
        previous = self.latest.obs[missing]
        self.write(frame, observations, infos, present, present, is_last=True)
        if missing:
            frame.obs[missing], frame.agent_mask[missing] = previous, 1
            self.write_state(frame, is_last=True)
        self.conclude(frame)


class AECAdapter(PettingZooAdapter):
    """One AECEnv in array form: a step is one agent's turn.

    Not every AECEnv can be made parallel, so none is. Waiting agents are alive, observe the game in every turn, and
    have only action 0, which is ignored. Every agent receives its reward of a turn, also when another agent acted.
    """

    def reset(self, seed: int, frame: Frame) -> None:
        self.env.reset(seed=seed)
        self._alive = self._first_living(self.env.terminations, self.env.truncations)
        self._check_turn()
        self._write_turn(frame, self._alive)

    def step(self, actions: list[Any], frame: Frame, reward: NDArray[np.float32]) -> tuple[bool, bool]:
        env, played = self.env, self._alive
        actor = self.index[env.agent_selection]
        env.step(self.convert[actor](actions[actor]))
        self._take(reward, env.rewards, played)
        self._alive = self._living(env.terminations, env.truncations)
        if any(self._alive):
            self._check_turn()
            remove_dead(env, env.terminations, env.truncations)
            self._write_turn(frame, self._alive)
            return False, False
        cut_off, observed = self._outcome(played, env.terminations, env.truncations)
        self._write_turn(frame, observed)  # no agent is removed yet, so all can still be observed
        self.conclude(frame)
        return not cut_off, cut_off

    def _check_turn(self) -> None:
        if self.env.agent_selection not in self.index:
            raise EnvError(f"agent_selection is {self.env.agent_selection!r}, which possible_agents does not have")

    def _write_turn(self, frame: Frame, alive: list[bool]) -> None:
        env, turn = self.env, self.env.agent_selection
        acting = [lives and a == turn for a, lives in zip(self.agents, alive, strict=True)]
        observations = {a: env.observe(a) for a, lives in zip(self.agents, alive, strict=True) if lives}
        self.write(frame, observations, env.infos, alive, acting)


def kind(space: spaces.Space[Any]) -> str:
    """A short name of a space: its class, and the number of its parts."""
    parts = f" of {len(space)}" if isinstance(space, spaces.Tuple | spaces.Dict) else ""
    return f"a {type(space).__name__}{parts}"


class GymAdapter(Adapter):
    """One gymnasium environment in array form; its agents live as long as the episode.

    Rewards are one for each agent, or one for all. Action masks are ``info["action_mask"]``, one for
    each agent.
    """

    def __init__(self, env: Any, key: str, episode_limit: int, images: Images = AS_THEY_ARE) -> None:
        obs, act = env.observation_space, env.action_space
        check_spaces(key, [obs, act])
        if not (isinstance(obs, spaces.Tuple) and isinstance(act, spaces.Tuple) and len(obs) == len(act)):
            raise ConfigError(
                f"environment {key}: observations and actions must be Tuples of one space for each agent, "
                f"not {kind(obs)} and {kind(act)}"
            )
        names = [f"agent_{i}" for i in range(len(act))]
        check_spaces(key, [*obs.spaces, *act.spaces])
        super().__init__(env, key, episode_limit, names, obs.spaces, act.spaces, images)
        self._everyone = [True] * len(names)
        self._players = env.unwrapped.players if hasattr(env.unwrapped, "field") else ()

    def reset(self, seed: int, frame: Frame) -> None:
        for player in self._players:  # lbforaging keeps them off the last episode's cells
            player.position = None
        observations, info = unpacked(self.env.reset(seed=seed), RESET)
        self._write_joint(frame, observations, info)

    def step(self, actions: list[Any], frame: Frame, reward: NDArray[np.float32]) -> tuple[bool, bool]:
        joint = tuple(convert(action) for action, convert in zip(actions, self.convert, strict=True))
        observations, rewards, terminated, truncated, info = unpacked(self.env.step(joint), STEP)
        try:
            array = self.weighted(rewards, 1)
            if array.shape not in ((), (len(self.agents),)):  # one for all, or one for each
                raise EnvError(
                    f"there are rewards of shape {array.shape} for {len(self.agents)} agents; reward_weights=[...] "
                    "sums vectors"
                )
            reward[:] = array
        except (TypeError, ValueError) as error:
            raise reward_fault(dict(zip(self.agents, rewards, strict=False)), self.agents) from error
        self._write_joint(frame, observations, info)
        over, cut_off = bool(np.all(terminated)), bool(np.all(truncated))  # one flag for all, or one for each agent
        if over and self._is_out_of_time():
            over, cut_off = False, True
        if over or cut_off:
            self.conclude(frame)
        return over, cut_off and not over

    def _is_out_of_time(self) -> bool:
        """Whether lbforaging's "done" is its step limit: food is still on the field then."""
        game = self.env.unwrapped
        limit = getattr(game, "_max_episode_steps", None)
        if limit is None or not hasattr(game, "field"):
            return False
        return game.current_step >= limit and bool(np.any(game.field))

    def _write_joint(self, frame: Frame, observations: Any, info: dict[str, Any]) -> None:
        if not isinstance(observations, tuple | list | np.ndarray) or len(observations) != len(self.agents):
            what = f"{len(observations)} values" if hasattr(observations, "__len__") else type(observations).__name__
            raise EnvError(f"the observations are {what}; they must be one for each of {len(self.agents)} agents")
        if not isinstance(info, Mapping):
            raise EnvError(f"the infos are a {type(info).__name__}; they must be a dictionary")
        by_agent = dict(zip(self.agents, observations, strict=True))
        masks = info.get(MASK_KEY)
        infos = {a: {MASK_KEY: mask} for a, mask in zip(self.agents, masks, strict=True)} if masks is not None else {}
        self.write(frame, by_agent, infos, self._everyone, self._everyone)
