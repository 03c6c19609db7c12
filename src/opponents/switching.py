"""Opponents that change during an episode: after some steps another member of the split takes over in a copy."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..games.game import Ints
from ..types import ConfigError
from .lineup import Lineup, Takeovers
from .pool import Member

NEVER = np.iinfo(np.int64).max
# Irrational steps: the fractional parts of their multiples are spread evenly over [0, 1).
OF_EPISODE, OF_SWITCH = (5**0.5 - 1) / 2, 2**0.5 - 1


class Switch(NamedTuple):
    """When another member takes over, and which one."""

    low: int  # the least and the largest number of steps that a member plays before the next one takes over
    high: int
    order: Literal["random", "age"] = "random"  # any other member; or the next checkpoint of the same run


def switch_of(steps: int | Sequence[int], order: Literal["random", "age"]) -> Switch | None:
    """A ``Switch`` from the keys ``opponents_switch`` and ``opponents_switch_order``; None: opponents do not change.

    Raises:
        ConfigError: ``steps`` is neither a number nor a range.
    """
    if isinstance(steps, int):
        return Switch(steps, steps, order) if steps else None
    if len(steps) != 2 or not 1 <= steps[0] <= steps[1]:
        raise ConfigError(f"opponents_switch: {list(steps)} is neither a number of steps nor [LOW,HIGH]")
    return Switch(steps[0], steps[1], order)


class SwitchingLineup(Lineup):
    """A ``Lineup`` whose members take over from each other as ``switch`` says; other arguments as in ``Lineup``.

    In training, times and members are drawn at random. In tests they are a function of the number of the episode and
    of the switch alone: they depend neither on seeds nor on what agents do.

    Raises:
        ConfigError: no member can take over from another one.
    """

    changing = ("age", "wait", "count")

    def __init__(self, switch: Switch, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.switch = switch
        self.age = np.zeros(self.n_envs, np.int64)  # steps that the present member has played
        self.wait = np.full(self.n_envs, NEVER)  # the number after which another one takes over
        self.count = np.zeros(self.n_envs, np.int64)  # switches in the episode so far
        self.successors = None if switch.order == "random" else next_in_age(self.members)
        if self.successors is not None:
            self.openers = np.setdiff1d(np.arange(self.n_members), self.successors[self._has_successor()])
        elif self.n_members < 2:
            raise ConfigError(f"opponents_switch: {self.members[0].name} is the only opponent; none can take over")

    def begin(self, rows: Ints) -> None:
        """See ``Lineup``."""
        super().begin(rows)
        self.count[rows] = 0
        self._set_wait(rows)

    def advance(self, ongoing: NDArray[np.bool_]) -> Takeovers:
        """See ``Lineup``."""
        self.age += 1
        rows = np.flatnonzero((self.age >= self.wait) & ongoing)
        before = self.playing[rows]
        if len(rows):
            self.playing[rows] = self._next(rows)
            self.count[rows] += 1
            self._set_wait(rows)
            self.start(rows)
        return Takeovers(rows, before, self.playing[rows])

    def _next(self, rows: Ints) -> Ints:
        """The members that take over in copies ``rows``."""
        now, others = self.playing[rows], self.n_members - 1
        if self.successors is not None:
            return self.successors[now]
        if self.in_turn:
            further = (self._episode(rows) // self.n_members + self.count[rows]) % others
        else:
            further = self.random.integers(0, others, len(rows))
        return (now + 1 + further) % self.n_members

    def _set_wait(self, rows: Ints) -> None:
        """Sets the steps until the next switch in copies ``rows``."""
        low, high = self.switch.low, self.switch.high
        if self.in_turn:
            share = (self._episode(rows) * OF_EPISODE + self.count[rows] * OF_SWITCH) % 1.0
            wait = low + (share * (high - low + 1)).astype(np.int64)
        else:
            wait = self.random.integers(low, high + 1, len(rows))
        self.age[rows] = 0
        self.wait[rows] = np.where(self._has_successor()[self.playing[rows]], wait, NEVER)

    def _episode(self, rows: Ints) -> Ints:
        """The numbers of the test episodes in copies ``rows``."""
        return self.turn[rows] - self.n_envs

    def _has_successor(self) -> NDArray[np.bool_]:
        """Whether another member takes over from each member, [K]."""
        every = np.arange(self.n_members)
        return every >= 0 if self.successors is None else self.successors != every


def next_in_age(members: Sequence[Member]) -> Ints:
    """The index of the next checkpoint of each member's run, in the order of the pool; its own for the last one.

    Raises:
        ConfigError: no two members are checkpoints of one run.
    """
    successors = np.arange(len(members))
    latest: dict[str, int] = {}
    for i, member in enumerate(members):
        if member.run in latest:
            successors[latest[member.run]] = i
        if member.run:
            latest[member.run] = i
    if (successors == np.arange(len(members))).all():
        raise ConfigError("opponents_switch_order: age needs two checkpoints of one run in the split; make the pool "
                          "with checkpoints=all")  # fmt: skip
    return successors
