"""The training loop: collect, learn, test, log, save."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .components.episode_batch import EpisodeBatch
from .components.optimisers import DivergenceError
from .components.replay_buffer import ReplayBuffer
from .resuming import cut_back, restore, resume_state, sizes
from .run import REPLAY_STREAM, Parts
from .runners.player import Stopwatch
from .testing import log_test, repeats_one_episode
from .types import ConfigError, TrainingError
from .utils.checkpoints import (
    find_checkpoint,
    left_out,
    load_checkpoint,
    prune,
    reason_of,
    save_checkpoint,
)
from .utils.console import ProgressBar, headline, summary
from .utils.metrics import Grid
from .utils.seeding import rng_state, set_rng_state, stream_seed
from .utils.stop_signals import Requests


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
        self,
        parts: Parts,
        values: Mapping[str, Any],
        directory: Path | None,
        progress: bool = True,
        continues: bool = False,
    ) -> None:
        self.parts, self.values, self.directory, self.progress = parts, values, directory, progress
        self.continues = continues
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
        self.left_out: list[str] = []  # of the last checkpoint
        self.warned = False  # about tests of one episode
        self.end = math.inf  # the time at which the run ends; see ``run``
        self._resume()
        t_env = parts.runner.t_env
        self.tests = Grid(c.test_interval, t_env)
        self.runner_logs = Grid(c.runner_log_interval, t_env)
        self.console_logs = Grid(c.log_interval, t_env)
        self.saves = Grid(c.save_model_interval, t_env)
        self.stopwatch = Stopwatch(t_env)

    def _resume(self) -> None:
        c, parts, say = self.config, self.parts, self.parts.logger.console_logger.info
        if not c.checkpoint_path:
            if self.continues and self.directory is not None:
                self.continues = False  # it has no checkpoint, and starts again
                cut_back(self.directory, {})
            return
        folder = find_checkpoint(c.checkpoint_path, c.load_step)
        state = load_checkpoint(folder, parts.learner)
        if state["t_env"] >= c.t_max:
            raise ConfigError(f"t_max: {folder} has already reached step {state['t_env']}; give a larger t_max")
        try:
            missing = self._take(state, folder)
            lengths = {name: int(size) for name, size in state.get("sizes", {}).items()}
            latest = {name: float(value) for name, value in state.get("latest", {}).items()}
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {reason_of(error)}"
            raise ConfigError(
                f"checkpoint_path: {folder} is not a state that this version writes ({reason})"
            ) from error
        say(f"resumed from {folder}")
        for line in missing or left_out(folder):
            say(f"not an exact continuation: {line}")
        if self.buffer is not None and not self.buffer.n_episodes:
            self.next_update = None
        if self.continues and self.directory is not None:
            self.continues = folder.is_relative_to(self.directory)  # else the run began from another run's checkpoint
            cut_back(self.directory, lengths if self.continues else {})
        if self.continues:
            parts.logger.continues(latest)
            self.saved_at, self.tested_at = state["t_env"], state.get("tested_at", -1)

    def _take(self, state: Mapping[str, Any], folder: Path) -> list[str]:
        """Restores a checkpoint's state; returns what it lacks for an exact continuation."""
        self.updates, self.next_update = int(state["updates"]), state["next_update"]
        self.parts.runner.t_env, self.parts.runner.episodes = int(state["t_env"]), int(state["episodes"])
        set_rng_state(state["rng"])
        if self.buffer is not None:
            self.buffer.rng.bit_generator.state = json.loads(state["replay_rng"])
        return restore(self.parts, self.buffer, folder)

    def save(self, with_episodes: bool = True) -> None:
        """Saves a checkpoint at the current step, unless the run stores none or has it already.

        ``with_episodes`` is False if the environment has failed: its episodes cannot be continued.
        """
        runner, logger = self.parts.runner, self.parts.logger
        if self.directory is None or not self.config.save_model or self.saved_at == runner.t_env:
            return
        logger.write()
        large, missing = resume_state(self.parts, self.buffer, self.config.save_buffer, with_episodes)
        state = {
            "episodes": runner.episodes, "updates": self.updates, "next_update": self.next_update,
            "tested_at": self.tested_at, "latest": dict(logger.latest), "sizes": sizes(self.directory),
            "rng": rng_state(),
        }  # fmt: skip
        if self.buffer is not None:
            state["replay_rng"] = json.dumps(self.buffer.rng.bit_generator.state)
        score = logger.latest.get("test_return_mean")
        save_checkpoint(self.directory, runner.t_env, self.parts.learner, self.values, state, large, missing, score)
        prune(self.directory, self.config.keep_checkpoints)
        self.saved_at = runner.t_env
        if missing != self.left_out:
            self.left_out = missing
            for line in missing:
                logger.console_logger.info(f"checkpoints leave out {line}: a resumed run is not exact")

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
        while t_env >= self.next_update and time.monotonic() < self.end:
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
            batches = log_test(self.parts, self.tested_at, self.directory)
            if not self.warned and repeats_one_episode(batches):
                self.warned = True
                self.parts.logger.console_logger.warning(
                    f"test_nepisode: all {self.config.test_nepisode} test episodes are the same: the environment "
                    "starts alike at every reset (does it use the seed?), and the agents act greedily"
                )

    def run(self, requests: Requests | None = None, seconds: float | None = None) -> None:
        """Trains until ``t_max``, with a test before the first step and after the last.

        ``max_seconds`` after the first test, no further update or collection begins, and the last test follows.
        With ``seconds``, it ends so long after the first collection, whose time contains that of compilations.

        Raises:
            KeyboardInterrupt: ``requests`` asked to stop, after a checkpoint was saved.
        """
        runner, config, updates = self.parts.runner, self.config, self.updates
        if not self.continues:
            self.test()
        self.end = time.monotonic() + config.max_seconds if config.max_seconds else math.inf
        options = {} if self.progress else {"disable": True}
        with ProgressBar(config.t_max, runner.t_env, self.parts.logger.latest, **options) as bar:
            while runner.t_env < config.t_max and time.monotonic() < self.end:
                if requests is not None:
                    self._honour(requests)
                self.collect_and_learn()
                if seconds is not None and self.end == math.inf:
                    self.end = time.monotonic() + seconds
                self.log()
                if self.tests.due(runner.t_env) and runner.t_env < config.t_max and time.monotonic() < self.end:
                    self.test()
                if self.saves.due(runner.t_env) and runner.t_env < config.t_max:  # the last one is saved at the end
                    self.save()
                if self.console_logs.due(runner.t_env) and bar.disable:
                    self.parts.logger.console_logger.info(headline(self.parts.logger.latest, runner.t_env))
                bar.advance(runner.t_env, learning=self.updates > updates)
        if config.max_seconds and runner.t_env < config.t_max:
            self.parts.logger.console_logger.info(f"max_seconds: the time is over at step {runner.t_env}")
        self.log(last=True)
        self.test()

    def _honour(self, requests: Requests) -> None:
        """Saves or stops if a signal has asked for it. The state is consistent between two collections."""
        if requests.stop or requests.save:
            requests.save = False
            self.save()
        if requests.stop:
            raise KeyboardInterrupt

    def summary(self) -> list[str]:
        """The lines that are printed at the end of a run."""
        parts, runner = self.parts, self.parts.runner
        return summary(parts.logger.latest, parts.info.agents, runner.t_env, runner.episodes, self.updates)
