"""One copy of any environment, in array form: what the three kinds (parallel, aec, gym) have in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..types import Block, ConfigError, EnvInfo
from ..utils.space_blocks import blocks_of_space, padded
from .arrays import Frame
from .spaces import MASK_KEY, Flattener, flattener, has_mask, without_mask


class Adapter(ABC):
    """Writes one environment's episodes into rows of arrays.

    Args:
        env: the raw environment.
        key: its name in messages.
        episode_limit: the most steps of an episode.
        agents: the N agents as the environment calls them.
        observation_spaces: one for each agent.
        action_spaces: one for each agent, Discrete.

    Raises:
        ConfigError: a space that cannot be handled.
    """

    def __init__(
        self,
        env: Any,
        key: str,
        episode_limit: int,
        agents: Sequence[Any],
        observation_spaces: Sequence[spaces.Space],
        action_spaces: Sequence[spaces.Space],
    ) -> None:
        self.env = env
        self.agents = list(agents)
        self.index = {agent: i for i, agent in enumerate(self.agents)}
        names = [str(agent) for agent in self.agents]
        self.action_spaces = list(map(_discrete, action_spaces, names))
        self.starts = [int(space.start) for space in self.action_spaces]
        self.masked = [has_mask(space) for space in observation_spaces]
        self.flatteners = list(map(_flattener, observation_spaces, names))
        obs_sizes = tuple(part.size for part in self.flatteners)
        action_sizes = tuple(int(space.n) for space in self.action_spaces)
        self._read_state: Callable[[], Any] | None = None
        blocks = tuple(padded(_blocks(space), max(obs_sizes)) for space in observation_spaces)
        self.info = EnvInfo(
            key=key,
            agents=tuple(names),
            agent_types=agent_types(names, obs_sizes, action_sizes),
            obs_shape=max(obs_sizes),
            obs_sizes=obs_sizes,
            n_actions=max(action_sizes),
            action_sizes=action_sizes,
            state_shape=len(names) * max(obs_sizes),
            episode_limit=episode_limit,
            obs_blocks=blocks,
            state_blocks=tuple(block for own in blocks for block in own),
        )
        self._every_action = np.arange(max(action_sizes)) < np.array(action_sizes)[:, None]  # [N, U]
        self._no_action = np.arange(max(action_sizes)) == 0  # [U]

    @abstractmethod
    def reset(self, seed: int | None, frame: Frame) -> None:
        """Begins an episode and writes its first observation into one copy's ``frame``.

        Args:
            seed: seeds the environment; None goes on with its own generator.
            frame: obs [N, O], state [S], avail [N, U], agent_mask [N], acting [N].
        """

    @abstractmethod
    def step(self, actions: list[int], frame: Frame, reward: NDArray[np.float32]) -> tuple[bool, bool]:
        """Steps once with N actions; writes what it led to and the N rewards.

        Returns:
            terminated and truncated, never both.
        """

    def find_state(self) -> int:
        """The size of the environment's own state; 0 where it has none that is an array of numbers.

        ``state`` may be missing, unwritten, hidden by a wrapper, or not a method: it has to be tried, after a
        reset. Throw the copy away then: some environments (lbforaging) carry their past into an episode.
        """
        self.env.reset(seed=0)  # some make their generator only here
        try:
            state = np.asarray(self._state_method()())
        except Exception:
            return 0
        return state.size if state.dtype.kind in "biuf" else 0

    def use_state(self, size: int) -> None:
        """Shows the environment's own state; with size 0, all observations in a row."""
        if size:
            self._read_state = self._state_method()
            self.info = replace(self.info, state_shape=size, state_blocks=self._state_blocks())

    def _state_blocks(self) -> tuple[Block, ...]:
        """What the environment declares of its state, where it does."""
        space = getattr(self.env, "state_space", None)
        return blocks_of_space(space) if isinstance(space, spaces.Space) else ()

    def close(self) -> None:
        """Closes the environment."""
        close = getattr(self.env, "close", None)
        if close is not None:
            close()

    def seed_actions(self, seed: int) -> None:
        """Seeds the action spaces, which ``reset(seed=...)`` leaves alone."""
        for i, space in enumerate(self.action_spaces):
            space.seed(seed + i)

    def write(
        self,
        frame: Frame,
        observations: Mapping[Any, Any],
        infos: Mapping[Any, Any],
        alive: list[bool],
        acting: list[bool],
    ) -> None:
        """Writes what the agents see: zeros for those not alive, action 0 alone for those not acting."""
        frame.avail[...] = self._every_action
        for i, agent in enumerate(self.agents):
            if not alive[i]:
                frame.obs[i] = 0
                frame.avail[i] = self._no_action
                continue
            observation = observations[agent]
            size, write = self.flatteners[i]
            write(observation, frame.obs[i, :size])
            if not acting[i]:
                frame.avail[i] = self._no_action
                continue
            mask = observation[MASK_KEY] if self.masked[i] else infos.get(agent, _NO_INFO).get(MASK_KEY)
            if mask is not None:
                frame.avail[i, : len(mask)] = np.asarray(mask) != 0
        frame.agent_mask[...] = alive
        frame.acting[...] = acting
        if self._read_state is None:
            frame.state[:] = frame.obs.reshape(-1)  # [N, O] -> [N*O]
        else:
            _write_state(self._read_state(), frame.state)

    def conclude(self, frame: Frame) -> None:
        """After ``write`` at an episode's end: nobody acts, and a mask may be empty, as no move is left."""
        frame.acting[...] = 0
        frame.avail[~frame.avail.any(-1)] = self._no_action

    def _state_method(self) -> Callable[[], Any]:
        return getattr(self.env, "state", None) or self.env.unwrapped.state


