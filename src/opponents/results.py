"""Episodes against a pool: what they come to for each opponent and each family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .pool import Member
from .pool_env import Episode


def episode_record(episode: Episode, members: Sequence[Member]) -> dict[str, Any]:
    """One episode, as it is kept in a file."""
    return {
        "opponent": members[episode.opponent].name,
        "returns": [float(value) for value in episode.returns],
        "length": episode.length,
        "terminated": episode.terminated,
    }


def first_of_each_copy(episodes: Sequence[Episode], n_of_each: int) -> list[Episode]:
    """The first so many episodes of every copy: those that a test counts, see ``EpisodeRunner.collect``."""
    seen: Counter[int] = Counter()
    kept = []
    for episode in episodes:
        seen[episode.copy] += 1
        if seen[episode.copy] <= n_of_each:
            kept.append(episode)
    return kept


def by_opponent(episodes: Sequence[Episode], members: Sequence[Member]) -> list[dict[str, Any]]:
    """A line for each opponent met, in the pool's order, one for each family, and one for all.

    ``return`` is the mean over episodes of the learners' summed return, ``success`` the share of episodes in which
    they got anything, ``completed`` the share that ended in the environment's own terms, ``length`` in steps.
    """
    names = [members[e.opponent].name for e in episodes]
    families = [members[e.opponent].family for e in episodes]
    lines = [_line("opponent", name, [e for e, n in zip(episodes, names, strict=True) if n == name])
             for name in (member.name for member in members) if name in names]  # fmt: skip
    lines += [_line("family", family, [e for e, f in zip(episodes, families, strict=True) if f == family])
              for family in dict.fromkeys(member.family for member in members) if family in families]  # fmt: skip
    return [*lines, _line("all", "all", list(episodes))]


def _line(kind: str, name: str, episodes: list[Episode]) -> dict[str, Any]:
    returns = np.array([e.returns.sum() for e in episodes])
    return {
        "of": kind,
        "name": name,
        "episodes": len(episodes),
        "return": float(returns.mean()),
        "return_std": float(returns.std()),
        "success": float((returns > 0).mean()),
        "completed": float(np.mean([e.terminated for e in episodes])),
        "length": float(np.mean([e.length for e in episodes])),
    }


def format_opponent(line: dict[str, Any]) -> str:
    """A line for the console."""
    return (
        f"{line['of']:9} {line['name']:28} return {line['return']:8.3f}  success {line['success']:5.2f}  "
        f"completed {line['completed']:5.2f}  length {line['length']:6.1f}  ({line['episodes']} episodes)"
    )
