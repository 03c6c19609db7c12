"""One copy of an environment: its seeds, episodes and recorded actions."""

import hashlib
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..types import Arrays, EnvError
from .adapter import Adapter
from .watch import CLOSE, MAKE, RESET, STEP, Call, Progress

# Missing from NumPy's type stubs.
_set_generator: Callable[[Any], None] = np.random.set_bit_generator  # type: ignore[attr-defined]

_python: Any = random.seed.__self__  # type: ignore[attr-defined]  # Python's global generator
_seed_by_integer = super(random.Random, _python).seed


def _seed_python(seed: int) -> None:
    """As ``random.seed(seed)``, without its conversions of other types: 1 microsecond less in every step."""
    _seed_by_integer(seed)
    _python.gauss_next = None  # a normal number that was drawn in advance


class Seeds(NamedTuple):
    """The seeds of one episode: of the environment, its action spaces, and the global generators."""

    env: int
    actions: int
    numpy: int
    python: int


def episode_seeds(seed: int, copy: int, episode: int) -> Seeds:
    """Derives the seeds of an episode, which are independent of those of all other copies and episodes.

    A hash takes a seventh of the time of NumPy's ``SeedSequence``.
    """
    words = hashlib.blake2b(b"%d %d %d" % (seed, copy, episode), digest_size=32).digest()
    env, actions, numpy, python = (int.from_bytes(words[i:j], "little") for i, j in pairwise((0, 4, 20, 24, 32)))
    return Seeds(env >> 1, actions, numpy, python)  # 31 bits suit all environments


class Copy:
    """One copy with its own rows, and generators that are seeded anew in each episode.

    An episode depends only on ``seed``, the index of the copy and the number of the episode. ``episode`` [1] is the
    number of the current one; the first is number 1, unless another process has stepped this copy before.
    """

    def __init__(
        self,
        make: Callable[[], Adapter],
        index: int,
        row: Arrays,
        seed: int,
        episode: NDArray[np.int64],
        progress: Progress,
    ) -> None:
        self.index, self.episode = index, episode
        self._row, self._seed, self._progress = row, seed, progress
        self._played = bytearray()  # the actions of the episode, as stored in memory, one joint action after another
        # MT19937, so that an environment may call np.random.seed without effect on other copies.
        self._numpy = np.random.MT19937()
        self._seed_generators()
        progress.begin(index, MAKE)
        self._adapter = make()
        self.info = self._adapter.info
        calls = [Call(self.info.key, index, call, progress) for call in (RESET, STEP, CLOSE)]
        self._in_reset, self._in_step, self._in_close = calls
        self._look: Callable[[Any], None] = lambda env: None

    def watch(self, look: Callable[[Any], None]) -> None:
        """Calls ``look`` with the environment after each reset and each step from now on."""
        self._look = look

    def reset(self) -> None:
        """Begins the next episode, by its own seed."""
        self.episode[0] += 1
        seeds = self._seed_generators()
        with self._in_reset:
            self._adapter.seed_actions(seeds.actions)
            self._adapter.reset(seeds.env, self._row.first)
            self._look(self._adapter.env)
        self._steps = 0
        del self._played[:]

    def step(self) -> tuple[bool, bool]:
        """Steps once, and begins the next episode if one ends. Returns terminated and truncated."""
        terminated, truncated = self._step()
        if terminated or truncated:
            self.reset()
        return terminated, truncated

    def _step(self) -> tuple[bool, bool]:
        self._take_over_generators()
        row = self._row
        actions = row.actions.tolist()
        self._progress.begin(self.index, STEP)
        try:
            terminated, truncated = self._adapter.step(actions, row.final, row.reward)
            self._look(self._adapter.env)
        except BaseException as error:
            self._in_step.blame(error)
            raise
        self._played += row.actions.tobytes()
        self._steps += 1
        if not terminated and self._steps >= self.info.episode_limit:
            truncated = True
        return terminated, truncated

    def state(self) -> dict[str, Any]:
        """The number of the episode and its actions [steps, N], or [steps, N, A]."""
        kind = self.info.actions
        actions = np.frombuffer(bytes(self._played), kind.dtype).reshape(-1, self.info.n_agents, *kind.shape)
        if kind.dtype is np.int64:
            actions = actions.astype(np.int32)
        return {"episode": int(self.episode[0]), "actions": actions}

    def replay(self, state: dict[str, Any]) -> bool:
        """Repeats the steps of an episode; its last observation is in ``first`` afterwards.

        Returns False if the episode ends early or the environment fails.
        """
        self.episode[0] = state["episode"] - 1
        try:
            self.reset()
            for actions in state["actions"]:
                self._row.actions[...] = actions
                if any(self._step()):
                    return False
        except EnvError:
            return False
        if len(state["actions"]):
            for name, final in self._row.final._asdict().items():
                getattr(self._row.first, name)[...] = final
        return True

    def close(self) -> None:
        """Closes the environment."""
        with self._in_close:
            self._adapter.close()

    def _seed_generators(self) -> Seeds:
        """Sets the global generators to the start of the episode."""
        seeds = episode_seeds(self._seed, self.index, int(self.episode[0]))
        _set_generator(self._numpy)
        np.random.seed(seeds.numpy)  # a tenth of the time that a new generator takes
        self._calls = seeds.python
        _seed_python(self._calls)
        return seeds

    def _take_over_generators(self) -> None:
        """Sets the global generators for this copy, which may share the process with others.

        NumPy's is swapped. Python's is seeded by the episode and its number of steps, which costs less than a swap.
        """
        _set_generator(self._numpy)
        self._calls += 1
        _seed_python(self._calls)
