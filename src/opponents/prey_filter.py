"""What a perfect observer of prey on a round believes: Bayes' rule over rounds and the stops on them."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from ..types import ConfigError, EnvInfo
from .tag import PATROLS, ROUNDS, STOPS, THERE, check_what_is_seen, is_stray, rounds_of, steer

Ints = NDArray[np.int64]
SLIP = 0.02  # share of a player's actions that are reckoned to be accidents


class PreyFilter:
    """A ``Filter``, see ``pool_env``: it tells probabilities of each of the ``STOPS``; nothing of other predators.

    Args:
        scripts: those that it reckons with, all with the same weight, beside the stray, who may go anywhere.
        info: the environment's, all agents included.
        seats: the agents that it watches.
        n_envs: E.

    Raises:
        ConfigError: a script whose prey is on no round, prey that is nobody's opponent, or another game.
    """

    def __init__(self, scripts: list[str], info: EnvInfo, seats: list[int], n_envs: int) -> None:
        check_what_is_seen(info)
        weights = Counter(script.split("+")[-1] for script in scripts)
        weights.setdefault("stray", 1)
        lost = [name for name in weights if name not in ROUNDS and name not in PATROLS]
        self.prey = info.agents.index("agent_0")
        if lost or self.prey not in seats:
            why = f"{lost[0]} is on none" if lost else "the prey learns"
            raise ConfigError(f"opponents_told: belief is of prey on rounds; {why}, take goal")
        self.place, self.n_seats = seats.index(self.prey), len(seats)
        # A hypothesis is a round and a stop of it that prey is on its way to. Those of known rounds stand first, each
        # with the hypothesis that follows it; a stray's stand together, and any other of them may follow.
        at: list[int] = []
        after: list[int] = []
        prior: list[float] = []
        self.strays: list[slice] = []
        for name in sorted(weights, key=is_stray):
            rounds = (ROUNDS[name],) if is_stray(name) else rounds_of(name)
            for stops in rounds:
                first, n = len(at), len(stops)
                at += [STOPS.index(stop) for stop in stops]
                prior += [1.0 / n / len(rounds) * weights[name] / weights.total()] * n
                if is_stray(name):
                    self.strays.append(slice(first, first + n))
                else:
                    after += [first + (i + 1) % n for i in range(n)]
        self.at, self.after, self.prior = np.array(at), np.array(after, np.int64), np.array(prior)
        self.stops = np.array(STOPS)
        self.which = np.eye(len(STOPS))[self.at]  # [hypotheses, 8]
        self.belief = np.tile(self.prior, (n_envs, 1))

    def begin(self, rows: Ints) -> None:
        """New episodes in copies ``rows``."""
        self.belief[rows] = self.prior

    def believe(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        """What it believes before the players act: [E, M, 8]; prey that is at a stop is bound for the next one."""
        near = np.linalg.norm(self.stops - self._own(obs)[:, None], axis=2) < THERE  # [E, 8]
        arrived = np.where(near[:, self.at], self.belief, 0.0)
        self.belief = self.belief - arrived
        self.belief[:, self.after] += arrived[:, : len(self.after)]
        for stray in self.strays:
            left = arrived[:, stray]
            self.belief[:, stray] += (left.sum(axis=1, keepdims=True) - left) / (left.shape[1] - 1)
        told = np.zeros((len(obs), self.n_seats, len(STOPS)), np.float32)
        told[:, self.place] = self.belief @ self.which
        return told

    def observe(self, obs: NDArray[np.float32], actions: Ints) -> None:
        """Bayes' rule, once actions [E, M] have been seen."""
        own = self._own(obs)
        shape = len(own), len(self.stops), 2
        wanted = steer(np.broadcast_to(own[:, None], shape), np.broadcast_to(self.stops, shape))
        likely = SLIP / 5 + (1.0 - SLIP) * (wanted == actions[:, self.place, None])  # [E, 8]
        self.belief *= likely[:, self.at]
        self.belief /= self.belief.sum(axis=1, keepdims=True)

    def _own(self, obs: NDArray[np.float32]) -> NDArray[np.float64]:
        return obs[:, self.prey, 2:4].astype(np.float64)
