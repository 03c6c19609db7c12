"""An environment whose observations are small images, and whose best policy is known."""

from __future__ import annotations

import functools

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))


class Lights(ParallelEnv):
    """Two moths on a board of ``side`` x ``side`` cells fly to a lamp of their own; six steps.

    A moth observes an image with itself in red and its lamp in green. The reward is the number of cells by which the
    distance to the lamp has become smaller. The state is an image with both moths and both lamps.

    Args:
        side: cells of a side.
        scale: pixels of a cell's side.
        channels_first: the shape of an image is [3, H, W] instead of [H, W, 3].
        counts: every pixel is the number of the step instead.
    """

    metadata = {"name": "lights_v0"}  # noqa: RUF012
    max_cycles = 6

    def __init__(self, side: int = 8, scale: int = 1, channels_first: bool = False, counts: bool = False) -> None:
        self.side, self.scale, self.channels_first, self.counts = side, scale, channels_first, counts
        self.possible_agents = ["moth_0", "moth_1"]
        self.state_space = self._space(3)

    def _space(self, channels):
        pixels = self.side * self.scale
        shape = (channels, pixels, pixels) if self.channels_first else (pixels, pixels, channels)
        return spaces.Box(0, 255, shape, np.uint8)

    @functools.cache  # noqa: B019
    def observation_space(self, agent):
        return self._space(3)

    @functools.cache  # noqa: B019
    def action_space(self, agent):
        return spaces.Discrete(5)

    def _image(self, moths):
        cells = np.zeros((self.side, self.side, 3), np.uint8)
        for i in moths:
            cells[tuple(self.lamps[i])] |= np.array([0, 255, 0], np.uint8)
            cells[tuple(self.places[i])] |= np.array([255, 0, 0], np.uint8)
        if self.counts:
            cells[...] = self.t
        image = cells.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        return np.moveaxis(image, -1, 0) if self.channels_first else image

    def state(self):
        return self._image([0, 1])

    def _observe(self):
        return {agent: self._image([i]) for i, agent in enumerate(self.possible_agents)}

    def _distances(self):
        return np.abs(self.places - self.lamps).sum(axis=1)

    def reset(self, seed=None, options=None):
        self.random, self.t, self.agents = np.random.default_rng(seed), 0, self.possible_agents[:]
        self.places, self.lamps = self.random.integers(self.side, size=(2, 2, 2))
        return self._observe(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self.t += 1
        before = self._distances()
        moves = np.array([MOVES[actions[agent]] for agent in self.possible_agents])
        self.places = (self.places + moves).clip(0, self.side - 1)
        gain = before - self._distances()
        over = dict.fromkeys(self.possible_agents, self.t == self.max_cycles)
        if self.t == self.max_cycles:
            self.agents = []
        rewards = dict(zip(self.possible_agents, gain.astype(float), strict=True))
        return self._observe(), rewards, dict.fromkeys(over, False), over, {agent: {} for agent in over}
