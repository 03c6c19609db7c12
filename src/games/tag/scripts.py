"""Scripted predators and prey of simple_tag: each script is a point that a player moves to.

A pair of scripts plays all opponents: with ``chase+flee`` predators chase the prey, and the prey flees. Prey on a
round (``ROUNDS``) visits its stops in order and ignores predators: it is faster than they are, so they must predict
its next stop.
"""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...types import ConfigError, EnvInfo
from ..game import Scripts
from .layout import PREY, check_settings

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
LEFT, RIGHT, DOWN, UP = 1, 2, 3, 4
EDGE = 0.9  # mpe2 penalises prey beyond it
STILL = 0.05  # a player rests if its point is within this distance on both axes
THERE = 0.2  # prey within this distance of a stop moves to the next one
N, E, S, W = (0.0, 0.6), (0.6, 0.0), (0.0, -0.6), (-0.6, 0.0)
NW, NE, SE, SW = (-0.6, 0.6), (0.6, 0.6), (0.6, -0.6), (-0.6, -0.6)


def _spin(where: Floats, angle: float) -> Floats:
    """The point at radius 0.7 that is ``angle`` further around the origin."""
    heading = np.arctan2(where[:, 1], where[:, 0]) + angle
    return 0.7 * np.stack([np.cos(heading), np.sin(heading)], axis=1)


def _away(own: Floats, others: Floats, weight: Callable[[Floats], Floats]) -> Floats:
    gaps = own[:, None] - others
    distance = np.linalg.norm(gaps, axis=2, keepdims=True) + 1e-6
    wish = own + (gaps / distance * weight(distance)).sum(axis=1)
    return np.where(np.abs(own) > EDGE, 0.5 * own, wish)


def _nearest(distance: Floats) -> Floats:
    return (distance == distance.min(axis=1, keepdims=True)).astype(np.float64)


