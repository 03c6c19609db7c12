"""A saved state continues the episodes exactly, or says that it cannot."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch


def random_steps(env: Any, count: int, rng: np.random.Generator) -> list[Any]:
    log: list[Any] = []
    for _ in range(count):
        avail = env.observation().avail
        step = env.step((rng.random(avail.shape) * avail).argmax(-1))
        log.append([a.copy() for a in (*step.final, *step.observation, *step[2:5])])
    return log


def saved(env: Any) -> Any:
    """The state as a checkpoint stores and reads it."""
    file = io.BytesIO()
    torch.save(env.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def equal(one: list[Any], other: list[Any]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(np.array_equal(a, b) for x, y in pairs for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize(
    ("name", "env_args", "workers"),
    [
        ("Gambler", {}, (0, 2)),
        ("Turns", {}, (0, 0)),
        ("noisy_tag", {}, (0, 0)),
        ("pettingzoo", {"key": "mpe2.simple_spread_v3"}, (0, 0)),
        ("gymnasium", {"key": "lbforaging:Foraging-5x5-2p-1f-v3"}, (2, 0)),
        ("pettingzoo", {"key": "sisl/pursuit-v5", "max_cycles": 9}, (0, 0)),
        ("pettingzoo", {"key": "mpe2.simple_tag_v3", "backend": "batched"}, (0, 0)),
        ("gymnasium", {"key": "lbforaging:Foraging-5x5-2p-1f-v3", "backend": "batched"}, (0, 0)),
    ],
)
@pytest.mark.parametrize("steps", [0, 7])
def test_a_restored_environment_continues_bit_for_bit(
    make: Any, name: str, env_args: Any, workers: tuple[int, int], steps: int
) -> None:
    env, other = (make(name, n_envs=3, n_workers=n, seed=3, **env_args) for n in workers)
    env.reset()
    random_steps(env, steps, np.random.default_rng(0))
    state, observation = saved(env), [a.copy() for a in env.observation()]
    assert other.load_state_dict(state).tolist() == [True] * 3
    assert equal([other.observation()], [observation])
    assert equal(*(random_steps(e, 60, np.random.default_rng(1)) for e in (env, other)))


def test_a_state_is_independent_of_later_steps(make: Any) -> None:
    env, other = (make("Gambler", n_envs=2) for _ in range(2))
    env.reset()
    state = env.state_dict()
    first = env.observation().obs.copy()
    random_steps(env, 9, np.random.default_rng(0))
    other.load_state_dict(state)
    assert np.array_equal(other.observation().obs, first)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_an_episode_that_differs_is_reported_and_replaced_by_a_new_one(
    make: Any, caplog: pytest.LogCaptureFixture, n_workers: int
) -> None:
    """Unseeded's copies whose episode has begun cannot be repeated."""
    env, other = (make("Unseeded", n_envs=2, n_workers=n_workers) for _ in range(2))
    env.reset()
    env.step(np.zeros((2, 3), np.int64))
    state = saved(env)
    state["backend"][1]["episode"] = 0
    state["backend"][1]["actions"] = torch.zeros(50, 3, dtype=torch.int64)
    assert other.load_state_dict(state).tolist() == [False, False]
    (message,) = (record.message for record in caplog.records if "repeated" in record.message)
    assert "Unseeded: the episodes of copies 0, 1 cannot be repeated" in message
    assert other.step(np.zeros((2, 3), np.int64)).reward.shape == (2, 3)
