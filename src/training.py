"""The training loop."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .analysis.plots import draw_curves
from .components.episode_batch import EpisodeBatch
from .components.optimisers import DivergenceError
from .components.replay_buffer import ReplayBuffer
from .opponents.pool_env import PoolEnv
from .opponents.results import Episode, by_opponent, first_of_each_copy
from .run import REPLAY_STREAM, Parts, describe, notices, opened
from .runners.player import Stopwatch
from .types import ConfigError, EnvError, OmarlError, TrainingError
from .utils.checkpoints import find_checkpoint, load_checkpoint, save_checkpoint
from .utils.console import ProgressBar, headline, summary
from .utils.metrics import Grid, Logger
from .utils.run_directory import append_line
from .utils.seeding import rng_state, set_rng_state, stream_seed


def is_on_policy(parts: Parts) -> bool:
    """Whether the learner trains only on new rollouts; ConfigError if it does not suit the runner."""
    wanted = bool(getattr(parts.learner, "on_policy", False))
    if wanted != bool(getattr(parts.runner, "on_policy", False)):
        needs = "rollout" if wanted else "episode"
        raise ConfigError(f"runner: learner {parts.config.learner} does not learn from {parts.config.runner}s; "
                          f"set runner={needs}")  # fmt: skip
    return wanted


class Training:
    """The loop: collect, learn, test, log, save. Arguments: see ``train``.

    An off-policy learner is trained on batches of episodes from a replay buffer, one every
    ``env_steps_per_update`` environment steps; an on-policy learner on each rollout, once.
    """

    def __init__(
        self, parts: Parts, values: Mapping[str, Any], directory: Path | None, progress: bool = True
    ) -> None:
        self.parts, self.values, self.directory, self.progress = parts, values, directory, progress
        c = self.config = parts.config
        self.buffer: ReplayBuffer | None = None
        if not is_on_policy(parts):
            rng = np.random.default_rng(stream_seed(c.seed, REPLAY_STREAM))
            device = "cpu" if c.buffer_cpu_only else parts.args.device
            limit = parts.info.episode_limit
            self.buffer = ReplayBuffer(parts.scheme, parts.groups, c.buffer_size, limit, rng, device)
        self.updates = 0
        self.next_update: int | None = None  # the environment step of the next update; None before the first
        self.saved_at = self.tested_at = -1
        self._resume()
        t_env = parts.runner.t_env
        self.tests = Grid(c.test_interval, t_env)
        self.runner_logs = Grid(c.runner_log_interval, t_env)
        self.console_logs = Grid(c.log_interval, t_env)
        self.saves = Grid(c.save_model_interval, t_env)
        self.stopwatch = Stopwatch(t_env)

    def _resume(self) -> None:
        if not self.config.checkpoint_path:
            return
        folder = find_checkpoint(self.config.checkpoint_path, self.config.load_step)
        state = load_checkpoint(folder, self.parts.learner)
        if state["t_env"] >= self.config.t_max:
            raise ConfigError(f"t_max: {folder} has already reached step {state['t_env']}; give a larger t_max")
        self.updates = state["updates"]
        self.parts.runner.t_env, self.parts.runner.episodes = state["t_env"], state["episodes"]
        set_rng_state(state["rng"])
        say = self.parts.logger.console_logger.info
        say(f"resumed from {folder}")
        if self.buffer is None:
            return
        self.buffer.rng.bit_generator.state = json.loads(state["replay_rng"])
        if state.get("buffer") is not None:
            self.buffer.load_state_dict(state["buffer"])
            self.next_update = state["next_update"]
        else:
            say("the checkpoint holds no replay buffer (save_buffer): learning resumes when it is refilled")

    def save(self) -> None:
        """Saves a checkpoint at the current step, unless the run stores none or has it already."""
        runner = self.parts.runner
        if self.directory is None or not self.config.save_model or self.saved_at == runner.t_env:
            return
        state = {"episodes": runner.episodes, "updates": self.updates, "next_update": self.next_update}
        state |= {"rng": rng_state()}
        if self.buffer is not None:
            state["replay_rng"] = json.dumps(self.buffer.rng.bit_generator.state)
            state["buffer"] = self.buffer.state_dict() if self.config.save_buffer else None
        save_checkpoint(self.directory, runner.t_env, self.parts.learner, self.values, state)
        self.saved_at = runner.t_env

    def collect_and_learn(self) -> None:
        """Collects the next episodes or the next rollout, and makes the updates that are due."""
        runner = self.parts.runner
        collected = runner.run()
        if self.buffer is None:
            self._learn(collected)
        else:
            self.buffer.insert(collected)
            self._replay(self.buffer, runner.t_env)

    def _replay(self, buffer: ReplayBuffer, t_env: int) -> None:
        if buffer.n_episodes < self.config.batch_size:
            return
        if self.next_update is None:
            self.next_update = t_env
        while t_env >= self.next_update:
            self.next_update += self.config.env_steps_per_update
            batch = buffer.sample(self.config.batch_size)
            if str(batch.device) != self.parts.args.device:
                batch = batch.to(self.parts.args.device)
            self._learn(batch)

    def _learn(self, batch: EpisodeBatch) -> None:
        """The learner's updates on ``batch``; raises TrainingError, and saves the batch, if they are not finite."""
        runner = self.parts.runner
        try:
            self.parts.learner.train(batch, runner.t_env, runner.episodes)
        except DivergenceError as error:
            message = f"step {runner.t_env}: {error}"
            if self.directory is not None:
                batch.save(self.directory / "last_batch.th")
                message += f"; the last batch is in {self.directory / 'last_batch.th'}"
            raise TrainingError(message) from error
        self.updates += 1

    def log(self, last: bool = False) -> None:
        """Logs the runner's statistics if they are due at the current step; at the last step, the remaining ones."""
        parts, t_env = self.parts, self.parts.runner.t_env
        if self.runner_logs.due(t_env) or (last and parts.runner.stats.lengths):
            parts.runner.stats.log(parts.logger, parts.info.agents, t_env)
            exploration = parts.runner.mac.exploration(t_env) if hasattr(parts.runner.mac, "exploration") else {}
            counters = {"episode": parts.runner.episodes, "updates": self.updates}
            counters |= {"dropped_episodes": parts.runner.dropped} if parts.runner.dropped else {}
            speed = {"steps_per_second": self.stopwatch.rate(t_env)}
            for name, value in {**exploration, **speed, **counters}.items():
                parts.logger.log_stat(name, value, t_env)

    def test(self) -> None:
        """Runs a greedy test in separate environments and logs it at the current step."""
        if self.config.test_interval and self.tested_at != self.parts.runner.t_env:
            self.tested_at = self.parts.runner.t_env
            log_test(self.parts, self.tested_at, self.directory)

    def run(self) -> None:
        """Trains until ``t_max``, with a test before the first step and after the last."""
        runner, config, updates = self.parts.runner, self.config, self.updates
        self.test()
        options = {} if self.progress else {"disable": True}
        with ProgressBar(config.t_max, runner.t_env, self.parts.logger.latest, **options) as bar:
            while runner.t_env < config.t_max:
                self.collect_and_learn()
                self.log()
                if self.tests.due(runner.t_env) and runner.t_env < config.t_max:
                    self.test()
                if self.saves.due(runner.t_env):
                    self.save()
                if self.console_logs.due(runner.t_env) and bar.disable:
                    self.parts.logger.console_logger.info(headline(self.parts.logger.latest, runner.t_env))
                bar.advance(runner.t_env, learning=self.updates > updates)
        self.log(last=True)
        self.test()

    def summary(self) -> list[str]:
        """The lines that are printed at the end of a run."""
        parts, runner = self.parts, self.parts.runner
        return summary(parts.logger.latest, parts.info.agents, runner.t_env, runner.episodes, self.updates)


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


