"""The rules of lbforaging 2.x for E copies at once.

They include the package's peculiarities: a player may enter the cell of one that failed to move; a player near the
border sees other players at larger distances than food; in a new episode, players that are not yet placed block their
last cells.
"""

from typing import Any

import numpy as np
from numba import njit

from ...types import Arrays, EnvInfo
from ..game import Batched
from ..random import generators, integer, shuffle

NORTH, SOUTH, WEST, EAST, LOAD = 1, 2, 3, 4, 5
ATTEMPTS = 1000  # at placing players or food before the package gives up


class Foraging(Batched):
    """See ``Batched``."""

    changing = ("field", "position", "level", "clock", "spawned", "random")

    def __init__(self, original: Any, info: EnvInfo, arrays: Arrays, seed: int) -> None:
        n_envs, n = len(arrays.actions), info.n_agents
        rows, columns = original.field.shape
        super().__init__(original, info, arrays, seed)
        self.field = np.zeros((n_envs, rows, columns), np.int64)  # int64 [E, R, C], food levels
        self.position = np.full((n_envs, n, 2), -1, np.int64)  # int64 [E, N, 2], row and column
        self.level = np.zeros((n_envs, n), np.int64)  # int64 [E, N]
        self.clock = np.zeros(n_envs, np.int64)  # int64 [E], steps of the episode
        self.spawned = np.zeros(n_envs, np.int64)  # int64 [E], sum of the food levels at the episode's start
        self.random = generators(seed, n_envs)
        by_players = original.max_food_level is None  # a food may need as much as three players together
        low = original.min_food_level
        high = low if by_players else original.max_food_level
        self._spawn = (  # levels of players and foods, [2, ...] each, and how food levels are drawn
            np.stack([original.min_player_level, original.max_player_level]).astype(np.int64),
            np.stack([low, high]).astype(np.int64),
            bool(by_players),
            bool(original.force_coop),
        )
        self._seen = (int(original.max_num_food), int(original.sight), bool(original._observe_agent_levels))
        self._limits = int(original._max_episode_steps), int(info.episode_limit)
        self._rewards = float(original.penalty), bool(original._normalize_reward)

    @staticmethod
    def unknown_setting(original: Any) -> str:
        """See ``game.Batched``."""
        return "grid_observation" if original._grid_observation else ""

    def reset(self) -> None:
        """Begins an episode in every copy."""
        first = self.arrays.first
        _reset(*self._world(), first.obs, first.state, self._spawn, self._seen)

    def step(self) -> None:
        """Steps every copy with ``actions``."""
        a = self.arrays
        _step(
            *self._world(), a.actions, a.reward, a.terminated, a.truncated, a.final.obs, a.final.state,
            a.final.acting, a.first.obs, a.first.state, self._limits, self._rewards, self._spawn, self._seen,
        )  # fmt: skip

    def _world(self) -> tuple[Any, ...]:
        return self.field, self.position, self.level, self.clock, self.spawned, self.random


@njit(cache=True)
def _is_open(field, row, column):
    """Whether a player may try to enter a cell: one inside the board without food; players do not matter."""
    return 0 <= row < field.shape[0] and 0 <= column < field.shape[1] and field[row, column] == 0


@njit(cache=True)
def _food_next_to(field, row, column):
    """The position of the food north, south, west or east of a cell; (-1, -1) for none.

    Food is spawned so far apart that there is at most one.
    """
    if row > 0 and field[row - 1, column] > 0:
        return row - 1, column
    if row < field.shape[0] - 1 and field[row + 1, column] > 0:
        return row + 1, column
    if column > 0 and field[row, column - 1] > 0:
        return row, column - 1
    if column < field.shape[1] - 1 and field[row, column + 1] > 0:
        return row, column + 1
    return -1, -1


@njit(cache=True)
def _step(
    fields, positions, levels, clock, spawned, random, actions, rewards, terminated, truncated, obs, state, acting,
    first_obs, first_state, limits, rules, spawn, view,
):  # fmt: skip
    n = positions.shape[1]
    wanted = np.empty((n, 2), np.int64)
    loads = np.empty(n, np.bool_)
    for e in range(len(fields)):
        field, position, level, reward = fields[e], positions[e], levels[e], rewards[e]
        clock[e] += 1
        _move(field, position, actions[e], wanted, loads)
        eaten = _load(field, position, level, loads, reward, spawned[e], rules)
        left = True
        if eaten:
            left = bool(np.any(field))
        terminated[e] = not left
        truncated[e] = left and (clock[e] >= limits[0] or clock[e] >= limits[1])
        _show(field, position, level, obs[e], state[e], view)
        ended = terminated[e] or truncated[e]
        acting[e] = 0 if ended else 1
        if ended:
            _begin(e, fields, positions, levels, clock, spawned, random, spawn)
            _show(field, position, level, first_obs[e], first_state[e], view)


@njit(cache=True)
def _move(field, position, action, wanted, loads):
    """Moves each player that no other player blocks by the same target cell; writes to ``loads`` who loads food."""
    n = len(position)
    for i in range(n):
        row, column = position[i]
        wanted[i] = position[i]
        loads[i] = False
        a = action[i]
        if a == NORTH and _is_open(field, row - 1, column):
            wanted[i, 0] = row - 1
        elif a == SOUTH and _is_open(field, row + 1, column):
            wanted[i, 0] = row + 1
        elif a == WEST and _is_open(field, row, column - 1):
            wanted[i, 1] = column - 1
        elif a == EAST and _is_open(field, row, column + 1):
            wanted[i, 1] = column + 1
        elif a == LOAD:
            loads[i] = _food_next_to(field, row, column)[0] >= 0
    for i in range(n):
        is_free = True
        for j in range(n):
            if j != i and wanted[i, 0] == wanted[j, 0] and wanted[i, 1] == wanted[j, 1]:
                is_free = False
        if is_free:
            position[i, 0], position[i, 1] = wanted[i, 0], wanted[i, 1]


