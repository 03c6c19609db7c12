"""An environment in which members of a pool act as the opponents; only the other agents learn.

Any learner trains in it as in any other environment. ``information`` determines the features about opponents that
learners observe, so a learner with history, an oracle and an exact observer are the same learner.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..config.schema import key
from ..games.game import Floats, Ints
from ..types import Block, ConfigError, EnvInfo, Observation, Step, VecEnv
from ..utils.stateful import packed, restored
from .information import Information, PoolInfo, information_sizes
from .lineup import Lineup
from .pool import Pool
from .results import EpisodeLog
from .switching import Switch, SwitchingLineup

CHANGING = ("lineup", "information", "log", "actions")  # attributes of ``PoolEnv`` in its state


@dataclass(frozen=True)
class OpponentKeys:
    """Of the learners and their opponents, with a pool."""

    omg_learners: list[str] | str = key(
        "", help="names or patterns of the learning agents, with a pool; empty: the first agent"
    )
    opponent_information: list[Literal["actions", "goal", "belief", "next_actions", "offsets"]] = key(
        ["actions"], help="what learners observe of opponents: their last actions, and more for oracles"
    )
    opponents_switch: int | list[int] = key(
        0, low=0, help="steps after which another opponent takes over, N or [LOW,HIGH]; 0: none does"
    )
    opponents_switch_order: Literal["random", "age"] = key(
        "random", help="who takes over: random, any other opponent; age, the next checkpoint of the same run"
    )
    trained_opponents_from: int = key(
        0, low=0, help="environment steps after which trained members play in training; until then only scripts do"
    )


def learners_of(patterns: list[str], info: EnvInfo) -> list[int]:
    """Indices of the agents that learn, without patterns the first.

    Raises:
        ConfigError: no agent learns, or no opponent is left.
    """
    named = [i for i, name in enumerate(info.agents) if any(fnmatch(name, pattern) for pattern in patterns)]
    learners = named if any(patterns) else [0]
    if not learners or len(learners) == info.n_agents:
        count = "none" if not learners else "all"
        raise ConfigError(f"omg_learners: {', '.join(patterns)} names {count} of {', '.join(info.agents)}")
    return learners


class PoolEnv:
    """A ``VecEnv`` of the learners.

    Args:
        env: the environment with all agents.
        pool, split: the opponents.
        learners: patterns of the names of the agents that learn.
        information: of ``actions`` (the opponents' last ones), ``goal`` (of scripts), ``belief`` (of an exact
            observer of the training scripts), ``next_actions`` (already chosen) and ``offsets`` (of the board).
        seed: of the choice of opponents and of their random actions.
        in_turn: copy i plays against members i, i + E, ... instead of one drawn for each episode.
        switch: when other members take over during an episode; None: never.
        trained_from: environment steps after which trained members play, too; not with ``switch``.

    Raises:
        ConfigError: the learners, the information, ``switch`` or ``trained_from`` do not suit the environment or the
            pool.
    """

    def __init__(
        self,
        env: VecEnv,
        pool: Pool,
        split: str,
        learners: list[str],
        information: list[str],
        seed: int,
        in_turn: bool,
        switch: Switch | None = None,
        trained_from: int = 0,
    ) -> None:
        if switch and "belief" in information:
            reason = "belief assumes that opponents do not change"
            raise ConfigError(f"opponent_information: {reason}; leave it out, or set opponents_switch=0")
        # a user's environment may lack the methods for checkpoints, ``state_dict`` and so on
        self.env: Any = env
        self.n_envs, full = env.n_envs, env.info
        self.learners = learners_of(learners, full)
        self.seats = [i for i in range(full.n_agents) if i not in self.learners]
        self.members = pool.split(split)  # the K opponents
        # assigns members to copies
        everyone = pool, self.members, full, self.seats, self.n_envs, seed, in_turn
        self.lineup = SwitchingLineup(switch, *everyone) if switch else Lineup(*everyone, trained_from)
        info = _info(full, self.learners, self.seats, information, pool)
        self.info: EnvInfo = info
        self.information = Information(info, self.learners, self.seats, pool, self.n_envs)
        # returns and lengths; also finished episodes if opponents play in turn, that is, in tests
        self.log = EpisodeLog(self.n_envs, len(self.learners), in_turn)
        # of all agents, see ``types.ActionKind``; the opponents' entries are their next actions
        self.actions = np.zeros((self.n_envs, full.n_agents, *full.actions.shape), full.actions.dtype)
        self.how = getattr(env, "how", "")

    def reset(self) -> Observation:
        """Begins a new episode in every copy."""
        observation = self.env.reset()
        self.log.clear()
        self.lineup.restart()
        self._begin(np.arange(self.n_envs))
        self._decide(observation)
        return self.information.append(observation)

    def step(self, actions: NDArray[Any]) -> Step:
        """Steps every copy once with the learners' actions [E, L, ...]."""
        self.actions[:, self.learners] = actions
        self.lineup.remember(self.actions)
        self.information.observe(self.current.obs, self.actions)
        acted = self.information.actions.can_act(self.current)
        step = self.env.step(self.actions)
        self.information.after_step(self.actions, acted)
        reward = step.reward[:, self.learners]
        self.log.add(reward)
        ended = np.flatnonzero(step.terminated | step.truncated)
        self._look_ahead(step)
        final = self.information.append(step.final)
        takeovers = self.lineup.advance(~(step.terminated | step.truncated))
        if len(takeovers.rows):
            self.log.switch(*takeovers)
            self.information.forget_goals(takeovers.rows)
        if len(ended):
            self.log.finish(ended, self.lineup.playing, step.terminated, step.lost)
            self._begin(ended)
        self._decide(step.observation)
        observation = self.information.append(step.observation)
        if len(ended):  # elsewhere ``final`` is the next observation, with current belief and next actions
            ongoing = np.delete(np.arange(self.n_envs), ended)
            final.obs[ongoing] = observation.obs[ongoing]
        else:
            final = observation
        shaped = None if step.shaped_reward is None else step.shaped_reward[:, self.learners]
        return step._replace(final=final, observation=observation, reward=reward, shaped_reward=shaped)

    def observation(self) -> Observation:
        """The current observation of the learners."""
        return self.information.append(self.env.observation())

    def state_dict(self) -> dict[str, Any]:
        """The state of the environment and of the opponents."""
        return {"env": self.env.state_dict(), **{name: packed(getattr(self, name)) for name in CHANGING}}

    def load_state_dict(self, state: Mapping[str, Any]) -> NDArray[np.bool_]:
        """See ``VecEnv``: False [E] for copies in which a new episode began, against another opponent."""
        continued = self.env.load_state_dict(state["env"])
        for name in CHANGING:
            restored(getattr(self, name), state[name])
        observation = self.env.observation()
        self.current = observation
        if not continued.all():
            rows = np.flatnonzero(~continued)
            self.log.returns[rows], self.log.lengths[rows] = 0.0, 0
            self._begin(rows)
            self._decide(observation)
        return continued

    def close(self) -> None:
        """Frees the environment."""
        self.env.close()

    def _begin(self, rows: Ints) -> None:
        self.lineup.begin(rows)
        self.information.begin(rows)

    @property
    def playing(self) -> Ints:
        """The index, in its split, of the member that chooses the next actions in each copy: [E]."""
        return self.lineup.playing

    @property
    def all_obs(self) -> Floats:
        """The current observations of all agents, [E, N, O]."""
        return self.current.obs

    def _look_ahead(self, step: Step) -> None:
        """The features at the last observations of truncated episodes, whose values are bootstrapped.

        Opponents choose once more, because their goals may change with the observation. Terminated episodes keep the
        features of the step before: their last values are 0.
        """
        truncated = np.flatnonzero(step.truncated)
        if not len(truncated):
            return
        if self.information.shows_choices:
            self.lineup.act(step.final, self.actions, truncated)
        self.information.before_step(step.final, self.actions, self.lineup, truncated)

    def _decide(self, observation: Observation) -> None:
        """The opponents' next actions in every copy, and the features that depend on them."""
        self.current = observation  # of all agents
        self.lineup.act(observation, self.actions)
        self.information.before_step(observation, self.actions, self.lineup)


