"""The interface of a game: the parts that a package of ``games/``, or a user's class, may declare."""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..types import Arrays, EnvInfo
from ..utils.stateful import Stateful
from .layout import Layout

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Part = str | type  # a class, or the text 'package.module:Class', which is imported when it is first used


class Game:
    """Knowledge of one game. Everything is optional; the class is never instantiated.

    An environment is matched with its game by the run's key ``game``, by the attribute ``game`` of the environment's
    class, or by ``environments``: see ``lookup.game_of``.
    """

    environments: ClassVar[tuple[str, ...]] = ()  # patterns (``fnmatch``) of ``EnvInfo.key``
    scripts: ClassVar[Part] = ""  # a ``Scripts``: scripted players
    observer: ClassVar[Part] = ""  # an ``Observer``: infers the scripted players' goals exactly
    # a function ``(obs [E, N, O], agents, info) -> [E, L, K]``: features of the board as L agents see it
    offsets: ClassVar[Any] = ""
    original: ClassVar[str] = ""  # 'module:Class' of the environment whose copies ``batched`` steps
    batched: ClassVar[Part] = ""  # a ``Batched``: the rules of the game on arrays

    @staticmethod
    def layout(info: EnvInfo) -> Layout | None:
        """The positions of agents and objects in the state; None if the settings hide them."""
        return None

    @staticmethod
    def sizes(info: EnvInfo) -> dict[str, int]:
        """Sizes of the features that learners can observe: ``goal`` and ``belief`` of one opponent, all ``offsets``.

        Raises:
            ConfigError: the settings of the environment hide what the features are computed from.
        """
        return {}


def declares_game(value: Any) -> bool:
    """Whether the attribute ``game`` of an environment's class is a ``Game``, not an unrelated attribute."""
    return isinstance(value, type) and issubclass(value, Game)


class Players(Stateful):
    """Opponents that act in one call; one of the K members plays in each copy of the environment.

    A subclass declares in ``changing`` what an exactly resumed run needs; see ``Stateful``.
    """

    def begin(self, rows: Ints, which: Ints) -> None:
        """Starts new episodes in copies ``rows`` [R], played by members ``which`` [R]."""

    def act(self, rows: Ints, which: Ints, obs: Floats, avail: NDArray[np.uint8]) -> NDArray[Any]:
        """Actions of the M seats in copies ``rows``, [R, M, ...] (see ``types.ActionKind``); ``obs`` and ``avail``
        [E, N, ...] are of all agents."""
        raise NotImplementedError

    def remember(self, rows: Ints, actions: NDArray[Any]) -> None:
        """Stores the joint actions [R, N, ...] of copies ``rows``, for players whose input includes the last ones."""

    def goals(self, rows: Ints, obs: Floats) -> Floats | None:
        """Goals of the M seats [R, M, G], after ``act``; None if they are unknown."""
        return None


class Scripts(Players):
    """Scripted players of the agents ``seats`` (indices) in E copies of the environment ``info``.

    ``noise`` in [0, 1] is the probability of a random move for each of the K scripts ``names``.

    Raises:
        ConfigError: an unknown script, or an environment whose settings the scripts do not support.
    """

    defaults: ClassVar[tuple[Sequence[str], Sequence[str]]] = (), ()  # scripts to train and to test against

    @staticmethod
    def components(name: str) -> tuple[str, ...]:
        """What the script ``name`` consists of, in words. Scripts that share a component are partly one opponent."""
        return (name,)

    def __init__(
        self, names: list[str], noise: list[float], info: EnvInfo, seats: list[int], n_envs: int, seed: int
    ) -> None:
        raise NotImplementedError


class Observer(Protocol):
    """Infers the goals of known ``scripts`` from the actions of the agents ``seats`` (indices), in E copies.

    For exactly resumed runs an observer is also a ``Stateful``.
    """

    def __init__(self, scripts: list[str], info: EnvInfo, seats: list[int], n_envs: int) -> None: ...

    def begin(self, rows: Ints) -> None:
        """Starts new episodes in copies ``rows``."""

    def beliefs(self, obs: Floats) -> Floats:
        """Probabilities [E, M, G] of the goals before the players act on observations [E, N, O]."""

    def update(self, obs: Floats, actions: Ints) -> None:
        """Updates the beliefs with the actions [E, M] after observations [E, N, O]."""


class Batched(Stateful):
    """A backend of ``envs.vector.VectorEnv``: the rules of a game for E copies, which read and write ``arrays``.

    ``changing`` (see ``Stateful``) has the state of the game; ``arrays`` are saved by ``VectorEnv``.
    """

    def __init__(self, original: Any, info: EnvInfo, arrays: Arrays, seed: int) -> None:
        self.arrays = arrays
        for frame in (arrays.final, arrays.first):  # all actions are available, and no agent dies
            frame.avail[...] = np.arange(info.n_actions) < np.array(info.action_sizes)[:, None]
            frame.agent_mask[...] = 1
            frame.acting[...] = 1

    @staticmethod
    def unknown_setting(original: Any) -> str:
        """The name of a setting of the ``original`` environment that the array version lacks; empty: none."""
        return ""

    def reset(self) -> None:
        """Begins an episode in every copy."""
        raise NotImplementedError

    def step(self) -> None:
        """Steps every copy with ``arrays.actions``."""
        raise NotImplementedError

    def close(self) -> None:
        """Does nothing: there are no resources to free."""
