"""What a perfect observer of prey on a round believes: Bayes' rule over rounds and the stops on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..types import ConfigError, EnvInfo
from .tag import ROUNDS, STOPS, THERE, steer

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
        ConfigError: a script whose prey is on no round, or prey that is nobody's opponent.
    """

    def __init__(self, scripts: list[str], info: EnvInfo, seats: list[int], n_envs: int) -> None:
        names = [script.split("+")[-1] for script in scripts]
        names += [] if "stray" in names else ["stray"]
        lost = [name for name in names if name not in ROUNDS]
        self.prey = info.agents.index("agent_0")
        if lost or self.prey not in seats:
            why = f"{lost[0]} is on none" if lost else "the prey learns"
            raise ConfigError(f"opponents_told: belief is of prey on rounds; {why}, take goal")
        self.place, self.n_seats = seats.index(self.prey), len(seats)
        rounds = [ROUNDS[name] for name in names]
        # a hypothesis is a round and a stop of it that prey is on its way to
        self.stops = np.array([stop for stops in rounds for stop in stops])  # [H, 2]
        self.prior = np.concatenate([np.full(len(s), 1.0 / len(s) / len(rounds)) for s in rounds])
        self.onwards = np.zeros((len(self.stops), len(self.stops)))  # from each to what comes next
        at = 0
        for name, stops in zip(names, rounds, strict=True):
            n = len(stops)
            strays = (1.0 - np.eye(n)) / (n - 1)
            next_one = np.roll(np.eye(n), 1, axis=1)
            self.onwards[at : at + n, at : at + n] = strays if name.startswith("stray") else next_one
            at += n
        self.which = np.array([[tuple(stop) == each for each in STOPS] for stop in self.stops], float)  # [H, 8]
        self.belief = np.tile(self.prior, (n_envs, 1))

    def begin(self, rows: Ints) -> None:
        """New episodes in copies ``rows``."""
        self.belief[rows] = self.prior

    def believe(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        """What it believes before the players act: [E, M, 8]; prey that is at a stop is bound for the next one."""
        gap = self.stops - self._own(obs)[:, None]
        arrived = np.where(np.linalg.norm(gap, axis=2) < THERE, self.belief, 0.0)
        self.belief += arrived @ self.onwards - arrived
        told = np.zeros((len(obs), self.n_seats, len(STOPS)), np.float32)
        told[:, self.place] = self.belief @ self.which
        return told

    def observe(self, obs: NDArray[np.float32], actions: Ints) -> None:
        """Bayes' rule, once actions [E, M] have been seen."""
        own = self._own(obs)
        shape = len(own), len(self.stops), 2
        wanted = steer(np.broadcast_to(own[:, None], shape), np.broadcast_to(self.stops, shape))
        self.belief *= SLIP / 5 + (1.0 - SLIP) * (wanted == actions[:, self.place, None])
        self.belief /= self.belief.sum(axis=1, keepdims=True)

    def _own(self, obs: NDArray[np.float32]) -> NDArray[np.float64]:
        return obs[:, self.prey, 2:4].astype(np.float64)
