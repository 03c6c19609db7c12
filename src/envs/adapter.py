"""One copy of any environment in array form: the part that all kinds of environments share."""

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..types import Block, ConfigError, EnvError, EnvInfo
from ..utils.space_blocks import are_pixels, blocks_of_space, padded
from .actions import actions_of
from .arrays import Frame
from .images import Images
from .spaces import MASK_KEY, Flattener, Writer, flattener, has_mask, without_mask
from .values import checked_mask, numbers, observation_fault


class Adapter(ABC):
    """Writes one environment's episodes into rows of arrays.

    ``key`` names the environment in messages; ``agents`` are the N agents as the environment calls them; ``images``
    states how images are prepared.

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
        images: Images,
    ) -> None:
        self.env, self._images = env, images
        self.agents = list(agents)
        self.index = {agent: i for i, agent in enumerate(self.agents)}
        names = [str(agent) for agent in self.agents]
        self.action_spaces: list[Any] = list(action_spaces)
        actions = actions_of(action_spaces, names)
        self.convert, self.store = actions.convert, actions.store  # of each agent's action, see ``Actions``
        self.masked = [has_mask(space) for space in observation_spaces]
        observed = list(map(without_mask, observation_spaces))
        named = zip(observed, names, strict=True)
        self.flatteners = [flattener(space, f"observation of {name}", images) for space, name in named]
        obs_sizes = tuple(part.size for part in self.flatteners)
        self._observed, self._own_actions, action_sizes = observed, actions.own, tuple(map(len, actions.own))
        self._read_state: Callable[[], Any] | None = None
        self._write_pixels: Writer | None = None  # writes a state that is an image
        self._weights: NDArray[np.float64] | None = None
        self.no_reward: Any = 0.0  # of an agent that does not play
        self.latest: Frame | None = None  # that was written
        blocks = tuple(padded(blocks_of_space(space, images.shape), max(obs_sizes)) for space in observed)
        dtype = np.uint8 if all(map(are_pixels, blocks)) else np.float32
        self.info = EnvInfo(
            key=key,
            agents=tuple(names),
            agent_types=agent_types(names, obs_sizes, action_sizes),
            obs_shape=max(obs_sizes),
            obs_sizes=obs_sizes,
            n_actions=len(actions.none),
            action_sizes=action_sizes,
            state_shape=len(names) * max(obs_sizes),
            episode_limit=episode_limit,
            obs_blocks=blocks,
            state_blocks=tuple(block for own in blocks for block in own),
            actions=actions.kind,
            action_numbers=actions.numbers,
            obs_dtype=dtype,
            state_dtype=dtype,
            notes=_notes(observed, images),
        )
        self.every_action, self._no_action = actions.available, actions.none  # [N, U] and [U]
        self._action_states = [_generator_state(i, space) for i, space in enumerate(self.action_spaces)]

    @abstractmethod
    def reset(self, seed: int, frame: Frame) -> None:
        """Begins an episode by ``seed`` and writes its first observation into ``frame``, the row of one copy."""

    @abstractmethod
    def step(self, actions: list[Any], frame: Frame, reward: NDArray[np.float32]) -> tuple[bool, bool]:
        """Steps once with N actions, numbers or lists of numbers; writes the observation and the N rewards.

        Returns terminated and truncated.
        """

    def find_state(self) -> Block | None:
        """The environment's own state, one block; None if it has none that is an array of numbers.

        ``state`` may be missing, unwritten, hidden by a wrapper, or not a method, so it is tried after a reset.
        Discard the copy afterwards: some environments (lbforaging) carry state over into the next episode.
        """
        self.env.reset(seed=0)  # some environments make their generator only in reset
        try:
            state = np.asarray(self._state_method()())
        except Exception:
            return None
        if state.dtype.kind not in "biuf" or not state.size:
            return None
        return Block(state.size, "image" if state.dtype == _PIXELS and state.ndim > 1 else "number", state.shape)

    def use_state(self, state: Block | None) -> None:
        """Uses the environment's own state (``find_state``); None: the concatenation of all observations."""
        if state is None:
            return
        size: int = state.size
        dtype: Any = np.float32
        self._read_state = self._state_method()
        space = getattr(self.env, "state_space", None)
        blocks = blocks_of_space(space, self._images.shape) if isinstance(space, spaces.Space) else ()
        if state.kind == "image":
            space = spaces.Box(0, 255, state.shape, np.uint8)
            blocks = blocks_of_space(space, self._images.shape)
            (size, self._write_pixels), dtype = flattener(space, "state", self._images), np.uint8
        self.info = replace(self.info, state_shape=size, state_blocks=blocks, state_dtype=dtype)

    def close(self) -> None:
        """Closes the environment."""
        getattr(self.env, "close", lambda: None)()

    def seed_actions(self, seed: int) -> None:
        """Seeds the action spaces, which ``reset(seed=...)`` does not seed, by a number below 2**128.

        ``Space.seed`` makes a new generator, which takes ten times as long as setting the state of the old one.
        """
        for space, state in zip(self.action_spaces, self._action_states, strict=True):
            state["state"]["state"] = seed
            draws: Any = space.np_random.bit_generator
            draws.state = state

    def write(
        self,
        frame: Frame,
        observations: Mapping[Any, Any],
        infos: Mapping[Any, Any],
        alive: list[bool],
        acting: list[bool],
        is_last: bool = False,
    ) -> None:
        """Writes the observations: zeros for agents not alive, only action 0 for agents that do not act.

        ``is_last``: the episode is over. If the environment has no state then, that of the step before remains.
        """
        frame.avail[...] = self.every_action
        for i, agent in enumerate(self.agents):
            if not alive[i]:
                frame.obs[i] = 0
                frame.avail[i] = self._no_action
                continue
            size, write = self.flatteners[i]
            try:
                observation = observations[agent]
                write(observation, frame.obs[i, :size])
            except Exception as error:
                if not self._finds_mask(i, observations.get(agent)):
                    raise observation_fault(observations, agent, self._observed[i], error) from error
                self.write(frame, observations, infos, alive, acting)
                return
            if not acting[i]:
                frame.avail[i] = self._no_action
                continue
            mask = observation[MASK_KEY] if self.masked[i] else infos.get(agent, _NO_INFO).get(MASK_KEY)
            if mask is not None:
                own = self._own_actions[i]
                frame.avail[i, own] = checked_mask(mask, len(own), agent)
        frame.agent_mask[...] = alive
        frame.acting[...] = acting
        self.write_state(frame, is_last)
        self.latest = frame

    def write_state(self, frame: Frame, is_last: bool) -> None:
        """Writes the state, after the observations. ``is_last``: see ``write``."""
        if self._read_state is None:
            frame.state[:] = frame.obs.reshape(-1)  # [N, O] -> [N*O]
            return
        try:
            values = np.asarray(self._read_state()).reshape(-1)
        except Exception:
            if not is_last or self.latest is None:
                raise
            frame.state[:] = self.latest.state  # multiwalker, for example, removes walkers that fall
            return
        if self._write_pixels is not None:
            self._write_pixels(values, frame.state)
            return
        if len(values) != len(frame.state):
            raise EnvError(f"the state has {len(values)} values, and had {len(frame.state)} in the first reset")
        frame.state[:] = values / 255 if values.dtype == _PIXELS else values

    def _finds_mask(self, i: int, observation: Any) -> bool:
        """Whether a mask comes with the observation although the space has none; later ones are read like it."""
        if self.masked[i] or not isinstance(observation, Mapping) or MASK_KEY not in observation:
            return False
        others = [name for name in observation if name != MASK_KEY]
        if "observation" not in others and len(others) != 1:
            return False
        name = "observation" if "observation" in others else others[0]
        size, write = self.flatteners[i]
        self.flatteners[i] = Flattener(size, lambda value, row: write(value[name], row))
        self.masked[i] = True
        return True

    def weighted(self, rewards: Any, dimensions: int) -> NDArray[Any]:
        """Rewards as an array; vectors as the sums that ``reward_weights`` weight.

        Vectors have at least ``dimensions`` dimensions: more than one if they are those of several agents.
        """
        array = numbers(rewards)
        if self._weights is None:
            return array
        if array.ndim < dimensions or array.shape[-1] != len(self._weights):
            raise EnvError(f"reward_weights has {len(self._weights)} weights for rewards of shape {array.shape}")
        return np.asarray(array @ self._weights)

    @property
    def is_weighted(self) -> bool:
        """Whether rewards are vectors."""
        return self._weights is not None

    def use_reward_weights(self, weights: Sequence[float]) -> None:
        """From now on, rewards are vectors, and the sums that these weights give are used."""
        self._weights = np.array(weights, np.float64)
        self.no_reward = np.zeros(len(weights))

    def conclude(self, frame: Frame) -> None:
        """Call after ``write`` at an episode's end: no agent acts, and empty masks get action 0."""
        frame.acting[...] = 0
        frame.avail[~frame.avail.any(-1)] = self._no_action

    def _state_method(self) -> Callable[[], Any]:
        return getattr(self.env, "state", None) or self.env.unwrapped.state


