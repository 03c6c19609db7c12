"""Scripted players of level-based foraging.

A player walks to one food and loads next to it, until any player has eaten that food; scripts differ in their choice
of the food. A goal is the index of the food in the observation, which lists foods from the north-west on.
"""

import numpy as np
from numba import njit

from ...types import ConfigError, EnvInfo
from ..game import Floats, Ints, Scripts
from ..random import generators, integer, uniform
from .layout import board_centre, food_slots

SCRIPTS = (
    "nearest", "farthest", "second_nearest", "highest_level", "lowest_level", "follower", "avoider", "first", "last",
    "west", "east", "centre", "border", "clustered", "isolated", "random", "contested", "diagonal", "north_east",
    "south_west", "north_west", "south_east", "meeting", "remote",
)  # fmt: skip
# The default training and test scripts; no script is in both.
TRAIN = ("nearest", "farthest", "avoider", "west", "north_east", "clustered", "border", "lowest_level", "random",
         "isolated")  # fmt: skip
TEST = ("second_nearest", "follower", "last", "east", "centre", "contested", "diagonal", "south_west", "first",
        "highest_level", "random:0.1", "farthest:0.1", "avoider:0.1", "isolated:0.1", "east:0.1")  # fmt: skip
RANDOM = SCRIPTS.index("random")
NORTH, SOUTH, WEST, EAST, LOAD = 1, 2, 3, 4, 5


class ForagingScripts(Scripts):
    """Players that walk to the food that their script prefers. Arguments and errors: see ``Scripts``."""

    changing = ("goal", "random")
    defaults = TRAIN, TEST

    def __init__(
        self, names: list[str], noise: list[float], info: EnvInfo, seats: list[int], n_envs: int, seed: int
    ) -> None:
        self.kind = kinds(names)
        self.noise = np.array(noise, np.float64)
        self.seats, self.n_foods, self.middle = seats, food_slots(info), board_centre(info)
        self.goal = np.full((n_envs, len(seats), 2), -1.0, np.float32)
        self.random = generators(seed, n_envs)

    def begin(self, rows: Ints, which: Ints) -> None:
        """See ``Players``."""
        self.goal[rows] = -1.0

    def act(self, rows: Ints, which: Ints, obs: Floats, avail: object = None) -> Ints:
        """See ``Players``; in foraging every action is always available."""
        actions = np.zeros((len(rows), len(self.seats)), np.int64)
        for place, seat in enumerate(self.seats):
            _act(rows, self.kind[which], self.noise[which], obs[:, seat], self.goal[:, place], self.n_foods,
                 self.middle, self.random, actions[:, place])  # fmt: skip
        return actions

    def goals(self, rows: Ints, obs: Floats) -> Floats:
        """The food that each player walks to, one-hot over the listed foods [R, M, F]."""
        goals = np.zeros((len(rows), len(self.seats), self.n_foods), np.float32)
        for place, seat in enumerate(self.seats):
            _slots(rows, obs[:, seat], self.goal[:, place], self.n_foods, goals[:, place])
        return goals


def kinds(names: list[str]) -> Ints:
    """Indices of scripts in ``SCRIPTS``, [K]; raises ConfigError for an unknown script."""
    for name in names:
        if name not in SCRIPTS:
            raise ConfigError(f"script: {name!r} is none of {', '.join(SCRIPTS)}")
    return np.array([SCRIPTS.index(name) for name in names], np.int64)


@njit(cache=True)
def _distance(ay, ax, by, bx):
    return abs(ay - by) + abs(ax - bx)


@njit(cache=True)
def _score(kind, obs, f, n_foods, middle):
    """The script's preference for food ``f``: it walks to the food with the lowest score."""
    y, x, level = obs[3 * f], obs[3 * f + 1], obs[3 * f + 2]
    own = 3 * n_foods
    near = _distance(y, x, obs[own], obs[own + 1]) + 1e-3 * f
    other = _distance(y, x, obs[own + 3], obs[own + 4]) + 1e-3 * f
    if kind == 0 or kind == 2:
        return near
    if kind == 1:
        return -near
    if kind == 3 or kind == 4:
        return (level if kind == 4 else -level) * 100.0 + near
    if kind == 5 or kind == 6:
        return other if kind == 5 else -other
    if kind == 7 or kind == 8:
        return float(f if kind == 7 else -f)
    return _score_by_place(kind, obs, f, n_foods, middle, y, x, near, other)


