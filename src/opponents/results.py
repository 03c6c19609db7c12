"""Episodes against a pool: records, and summaries for each opponent and each family of opponents."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..utils.stateful import Stateful
from .pool import Member


class Episode(NamedTuple):
    """One finished episode."""

    opponent: int  # index of the member that played, the first one if others took over
    copy: int  # of the environment
    returns: NDArray[np.float64]  # of the learners, [L]
    length: int  # in steps
    terminated: bool  # in the environment's own terms, not by a time limit
    switches: tuple[tuple[int, int, int], ...] = ()  # the first step of each new member, the former and the new one


class EpisodeLog(Stateful):
    """Sums the rewards [E, L] and steps [E] of running episodes; lists finished ones if ``keeps``."""

    changing = ("returns", "lengths")  # a test starts with ``clear``

    def __init__(self, n_envs: int, n_learners: int, keeps: bool) -> None:
        self.returns = np.zeros((n_envs, n_learners))
        self.lengths = np.zeros(n_envs, np.int64)
        self.finished: list[Episode] = []
        self.switches: dict[int, list[tuple[int, int, int]]] = {}  # of the running episodes, by copy
        self.keeps = keeps

    def clear(self) -> None:
        """Resets the sums and removes all finished episodes."""
        self.returns[:], self.lengths[:] = 0.0, 0
        self.finished.clear()
        self.switches.clear()

    def add(self, reward: NDArray[np.float32]) -> None:
        """Adds the learners' rewards [E, L] of one step."""
        self.returns += reward
        self.lengths += 1

    def switch(self, rows: NDArray[np.int64], before: NDArray[np.int64], after: NDArray[np.int64]) -> None:
        """Notes that members ``after`` have taken over from members ``before`` in copies ``rows`` at this step."""
        if self.keeps:
            for e, old, new in zip(rows.tolist(), before.tolist(), after.tolist(), strict=True):
                self.switches.setdefault(e, []).append((int(self.lengths[e]), old, new))

    def finish(
        self,
        ended: NDArray[np.int64],
        playing: NDArray[np.int64],
        terminated: NDArray[np.bool_],
        lost: NDArray[np.bool_] | None = None,
    ) -> None:
        """Ends the episodes of copies ``ended``; ``playing`` [E]: the members in all copies; ``lost``: see Step."""
        for e in ended.tolist() if self.keeps else ():
            switches = tuple(self.switches.pop(e, ()))
            if lost is not None and lost[e]:
                continue
            first = switches[0][1] if switches else int(playing[e])
            returns, length = self.returns[e].copy(), int(self.lengths[e])
            self.finished.append(Episode(first, e, returns, length, bool(terminated[e]), switches))
        self.returns[ended], self.lengths[ended] = 0.0, 0


def episode_record(episode: Episode, members: Sequence[Member]) -> dict[str, Any]:
    """One episode as a JSON object."""
    switches = [{"step": step, "from": members[old].name, "to": members[new].name}
                for step, old, new in episode.switches]  # fmt: skip
    return {
        "opponent": members[episode.opponent].name,
        "returns": [float(value) for value in episode.returns],
        "length": episode.length,
        "terminated": episode.terminated,
        **({"switches": switches} if switches else {}),
    }


def first_of_each_copy(episodes: Sequence[Episode], n_of_each: int) -> list[Episode]:
    """The first ``n_of_each`` episodes of every copy, which a test counts; see ``EpisodeRunner.collect``."""
    counts: Counter[int] = Counter()
    counted = []
    for episode in episodes:
        counts[episode.copy] += 1
        if counts[episode.copy] <= n_of_each:
            counted.append(episode)
    return counted


def by_opponent(episodes: Sequence[Episode], members: Sequence[Member]) -> list[dict[str, Any]]:
    """A row for each opponent in the pool's order, then one for each family, then one for all episodes.

    ``return`` is the mean over episodes of the learners' summed return, ``success`` the share of episodes with a
    positive return, ``completed`` the share that ended in the environment's own terms, ``length`` in steps.
    """
    rows = []
    for kind, attribute in (("opponent", "name"), ("family", "family")):
        for name in dict.fromkeys(getattr(member, attribute) for member in members):
            against = [e for e in episodes if getattr(members[e.opponent], attribute) == name]
            rows += [_row(kind, name, against)] if against else []
    return [*rows, _row("all", "all", list(episodes))]


def _row(kind: str, name: str, episodes: list[Episode]) -> dict[str, Any]:
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
    """One row of ``by_opponent`` as a line for the console."""
    return (
        f"{line['of']:9} {line['name']:28} return {line['return']:8.3f}  success {line['success']:5.2f}  "
        f"completed {line['completed']:5.2f}  length {line['length']:6.1f}  ({line['episodes']} episodes)"
    )
