"""Fixtures of the tests of environments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from omarl.envs import make_vec_env
from omarl.envs.watch import DEFAULT_LIMITS, Limits


@pytest.fixture
def make() -> Iterator[Callable[..., Any]]:
    """``make_vec_env`` with short defaults; a name without a module is a toy environment; closed after the test."""
    made = []

    def make_and_keep(
        env: str, n_envs: int = 1, n_workers: int = 0, seed: int = 0, limits: Limits = DEFAULT_LIMITS, **env_args: Any
    ) -> Any:
        packaged = env in ("pettingzoo", "gymnasium")
        name = env if packaged else f"toy_envs:{env}"
        env_args = {"backend": "pettingzoo", **env_args} if packaged else env_args  # arrays: test_batched.py
        made.append(make_vec_env(name, env_args, n_envs, n_workers, seed, limits))
        return made[-1]

    yield make_and_keep
    for env in made:
        if hasattr(env, "close"):
            env.close()


@pytest.fixture
def play() -> Callable[..., list[Any]]:
    """Plays random available actions; returns copies of all arrays that the environment returned."""

    def play(env: Any, steps: int, seed: int = 0) -> list[Any]:
        rng = np.random.default_rng(seed)
        observation = env.reset()
        log: list[Any] = [[a.copy() for a in observation]]
        for _ in range(steps):
            chances = rng.random(observation.avail.shape) * observation.avail
            step = env.step(chances.argmax(-1))
            observation = step.observation
            log.append([a.copy() for a in (*step.final, *observation, *step[2:5])])
        return log

    return play
