"""Exact inference of the next stop of scripted prey: Bayes' rule over rounds and their stops."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from ...types import ConfigError, EnvInfo
from ...utils.stateful import Stateful
from ..game import Floats, Ints
from .layout import PREY, check_settings
from .scripts import PATROLS, ROUNDS, STOPS, THERE, is_stray, rounds_of, steer

SLIP = 0.02  # assumed probability that an action is random


class PreyObserver(Stateful):
    """A ``game.Observer``: the probability of each of the ``STOPS`` for the prey, zeros for predators.

    Scripts are equally likely; ``stray``, which moves to any stop, is always one of them.

    Raises:
        ConfigError: a script whose prey visits no stops, prey that is not an opponent, or unsupported settings.
    """

    changing = ("belief",)

    def __init__(self, scripts: list[str], info: EnvInfo, seats: list[int], n_envs: int) -> None:
        check_settings(info)
        weights = Counter(script.split("+")[-1] for script in scripts)
        weights.setdefault("stray", 1)
        unsupported = [name for name in weights if name not in ROUNDS and name not in PATROLS]
        self.prey = info.agents.index(PREY)
        if unsupported or self.prey not in seats:
            cause = f"{unsupported[0]} has no round" if unsupported else "the prey learns"
            raise ConfigError(f"opponent_information: belief is about prey on rounds; {cause}, use goal")
        self.place, self.n_seats = seats.index(self.prey), len(seats)
        # A hypothesis is a round and the next stop of the prey in it. Those of rounds come first, each with one
        # successor in ``after``; those of strays come last, and any other of the same stray may follow.
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
        """See ``Observer``."""
        self.belief[rows] = self.prior

    def beliefs(self, obs: Floats) -> Floats:
        """See ``Observer``: [E, M, 8]; prey that has reached a stop is moving to the next one."""
        near = np.linalg.norm(self.stops - self._own(obs)[:, None], axis=2) < THERE  # [E, 8]
        arrived = np.where(near[:, self.at], self.belief, 0.0)
        self.belief = self.belief - arrived
        self.belief[:, self.after] += arrived[:, : len(self.after)]
        for stray in self.strays:
            left = arrived[:, stray]
            self.belief[:, stray] += (left.sum(axis=1, keepdims=True) - left) / (left.shape[1] - 1)
        beliefs = np.zeros((len(obs), self.n_seats, len(STOPS)), np.float32)
        beliefs[:, self.place] = self.belief @ self.which
        return beliefs

    def update(self, obs: Floats, actions: Ints) -> None:
        """See ``Observer``: Bayes' rule."""
        own = self._own(obs)
        shape = len(own), len(self.stops), 2
        wanted = steer(np.broadcast_to(own[:, None], shape), np.broadcast_to(self.stops, shape))
        likely = SLIP / 5 + (1.0 - SLIP) * (wanted == actions[:, self.place, None])  # [E, 8]
        self.belief *= likely[:, self.at]
        self.belief /= self.belief.sum(axis=1, keepdims=True)

    def _own(self, obs: Floats) -> NDArray[np.float64]:
        return obs[:, self.prey, 2:4].astype(np.float64)