def _notes(observed: Iterable[spaces.Space], images: Images) -> tuple[str, ...]:
    """A line about images that are made smaller because they are large, not because the user wants it.

    Raises:
        ConfigError: the user has chosen a preparation of images, and there are none.
    """
    shapes = dict.fromkeys(block.shape for space in observed for block in blocks_of_space(space)
                           if block.kind == "image" and block.grid_axes)  # fmt: skip
    if images.is_set and not shapes:
        key = "env_args.grayscale" if images.grayscale else "env_args.resize"
        raise ConfigError(f"{key}: the observations have no images (Boxes of bytes with two or three axes)")
    resized = [(shape, images.shape(shape)) for shape in shapes if not images.keeps(shape)]
    if images.resize is not None or not resized:
        return ()
    sizes = ", ".join(f"{'x'.join(map(str, old))} become {'x'.join(map(str, new))}" for old, new in resized)
    return (f"env_args.resize: images of {sizes}; set resize=[height,width], or False to keep them",)


_NO_INFO: dict[str, Any] = {}
_PIXELS = np.dtype(np.uint8)


def _generator_state(stream: int, space: spaces.Space) -> dict[str, Any]:
    """The state of the generator of a space with its own stream of numbers."""
    draws: Any = space.np_random.bit_generator
    return {**draws.state, "state": {"state": 0, "inc": 2 * stream + 1}, "has_uint32": 0}


def agent_types(names: Sequence[str], obs_sizes: Sequence[int], action_sizes: Sequence[int]) -> tuple[str, ...]:
    """The name before a trailing ``_<number>`` if all agents of that name have the same sizes, else the full name."""
    prefixes = [re.sub(r"_\d+$", "", name) for name in names]
    sizes = defaultdict(set)
    for prefix, *own in zip(prefixes, obs_sizes, action_sizes, strict=True):
        sizes[prefix].add(tuple(own))
    return tuple(p if len(sizes[p]) == 1 else name for p, name in zip(prefixes, names, strict=True))
