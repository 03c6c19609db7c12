"""A stag hunt on a 4x4 grid (Peysakhovich and Lerer 2018): two hunters, one stag, two plants.

Every piece can be on any cell, also on another piece. A state is five 4x4 planes (first hunter, second hunter,
stag, first plant, second plant) with exactly one 1 in each, so it is five categorical variables of 16 values.
Placed at random, its entropy is 5 ln 16 = 13.9 nats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZE = 4
CELLS = SIZE * SIZE
PLANES = ("hunter_0", "hunter_1", "stag", "plant_0", "plant_1")
STAG, PLANTS = 2, (3, 4)
STAY = 4
MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)])  # up, down, left, right, stay
LIMIT = 20  # steps of an episode
STAG_REWARD, PLANT_REWARD, MAULED_REWARD = 5.0, 1.0, -1.0

Cells = NDArray[np.int64]


class StagHunt:
    """The game. Both hunters on the stag get 5 each, a single hunter gets -1; a plant gives 1 to each hunter on it.

    A stag that was reached and a plant that was eaten reappear on a random cell. The stag steps towards the nearer
    hunter with probability ``bold``, otherwise in a random direction. An episode lasts 20 steps.
    """

    def __init__(self, rng: np.random.Generator, bold: float = 0.5) -> None:
        self.rng, self.bold = rng, bold
        self.places: Cells = np.zeros((len(PLANES), 2), np.int64)
        self.t = 0

    def reset(self) -> NDArray[np.float32]:
        """Places every piece at random; returns the state [80]."""
        self.t = 0
        self.places = self.rng.integers(SIZE, size=(len(PLANES), 2))
        return self.state()

    def state(self) -> NDArray[np.float32]:
        """Five flattened planes, float32 [80]."""
        planes = np.zeros((len(PLANES), CELLS), np.float32)
        planes[np.arange(len(PLANES)), self.places @ (SIZE, 1)] = 1.0
        return planes.reshape(-1)

    def observation(self, hunter: int) -> NDArray[np.float32]:
        """The observation of hunter 0 or 1, float32 [80]: its plane first, the partner's second."""
        planes = self.state().reshape(len(PLANES), CELLS)
        order = [hunter, 1 - hunter, *range(2, len(PLANES))]
        return planes[order].reshape(-1)

    def step(self, actions: tuple[int, int]) -> tuple[NDArray[np.float32], tuple[float, float], bool]:
        """Moves both hunters, then the stag; returns the state, the two rewards and whether the episode ended."""
        for hunter, action in enumerate(actions):
            self._move(hunter, MOVES[action])
        towards = self.toward(STAG, min((0, 1), key=lambda hunter: self.distance(STAG, hunter)))
        self._move(STAG, MOVES[towards if self.rng.random() < self.bold else self.rng.integers(len(MOVES))])
        rewards = self._rewards()
        self.t += 1
        return self.state(), rewards, self.t >= LIMIT

    def toward(self, piece: int, goal: int) -> int:
        """The action that brings a piece nearer to another one; ``STAY`` if it has arrived."""
        nearer = [a for a in range(STAY) if self._distance_after(piece, a, goal) < self.distance(piece, goal)]
        return int(self.rng.choice(nearer)) if nearer else STAY

    def distance(self, piece: int, goal: int) -> int:
        """Steps between two pieces."""
        return int(np.abs(self.places[piece] - self.places[goal]).sum())

    def _distance_after(self, piece: int, action: int, goal: int) -> int:
        return int(np.abs(self.places[piece] + MOVES[action] - self.places[goal]).sum())

    def _move(self, piece: int, move: Cells) -> None:
        self.places[piece] = np.clip(self.places[piece] + move, 0, SIZE - 1)

    def _rewards(self) -> tuple[float, float]:
        rewards = [0.0, 0.0]
        hunting = [hunter for hunter in (0, 1) if self.distance(hunter, STAG) == 0]
        for hunter in hunting:
            rewards[hunter] += STAG_REWARD if len(hunting) == 2 else MAULED_REWARD
        if hunting:
            self.places[STAG] = self.rng.integers(SIZE, size=2)
        for plant in PLANTS:
            eaters = [hunter for hunter in (0, 1) if self.distance(hunter, plant) == 0]
            for hunter in eaters:
                rewards[hunter] += PLANT_REWARD
            if eaters:
                self.places[plant] = self.rng.integers(SIZE, size=2)
        return rewards[0], rewards[1]
