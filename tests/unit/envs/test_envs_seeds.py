"""Every copy and every episode has its own seed; identical copies are reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

Log = list[tuple[np.ndarray, ...]]


def episodes(env: Any, resets_after: int, count: int = 4) -> list[list[np.ndarray]]:
    """The observations of the first ``count`` episodes of copy 0; ``reset`` cuts the first one short."""
    obs = env.reset().obs[0].copy()
    episodes, zero = [[obs]], np.zeros((env.n_envs, env.info.n_agents), np.int64)
    for _ in range(resets_after):
        env.step(zero)
    if resets_after:
        episodes.append([env.reset().obs[0].copy()])
    while len(episodes) <= count:
        step = env.step(zero)
        episodes[-1].append(step.final.obs[0].copy())
        if step.terminated[0] or step.truncated[0]:
            episodes.append([step.observation.obs[0].copy()])
    return episodes[:count]


@pytest.mark.parametrize("n_workers", [0, 2])
def test_an_episode_depends_only_on_seed_copy_and_number(make: Any, n_workers: int) -> None:
    """Gambler draws from both global generators, its own one and an action space, and its episodes vary in length."""
    complete = episodes(make("Gambler", n_envs=2, n_workers=n_workers, seed=4), 0)
    cut = episodes(make("Gambler", n_envs=3, seed=4), 1)
    for one, other in zip(complete[1:], cut[1:], strict=True):
        assert np.array_equal(one, other)
    starts = [episode[0][0] for episode in complete]
    assert all(len({start[source] for start in starts}) == len(starts) for source in range(4))


def test_copies_that_all_begin_identically_are_reported(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    env = make("Toy", n_envs=2)
    env.reset()
    env.reset()
    (record,) = caplog.records
    assert "Toy: all 2 copies begin with the same observations" in record.message
    assert "reset ignores its seed" in record.message and "\n" not in record.message


@pytest.mark.parametrize(("name", "n_envs"), [("Gambler", 2), ("Toy", 1)])
def test_copies_that_differ_and_single_copies_are_not_reported(
    make: Any, caplog: pytest.LogCaptureFixture, name: str, n_envs: int
) -> None:
    make(name, n_envs=n_envs).reset()
    assert not caplog.records
