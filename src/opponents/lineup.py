"""Assigns members of a pool to copies of the environment, and makes all of them act."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..games.game import Floats, Ints, Players
from ..games.lookup import part_of
from ..types import ConfigError, EnvInfo, Observation
from ..utils.stateful import Stateful
from .frozen import FrozenNetworks, load_controller, shape_of
from .pool import Member, Pool


class Takeovers(NamedTuple):
    """Copies [R] in which another member takes over, and the indices [R] of the members before and after."""

    rows: Ints
    before: Ints
    after: Ints


NOBODY = Takeovers(*(np.zeros(0, np.int64) for _ in range(3)))


class Lineup(Stateful):
    """The K ``members`` of a pool that play the agents ``seats`` (indices) in E copies.

    Members act in groups: all scripts together, and all networks of one shape together. ``playing`` int64 [E] is the
    index of the member in each copy: i, i + E, ... in copy i if members play ``in_turn``, else a random one. Episodes
    that begin before step ``trained_from``, counted over all copies, are played by scripts.

    Raises:
        ConfigError: ``trained_from`` is not 0, and no member is a script.
    """

    changing: ClassVar[tuple[str, ...]] = ("random", "playing", "turn", "groups", "steps")

    def __init__(
        self, pool: Pool, members: Sequence[Member], full: EnvInfo, seats: list[int], n_envs: int, seed: int,
        in_turn: bool, trained_from: int = 0,
    ) -> None:  # fmt: skip
        self.members, self.n_members = members, len(members)
        self.seats, self.n_envs, self.in_turn = seats, n_envs, in_turn
        self.openers = np.arange(len(members))  # the members with which episodes begin
        self.random = np.random.default_rng(seed)
        self.playing = np.zeros(n_envs, np.int64)  # int64 [E], the index of the member that plays in each copy
        self.turn = np.arange(n_envs)
        self.groups: list[Players] = []
        self.group_of, self.index_of = np.zeros(len(members), np.int64), np.zeros(len(members), np.int64)
        scripted = [i for i, member in enumerate(members) if member.kind == "scripted"]
        if trained_from and not scripted:
            raise ConfigError(f"trained_opponents_from: {pool.folder} has no scripts that could play before; leave "
                              "it out")  # fmt: skip
        self.scripted, self.trained_from = np.array(scripted, np.int64), trained_from
        self.steps = 0  # environment steps so far, over all copies
        if scripted:
            names, noise = [members[i].script for i in scripted], [members[i].noise for i in scripted]
            self._add(part_of(full, "scripts")(names, noise, full, seats, n_envs, seed), scripted)
        alike: dict[str, tuple[list[int], list[Any]]] = {}  # indices and controllers of trained members by shape
        for i, member in enumerate(members):
            if member.kind == "checkpoint":
                mac = load_controller((pool.folder / member.file).parent, full, pool.trust)
                which, macs = alike.setdefault(shape_of(mac), ([], []))
                which.append(i)
                macs.append(mac)
        for which, macs in alike.values():
            self._add(FrozenNetworks(macs, full, seats, n_envs, seed + len(self.groups)), which)

    def _add(self, group: Players, which: list[int]) -> None:
        self.group_of[which], self.index_of[which] = len(self.groups), np.arange(len(which))
        self.groups.append(group)

    def restart(self) -> None:
        """Restarts the turns: copy i plays against member i next."""
        self.turn = np.arange(self.n_envs)

    def begin(self, rows: Ints) -> None:
        """Starts new episodes in copies ``rows`` and chooses the members that play in them."""
        if self.in_turn:
            self.playing[rows] = self.openers[self.turn[rows] % len(self.openers)]
            self.turn[rows] += self.n_envs
        else:
            openers = self.scripted if self.steps < self.trained_from else self.openers
            self.playing[rows] = openers[self.random.integers(0, len(openers), len(rows))]
        self.start(rows)

    def advance(self, ongoing: NDArray[np.bool_]) -> Takeovers:
        """Counts a step, after which the episodes of copies ``ongoing`` [E] continue; returns who takes over."""
        self.steps += self.n_envs
        return NOBODY

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``Stateful``; states of omarl before ``trained_from`` have no steps."""
        super().load_state_dict({"steps": self.steps, **state})

    def start(self, rows: Ints) -> None:
        """Lets the members that play in copies ``rows`` begin, as at the first step of an episode."""
        for group, mine in self._by_group(rows):
            group.begin(mine, self.index_of[self.playing[mine]])

    def act(self, observation: Observation, actions: NDArray[Any], rows: Ints | None = None) -> None:
        """Writes the opponents' actions into ``actions`` [E, N, ...]; only in copies ``rows`` if they are given."""
        for group, mine in self._by_group(rows):
            which = self.index_of[self.playing[mine]]
            actions[mine[:, None], self.seats] = group.act(mine, which, observation.obs, observation.avail)

    def remember(self, actions: NDArray[Any]) -> None:
        """Passes the joint actions [E, N, ...] to players whose input includes the last action."""
        for group, rows in self._by_group():
            group.remember(rows, actions[rows])

    def write_goals(self, obs: Floats, goals: Floats, rows: Ints | None = None) -> None:
        """Writes known goals into ``goals`` [E, M * G], after ``act`` in the same copies."""
        for group, mine in self._by_group(rows):
            known = group.goals(mine, obs)
            if known is not None:
                goals[mine] = known.reshape(len(mine), -1)

    def _by_group(self, rows: Ints | None = None) -> list[tuple[Players, Ints]]:
        """Each group with the copies in which its members play."""
        rows = np.arange(self.n_envs) if rows is None else rows
        groups = self.group_of[self.playing[rows]]
        found = [(group, rows[groups == number]) for number, group in enumerate(self.groups)]
        return [(group, mine) for group, mine in found if len(mine)]
