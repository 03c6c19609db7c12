"""Base class of the runners: a controller acting in copies of an environment, and statistics of episodes."""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..components.episode_batch import Scheme, step_shape
from ..components.schedules import linear
from ..config.keys import RewardKeys
from ..config.schema import read
from ..modules.action_distributions import distribution
from ..types import Actor, ConfigError, MetricLogger, Observation, Step, VecEnv
from ..utils.stateful import Stateful, UnsavedError

NUMPY_TYPES = {torch.float32: np.float32, torch.long: np.int64, torch.uint8: np.uint8}
OF_DEAD_AGENTS = (
    "the environment rewards agents after their death; learners without a mixer ignore that unless all agents share "
    "one reward: set common_reward=True if the reward is the team's"
)
log = logging.getLogger(__name__)
OBSERVATION_KEYS = ("obs", "state", "avail_actions", "agent_mask")  # batch keys of the arrays of an ``Observation``


@dataclass
class EpisodeStats:
    """Returns and lengths of finished episodes, independent of the reward given to the learner."""

    returns: list[NDArray[np.float64]] = field(default_factory=list)  # [N] for each episode: undiscounted returns
    lengths: list[int] = field(default_factory=list)  # transitions of each episode
    wins: list[bool] = field(default_factory=list)  # of each episode, if the environment says who wins

    def log(self, logger: MetricLogger, agents: tuple[str, ...], t_env: int, prefix: str = "") -> None:
        """Logs means over the episodes and clears them; without episodes it logs nothing.

        ``return_mean`` is the mean over episodes of the sum over agents, ``win_rate`` the share of won episodes.
        """
        if not self.lengths:
            return
        returns = np.stack(self.returns)
        joint = returns.sum(axis=1)
        numbers = {f"return_{name}": getattr(joint, name)() for name in ("mean", "std", "min", "max")}
        numbers |= {f"return_mean/{agent}": column.mean() for agent, column in zip(agents, returns.T, strict=True)}
        numbers |= {"win_rate": np.mean(self.wins)} if self.wins else {}
        for name, number in (numbers | {"ep_length_mean": np.mean(self.lengths)}).items():
            logger.log_stat(prefix + name, float(number), t_env)
        for values in (self.returns, self.lengths, self.wins):
            values.clear()

    def state_dict(self) -> dict[str, Any]:
        """The episodes since the last log."""
        returns = torch.tensor(np.array(self.returns))
        return {"returns": returns, "lengths": list(self.lengths), "wins": list(self.wins)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``."""
        self.returns, self.lengths = list(state["returns"].numpy()), list(state["lengths"])
        self.wins = list(state.get("wins", ()))  # checkpoints of older versions have none

    def add(self, other: "EpisodeStats", which: NDArray[np.bool_]) -> None:
        """Adds those episodes of ``other`` that ``which`` selects."""
        for name in ("returns", "lengths", "wins"):
            getattr(self, name).extend(compress(getattr(other, name), which))


class Player(Stateful):
    """A controller that acts in E copies of an environment: its recurrent state, last actions and counters.

    Args:
        env: E copies of the environment.
        mac: the controller, with ``initial_carry`` and ``act``.
        scheme, groups: see ``components.episode_batch.make_scheme``.
        args: namespace with the keys of ``RewardKeys``, and ``device``.
        test_mode: no exploration, and steps are not counted in ``t_env``.
    """

    changing = ("t_env", "episodes", "dropped", "carry", "fresh_carry", "last_actions", "t", "returns")

    def __init__(
        self, env: VecEnv, mac: Actor, scheme: Scheme, groups: dict[str, int], args: Any, test_mode: bool = False
    ) -> None:
        self.env, self.mac, self.scheme, self.groups = env, mac, scheme, groups
        self.actions = distribution(env.info.actions, env.info.n_actions)
        self.reward_keys, self.device = read(RewardKeys, args), args.device
        self.scalarise: Any = np.mean if self.reward_keys.reward_scalarisation == "mean" else np.sum
        self.test_mode = test_mode
        self.reports_rewards_of_dead = not (test_mode or self.reward_keys.common_reward)
        self.uses_last_actions = getattr(mac, "sees_last_actions", True)
        self.t_env = self.episodes = 0  # environment steps taken in all copies together; finished episodes
        self.dropped = 0  # episodes that ended because the environment failed
        self.stats = EpisodeStats()  # of the finished episodes
        self.observation: Observation | None = None  # the current one; None before the first episode
        self.carry = self.fresh_carry = torch.zeros(0)  # the controller's recurrent state, [E, ...]
        # Features [E, N, U], one-hot if discrete, zeros where an episode begins; always zeros if the controller does
        # not use them (``sees_last_actions`` is False).
        self.last_actions = torch.zeros(0)
        self.t = np.zeros(env.n_envs, dtype=np.int64)  # steps of each copy's episode
        self.returns = np.zeros((env.n_envs, env.info.n_agents))
        self.won: NDArray[np.bool_] | None = None  # of the last step, see ``Step``
        self.prepare(args)

    def prepare(self, args: Any) -> None:
        """Allocates what a subclass needs; called once at the end of the constructor."""

    def zeros(self, names: Iterable[str], steps: int) -> dict[str, NDArray[Any]]:
        """Zero arrays [E, steps, ...] for keys of the scheme."""
        shape, types = partial(step_shape, self.scheme, self.groups), {n: self.scheme[n]["dtype"] for n in names}
        return {n: np.zeros((self.env.n_envs, steps, *shape(n)), NUMPY_TYPES[t]) for n, t in types.items()}

    def begin(self) -> Observation:
        """Starts new episodes in all copies."""
        self.t[:] = 0
        self.returns[:] = 0.0
        self._begin_memory()
        self.observation = self.env.reset()
        return self.observation

    def _begin_memory(self) -> None:
        n_envs, info = self.env.n_envs, self.env.info
        self.carry = self.mac.initial_carry(n_envs)
        self.fresh_carry = self.carry.clone()
        self.last_actions = torch.zeros(n_envs, info.n_agents, info.n_actions, device=self.device)

    def step(self) -> tuple[NDArray[Any], Step]:
        """Takes one step in every copy: the actions [E, N, A], A is 1 if they are discrete, and their result.

        The caller passes the copies whose episode ended to ``restart``.
        """
        assert self.observation is not None
        actions, self.carry = self.mac.act(
            self.observation, self.last_actions, self.carry, self.t_env, self.test_mode
        )
        chosen = actions.cpu().numpy()
        step = self.env.step(chosen)
        if self.reports_rewards_of_dead and (step.reward * (1 - self.observation.agent_mask)).any():
            log.warning(OF_DEAD_AGENTS)
            self.reports_rewards_of_dead = False
        self.returns += step.reward
        self.won = step.won
        self.t += 1
        if self.uses_last_actions:
            self.last_actions = self.actions.encode(actions.reshape(*actions.shape[:2], -1))
        self.observation = step.observation
        if not self.test_mode:
            self.t_env += self.env.n_envs
        return chosen.reshape(*chosen.shape[:2], -1), step

    def state_dict(self) -> dict[str, Any]:
        """The episodes in progress and the state of the environment; only counters before the first episode.

        Raises:
            UnsavedError: the environment or its opponents cannot be saved.
        """
        counters = {"t_env": self.t_env, "episodes": self.episodes}
        if self.observation is None:
            return counters
        if not hasattr(self.env, "state_dict"):
            raise UnsavedError(f"{type(self.env).__name__} has no state_dict")
        return {**super().state_dict(), "stats": self.stats.state_dict(), "env": self.env.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues the saved episodes; copies that cannot, and report it, begin a new episode."""
        if "env" not in state:
            self.t_env, self.episodes = state["t_env"], state["episodes"]
            return
        self._begin_memory()
        super().load_state_dict(state)
        self.stats.load_state_dict(state["stats"])
        env: Any = self.env
        continued = env.load_state_dict(state["env"])
        self.observation = env.observation()
        if not continued.all():
            self._clear(np.flatnonzero(~continued))

    def learners_reward(self, step: Step) -> NDArray[np.float32]:
        """The learner's reward: [E, N], or [E, 1] if the agents share one reward. Tests have no shaped reward.

        Raises:
            ConfigError: ``shaped_reward_steps`` is set, and the environment has no shaped reward.
        """
        keys, reward = self.reward_keys, step.reward
        if keys.shaped_reward_steps and not self.test_mode:
            if step.shaped_reward is None:
                raise ConfigError(f"shaped_reward_steps: {self.env.info.key} has no shaped reward; leave the key out")
            reward = reward + linear(1.0, 0.0, keys.shaped_reward_steps, self.t_env) * step.shaped_reward
        return self.scalarise(reward, axis=1, keepdims=True) if keys.common_reward else reward

    def restart(self, ended: NDArray[np.int64]) -> None:
        """Records the finished episodes of the copies ``ended`` and resets their recurrent state and last actions."""
        self.stats.returns.extend(self.returns[ended].copy())
        self.stats.lengths.extend(int(length) for length in self.t[ended])
        self.stats.wins.extend([] if self.won is None else self.won[ended].tolist())
        self.episodes += len(ended)
        self._clear(ended)

    def drop(self, lost: NDArray[np.int64]) -> None:
        """Resets as ``restart`` does, but does not record the episodes: the environment failed in copies ``lost``."""
        self.dropped += len(lost)
        self._clear(lost)

    def _clear(self, ended: NDArray[np.int64]) -> None:
        self.t[ended] = 0
        self.returns[ended] = 0.0
        rows = torch.from_numpy(ended).to(self.carry.device)
        self.carry = self.carry.index_copy(0, rows, self.fresh_carry[rows])
        if self.uses_last_actions:
            self.last_actions[rows.to(self.last_actions.device)] = 0.0


class Stopwatch:
    """Measures environment steps per second between calls."""

    def __init__(self, t_env: int = 0) -> None:
        self.t_env, self.last_call = t_env, time.perf_counter()

    def rate(self, t_env: int) -> float:
        """Steps per second since the last call."""
        now = time.perf_counter()
        rate = (t_env - self.t_env) / max(now - self.last_call, 1e-9)
        self.t_env, self.last_call = t_env, now
        return rate