# From a player's position [R, 2], the predators' [R, 3, 2], the prey's position and velocity [R, 2] and the landmarks
# [R, 2, 2] to the point that the player moves to, [R, 2].
PREDATOR_SCRIPTS: dict[str, Callable[..., Floats]] = {
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
    "mirror": lambda own, team, prey, speed, marks: -prey,
    "outside": lambda own, team, prey, speed, marks: np.clip(1.5 * prey, -EDGE, EDGE),
}  # fmt: skip
PREY_SCRIPTS: dict[str, Callable[..., Floats]] = {
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
# The stops that prey visits in order, starting at any of them; strays visit theirs in random order.
ROUNDS = {
    "clockwise": (NW, NE, SE, SW), "anticlockwise": (NW, SW, SE, NE), "zigzag": (NW, NE, SW, SE),
    "hourglass": (NW, SE, NE, SW), "north_side": (NW, NE), "east_side": (NE, SE), "south_side": (SE, SW),
    "west_side": (NW, SW), "diamond": (N, E, S, W), "cross": (W, E, N, S), "rising": (SW, NE), "falling": (NW, SE),
    "windmill": (N, W, S, E), "elbow": (N, E), "hook": (S, W), "bow": (NW, E, SW), "arrow": (SW, N, SE),
    "stray_corners": (NW, NE, SE, SW), "stray_sides": (N, E, S, W), "stray": (N, NE, E, SE, S, SW, W, NW),
}  # fmt: skip
Round = tuple[tuple[float, float], ...]


def _patrols(stops: Round) -> dict[str, tuple[Round, ...]]:
    """Each cyclic order of two, three or four of the stops, and each path along three of them and back, once."""
    orders = {n: permutations(stops, n) for n in (2, 3, 4)}
    rounds = {n: tuple(order for order in orders[n] if order[0] == min(order)) for n in orders}
    back = tuple((a, b, c, b) for a, b, c in permutations(stops, 3) if a < c)
    return {"pair": rounds[2], "triple": rounds[3], "quad": rounds[4], "back": back}


PATROLS = {
    f"{kind}_{where}": rounds
    for where, stops in (
        ("corners", (NW, NE, SE, SW)),
        ("sides", (N, E, S, W)),
        ("any", (N, NE, E, SE, S, SW, W, NW)),
    )
    for kind, rounds in _patrols(stops).items()
}
PATROLS |= {  # the rounds with corners and sides: no patrol of corners, sides or mixed stops has a round of another
    f"{kind}_mixed": tuple(r for r in PATROLS[f"{kind}_any"] if {*r} & {NW, NE, SE, SW} and {*r} & {N, E, S, W})
    for kind in ("pair", "triple", "quad", "back")
}
NAMES = {N: "N", NE: "NE", E: "E", SE: "SE", S: "S", SW: "SW", W: "W", NW: "NW"}
LAPS = 12  # every round is repeated to this number of stops, a multiple of its length
STOPS = tuple(dict.fromkeys(stop for stops in ROUNDS.values() for stop in stops))
# The default training and test scripts; no script is in both.
TRAIN = ("guard+clockwise", "centre+zigzag", "follow+north_side", "circle+diamond", "inside+rising",
         "guard+stray_corners", "centre+west_side", "follow+clockwise", "circle+zigzag", "inside+cross")  # fmt: skip
TEST = ("guard+anticlockwise", "centre+hourglass", "follow+east_side", "circle+falling", "inside+south_side",
        "guard+stray", "centre+stray_sides", "follow+anticlockwise", "circle+hourglass", "inside+clockwise:0.1",
        "guard+east_side", "centre+falling", "follow+stray", "circle+anticlockwise",
        "inside+stray_corners:0.1")  # fmt: skip


def is_stray(script: str) -> bool:
    """Whether prey visits its stops in random order."""
    return script.startswith("stray")


def rounds_of(script: str) -> tuple[Round, ...]:
    """The rounds that a script of ``ROUNDS`` or ``PATROLS`` chooses from; not for strays."""
    return PATROLS.get(script) or (ROUNDS[script],)


def laps_of(script: str) -> Floats:
    """``rounds_of`` a script, each repeated to ``LAPS`` stops: [C, LAPS, 2]."""
    rounds = np.array(rounds_of(script))
    return np.tile(rounds, (1, LAPS // rounds.shape[1], 1))


def _round_name(stops: Round) -> str:
    """The name of a round, equal for the same round from another stop on."""
    names = [NAMES[stop] for stop in stops]
    return "-".join(min(names[i:] + names[:i] for i in range(len(names))))


class TagScripts(Scripts):
    """Predators and prey that move to points. Arguments: see ``Scripts``.

    Raises:
        ConfigError: an unknown script, or settings other than one prey and two obstacles that all agents observe.
    """

    changing = ("random", "target", "round", "stop")
    defaults = TRAIN, TEST

    @staticmethod
    def components(name: str) -> tuple[str, ...]:
        """See ``Scripts``: the predators, the prey, and each round of the prey. All strays are one component."""
        predators, _, prey = name.partition("+")
        if is_stray(prey):
            return f"predators {predators}", "prey stray"
        rounds = rounds_of(prey) if prey in PATROLS or prey in ROUNDS else ()
        return f"predators {predators}", f"prey {prey}", *(f"round {_round_name(stops)}" for stops in rounds)

    def __init__(
        self, names: list[str], noise: list[float], info: EnvInfo, seats: list[int], n_envs: int, seed: int
    ) -> None:
        check_settings(info)
        self.kinds = [tuple(name.split("+")) for name in names]
        for name, pair in zip(names, self.kinds, strict=True):
            prey_scripts = *PREY_SCRIPTS, *ROUNDS, *PATROLS
            if len(pair) != 2 or pair[0] not in PREDATOR_SCRIPTS or pair[1] not in prey_scripts:
                known = f"{', '.join(PREDATOR_SCRIPTS)}; {', '.join(prey_scripts)}"
                raise ConfigError(f"script: {name!r} is not PREDATOR+PREY of {known}")
        self.noise, self.seats = np.array(noise), seats
        self.prey = info.agents.index(PREY)
        self.random = np.random.default_rng(seed)
        self.target = np.zeros((n_envs, len(seats), 2), np.float32)
        on_rounds = {prey for _, prey in self.kinds if prey in PATROLS or (prey in ROUNDS and not is_stray(prey))}
        self.laps = {prey: laps_of(prey) for prey in on_rounds}
        self.round = np.zeros((n_envs, LAPS, 2))  # the stops of each copy's prey, repeated
        self.stop = np.zeros(n_envs, np.int64)  # index of the current stop, before it is taken modulo their number

    def begin(self, rows: Ints, which: Ints) -> None:
        """See ``Players``: patrols draw a round, and rounds start at any stop."""
        for k in np.unique(which):
            mine, script = rows[which == k], self.kinds[k][1]
            if script in self.laps:
                rounds = self.laps[script]
                drawn = self.random.integers(0, len(rounds), len(mine)) if len(rounds) > 1 else 0
                self.round[mine] = rounds[drawn]
        self.stop[rows] = self.random.integers(0, 120, len(rows))  # a multiple of every round's length

    def act(self, rows: Ints, which: Ints, obs: NDArray[np.float32], avail: object = None) -> Ints:
        """See ``Players``; in simple_tag every action is always available."""
        observed = obs[rows].astype(np.float64)
        places = observed[:, :, 2:4]
        team, prey = np.delete(places, self.prey, axis=1), places[:, self.prey]
        marks = places[:, :1] + observed[:, 0, 4:8].reshape(-1, 2, 2)
        actions = np.zeros((len(rows), len(self.seats)), np.int64)
        for m, seat in enumerate(self.seats):
            scripts, part = (PREY_SCRIPTS, 1) if seat == self.prey else (PREDATOR_SCRIPTS, 0)
            own, speed = places[:, seat], observed[:, self.prey, 0:2]
            target = np.zeros_like(own)
            for k in np.unique(which):
                mine = which == k
                script = self.kinds[k][part]
                if part == 1 and (script in ROUNDS or script in PATROLS):
                    target[mine] = self._next_stop(script, rows[mine], own[mine])
                else:
                    target[mine] = scripts[script](own[mine], team[mine], prey[mine], speed[mine], marks[mine])
            self.target[rows, m] = target
            actions[:, m] = steer(own, target)
        slips = self.random.random(actions.shape) < self.noise[which][:, None]
        return np.where(slips, self.random.integers(0, 5, actions.shape), actions)

    def _next_stop(self, script: str, rows: Ints, own: Floats) -> Floats:
        """The stop [R, 2] that prey at ``own`` [R, 2] moves to."""
        strays = is_stray(script)
        stops = np.broadcast_to(ROUNDS[script], (len(rows), len(ROUNDS[script]), 2)) if strays else self.round[rows]
        index, n = np.arange(len(rows)), stops.shape[1]
        has_arrived = np.linalg.norm(stops[index, self.stop[rows] % n] - own, axis=1) < THERE
        advance = self.random.integers(1, n, len(rows)) if strays else 1
        self.stop[rows] += np.where(has_arrived, advance, 0)
        return stops[index, self.stop[rows] % n]

    def goals(self, rows: Ints, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The points that players move to, [R, M, 2]."""
        return self.target[rows]


def steer(own: Floats, target: Floats) -> Ints:
    """Actions [...] that move players at ``own`` [..., 2] to their targets, on the axis with the larger distance."""
    offset = target - own
    axis = np.abs(offset).argmax(axis=-1)
    along = np.take_along_axis(offset, axis[..., None], axis=-1)[..., 0]
    action = np.where(axis == 0, np.where(along > 0, RIGHT, LEFT), np.where(along > 0, UP, DOWN))
    return np.where(np.abs(along) < STILL, 0, action)
