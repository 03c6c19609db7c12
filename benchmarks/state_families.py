"""Families of states that a VAE is trained on: those of the table, and others for choosing constants.

``make_family(name, seed)`` gives one family with its own random stream; ``batches`` plays complete episodes. Nothing
is tuned on the families of ``TABLE`` and ``EXTRA``; ``TUNING`` holds others.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import state_games as games
import state_synthetic as synthetic
from gymnasium import spaces
from numpy.typing import NDArray

BATCHES, STATES = 8, 900  # of one stream: batches to train on, and the least number of states in each
HELD_OUT = 2  # further batches, generated later and never trained on
MIXED = "uniform mixed with a random preference per agent and batch, which weighs 0 at first and 0.5 at the end"

Groups = tuple[tuple[int, ...], ...]
Batch = list[NDArray[np.float32]]  # episodes, float32 [T, S] each


class Spec(NamedTuple):
    """The recorder and the properties of a family.

    Attributes:
        record: the recorder.
        features: the trainer's first argument: the gymnasium space if users have one, else the number of features.
        types: the feature types in words.
        is_binary: whether binary and one-hot features dominate, which determines the requirements.
        groups: indices of features in one-hot groups.
        bits: single binary features, by index.
        entropy: of a state, in nats, if known.
        behaviour: the policy, in words.
    """

    record: synthetic.Recorder
    features: spaces.Space | int
    types: str
    is_binary: bool = False
    groups: Groups = ()
    bits: tuple[int, ...] = ()
    entropy: float | None = None
    behaviour: str = MIXED


@dataclass(frozen=True)
class Family:
    """A family with a seed."""

    name: str
    seed: int
    spec: Spec

    def batches(self, n_batches: int = BATCHES + HELD_OUT, n_states: int = STATES) -> Iterator[Batch]:
        """Batches of complete episodes with at least ``n_states`` states each, in the order in which they are played.

        The behaviour shifts over the first ``BATCHES`` batches and is constant after them.
        """
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), self.seed])
        for i in range(n_batches):
            play = self.spec.record(rng, min(1.0, i / (BATCHES - 1)))
            batch: Batch = []
            while sum(len(episode) for episode in batch) < n_states:
                batch.append(play())
            yield batch


class Stream(NamedTuple):
    """A recorded family: training batches, and later held-out batches."""

    train: list[Batch]
    held_out: list[Batch]


def record(family: Family, folder: Path) -> Stream:
    """Plays a stream, or reads it from its file in ``folder``, which git ignores."""
    file = folder / f"{family.name}-{family.seed}.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        batches = list(family.batches())
        lengths = [[len(episode) for episode in batch] for batch in batches]
        part = file.with_suffix(f".{os.getpid()}.npz")  # two processes may play the same stream
        np.savez_compressed(
            part,
            states=np.concatenate([episode for batch in batches for episode in batch]),
            lengths=np.concatenate(lengths),
            episodes=np.array([len(batch) for batch in batches]),
        )
        part.rename(file)
    kept = np.load(file)
    episodes = np.split(kept["states"], np.cumsum(kept["lengths"])[:-1])
    starts = np.cumsum([0, *kept["episodes"]])
    found = [episodes[a:b] for a, b in zip(starts[:-1], starts[1:], strict=True)]
    return Stream(found[:BATCHES], found[BATCHES:])


def in_groups(n_groups: int, size: int, offset: int = 0) -> Groups:
    """``n_groups`` groups of ``size`` consecutive features."""
    return tuple(tuple(range(offset + i * size, offset + (i + 1) * size)) for i in range(n_groups))


def _box(*shape: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def _planes(low: float, high: float, *shape: int) -> spaces.Box:
    return spaces.Box(low, high, shape, np.float32)


def _stag_hunt(both: bool) -> Spec:
    planes = 10 if both else 5
    types = "5 one-hot planes of 4x4" + (", seen by two hunters: each plane occurs twice" if both else "")
    return Spec(
        games.stag_hunt(both), 16 * planes, types, True, in_groups(planes, 16), entropy=5 * np.log(16),
        behaviour="hunters at random, with a probability of up to 0.5 towards a goal that is drawn for each batch",
    )  # fmt: skip


WAREHOUSE_BITS, WAREHOUSE_GROUPS = (2, 7), ((3, 4, 5, 6),)  # of one agent: carrying, on highway; direction


def _warehouse() -> Spec:
    bits, groups = [], []
    for agent in range(2):
        start = 71 * agent
        bits += [start + i for i in WAREHOUSE_BITS]
        groups += [tuple(start + i for i in group) for group in WAREHOUSE_GROUPS]
        for cell in range(9):  # each cell seen: agent there, its direction, shelf there, shelf asked for
            at = start + 8 + 7 * cell
            bits += [at, at + 5, at + 6]
            groups.append(tuple(range(at + 1, at + 5)))
    return Spec(
        games.warehouse(), spaces.Tuple([_box(71)] * 2), "58 bits, 20 one-hot groups of 4, 4 coordinates",
        True, tuple(groups), tuple(bits), behaviour="forward 0.45, turns 0.15 each, load 0.2, mixed with preferences",
    )  # fmt: skip


def _foraging() -> Spec:
    space = games._foraging_env(False, 8).observation_space
    return Spec(games.foraging(), space, "coordinates and levels (integers), concatenated", behaviour=FORAGERS)


FORAGERS = "towards the nearest food with a probability rising from 0.2 to 0.6, otherwise uniform"

_TABLE: dict[str, Callable[[], Spec]] = {
    "simple_tag": lambda: Spec(
        games.parallel("mpe2.simple_tag_v3", games.state_of, max_cycles=25), _box(62), "real numbers"
    ),
    "foraging": _foraging,
    "foraging_grid": lambda: Spec(
        games.foraging(grid=True, sight=2), spaces.Tuple([games.grid_space(2)] * 2),
        "6 planes of 5x5: levels of players and of food (counts), free cells (bits)",
        bits=tuple([*range(50, 75), *range(125, 150)]), behaviour=FORAGERS,
    ),
    "stag_hunt": lambda: _stag_hunt(both=False),
    "stag_hunt_twice": lambda: _stag_hunt(both=True),
    "tictactoe": lambda: Spec(
        games.board_game("pettingzoo.classic.tictactoe_v3"), spaces.Box(0, 1, (2, 3, 3), np.int8),
        "2 binary planes of 3x3", True, bits=tuple(range(18)), behaviour=f"legal moves, {MIXED}",
    ),
    "pursuit": lambda: Spec(
        games.parallel("pettingzoo.sisl.pursuit_v5", games.planes_of_agents, max_cycles=30), _planes(0, 30, 3, 7, 7),
        "3 planes of 7x7: walls (bits), counts of pursuers and of evaders; one row for each of 8 agents",
        bits=tuple(range(49)),
    ),
    "rware": _warehouse,
    "spread_odd": lambda: Spec(
        games.spread_with_odd_features(), 56,
        "real numbers, one of them times 1,000, one constant, a clock",
    ),
}  # fmt: skip

_EXTRA: dict[str, Callable[[], Spec]] = {
    "spread": lambda: Spec(
        games.parallel("mpe2.simple_spread_v3", games.state_of, max_cycles=25), _box(54), "real numbers"
    ),
}

_TUNING: dict[str, Callable[[], Spec]] = {
    "speaker_listener": lambda: Spec(
        games.parallel("mpe2.simple_speaker_listener_v4", games.state_of, max_cycles=25), _box(14),
        "real numbers, one-hot groups among them",
    ),
    "adversary": lambda: Spec(
        games.parallel("mpe2.simple_adversary_v3", games.state_of, max_cycles=25), _box(28), "real numbers"
    ),
    "zombies": lambda: Spec(
        games.parallel(
            "pettingzoo.butterfly.knights_archers_zombies_v11", games.vectors_of_agents, max_cycles=120
        ),
        _planes(-1, 1, 27, 5), "real numbers, many of them zero",
    ),
    "connect_four": lambda: Spec(
        games.board_game("pettingzoo.classic.connect_four_v3"), spaces.Box(0, 1, (2, 6, 7), np.int8),
        "2 binary planes of 6x7", True, bits=tuple(range(84)), behaviour=f"legal moves, {MIXED}",
    ),
    "gaussians_4": lambda: Spec(synthetic.gaussians(4), 4, "4 real numbers", behaviour="none"),
    "gaussians_64": lambda: Spec(synthetic.gaussians(64), 64, "64 real numbers", behaviour="none"),
    "factors_1000": lambda: Spec(
        synthetic.factors(1000, 12), 1000, "1,000 real numbers of 12 factors", behaviour="none"
    ),
    "groups_3x10": lambda: Spec(
        synthetic.one_hot_groups(3, 10), 30, "3 one-hot groups of 10", True, in_groups(3, 10),
        entropy=3 * np.log(10), behaviour="none",
    ),
    "groups_8x25": lambda: Spec(
        synthetic.one_hot_groups(8, 25), 200, "8 one-hot groups of 25", True, in_groups(8, 25),
        entropy=8 * np.log(25), behaviour="none",
    ),
    "bits_8": lambda: Spec(
        synthetic.bits(8), spaces.MultiBinary(8), "8 bits", True, bits=tuple(range(8)), entropy=8 * np.log(2),
        behaviour="none",
    ),
    "key_and_door": lambda: Spec(
        synthetic.key_and_door, 3 * 36 + 3, "3 one-hot planes of 6x6, 2 bits, a clock", True, in_groups(3, 36),
        (108, 109), behaviour="at random, with a probability of up to 0.6 towards the key or the door",
    ),
    "positions_7x7": lambda: Spec(
        synthetic.positions(3, 7), 3 * 49, "3 one-hot planes of 7x7", True, in_groups(3, 49),
        entropy=3 * np.log(49),
    ),
}  # fmt: skip

TABLE, EXTRA, TUNING = tuple(_TABLE), tuple(_EXTRA), tuple(_TUNING)


def make_family(name: str, seed: int) -> Family:
    """The family of that name; its random numbers depend on ``seed``."""
    return Family(name, seed, {**_TABLE, **_EXTRA, **_TUNING}[name]())