@njit(cache=True)
def _score_by_place(kind, obs, f, n_foods, middle, y, x, near, other):
    if kind == 9 or kind == 10:
        return (x if kind == 9 else -x) + 1e-3 * f
    if kind == 11 or kind == 12:
        away = _distance(y, x, middle[0], middle[1]) + 1e-3 * f
        return away if kind == 11 else -away
    if kind == 13 or kind == 14:
        gap = 1e3
        for g in range(n_foods):
            if g != f and obs[3 * g + 2] > 0:
                gap = min(gap, _distance(y, x, obs[3 * g], obs[3 * g + 1]))
        return (gap if kind == 13 else -gap) + 1e-3 * f
    if kind == 16:
        return abs(near - other)
    if kind == 17:
        return abs(y - x) + 1e-3 * f
    if kind == 20 or kind == 21:
        return (y + x if kind == 20 else -y - x) + 1e-3 * f
    if kind == 22 or kind == 23:
        return near + other if kind == 22 else -near - other
    return (y - x if kind == 18 else x - y) + 1e-3 * f


@njit(cache=True)
def choose(kind, obs, n_foods, middle):
    """The index of the food that a script (not the random one) walks to; -1 if no food is left."""
    best, second = -1, -1
    for f in range(n_foods):
        if obs[3 * f + 2] <= 0:
            continue
        if best < 0 or _score(kind, obs, f, n_foods, middle) < _score(kind, obs, best, n_foods, middle):
            best, second = f, best
        elif second < 0 or _score(kind, obs, f, n_foods, middle) < _score(kind, obs, second, n_foods, middle):
            second = f
    return second if kind == 2 and second >= 0 else best


@njit(cache=True)
def count(obs, n_foods):
    """The number of foods that are left."""
    left = 0
    for f in range(n_foods):
        left += obs[3 * f + 2] > 0
    return left


@njit(cache=True)
def find(obs, y, x, n_foods):
    """The index of the food at a position; -1 if there is none."""
    for f in range(n_foods):
        if obs[3 * f + 2] > 0 and obs[3 * f] == y and obs[3 * f + 1] == x:
            return f
    return -1


@njit(cache=True)
def _is_free(obs, y, x, n_foods):
    if y < 0 or x < 0 or find(obs, y, x, n_foods) >= 0:
        return False
    for at in range(3 * n_foods + 3, len(obs) - 2, 3):
        if obs[at] == y and obs[at + 1] == x:
            return False
    return True


@njit(cache=True)
def towards(obs, y, x, n_foods, rows_first):
    """The action that moves a player towards a food, or loads next to it; 0 if the way is blocked."""
    own = 3 * n_foods
    dy, dx = y - obs[own], x - obs[own + 1]
    if abs(dy) + abs(dx) == 1:
        return LOAD
    vertical = (SOUTH if dy > 0 else NORTH) if dy != 0 else 0
    horizontal = (EAST if dx > 0 else WEST) if dx != 0 else 0
    for turn in range(2):
        if (turn == 0) == rows_first:
            if vertical and _is_free(obs, obs[own] + np.sign(dy), obs[own + 1], n_foods):
                return vertical
        elif horizontal and _is_free(obs, obs[own], obs[own + 1] + np.sign(dx), n_foods):
            return horizontal
    return 0


@njit(cache=True)
def _act(rows, kinds, noise, obs, goals, n_foods, middle, random, actions):
    for r in range(len(rows)):
        e = rows[r]
        own_obs = obs[e]
        if find(own_obs, goals[e, 0], goals[e, 1], n_foods) < 0:
            left = count(own_obs, n_foods)
            if left == 0:
                goals[e, :] = -1.0
                actions[r] = 0
                continue
            f = integer(random, e, 0, left) if kinds[r] == RANDOM else choose(kinds[r], own_obs, n_foods, middle)
            goals[e, 0], goals[e, 1] = own_obs[3 * f], own_obs[3 * f + 1]
        slips = uniform(random, e) < noise[r]
        action = towards(own_obs, goals[e, 0], goals[e, 1], n_foods, uniform(random, e) < 0.5)
        actions[r] = integer(random, e, 1, 5) if slips or action == 0 else action


@njit(cache=True)
def _slots(rows, obs, goals, n_foods, one_hot):
    for r in range(len(rows)):
        f = find(obs[rows[r]], goals[rows[r], 0], goals[rows[r], 1], n_foods)
        if f >= 0:
            one_hot[r, f] = 1.0