def picture(directory: Path) -> str:
    """Draws the curves; returns a line with their path, or with the error, which must not hide an earlier one."""
    try:
        return f"curves: {draw_curves(directory)}"
    except (OSError, OmarlError) as error:
        return f"curves.png not drawn ({error})"


def train(
    values: Mapping[str, Any],
    logger: Logger,
    directory: Path | None,
    user_keys: Collection[str] = (),
    progress: bool = True,
) -> float | None:
    """Trains from start to end. After an error, too, logged numbers remain and the curves are drawn.

    Args:
        values: the complete configuration, which checkpoints store.
        logger: receives numbers.
        directory: the run's folder; None stores nothing.
        user_keys: the keys that the user has set; see ``run.build``.
        progress: shows a bar, if standard error is a terminal.

    Returns:
        The last test's ``test_return_mean``, if there was a test.

    Raises:
        KeyboardInterrupt, EnvError: after a checkpoint was saved.
    """
    say = logger.console_logger.info
    with opened(values, logger, user_keys, trains=True) as parts:
        training: Training | None = None
        try:
            training = Training(parts, values, directory, progress)
            _run(training)
        finally:
            parts.close()  # first, so that the curves are drawn from a complete file
            if training is not None:
                for line in training.summary():
                    say(line)
            if directory is not None:
                say(picture(directory))
    return logger.latest.get("test_return_mean")


def _run(training: Training) -> None:
    """Runs the training; saves a checkpoint at its end, at an interrupt, and if the environment fails."""
    parts, directory, say = training.parts, training.directory, training.parts.logger.console_logger.info
    say("\n".join([describe(parts), *notices(parts.config, parts.info)]))
    if directory is not None:
        say(f"run directory: {directory}")
    try:
        training.run()
        training.save()
    except KeyboardInterrupt:
        say(f"interrupted at step {parts.runner.t_env}")
        training.save()
        raise
    except EnvError:
        training.save()
        raise
