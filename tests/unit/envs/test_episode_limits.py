"""The most steps of an episode: as the environment states it, and estimated if it states none."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omarl.envs.episode_limits import NAMES

ZERO = np.zeros((1, 3), np.int64)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_limit_is_found_under_the_usual_names(make: Any, name: str, inside: bool) -> None:
    info = make("Limited", name=name, inside=inside).info
    assert (info.episode_limit, info.limit_source) == (7, name)


def test_the_limit_of_the_spec_is_found(make: Any) -> None:
    info = make("Limited", name="spec", steps=SimpleNamespace(max_episode_steps=9)).info
    assert (info.episode_limit, info.limit_source) == (9, "spec.max_episode_steps")


@pytest.mark.parametrize("steps", [0, -1, None, True, 10**9, float("inf"), "many"])
def test_attributes_that_are_no_number_of_steps_are_ignored(make: Any, steps: Any) -> None:
    assert make("Limited", name="max_steps", steps=steps).info.episode_limit == 1000


def test_a_limit_of_numpy_counts(make: Any) -> None:
    assert make("Limited", name="horizon", steps=np.int64(11)).info.episode_limit == 11


def test_an_unknown_limit_is_four_times_the_longest_random_episode_with_one_line(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "omarl"):
        env = make("Unlimited", length=6)
    assert env.info.episode_limit == 24 and not env.info.limit_source
    (line,) = [record.getMessage() for record in caplog.records]
    assert "they end after 24 steps (4 times the longest of 5 random episodes); set env_args.episode_limit" in line


@pytest.mark.parametrize("early, count", [(False, "5 of 5"), (True, "4 of 5")])
def test_where_random_episodes_are_truncated_is_the_limit(
    make: Any, early: bool, count: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "omarl"):
        env = make("Unlimited", length=6, ending="truncate", early=early)
    assert env.info.episode_limit == 6 and not env.info.limit_source
    assert f"they end after 6 steps ({count} random episodes were truncated there)" in caplog.text


def test_turns_are_counted_in_turn_based_games(make: Any) -> None:
    assert make("UnlimitedTurns").info.episode_limit == 4 * 8


def test_an_environment_that_never_ends_is_cut_off_after_1000_steps(make: Any) -> None:
    env = make("Endless")
    assert env.info.episode_limit == 1000
    env.reset()
    ends = [bool(env.step(ZERO).truncated[0]) for _ in range(1001)]
    assert ends.index(True) == 999 and sum(ends) == 1


def test_a_longer_episode_limit_is_not_estimated(make: Any) -> None:
    assert make("Endless", episode_limit=10_000).info.episode_limit == 10_000


@pytest.mark.parametrize("n_workers", [0, 2])
def test_copies_in_workers_have_the_estimated_limit_too(make: Any, n_workers: int) -> None:
    env = make("Endless", n_envs=2, n_workers=n_workers)
    env.reset()
    for _ in range(1000):
        step = env.step(np.zeros((2, 3), np.int64))
    assert step.truncated.all()


@pytest.mark.parametrize(
    ("name", "interface"), [("Toy", "ParallelEnv"), ("Turns", "AECEnv, one turn a step"), ("Pair", "Gymnasium")]
)
def test_the_interface_is_recognised_and_named(make: Any, name: str, interface: str) -> None:
    assert make(name).info.interface == interface