def _with_grids(blocks: tuple[Block, ...], *more: Block) -> tuple[Block, ...]:
    """The blocks and ``more`` if an image or a grid is among them; else the VAE infers the types of features."""
    return (*blocks, *more) if any(block.grid_axes for block in blocks) else ()


def _info(full: EnvInfo, learners: list[int], seats: list[int], information: list[str], pool: Pool) -> PoolInfo:
    sizes = information_sizes(full, len(seats), information)
    appended = Block(sum(size for _, size in sizes))
    obs_shape = full.obs_shape + appended.size
    # which bytes hold
    only_bits = not full.actions.limits and all(name.endswith("actions") for name, _ in sizes)
    return PoolInfo(
        key=full.key,
        agents=tuple(full.agents[i] for i in learners),
        agent_types=tuple(full.agent_types[i] for i in learners),
        obs_shape=obs_shape,
        obs_sizes=(obs_shape,) * len(learners),
        n_actions=full.n_actions,
        action_sizes=tuple(full.action_sizes[i] for i in learners),
        actions=full.actions,
        action_numbers=tuple(full.action_numbers[i] for i in learners) if full.action_numbers else (),
        state_shape=full.state_shape,
        obs_blocks=tuple(_with_grids(full.obs_blocks[i], appended) for i in learners if full.obs_blocks),
        state_blocks=_with_grids(full.state_blocks),
        obs_dtype=full.obs_dtype if only_bits else np.float32,
        state_dtype=full.state_dtype,
        frames=full.frames,
        notes=full.notes,
        episode_limit=full.episode_limit,
        game=full.game,
        interface=full.interface,
        limit_source=full.limit_source,
        opponents=tuple(full.agents[i] for i in seats),
        full=full,
        information=sizes,
        members=tuple(member.name for member in pool.members if member.split == "train"),
    )