@njit(cache=True)
def _load(field, position, level, loads, reward, spawned, rules):
    """All players that load the same food do so together; returns whether any food was eaten."""
    penalty, normalised = rules
    n = len(position)
    eaten = False
    reward[:] = 0.0
    for i in range(n):
        if not loads[i]:
            continue
        row, column = _food_next_to(field, position[i, 0], position[i, 1])
        food, strength = field[row, column], 0
        for j in range(i, n):
            if loads[j] and abs(position[j, 0] - row) + abs(position[j, 1] - column) == 1:
                strength += level[j]
        for j in range(i, n):
            if loads[j] and abs(position[j, 0] - row) + abs(position[j, 1] - column) == 1:
                loads[j] = False
                if strength < food:
                    reward[j] -= penalty
                else:
                    share = float(level[j] * food)
                    reward[j] = share / float(strength * spawned) if normalised else share
        if strength >= food:
            field[row, column] = 0
            eaten = True
    return eaten


@njit(cache=True)
def _show(field, position, level, obs, state, view):
    """Writes each player's observation: food in sight from the north-west on, the player, the others in sight."""
    n_food, sight, shows_levels = view
    n, width = obs.shape
    per_player = 3 if shows_levels else 2
    for i in range(n):
        row, column = position[i]
        top, left = max(row - sight, 0), max(column - sight, 0)
        at = 0
        for r in range(top, min(row + sight + 1, field.shape[0])):
            for c in range(left, min(column + sight + 1, field.shape[1])):
                if field[r, c] != 0:
                    obs[i, at] = r - top
                    obs[i, at + 1] = c - left
                    obs[i, at + 2] = field[r, c]
                    at += 3
        while at < 3 * n_food:
            obs[i, at] = -1.0
            obs[i, at + 1] = -1.0
            obs[i, at + 2] = 0.0
            at += 3
        for turn in range(n):
            j = i if turn == 0 else (turn - 1 if turn <= i else turn)
            y = position[j, 0] - row + min(sight, row)
            x = position[j, 1] - column + min(sight, column)
            if min(y, x) < 0 or max(y, x) > 2 * sight:
                continue
            obs[i, at] = y
            obs[i, at + 1] = x
            if shows_levels:
                obs[i, at + 2] = level[j]
            at += per_player
        while at < width:
            obs[i, at] = -1.0
            obs[i, at + 1] = -1.0
            if shows_levels:
                obs[i, at + 2] = 0.0
            at += per_player
        state[i * width : (i + 1) * width] = obs[i]


@njit(cache=True)
def _reset(fields, positions, levels, clock, spawned, random, obs, state, spawn, view):
    for e in range(len(fields)):
        _begin(e, fields, positions, levels, clock, spawned, random, spawn)
        _show(fields[e], positions[e], levels[e], obs[e], state[e], view)


@njit(cache=True)
def _begin(e, fields, positions, levels, clock, spawned, random, spawn):
    """Places players and food for a new episode of copy ``e``."""
    player_levels, food_levels, by_players, coop = spawn
    field, position, level = fields[e], positions[e], levels[e]
    field[...] = 0
    clock[e] = 0
    order = np.empty(len(position), np.int64)
    shuffle(random, e, order)
    for i in range(len(position)):
        for _ in range(ATTEMPTS):
            row, column = integer(random, e, 0, field.shape[0]), integer(random, e, 0, field.shape[1])
            if not _is_taken(position, row, column):
                position[i, 0], position[i, 1] = row, column
                level[i] = integer(random, e, player_levels[0, order[i]], player_levels[1, order[i]] + 1)
                break
    strongest = np.sort(level)[:3].sum()  # as in the package, these are the three lowest levels
    _grow(e, field, position, random, food_levels, strongest if by_players else -1, coop)
    spawned[e] = field.sum()


@njit(cache=True)
def _is_taken(position, row, column):
    for i in range(len(position)):
        if position[i, 0] == row and position[i, 1] == column:
            return True
    return False


@njit(cache=True)
def _grow(e, field, position, random, food_levels, highest, coop):
    """Spawns food inside the border, none next to another, of levels up to ``highest`` (-1: each food's own)."""
    order = np.empty(food_levels.shape[1], np.int64)
    shuffle(random, e, order)
    placed = 0
    for _ in range(ATTEMPTS):
        if placed == len(order):
            break
        row, column = integer(random, e, 1, field.shape[0] - 1), integer(random, e, 1, field.shape[1] - 1)
        if _is_taken(position, row, column) or _is_near_food(field, row, column):
            continue
        high = highest if highest >= 0 else food_levels[1, order[placed]]
        low = high if coop else food_levels[0, order[placed]]
        field[row, column] = low if low == high else integer(random, e, low, high + 1)
        placed += 1


@njit(cache=True)
def _is_near_food(field, row, column):
    """Whether there is food in the eight cells around, or two cells away along the row or the column."""
    for r in range(max(row - 2, 0), min(row + 3, field.shape[0])):
        for c in range(max(column - 2, 0), min(column + 3, field.shape[1])):
            near = (abs(r - row) <= 1 and abs(c - column) <= 1) or r == row or c == column
            if near and field[r, c] > 0:
                return True
    return False
