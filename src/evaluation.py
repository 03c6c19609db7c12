"""Tests a checkpoint's agents and its VAE on new episodes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .components.episode_batch import EpisodeBatch
from .config.schema import read
from .notices import notices
from .opponent_models.model import OpponentModel
from .opponents.after_switch import Trace, by_steps_since, format_series
from .opponents.pool_env import PoolEnv
from .opponents.results import Episode, by_opponent, episode_record, format_opponent
from .run import Parts, RunConfig, opened
from .testing import log_test, pool_episodes
from .utils.checkpoints import find_checkpoint, load_checkpoint
from .utils.files import is_within
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
        by_opponent: against a pool: a record for each opponent, for each family, and for all.
        episodes: against a pool: a record for each episode.
        series: if opponents change during episodes: rewards and the model's accuracy by the steps since the opponent
            began, of opponents that took over (``after_switch``) and of the first ones (``before_switch``).
        file: the written file; None: nothing was written.
    """

    t_env: int
    values: dict[str, float]
    standard_errors: dict[str, float]
    episode_returns: NDArray[np.float64]
    by_opponent: tuple[dict[str, Any], ...] = ()
    episodes: tuple[dict[str, Any], ...] = ()
    series: Mapping[str, Mapping[str, list[Any]]] = field(default_factory=dict)
    file: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """The content of ``evaluation.json``."""
        records = {"by_opponent": self.by_opponent, "episodes": self.episodes} if self.episodes else {}
        returns = self.episode_returns.tolist()
        return {**self.values, "t_env": self.t_env, **records, **self.series, "episode_returns": returns,
                "standard_errors": self.standard_errors}  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{len(self.episode_returns)} episodes; ± is the standard error of a mean over them"]
        for name in sorted(self.values):
            error = f" ± {self.standard_errors[name]:.2g}" if name in self.standard_errors else ""
            lines.append(f"{name:32} {self.values[name]:.4g}{error}")
        lines += [format_opponent(record) for record in self.by_opponent]
        if self.series:
            lines.append(format_series(self.series["after_switch"]))
        return "\n".join([*lines, f"written to {self.file}"] if self.file else lines)


def evaluate(values: Mapping[str, Any], logger: Logger) -> Evaluation:
    """Tests a checkpoint's agents and its VAE, and writes ``evaluation.json`` into the checkpoint.

    If the checkpoint's folder cannot be written, the result is returned without a file, with a warning.

    Raises:
        ConfigError: there is no such checkpoint, or it cannot be loaded.
    """
    config = read(RunConfig, values)
    folder = find_checkpoint(config.checkpoint_path, config.load_step)
    result = tested(values, folder, logger)
    file = folder / "evaluation.json"
    if not is_within(folder, Path(config.checkpoint_path)):
        logger.console_logger.warning(f"{file} not written ({folder} is a link to another folder)")
        return result
    try:
        write_json(file, result.as_dict())
    except OSError as error:
        logger.console_logger.warning(f"{file} not written ({error.strerror})")
        return result
    return replace(result, file=file)


def tested(values: Mapping[str, Any], folder: Path, logger: Logger) -> Evaluation:
    """Plays test episodes with the checkpoint in ``folder``."""
    with opened(values, logger) as parts:
        for line in notices(parts.config, parts.info):
            logger.console_logger.info(line)
        state = load_checkpoint(folder, parts.learner)
        batches = log_test(parts, state["t_env"])
    against: tuple[dict[str, Any], ...] = ()
    episodes: tuple[dict[str, Any], ...] = ()
    series: dict[str, dict[str, Any]] = {}
    if isinstance(parts.test_env, PoolEnv):
        played, members = pool_episodes(parts), parts.test_env.members
        series = series_of(parts, played, batches)
        against, episodes = tuple(by_opponent(played, members)), tuple(episode_record(e, members) for e in played)
    returns = np.array([r for batch in batches for r in batch["reward"].sum(dim=1).tolist()])
    lengths = np.array([int(n) - 1 for batch in batches for n in batch["filled"].sum(dim=1)])
    latest = dict(logger.latest)
    errors = standard_errors(latest, returns, lengths, parts.info.agents)
    return Evaluation(state["t_env"], latest, errors, returns, against, episodes, series)


def series_of(parts: Parts, played: Sequence[Episode], batches: Sequence[EpisodeBatch]) -> dict[str, dict[str, Any]]:
    """See ``Evaluation.series``, of the episodes ``played``, which are those of ``batches``; {} without a switch."""
    if not any(episode.switches for episode in played):
        return {}
    model: OpponentModel | None = getattr(parts.learner, "model", None)
    rows: list[Any] = []  # of each episode: rewards, hits and predictions, each [T]
    for batch in batches:
        found = {} if model is None else model.hits(batch.to(parts.args.device))
        none = torch.zeros(batch.batch_size, 0)
        counts = (found.get(name, none) for name in ("hits", "count"))  # [T] if a user's model sums over episodes
        columns = batch["reward"].sum(dim=2), *(each if each.dim() == 2 else none for each in counts)
        rows += zip(*(each.double().cpu().numpy() for each in columns), strict=True)
    traces = [Trace(tuple(step for step, *_ in episode.switches), reward[: episode.length], hits, predictions)
              for episode, (reward, hits, predictions) in zip(played, rows, strict=True)]  # fmt: skip
    return {f"{when}_switch": by_steps_since(traces, when == "after") for when in ("before", "after")}


def standard_errors(
    values: Mapping[str, float], returns: NDArray[np.float64], lengths: NDArray[np.int64], agents: tuple[str, ...]
) -> dict[str, float]:
    """Standard errors over episodes of the mean returns and the mean length; empty for a single episode.

    ``returns`` are [episodes, N], or [episodes, 1] if agents share one reward. ``test_return_std`` in ``values`` is
    the standard deviation of the population.
    """
    n = len(returns)
    if n < 2:
        return {}
    errors = {"test_ep_length_mean": float(lengths.std(ddof=1)) / math.sqrt(n)}
    if "test_return_std" in values:
        errors["test_return_mean"] = values["test_return_std"] / math.sqrt(n - 1)
    if returns.shape[1] == len(agents):
        by_agent = returns.std(axis=0, ddof=1) / math.sqrt(n)
        errors |= {f"test_return_mean/{agent}": float(error) for agent, error in zip(agents, by_agent, strict=True)}
    return errors
