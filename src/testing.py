"""Greedy test episodes of a run, and their metrics."""

from collections.abc import Sequence
from pathlib import Path

import torch

from .components.episode_batch import EpisodeBatch
from .opponents.pool_env import PoolEnv
from .opponents.results import Episode, by_opponent, first_of_each_copy
from .run import Parts
from .utils.run_directory import append_line


def log_test(parts: Parts, t_env: int, directory: Path | None = None) -> list[EpisodeBatch]:
    """Plays ``test_nepisode`` greedy episodes and logs their statistics, including the VAE's held-out fit.

    If there is a ``directory``, each test also adds a line to its ``test_episodes.jsonl``.
    """
    batches = parts.tester.collect(parts.config.test_nepisode)
    stats, opponents = parts.tester.stats, {}
    if isinstance(parts.test_env, PoolEnv):
        episodes, members = pool_episodes(parts), parts.test_env.members
        opponents["opponents"] = [members[episode.opponent].name for episode in episodes]
        for line in by_opponent(episodes, members):
            if line["of"] == "family":
                parts.logger.log_stat(f"test_return_against/{line['name']}", line["return"], t_env)
    if directory is not None:
        returns = [r.tolist() for r in stats.returns]
        line = {"t_env": t_env, "returns": returns, "lengths": stats.lengths, **opponents}
        append_line(directory / "test_episodes.jsonl", line)
    stats.log(parts.logger, parts.info.agents, t_env, prefix="test_")
    if hasattr(parts.learner, "evaluate"):
        on_device = [batch.to(parts.args.device) for batch in batches]
        for name, value in parts.learner.evaluate(on_device).items():
            parts.logger.log_stat(f"test_{name}", value, t_env)
    return batches


def pool_episodes(parts: Parts) -> list[Episode]:
    """The test's episodes against a pool, in order; further episodes of a copy after its share are left out."""
    assert isinstance(parts.test_env, PoolEnv)
    return first_of_each_copy(parts.test_env.log.finished, parts.tester.episodes_per_copy(parts.config.test_nepisode))


def repeats_one_episode(batches: Sequence[EpisodeBatch]) -> bool:
    """Whether a test of at least two episodes had the same states and actions in all of them."""
    episodes = [batch[i] for batch in batches for i in range(batch.batch_size)]
    return len(episodes) > 1 and all(_is_same(episodes[0], episode) for episode in episodes[1:])


def _is_same(one: EpisodeBatch, other: EpisodeBatch) -> bool:
    length = int(one["filled"].sum())
    return int(other["filled"].sum()) == length and all(
        torch.equal(one[name][:, :length], other[name][:, :length]) for name in ("state", "actions")
    )
