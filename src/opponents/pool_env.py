"""An environment with the opponents inside: what is left of it are the agents that learn.

Any learner trains in it as in any other environment. What the learners are told beside their own observations is
a matter of ``told``, so that a base learner with history, an oracle and a perfect filter are the same learner.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..registry import REGISTRY, resolve
from ..types import ConfigError, EnvInfo, Observation, Step, VecEnv
from .frozen import FrozenNetworks, load_controller, shape_of
from .pool import Member, Pool

Ints = NDArray[np.int64]
TOLD = ("actions", "goal", "belief", "next_actions", "offsets")


@dataclass(frozen=True)
class PoolInfo(EnvInfo):
    """``EnvInfo`` of the learners, and where the opponents stand in what they see.

    Attributes:
        opponents: M names.
        whole: the environment's own info, all agents included.
        told: name and size of what is appended to each learner's observation, in order.
    """

    opponents: tuple[str, ...] = ()
    whole: EnvInfo | None = None
    told: tuple[tuple[str, int], ...] = ()

    def told_slice(self, name: str) -> slice:
        """Where ``name`` stands in a learner's observation.

        Raises:
            ConfigError: it is not told.
        """
        at = self.obs_shape - sum(size for _, size in self.told)
        for other, size in self.told:
            if other == name:
                return slice(at, at + size)
            at += size
        raise ConfigError(f"opponents_told: {name} is needed here; it is told {[n for n, _ in self.told]}")


class Group(Protocol):
    """Opponents that act in one call, each copy's by one of the group's members.

    Beside these a group may have ``goals(rows, obs)``, float32 [R, M, G], for what learners can be told, and
    ``remember(rows, actions [R, N])`` for players that see what was done.
    """

    def begin(self, rows: Ints, which: Ints) -> None:
        """New episodes in copies ``rows`` [R], played by members ``which`` [R]."""

    def act(self, rows: Ints, which: Ints, obs: NDArray[np.float32], avail: NDArray[np.uint8]) -> Ints:
        """Actions [R, M] of the M seats for all copies' observations [E, N, O] and availability [E, N, U]."""


