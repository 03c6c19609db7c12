"""Scripted predators and prey of mpe2's simple_tag: each script is a point that a player makes for.

A member plays every seat that nobody learns in: ``chase+flee`` sends predators after the prey, which flees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import ConfigError, EnvInfo

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
LEFT, RIGHT, DOWN, UP = 1, 2, 3, 4
EDGE = 0.9  # mpe2 punishes a prey beyond
STILL = 0.05  # near enough to its point, a player rests


def _spin(where: Floats, angle: float) -> Floats:
    """The point further round the origin, at radius 0.7."""
    heading = np.arctan2(where[:, 1], where[:, 0]) + angle
    return 0.7 * np.stack([np.cos(heading), np.sin(heading)], axis=1)


def _away(own: Floats, others: Floats, weight: Callable[[Floats], Floats]) -> Floats:
    gaps = own[:, None] - others
    distance = np.linalg.norm(gaps, axis=2, keepdims=True) + 1e-6
    wish = own + (gaps / distance * weight(distance)).sum(axis=1)
    return np.where(np.abs(own) > EDGE, 0.5 * own, wish)


def _nearest(distance: Floats) -> Floats:
    return (distance == distance.min(axis=1, keepdims=True)).astype(np.float64)


# A player's own place [R, 2], the predators' [R, 3, 2], the prey's place and velocity [R, 2], landmarks [R, 2, 2]
# to the point that it makes for, [R, 2].
PREDATORS: dict[str, Callable[..., Floats]] = {
    "chase": lambda own, team, prey, speed, marks: prey,
    "ambush": lambda own, team, prey, speed, marks: prey + 0.8 * speed,
    "north": lambda own, team, prey, speed, marks: prey + np.array([0.0, 0.35]),
    "west": lambda own, team, prey, speed, marks: prey - np.array([0.35, 0.0]),
    "inside": lambda own, team, prey, speed, marks: 0.6 * prey,
    "guard": lambda own, team, prey, speed, marks: marks[:, 0],
    "centre": lambda own, team, prey, speed, marks: np.zeros_like(own),
    "circle": lambda own, team, prey, speed, marks: _spin(own, 0.6),
    "follow": lambda own, team, prey, speed, marks: team.mean(axis=1),
    "late": lambda own, team, prey, speed, marks: prey - 0.6 * speed,
}  # fmt: skip
PREY: dict[str, Callable[..., Floats]] = {
    "flee": lambda own, team, prey, speed, marks: _away(own, team, _nearest),
    "flee_all": lambda own, team, prey, speed, marks: _away(own, team, lambda d: 1.0 / d),
    "circle": lambda own, team, prey, speed, marks: _spin(own, 0.8),
    "back": lambda own, team, prey, speed, marks: _spin(own, -0.8),
    "north_west": lambda own, team, prey, speed, marks: np.broadcast_to([-0.8, 0.8], own.shape),
    "south_east": lambda own, team, prey, speed, marks: np.broadcast_to([0.8, -0.8], own.shape),
    "hide": lambda own, team, prey, speed, marks: marks[:, 1] + 0.3 * np.sign(marks[:, 1] - team.mean(axis=1)),
    "centre": lambda own, team, prey, speed, marks: np.zeros_like(own),
    "opposite": lambda own, team, prey, speed, marks: np.clip(-1.5 * team.mean(axis=1), -0.9, 0.9),
}  # fmt: skip
# Who is met in training, and who never is, where nobody says otherwise.
TRAIN = ("chase+flee", "ambush+circle", "north+flee_all", "west+back", "guard+north_west", "circle+flee",
         "inside+hide", "chase+circle", "ambush+flee_all", "north+centre")  # fmt: skip
TEST = ("late+flee", "follow+circle", "centre+flee_all", "chase+opposite", "west+south_east", "ambush+hide",
        "inside+back", "guard+circle", "circle+opposite", "late+hide", "north+flee", "chase+flee_all",
        "centre+south_east", "follow+opposite", "ambush+flee")  # fmt: skip


class TagScripts:
    """A ``Group`` of opponents, see ``pool_env``. Arguments: as ``foraging.ForagingScripts``.

    Raises:
        ConfigError: an unknown script, or a filter, which there is none for.
    """

    usual = TRAIN, TEST

    def __init__(
        self, names: list[str], noise: list[float], info: EnvInfo, seats: list[int], n_envs: int, seed: int,
        believed: list[str] | None = None,
    ) -> None:  # fmt: skip
        if believed is not None:
            raise ConfigError("opponents_told: there is no filter for simple_tag; take goal")
        self.kinds = [tuple(name.split("+")) for name in names]
        for name, pair in zip(names, self.kinds, strict=True):
            if len(pair) != 2 or pair[0] not in PREDATORS or pair[1] not in PREY:
                raise ConfigError(
                    f"script: {name!r} is no PREDATOR+PREY of {', '.join(PREDATORS)}; {', '.join(PREY)}"
                )
        self.noise, self.seats = np.array(noise), seats
        self.prey = info.agents.index("agent_0")
        self.n_agents = info.n_agents
        self.random = np.random.default_rng(seed)
        self.target = np.zeros((n_envs, len(seats), 2), np.float32)

    @staticmethod
    def sizes(info: EnvInfo) -> dict[str, int]:
        """Numbers that tell one player's goal."""
        return {"goal": 2}

    def begin(self, rows: Ints, which: Ints) -> None:
        """Nothing is remembered."""

    def act(self, rows: Ints, which: Ints, obs: NDArray[np.float32], avail: object = None) -> Ints:
        """Actions [R, M] for observations [E, N, O] in copies ``rows``; every action is always available here."""
        seen = obs[rows].astype(np.float64)
        places = seen[:, :, 2:4]
        team, prey = np.delete(places, self.prey, axis=1), places[:, self.prey]
        marks = places[:, :1] + seen[:, 0, 4:8].reshape(-1, 2, 2)
        actions = np.zeros((len(rows), len(self.seats)), np.int64)
        for m, seat in enumerate(self.seats):
            scripts, part = (PREY, 1) if seat == self.prey else (PREDATORS, 0)
            own, speed = places[:, seat], seen[:, self.prey, 0:2]
            target = np.zeros_like(own)
            for k in np.unique(which):
                mine = which == k
                point = scripts[self.kinds[k][part]]
                target[mine] = point(own[mine], team[mine], prey[mine], speed[mine], marks[mine])
            self.target[rows, m] = target
            actions[:, m] = _steer(own, target)
        slips = self.random.random(actions.shape) < self.noise[which][:, None]
        return np.where(slips, self.random.integers(0, 5, actions.shape), actions)

    def goals(self, rows: Ints, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The points that players make for, [R, M, 2]."""
        return self.target[rows]


def _steer(own: Floats, target: Floats) -> Ints:
    wish = target - own
    axis = np.abs(wish).argmax(axis=1)
    along = np.take_along_axis(wish, axis[:, None], axis=1)[:, 0]
    action = np.where(axis == 0, np.where(along > 0, RIGHT, LEFT), np.where(along > 0, UP, DOWN))
    return np.where(np.abs(along) < STILL, 0, action)
