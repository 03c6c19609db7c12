"""Features of foraging for learners: exact beliefs about the scripted players' goals, and offsets of foods."""

import numpy as np
from numba import njit

from ...types import EnvInfo
from ...utils.stateful import Stateful
from ..game import Floats, Ints
from .layout import board_centre, food_slots, offsets_size
from .scripts import RANDOM, choose, count, find, kinds, towards

SLIP = 0.02  # likelihood, up to normalisation, of an action that does not lead to the goal


class ForagingObserver(Stateful):
    """A ``game.Observer``: the probability of each listed food, by Bayes' rule.

    Scripts are equally likely; ``random``, which chooses any food, is always one of them.

    Raises:
        ConfigError: an unknown script, or players that do not see the complete board.
    """

    changing = ("belief", "foods")

    def __init__(self, scripts: list[str], info: EnvInfo, seats: list[int], n_envs: int) -> None:
        self.seats, n_foods = seats, food_slots(info)
        self.middle = board_centre(info)
        self.kinds = kinds([*dict.fromkeys([*scripts, "random"])])
        self.belief = np.zeros((n_envs, len(seats), len(self.kinds), n_foods))
        self.foods = np.full((n_envs, len(seats), n_foods, 2), -1.0, np.float32)  # the foods in ``belief``

    def begin(self, rows: Ints) -> None:
        """See ``Observer``."""
        self.belief[rows] = 0.0
        self.foods[rows] = -1.0

    def beliefs(self, obs: Floats) -> Floats:
        """See ``Observer``: [E, M, F]."""
        rows = np.arange(len(obs))
        beliefs = np.zeros((len(obs), len(self.seats), self.foods.shape[2]), np.float32)
        for place, seat in enumerate(self.seats):
            _expect(rows, obs[:, seat], self.belief[:, place], self.foods[:, place], self.kinds,
                    self.middle, beliefs[:, place])  # fmt: skip
        return beliefs

    def update(self, obs: Floats, actions: Ints) -> None:
        """See ``Observer``."""
        for place, seat in enumerate(self.seats):
            _update(np.arange(len(obs)), obs[:, seat], actions[:, place], self.belief[:, place],
                   self.foods[:, place])  # fmt: skip


@njit(cache=True)
def _expect(rows, obs, belief, foods, kinds, middle, by_slot):
    """Moves the belief in eaten foods to each script's present choice; writes the sum over scripts."""
    n_foods = foods.shape[1]
    for r in range(len(rows)):
        e = rows[r]
        own_obs, weight = obs[e], belief[e]
        known = np.empty(n_foods, np.int64)
        for f in range(n_foods):
            known[f] = find(own_obs, foods[e, f, 0], foods[e, f, 1], n_foods) if foods[e, f, 0] >= 0 else -1
        moved = np.zeros((len(kinds), n_foods))
        left = count(own_obs, n_foods)
        if left == 0:
            continue
        for k in range(len(kinds)):
            free = 1.0 / len(kinds) if weight.sum() == 0.0 else 0.0
            for f in range(n_foods):
                if known[f] >= 0:
                    moved[k, known[f]] += weight[k, f]
                else:
                    free += weight[k, f]
            if kinds[k] == RANDOM:
                moved[k, :left] += free / left
            else:
                moved[k, choose(kinds[k], own_obs, n_foods, middle)] += free
        weight[...] = moved
        for f in range(n_foods):
            foods[e, f, 0] = own_obs[3 * f] if own_obs[3 * f + 2] > 0 else -1.0
            foods[e, f, 1] = own_obs[3 * f + 1]
            by_slot[r, f] = moved[:, f].sum()


@njit(cache=True)
def _update(rows, obs, actions, belief, foods):
    n_foods = foods.shape[1]
    for r in range(len(rows)):
        e = rows[r]
        for f in range(n_foods):
            if foods[e, f, 0] < 0:
                continue
            likely = SLIP
            for rows_first in range(2):
                wanted = towards(obs[e], foods[e, f, 0], foods[e, f, 1], n_foods, rows_first == 1)
                fits = wanted == actions[r] or (wanted == 0 and actions[r] > 0)
                likely += (0.125 if wanted == 0 else 0.5) * fits
            belief[e, :, f] *= likely
        total = belief[e].sum()
        if total > 0:
            belief[e] /= total


def offsets(obs: Floats, agents: list[int], info: EnvInfo) -> Floats:
    """See ``Game.offsets``: the positions of foods relative to players, [E, L, F * D].

    For each food and each player, in the order in which the agent observes them: rows and columns from the player to
    the food, in units of four cells, and whether the food is adjacent. Then whether the agent's own level suffices,
    and whether the food exists. A network would otherwise compute these from absolute positions.
    """
    values = np.zeros((len(obs), len(agents), food_slots(info), offsets_size(info)), np.float32)
    for place, agent in enumerate(agents):
        _offsets(obs[:, agent], values.shape[2], values[:, place])
    return values.reshape(len(obs), len(agents), -1)


@njit(cache=True)
def _offsets(obs, n_foods, values):
    own = 3 * n_foods
    for e in range(len(obs)):
        own_obs = obs[e]
        for f in range(n_foods):
            y, x, level = own_obs[3 * f], own_obs[3 * f + 1], own_obs[3 * f + 2]
            if level <= 0:
                continue
            players = (values.shape[2] - 2) // 3
            for who in range(players):
                dy, dx = y - own_obs[own + 3 * who], x - own_obs[own + 3 * who + 1]
                values[e, f, 3 * who] = 0.25 * dy
                values[e, f, 3 * who + 1] = 0.25 * dx
                values[e, f, 3 * who + 2] = abs(dy) + abs(dx) == 1
            values[e, f, 3 * players] = own_obs[own + 2] >= level
            values[e, f, 3 * players + 1] = 1.0
