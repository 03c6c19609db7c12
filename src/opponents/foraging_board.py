"""What observations of level-based foraging say of the board: sizes and places, without compiled code."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from ..types import ConfigError, EnvInfo


def offsets_size(info: EnvInfo) -> int:
    """D, the ``offsets`` of each food: three from every player's place, and two more."""
    return 3 * info.n_agents + 2


def food_slots(info: EnvInfo) -> int:
    """F, the foods that an observation lists.

    Raises:
        ConfigError: observations are not those of players who see all foods and all levels.
    """
    slots, rest = divmod(info.obs_sizes[0] - 3 * info.n_agents, 3)
    if "oraging" not in info.key or rest or slots < 1 or not _all_is_seen(info):
        raise ConfigError(f"script: {info.key} is no foraging whose players see everything, which scripts need")
    return slots


def _all_is_seen(info: EnvInfo) -> bool:
    """Whether sight reaches from edge to edge; what is nearer is told from each player's own corner."""
    short = re.search(r"-(\d+)s-", info.key)
    sight = info.arguments.get("sight", int(short[1]) if short else max(_size_in_key(info)))
    return sight >= max(board_size(info)) - 1 and info.arguments.get("observe_agent_levels", True) is not False


def board_size(info: EnvInfo) -> tuple[int, int]:
    """Rows and columns."""
    rows, columns = info.arguments.get("field_size", _size_in_key(info))
    return int(rows), int(columns)


def _size_in_key(info: EnvInfo) -> tuple[int, int]:
    found = re.search(r"(\d+)x(\d+)", info.key)
    return (int(found[1]), int(found[2])) if found else (8, 8)


def middle_of(info: EnvInfo) -> NDArray[np.float64]:
    """The middle of the board, row and column."""
    return (np.array(board_size(info)) - 1) / 2
