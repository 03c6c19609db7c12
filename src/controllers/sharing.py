"""Which agents share a network."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any


def sharing_groups(share: str, agent_types: list[str]) -> list[list[int]]:
    """Which agents share a network (``all`` | ``type`` | ``none``): lists of indices, each agent in one list."""
    n = len(agent_types)
    by_share: dict[str, list[Any]] = {"all": [0] * n, "type": agent_types, "none": list(range(n))}
    kinds = by_share[share]
    return [[i for i, kind in enumerate(kinds) if kind == wanted] for wanted in dict.fromkeys(kinds)]


def as_slice(indices: list[int]) -> slice | list[int]:
    """The same selection as a slice, which copies nothing, where indices follow each other."""
    first, last = indices[0], indices[-1]
    return slice(first, last + 1) if indices == list(range(first, last + 1)) else indices


def for_agents(args: Any, group: list[int]) -> Any:
    """The arguments with the observation blocks of some of the agents."""
    info: Any = getattr(args, "env_info", None)
    blocks = getattr(info, "obs_blocks", ())
    if not blocks:
        return args
    own = replace(info, obs_blocks=tuple(blocks[i] for i in group))
    return SimpleNamespace(**{**vars(args), "env_info": own})