class Filter(Protocol):
    """A watcher of all copies' opponents, whoever they are: what can be inferred of scripts that are known.

    It is made of the scripts that it reckons with, the whole environment's info, the seats that it watches, and E.
    """

    def begin(self, rows: Ints) -> None:
        """New episodes in copies ``rows``."""

    def believe(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities [E, M, G] of each goal, before the players act on observations [E, N, O]."""

    def observe(self, obs: NDArray[np.float32], actions: Ints) -> None:
        """What they then did, [E, M]."""


class Episode(NamedTuple):
    """One finished episode: who was met, what the learners got [L], how long it was, whether it was completed."""

    opponent: int
    copy: int
    returns: NDArray[np.float64]
    length: int
    terminated: bool


def learners_of(patterns: list[str], info: EnvInfo) -> list[int]:
    """The agents that learn.

    Raises:
        ConfigError: nobody learns, or nobody is left to play against.
    """
    found = [i for i, name in enumerate(info.agents) if any(fnmatch(name, pattern) for pattern in patterns)]
    if not found or len(found) == info.n_agents:
        who = "nobody" if not found else "everybody"
        raise ConfigError(f"omg_learners: {', '.join(patterns)} names {who} of {', '.join(info.agents)}")
    return found


class PoolEnv:
    """A ``VecEnv`` of the learners.

    Args:
        env: the environment, all agents included.
        pool: who may be met.
        split: of the pool.
        learners: patterns of agents' names.
        told: of ``actions`` (the opponents' last ones), ``goal`` (what scripts are after), ``belief`` (a Bayes
            filter over the pool's training scripts), ``next_actions`` (what opponents are about to do) and
            ``offsets`` (foraging's foods as seen from the players).
        seed: of who is met, and of the opponents' own chances.
        in_turn: copy i meets opponent i, i + E, ... instead of one drawn for each episode.

    Attributes:
        members: the K opponents.
        met: int64 [E], who plays in each copy now.
        episodes: those finished since the last reset, where opponents are met in turn: tests.
    """

    def __init__(
        self, env: VecEnv, pool: Pool, split: str, learners: list[str], told: list[str], seed: int, in_turn: bool
    ) -> None:
        self.env, self.n_envs, self.in_turn = env, env.n_envs, in_turn
        whole = self.whole = env.info
        self.seats_learn = learners_of(learners, whole)
        self.seats = [i for i in range(whole.n_agents) if i not in self.seats_learn]
        self.members = pool.split(split)
        self.random = np.random.default_rng(seed)
        self.groups, self.group_of, self.index_of = _groups(self.members, pool, whole, self.seats, self.n_envs, seed)
        info = _info(whole, self.seats_learn, self.seats, told)
        self.info: EnvInfo = info
        self.met = np.zeros(self.n_envs, np.int64)
        self.turn = np.arange(self.n_envs)
        self.actions = np.zeros((self.n_envs, whole.n_agents), np.int64)  # of the opponents: what they will do
        self.returns = np.zeros((self.n_envs, len(self.seats_learn)))
        self.lengths = np.zeros(self.n_envs, np.int64)
        sizes = dict(info.told)
        self.filter: Filter | None = None
        if "belief" in sizes:
            of = known_for(whole, "filter")
            trained = [m.script for m in pool.members if m.split == "train" and m.kind == "scripted"]
            self.filter = of(trained, whole, self.seats, self.n_envs)
        self.offsets = scripts_for(whole).offsets if sizes.pop("offsets", 0) else None  # from where learners stand
        self.tells = {name: np.zeros((self.n_envs, size), np.float32) for name, size in sizes.items()}
        self.episodes: list[Episode] = []
        self.how = getattr(env, "how", "")

    def reset(self) -> Observation:
        """Begins a new episode in every copy."""
        observation = self.env.reset()
        rows = np.arange(self.n_envs)
        self.returns[:], self.lengths[:] = 0.0, 0
        self.episodes.clear()
        if self.in_turn:
            self.turn = rows.copy()
        self._begin(rows)
        self._decide(observation)
        return self._shown(observation)

    def step(self, actions: NDArray[np.int64]) -> Step:
        """Steps every copy once with the learners' actions [E, L]."""
        self.actions[:, self.seats_learn] = actions
        seen = self.env_observation
        for group, rows in self._by_group():
            if hasattr(group, "remember"):
                group.remember(rows, self.actions[rows])
        if self.filter is not None:
            self.filter.observe(seen.obs, self.actions[:, self.seats])
        step = self.env.step(self.actions)
        self._tell_actions()
        self.returns += step.reward[:, self.seats_learn]
        self.lengths += 1
        ended = np.flatnonzero(step.terminated | step.truncated)
        final = self._shown(step.final)
        if len(ended):
            self._note(ended, step)
            self._begin(ended)
        self._decide(step.observation)
        observation = self._shown(step.observation)
        if len(ended):  # elsewhere what the step led to is what is acted on next; it was told a moment too early
            going_on = np.delete(np.arange(self.n_envs), ended)
            final.obs[going_on] = observation.obs[going_on]
        else:
            final = observation
        return Step(final, observation, step.reward[:, self.seats_learn], step.terminated, step.truncated)

    def close(self) -> None:
        """Frees the environment."""
        self.env.close()

    def _begin(self, rows: Ints) -> None:
        if self.in_turn:
            self.met[rows] = self.turn[rows] % len(self.members)
            self.turn[rows] += self.n_envs
        else:
            self.met[rows] = self.random.integers(0, len(self.members), len(rows))
        for told in self.tells.values():
            told[rows] = 0.0
        if self.filter is not None:
            self.filter.begin(rows)
        for group, mine in self._by_group(rows):
            group.begin(mine, self.index_of[self.met[mine]])

    def _note(self, ended: Ints, step: Step) -> None:
        for e in ended if self.in_turn else ():
            self.episodes.append(
                Episode(
                    int(self.met[e]), int(e), self.returns[e].copy(), int(self.lengths[e]), bool(step.terminated[e])
                )
            )
        self.returns[ended] = 0.0
        self.lengths[ended] = 0

    def _by_group(self, rows: Ints | None = None) -> list[tuple[Any, Ints]]:
        """Each group with the copies that its members play in."""
        rows = np.arange(self.n_envs) if rows is None else rows
        groups = self.group_of[self.met[rows]]
        found = [(group, rows[groups == number]) for number, group in enumerate(self.groups)]
        return [(group, mine) for group, mine in found if len(mine)]

    def _decide(self, observation: Observation) -> None:
        """What the opponents will do in every copy, and what that tells."""
        self.env_observation = observation
        if self.filter is not None:
            self.tells["belief"][...] = self.filter.believe(observation.obs).reshape(self.n_envs, -1)
        for group, rows in self._by_group():
            which = self.index_of[self.met[rows]]
            self.actions[rows[:, None], self.seats] = group.act(rows, which, observation.obs, observation.avail)
            if "goal" in self.tells and hasattr(group, "goals"):
                self.tells["goal"][rows] = group.goals(rows, observation.obs).reshape(len(rows), -1)
        if "next_actions" in self.tells:
            self._one_hot(self.tells["next_actions"])

    def _tell_actions(self) -> None:
        if "actions" in self.tells:
            self._one_hot(self.tells["actions"])

    def _one_hot(self, told: NDArray[np.float32]) -> None:
        chosen = self.actions[:, self.seats]
        table = told.reshape(self.n_envs, len(self.seats), -1)
        table[...] = 0.0
        np.put_along_axis(table, chosen[:, :, None], 1.0, axis=2)

    def _shown(self, observation: Observation) -> Observation:
        """The learners' part, with what they are told."""
        mine = observation.obs[:, self.seats_learn]
        if self.offsets is not None:
            extra = self.offsets(observation.obs, self.seats_learn, self.whole)
            mine = np.concatenate([mine, extra], axis=2)
        parts = [mine, *(told[:, None].repeat(len(self.seats_learn), axis=1) for told in self.tells.values())]
        return Observation(
            np.concatenate(parts, axis=2),
            observation.state,
            observation.avail[:, self.seats_learn],
            observation.agent_mask[:, self.seats_learn],
        )


def _info(whole: EnvInfo, learners: list[int], seats: list[int], told: list[str]) -> PoolInfo:
    sizes = []
    for name in sorted(told, key=lambda name: name != "offsets"):  # which stand first
        if name not in TOLD:
            raise ConfigError(f"opponents_told: {name!r} is none of {', '.join(TOLD)}")
        if name.endswith("actions"):
            sizes.append((name, len(seats) * whole.n_actions))
            continue
        known = scripts_for(whole).sizes(whole)
        if name not in known:
            raise ConfigError(f"opponents_told: {name} is not known of the opponents of {whole.key}")
        sizes.append((name, known[name] * (1 if name == "offsets" else len(seats))))
    extra = sum(size for _, size in sizes)
    return PoolInfo(
        key=whole.key,
        agents=tuple(whole.agents[i] for i in learners),
        agent_types=tuple(whole.agent_types[i] for i in learners),
        obs_shape=whole.obs_shape + extra,
        obs_sizes=(whole.obs_shape + extra,) * len(learners),
        n_actions=whole.n_actions,
        action_sizes=tuple(whole.action_sizes[i] for i in learners),
        state_shape=whole.state_shape,
        episode_limit=whole.episode_limit,
        opponents=tuple(whole.agents[i] for i in seats),
        whole=whole,
        told=tuple(sizes),
    )


def scripts_for(whole: EnvInfo) -> Any:
    """The scripted players of an environment.

    Raises:
        ConfigError: there are none, or a package is missing.
    """
    return known_for(whole, "scripts")


def known_for(whole: EnvInfo, kind: str) -> Any:
    """What is registered as ``kind`` under a part of the environment's key.

    Raises:
        ConfigError: nothing is, or a package is missing.
    """
    for name in REGISTRY[kind]:
        if name.lower() in whole.key.lower():
            return resolve(kind, name)
    known = ", ".join(REGISTRY[kind])
    raise ConfigError(
        f"pool: there are no {kind.removesuffix('s')}s for {whole.key}; there are some for {known}; "
        "trained opponents play anywhere: pool=FOLDER, or source=RUN"
    )


def _groups(
    members: tuple[Member, ...], pool: Pool, whole: EnvInfo, seats: list[int], n_envs: int, seed: int
) -> tuple[list[Any], Ints, Ints]:
    """Members that act in one call: the groups, each member's group, and its index in there."""
    groups: list[Any] = []
    group_of, index_of = np.zeros(len(members), np.int64), np.zeros(len(members), np.int64)

    def add(group: Any, whose: list[int]) -> None:
        group_of[whose], index_of[whose] = len(groups), np.arange(len(whose))
        groups.append(group)

    scripted = [i for i, member in enumerate(members) if member.kind == "scripted"]
    if scripted:
        names, noise = [members[i].script for i in scripted], [members[i].noise for i in scripted]
        add(scripts_for(whole)(names, noise, whole, seats, n_envs, seed), scripted)
    stacks: dict[str, list[tuple[int, Any]]] = {}
    for i, member in enumerate(members):
        if member.kind == "checkpoint":
            mac = load_controller((pool.folder / member.file).parent, whole)
            stacks.setdefault(shape_of(mac), []).append((i, mac))
    for found in stacks.values():
        add(
            FrozenNetworks([mac for _, mac in found], whole, seats, n_envs, seed + len(groups)), [i for i, _ in found]
        )
    return groups, group_of, index_of
