"""States for the real trainings of the doctor's evaluation half: seven small worlds, one function each.

Each takes a generator, a number of states and a stage from 0 to 1 (how far the policy has come) and returns float32
states [M, S], on the world's own scale, as an environment would return them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

States = NDArray[np.float32]


def lander(rng: np.random.Generator, m: int, stage: float) -> States:
    """Ballistic descents with a noisy braking policy: place, velocity, tilt, tilt rate, two contacts."""
    place = np.stack([rng.uniform(-1, 1, m), np.full(m, 1.4)], 1)
    speed = np.stack([rng.normal(0, 0.3, m), rng.normal(0, 0.1, m)], 1)
    tilt, turn = rng.normal(0, 0.1, m), rng.normal(0, 0.1, m)
    stop = rng.integers(1, 60, m)
    out = np.zeros((m, 8), np.float32)
    for step in range(60):
        brake = (speed[:, 1] < -0.35 + 0.2 * stage) * 0.09
        turn += rng.normal(0, 0.04, m) - 0.1 * tilt * stage
        tilt += 0.1 * turn
        speed += np.stack([-brake * np.sin(tilt), brake * np.cos(tilt) - 0.03], 1)
        place += 0.1 * speed
        landed = place[:, 1] <= 0
        place[landed, 1] = 0
        speed[landed] *= 0.2
        here = stop == step
        legs = np.stack([landed & (tilt < 0.1), landed & (tilt > -0.1)], 1)
        out[here] = np.concatenate([place, speed, tilt[:, None], turn[:, None], legs], 1)[here]
    return out


def pole(rng: np.random.Generator, m: int, stage: float) -> States:
    """Cart and pole under a controller that gets better, with sines, cosines and the last force."""
    x, v, a, w = rng.uniform(-1, 1, (4, m)) * np.array([[1.5], [1.0], [0.3], [0.5]])
    force = np.zeros(m)
    for _ in range(int(8 + 30 * stage)):
        force = np.sign((0.2 + stage) * (a + 0.4 * w) + 0.1 * x + rng.normal(0, 0.3, m)) * 6
        acceleration = (9.8 * np.sin(a) - np.cos(a) * force) / 0.7
        x, v = x + 0.02 * v, v + 0.02 * force
        a, w = np.clip(a + 0.02 * w, -1.5, 1.5), np.clip(w + 0.02 * acceleration, -5, 5)
    return np.stack([x, v, np.sin(a), np.cos(a), w, force / 6], 1).astype(np.float32)


def automaton(rng: np.random.Generator, m: int, stage: float) -> States:
    """Rows of 28 cells of traffic (rule 184) after some steps, from one or two blocks of cars: binary."""
    cells = np.zeros((m, 28), bool)
    for _ in range(2):
        start, length = rng.integers(0, 28, (m, 1)), rng.integers(2, 6, (m, 1))
        cells |= (np.arange(28)[None] - start) % 28 < length
    for _ in range(int(1 + 3 * stage)):
        left, right = np.roll(cells, 1, 1), np.roll(cells, -1, 1)
        cells = (left & ~cells) | (cells & right)
    return cells.astype(np.float32)


def cards(rng: np.random.Generator, m: int, stage: float) -> States:
    """Three hole cards of a 16-card deck and the trump suit: multi-hot and one-hot."""
    weight = rng.gumbel(size=(m, 16)) + stage * np.linspace(-0.5, 0.5, 16)
    hand = np.zeros((m, 16), np.float32)
    np.put_along_axis(hand, np.argsort(-weight, 1)[:, :3], 1.0, 1)
    return np.concatenate([hand, np.eye(4, dtype=np.float32)[rng.integers(0, 4, m)]], 1)


def sensors(rng: np.random.Generator, m: int, stage: float) -> States:
    """Eighteen readings of four hidden causes, in physical units, with sensor noise; the operating point drifts."""
    mixing = np.random.default_rng(5).normal(size=(4, 18))
    causes = rng.normal(size=(m, 4)) * np.array([1.5, 1.0, 0.8, 0.5]) + np.array([0.6, 0, 0, 0]) * stage
    clean = np.tanh(causes @ mixing * 0.5) + 0.3 * causes @ mixing
    units = np.geomspace(0.5, 20, 18)
    return ((clean + 0.1 * rng.normal(size=clean.shape)) * units + 3 * units).astype(np.float32)


def sprites(rng: np.random.Generator, m: int, stage: float) -> States:
    """A cross or a square somewhere on 9 x 9 pixels: images as binary vectors."""
    images = np.zeros((m, 9, 9), np.float32)
    row, column, kind = rng.integers(1, 8, m), rng.integers(1, 8, m), rng.random(m) < 0.5
    index = np.arange(m)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            images[index, row + dy, column + dx] = np.where(kind | (dy == 0) | (dx == 0), 1.0, 0.0)
    return images.reshape(m, 81)


def text(rng: np.random.Generator, m: int, stage: float) -> States:
    """Six letters of a ten-letter alphabet from a Markov chain with few successors: one-hot groups."""
    chain = np.random.default_rng(11).dirichlet(np.full(10, 0.25), 10)
    letters = np.empty((m, 6), int)
    letters[:, 0] = rng.integers(0, 10, m)
    for place in range(1, 6):
        cumulative = chain[letters[:, place - 1]].cumsum(1)
        letters[:, place] = (rng.random((m, 1)) > cumulative).sum(1).clip(0, 9)
    return np.eye(10, dtype=np.float32)[letters].reshape(m, 60)


WORLDS: dict[str, Callable[[np.random.Generator, int, float], States]] = {
    world.__name__: world for world in (lander, pole, automaton, cards, sensors, sprites, text)
}