_NO_INFO: dict[str, Any] = {}


def agent_types(names: Sequence[str], obs_sizes: Sequence[int], action_sizes: Sequence[int]) -> tuple[str, ...]:
    """The name before a trailing ``_<number>``, where all agents of that name have the same sizes."""
    prefixes = [re.sub(r"_\d+$", "", name) for name in names]
    sizes = defaultdict(set)
    for prefix, *own in zip(prefixes, obs_sizes, action_sizes, strict=True):
        sizes[prefix].add(tuple(own))
    return tuple(p if len(sizes[p]) == 1 else name for p, name in zip(prefixes, names, strict=True))


def living(
    agents: Sequence[Any], in_play: Sequence[Any], terminated: Mapping[Any, Any], truncated: Mapping[Any, Any]
) -> list[bool]:
    """Which of ``agents`` are in play and not done, by PettingZoo's list and flags, that may lack agents."""
    return [a in in_play and not terminated.get(a) and not truncated.get(a) for a in agents]


def outcome(
    agents: Sequence[Any], played: list[bool], terminated: Mapping[Any, Any], truncated: Mapping[Any, Any]
) -> tuple[bool, list[bool]]:
    """How an episode ended, by the flags of the agents that played its last step.

    Returns:
        Whether it was cut off (one agent is enough), or else has terminated; and who shows a last
        observation: all who played, but where the episode was cut off only those who have a future to value.
    """
    ongoing = [plays and not terminated.get(a) for a, plays in zip(agents, played, strict=True)]
    cut_off = any(goes_on and truncated.get(a) for a, goes_on in zip(agents, ongoing, strict=True))
    return cut_off, ongoing if cut_off else played


def _flattener(space: spaces.Space, name: str) -> Flattener:
    return flattener(_seen(space), f"observation of {name}")


def _blocks(space: spaces.Space) -> tuple[Block, ...]:
    return blocks_of_space(_seen(space))


def _seen(space: spaces.Space) -> spaces.Space:
    """The space without its action mask."""
    return without_mask(space) if isinstance(space, spaces.Dict) and has_mask(space) else space


def _discrete(space: spaces.Space, name: str) -> spaces.Discrete:
    if isinstance(space, spaces.Discrete):
        return space
    kind = "continuous actions" if isinstance(space, spaces.Box) else "actions"
    raise ConfigError(f"agent {name} has {kind} {space}; only Discrete action spaces can be learned here")


def _write_state(state: Any, row: NDArray[np.float32]) -> None:
    values = np.reshape(state, -1)
    row[:] = values / 255 if values.dtype == np.uint8 else values
