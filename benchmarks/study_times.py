"""Times the arms of ``study.py`` in turn in one process, so that other load on the machine affects all alike."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from omarl import run
from omarl.configuration.request import from_keywords
from omarl.utils.metrics import Logger

WARM_UP = 25  # iterations before the first turn: functions are compiled, memories filled


def iteration(made: run.Parts) -> float:
    """Seconds for each environment step of one rollout and of what is learned from it."""
    runner, learner = made.runner, made.learner
    steps, begun = runner.t_env, time.perf_counter()
    learner.train(runner.run(), runner.t_env, 0)
    return (time.perf_counter() - begun) / (runner.t_env - steps)


def seconds_per_step(arms: Mapping[str, tuple[str, str, dict[str, Any]]], turns: int) -> dict[str, float]:
    """The median over the turns of each arm's seconds for an environment step, on one thread.

    Args:
        arms: the algorithm, the environment's configuration and the keys of each arm.
        turns: how often each arm is timed.
    """
    torch.set_num_threads(1)
    made = {arm: run.build(from_keywords(keys, algorithm, env).values, Logger(logging.getLogger("times")))
            for arm, (algorithm, env, keys) in arms.items()}  # fmt: skip
    for parts in made.values():
        parts.runner.begin()
        for _ in range(WARM_UP):
            iteration(parts)
    times: dict[str, list[float]] = {arm: [] for arm in made}
    for _ in range(turns):
        for arm, parts in made.items():
            times[arm].append(iteration(parts))
    for parts in made.values():
        parts.env.close()
    return {arm: statistics.median(each) for arm, each in times.items()}
