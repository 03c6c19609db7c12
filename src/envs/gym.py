"""Gymnasium environments of many agents: Tuples of observations and actions (lbforaging and its kin)."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..types import ConfigError
from .adapter import Adapter
from .arrays import Frame
from .spaces import MASK_KEY


class GymAdapter(Adapter):
    """One gymnasium environment in array form; its agents live as long as the episode.

    Rewards are one for each agent, or one that all get. Action masks are ``info["action_mask"]``, one for
    each agent.
    """

    def __init__(self, env: Any, key: str, episode_limit: int) -> None:
        seen, done = env.observation_space, env.action_space
        if not (isinstance(seen, spaces.Tuple) and isinstance(done, spaces.Tuple) and len(seen) == len(done)):
            raise ConfigError(
                f"environment {key}: observations and actions must be Tuples of one space for each agent, "
                f"not {seen} and {done}"
            )
        names = [f"agent_{i}" for i in range(len(done))]
        super().__init__(env, key, episode_limit, names, seen.spaces, done.spaces)
        self._everyone = [True] * len(names)

    def reset(self, seed: int | None, frame: Frame) -> None:
        observations, info = self.env.reset() if seed is None else self.env.reset(seed=seed)
        self._write_joint(frame, observations, info)

    def step(self, actions: list[int], frame: Frame, reward: NDArray[np.float32]) -> tuple[bool, bool]:
        joint = tuple(action + start for action, start in zip(actions, self.starts, strict=True))
        observations, rewards, terminated, truncated, info = self.env.step(joint)
        reward[:] = rewards
        self._write_joint(frame, observations, info)
        over, cut_off = bool(np.all(terminated)), bool(np.all(truncated))  # one flag for all, or one for each agent
        if over and self._is_out_of_time():
            over, cut_off = False, True
        if over or cut_off:
            self.conclude(frame)
        return over, cut_off and not over

    def _is_out_of_time(self) -> bool:
        """Whether lbforaging's "done" is its step limit: food is still on the field then."""
        game = self.env.unwrapped
        limit = getattr(game, "_max_episode_steps", None)
        if limit is None or not hasattr(game, "field"):
            return False
        return game.current_step >= limit and bool(np.any(game.field))

    def _write_joint(self, frame: Frame, observations: Any, info: dict[str, Any]) -> None:
        by_agent = dict(zip(self.agents, observations, strict=True))
        masks = info.get(MASK_KEY)
        infos = {a: {MASK_KEY: mask} for a, mask in zip(self.agents, masks, strict=True)} if masks is not None else {}
        self.write(frame, by_agent, infos, self._everyone, self._everyone)
