"""The layout of observations of foraging; imports no compiled code.

A player that sees the complete board observes row, column and level of each of F foods (-1, -1, 0 for a food that is
eaten), from the north-west on, then of itself, then of the other players: 3 (F + N) numbers.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...types import ConfigError, EnvInfo
from ..layout import Layout, Object, is_all_observations, observation_starts
from ..lookup import is_game


def layout(info: EnvInfo) -> Layout | None:
    """See ``Game.layout``; None unless every player sees the complete board and all levels."""
    slots = _food_slots(info)
    if slots is None or not is_all_observations(info):
        return None
    foods = np.arange(slots)[:, None] * 3 + np.arange(3)

    def objects(state: NDArray[Any]) -> list[Object]:
        return [(float(row), float(column), f"{level:g}") for row, column, level in state[foods] if level > 0]

    places = observation_starts(info)[:, None] + 3 * slots + np.arange(2)
    return Layout(places, 0.5, is_grid=True, low=0.0, high=float(max(board_size(info)) - 1), objects=objects)


def food_slots(info: EnvInfo) -> int:
    """F, the number of foods that an observation lists; ConfigError unless players see all foods and all levels."""
    slots = _food_slots(info) if is_game(info, "foraging") else None
    if slots is None:
        raise ConfigError(f"script: scripts need players that see all foods and levels, unlike {info.key}")
    return slots


def _food_slots(info: EnvInfo) -> int | None:
    """F; None if observations are images, hide levels, or cover a window, to which positions are then relative."""
    slots, rest = divmod(info.obs_sizes[0] - 3 * info.n_agents, 3)
    short = re.search(r"-(\d+)s-", info.key)
    sight = info.arguments.get("sight", int(short[1]) if short else max(_size_in_key(info)))
    sees_all = sight >= max(board_size(info)) - 1 and info.arguments.get("observe_agent_levels", True) is not False
    is_list = not rest and slots >= 1 and not info.arguments.get("grid_observation", False)
    return slots if sees_all and is_list else None


def offsets_size(info: EnvInfo) -> int:
    """D, the number of ``offsets`` features of each food: three from every player, and two more."""
    return 3 * info.n_agents + 2


def board_size(info: EnvInfo) -> tuple[int, int]:
    """Rows and columns."""
    rows, columns = info.arguments.get("field_size", _size_in_key(info))
    return int(rows), int(columns)


def _size_in_key(info: EnvInfo) -> tuple[int, int]:
    size = re.search(r"(\d+)x(\d+)", info.key)
    return (int(size[1]), int(size[2])) if size else (8, 8)


def board_centre(info: EnvInfo) -> NDArray[np.float64]:
    """Row and column of the centre of the board."""
    return (np.array(board_size(info)) - 1) / 2
