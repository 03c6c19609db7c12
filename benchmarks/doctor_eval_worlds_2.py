"""States for the real trainings of the second set: seven further small worlds, one function each.

The same convention as in ``doctor_eval_worlds``: generator, number of states, stage from 0 to 1; float32 [M, S].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

States = NDArray[np.float32]


def queues(rng: np.random.Generator, m: int, stage: float) -> States:
    """Six queues in two lines that share their load, and which servers are busy: counts and bits."""
    load = rng.gamma(3, 1 + stage, (m, 2))
    share = np.array([0.9, 1.6, 0.5, 1.2, 0.7, 1.8])
    lengths = rng.poisson(np.repeat(load, 3, 1) * share * 2)
    return np.concatenate([lengths, lengths > 3], 1).astype(np.float32)


def board(rng: np.random.Generator, m: int, stage: float) -> States:
    """4 x 4 board with a king and a rook of each side, one plane a piece; later the kings go to the corners."""
    distance = np.abs(np.arange(16) // 4 - 1.5) + np.abs(np.arange(16) % 4 - 1.5)
    worth = np.stack([distance, np.zeros(16), -distance, np.zeros(16)]) * stage
    out, taken = np.zeros((m, 4, 16), np.float32), np.zeros((m, 16), bool)
    for piece in range(4):
        score = np.where(taken, -np.inf, worth[piece] + rng.gumbel(size=(m, 16)))
        square = score.argmax(1)
        out[np.arange(m), piece, square] = 1
        taken[np.arange(m), square] = True
    return out.reshape(m, 64)


def weather(rng: np.random.Generator, m: int, stage: float) -> States:
    """Eight hours of temperature, pressure and humidity, and the season's sine and cosine, in usual units."""
    season, hour = rng.uniform(0, 2 * np.pi, m), rng.uniform(0, 24, m)
    front, damp = rng.normal(size=m), rng.normal(size=m)
    columns = []
    for ahead in range(8):
        front = 0.97 * front + 0.24 * rng.normal(size=m) * 0.6
        damp = 0.95 * damp + 0.1 * rng.normal(size=m)
        day = np.sin(2 * np.pi * (hour + ahead) / 24)
        heat = 12 + (8 + 2 * stage) * np.sin(season) + 4 * day - 2 * front
        columns += [heat + 0.3 * rng.normal(size=m), 1013 + 9 * front, 65 - 12 * day + 11 * damp]
    return np.stack([*columns, np.sin(season), np.cos(season)], 1).astype(np.float32)


def colouring(rng: np.random.Generator, m: int, stage: float) -> States:
    """Proper colourings of a path of nine nodes in three colours; the first becomes more frequent over time."""
    colours = np.zeros((m, 9), int)
    colours[:, 0] = rng.integers(0, 3, m)
    for node in range(1, 9):
        step = 1 + (rng.random(m) < 0.25)
        liked = (rng.random(m) < 0.4 * stage) & (colours[:, node - 1] != 0)
        colours[:, node] = np.where(liked, 0, (colours[:, node - 1] + step) % 3)
    return np.eye(3, dtype=np.float32)[colours].reshape(m, 27)


def particles(rng: np.random.Generator, m: int, stage: float) -> States:
    """Four particles on springs round a moving centre: places and velocities."""
    centre, pace = rng.normal(size=(m, 1, 2)) * 2, rng.normal(size=(m, 1, 2))
    angle = rng.uniform(0, 2 * np.pi, (m, 1)) + np.arange(4) * np.pi / 2
    ring = np.stack([np.cos(angle), np.sin(angle)], 2) * (1.5 - 0.5 * stage)
    place = centre + ring + 0.1 * rng.normal(size=(m, 4, 2))
    speed = pace + np.stack([-ring[..., 1], ring[..., 0]], 2) + 0.1 * rng.normal(size=(m, 4, 2))
    return np.concatenate([place.reshape(m, 8), speed.reshape(m, 8)], 1).astype(np.float32)


def dice(rng: np.random.Generator, m: int, stage: float) -> States:
    """Four dice, sorted, after a policy that rolls low ones again, and the rolls left: one-hot groups."""
    eyes, left = rng.integers(0, 6, (m, 4)), rng.integers(0, 3, m)
    for roll in range(2):
        again = (eyes < 2 + 2 * stage) & (left <= roll)[:, None]
        eyes = np.where(again, rng.integers(0, 6, (m, 4)), eyes)
    groups = np.eye(6, dtype=np.float32)[np.sort(eyes, 1)].reshape(m, 24)
    return np.concatenate([groups, np.eye(3, dtype=np.float32)[left]], 1)


def genes(rng: np.random.Generator, m: int, stage: float) -> States:
    """Strings of ten bases: one of six motifs at one of three places on one of two backgrounds, some mutated."""
    fixed = np.random.default_rng(17)
    motifs, grounds = fixed.integers(0, 4, (6, 6)), fixed.integers(0, 4, (2, 10))
    strings = grounds[rng.integers(0, 2, m)]
    kind, start = (rng.random(m) ** (1 + stage) * 6).astype(int), rng.integers(0, 3, m) * 2
    np.put_along_axis(strings, start[:, None] + np.arange(6), motifs[kind], 1)
    mutated = rng.random((m, 10)) < 0.01
    return np.eye(4, dtype=np.float32)[np.where(mutated, rng.integers(0, 4, (m, 10)), strings)].reshape(m, 40)


WORLDS_2: dict[str, Callable[[np.random.Generator, int, float], States]] = {
    world.__name__: world for world in (queues, board, weather, colouring, particles, dice, genes)
}
