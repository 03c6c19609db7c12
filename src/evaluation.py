"""A test alone: a checkpoint's agents and its VAE on fresh episodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .components.episode_batch import EpisodeBatch
from .config.schema import read
from .opponents.pool_env import PoolEnv
from .opponents.results import by_opponent, episode_record, format_opponent
from .run import RunConfig, notices, opened
from .training import episodes_met, log_test
from .utils.checkpoints import find_checkpoint, load_checkpoint
from .utils.metrics import Logger
from .utils.run_directory import write_json


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Test episodes of a checkpoint; ``print`` shows a table.

    Attributes:
        t_env: the checkpoint's environment steps.
        values: each metric's mean, by its name in docs/metrics.md: ``test_return_mean``, ``test_ep_length_mean``, ...
        standard_errors: over episodes, of the mean returns and the mean length, by the same names.
        episode_returns: float64 [episodes, N], or [episodes, 1] where agents share one reward; undiscounted.
        by_opponent: against a pool: a record for each opponent, each family, and all.
    """

    t_env: int
    values: dict[str, float]
    standard_errors: dict[str, float]
    episode_returns: NDArray[np.float64]
    by_opponent: list[dict[str, Any]]

    @classmethod
    def of(cls, result: Mapping[str, Any], values: Mapping[str, float]) -> Evaluation:
        """Out of what ``tested`` returns, and the metrics that it logged."""
        returns = np.array(result["episode_returns"], np.float64)
        against = list(result.get("by_opponent", []))
        return cls(int(result["t_env"]), dict(values), dict(result["standard_errors"]), returns, against)

    def __str__(self) -> str:
        numbers = {"episode_returns": self.episode_returns, "standard_errors": self.standard_errors}
        return format_evaluation({**self.values, **numbers, "by_opponent": self.by_opponent})


def evaluate(values: Mapping[str, Any], logger: Logger) -> dict[str, Any]:
    """Tests a checkpoint's agents and its VAE on fresh episodes.

    Returns:
        As ``tested``, and where it was written (``evaluation.json`` in the checkpoint, if it can be written).

    Raises:
        ConfigError: there is no such checkpoint, or it cannot be loaded.
    """
    config = read(RunConfig, values)
    folder = find_checkpoint(config.checkpoint_path, config.load_step)
    result = tested(values, folder, logger)
    try:
        write_json(folder / "evaluation.json", result)
        result["file"] = str(folder / "evaluation.json")
    except OSError as error:
        logger.console_logger.warning(f"{folder}/evaluation.json not written ({error.strerror})")
    return result


def tested(values: Mapping[str, Any], folder: Path, logger: Logger) -> dict[str, Any]:
    """The means and each episode's return of fresh episodes by the checkpoint in ``folder``; by opponent, too."""
    with opened(values, logger) as parts:
        for line in notices(parts.config, parts.info):
            logger.console_logger.info(line)
        state = load_checkpoint(folder, parts.learner)
        batches = log_test(parts, state["t_env"])
    result: dict[str, Any] = dict(logger.latest)
    result["t_env"] = state["t_env"]
    if isinstance(parts.test_env, PoolEnv):
        met, members = episodes_met(parts), parts.test_env.members
        result["by_opponent"] = by_opponent(met, members)
        result["episodes"] = [episode_record(episode, members) for episode in met]
    result["episode_returns"] = [r for batch in batches for r in episode_returns(batch)]
    result["episode_lengths"] = [int(n) - 1 for batch in batches for n in batch["filled"].sum(dim=1)]
    result["standard_errors"] = standard_errors(result, parts.info.agents)
    return result


def standard_errors(result: Mapping[str, Any], agents: Sequence[str]) -> dict[str, float]:
    """Standard errors over episodes of the mean returns and of the mean length, by their metrics' names.

    A single episode has none.

    Args:
        result: the latest metrics, ``episode_returns`` and ``episode_lengths``.
        agents: whose returns stand in ``episode_returns``, where each has one of its own.
    """
    returns = np.array(result["episode_returns"])  # [episodes, agents] or [episodes, 1]
    n = len(returns)
    if n < 2:
        return {}
    errors = {"test_ep_length_mean": float(np.std(result["episode_lengths"], ddof=1)) / math.sqrt(n)}
    if "test_return_std" in result:  # of the population, as it is logged
        errors["test_return_mean"] = float(result["test_return_std"]) / math.sqrt(n - 1)
    if returns.shape[1] == len(agents):
        each = returns.std(axis=0, ddof=1) / math.sqrt(n)
        errors |= {f"test_return_mean/{agent}": float(error) for agent, error in zip(agents, each, strict=True)}
    return errors


def format_evaluation(result: Mapping[str, Any]) -> str:
    """For the console: the number of episodes, each mean with its standard error, what came of each opponent."""
    errors = result["standard_errors"]
    lines = [f"{len(result['episode_returns'])} episodes; ± is the standard error of a mean over them"]
    for name in sorted(n for n in result if n.startswith("test_")):
        error = f" ± {errors[name]:.2g}" if name in errors else ""
        lines.append(f"{name:32} {result[name]:.4g}{error}")
    lines += [format_opponent(line) for line in result.get("by_opponent", [])]
    if "file" in result:
        lines.append(f"written to {result['file']}")
    return "\n".join(lines)


def episode_returns(batch: EpisodeBatch) -> list[list[float]]:
    """Each episode's undiscounted return for each agent (one number where the reward is shared)."""
    return batch["reward"].sum(dim=1).tolist()
