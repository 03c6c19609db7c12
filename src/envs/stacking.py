"""Frame stacking: observations and states that contain those of the last steps."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import Block, ConfigError, EnvInfo, Observation, Step, VecEnv

Array = NDArray[Any]


def stacked(env: VecEnv, frames: int) -> VecEnv:
    """The environment with the last ``frames`` observations in each; ConfigError if they are no number above 0."""
    if not isinstance(frames, int) or isinstance(frames, bool) or frames < 1:
        env.close()
        raise ConfigError(f"env_args.frame_stack: {frames!r} is not a number of frames of at least 1")
    return env if frames == 1 else StackedEnv(env, frames)


def repeated(rows: Array, frames: int) -> Array:
    """The stack of an episode's first observation: it stands for those before, too. [..., O] -> [..., K*O]."""
    return np.concatenate([rows] * frames, axis=-1)


def pushed(stack: Array, rows: Array) -> Array:
    """A stack [..., K*O] without its oldest rows [..., O] and with new ones."""
    return np.concatenate([stack[..., rows.shape[-1] :], rows], axis=-1)


class StackedEnv:
    """A ``VecEnv`` whose observations and states join those of the last K = ``frames`` steps, the newest last.

    Images keep their rows apart: ``modules.encoder`` reads the K images as channels of one. If the state is the
    concatenation of all observations, it is that of the stacked ones.
    """

    def __init__(self, env: VecEnv, frames: int) -> None:
        # a user's environment may lack the methods for checkpoints, ``state_dict`` and so on
        self.env: Any = env
        self.n_envs, self.how = env.n_envs, getattr(env, "how", "")
        base = env.info
        self._frames = frames
        self._by_agent = base.state_shape == base.n_agents * base.obs_shape and len({*base.obs_sizes}) == 1
        self.info: EnvInfo = stacked_info(base, frames, self._by_agent)
        self._current: Observation | None = None  # its state holds K states one after another

    def reset(self) -> Observation:
        """Begins a new episode in every copy."""
        self._current = self._first(self.env.reset())
        return self._shown(self._current)

    def step(self, actions: Array) -> Step:
        """Steps every copy once."""
        assert self._current is not None
        step = self.env.step(actions)
        final = self._next(self._current, step.final)
        ended = step.terminated | step.truncated
        if not ended.any():
            self._current = final
            shown = self._shown(final)
            return step._replace(final=shown, observation=shown)
        if step.lost is not None:
            _copy_rows(final, self._current, step.lost)
        following = Observation._make(array.copy() for array in final)
        _copy_rows(following, self._first(step.observation), ended)
        self._current = following
        return step._replace(final=self._shown(final), observation=self._shown(following))

    def observation(self) -> Observation:
        """The current observation."""
        assert self._current is not None
        return self._shown(self._current)

    def state_dict(self) -> dict[str, Any]:
        """The state of the environment, and the stacks."""
        from ..utils.stateful import packed

        assert self._current is not None
        return {"env": self.env.state_dict(), "stacks": packed(list(self._current[:2]))}

    def load_state_dict(self, state: Mapping[str, Any]) -> NDArray[np.bool_]:
        """See ``VecEnv``: False [E] for copies in which a new episode began."""
        continued: NDArray[np.bool_] = self.env.load_state_dict(state["env"])
        self._current = self._first(self.env.observation())
        for own, saved in zip(self._current[:2], state["stacks"], strict=True):
            own[continued] = saved.numpy()[continued]
        return continued

    def close(self) -> None:
        """Frees the environment."""
        self.env.close()

    def _first(self, observation: Observation) -> Observation:
        obs, state = (repeated(rows, self._frames) for rows in observation[:2])
        return Observation(obs, state, observation.avail.copy(), observation.agent_mask.copy())

    def _next(self, current: Observation, observation: Observation) -> Observation:
        obs, state = (pushed(old, new) for old, new in zip(current[:2], observation[:2], strict=True))
        obs[observation.agent_mask == 0] = 0
        return Observation(obs, state, observation.avail.copy(), observation.agent_mask.copy())

    def _shown(self, current: Observation) -> Observation:
        return current._replace(state=current.obs.reshape(self.n_envs, -1)) if self._by_agent else current


def stacked_info(info: EnvInfo, frames: int, by_agent: bool) -> EnvInfo:
    """The ``EnvInfo`` with stacked observations; ``by_agent``: the state is the concatenation of all of them."""
    size = info.obs_shape
    obs_blocks = tuple(own * frames for own in info.obs_blocks)
    joined: tuple[Block, ...] = tuple(block for own in obs_blocks for block in own)
    return replace(
        info,
        obs_shape=frames * size,
        obs_sizes=tuple((frames - 1) * size + own for own in info.obs_sizes),
        obs_blocks=obs_blocks,
        state_shape=frames * info.state_shape,
        state_blocks=joined if by_agent else info.state_blocks * frames,
        state_dtype=info.obs_dtype if by_agent else info.state_dtype,
        frames=frames,
    )


def _copy_rows(into: Observation, source: Observation, where: NDArray[np.bool_]) -> None:
    for own, other in zip(into, source, strict=True):
        own[where] = other[where]
