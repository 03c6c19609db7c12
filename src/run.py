"""The composition root and the training loop: chooses the classes, hands the objects on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch

from .analysis.plots import draw_curves
from .components.episode_batch import EpisodeBatch, Scheme, make_scheme
from .components.replay_buffer import ReplayBuffer
from .config.schema import key, read
from .controllers.pymarl_controller import PyMARLController
from .envs.make import make_vec_env
from .registry import resolve
from .runners.episode_runner import Stopwatch
from .types import ConfigError, EnvError, EnvInfo, OmarlError, VecEnv
from .utils.checkpoints import find_checkpoint, load_checkpoint, save_checkpoint
from .utils.console import headline, live, progress_bar, summary
from .utils.metrics import Grid, Logger
from .utils.run_directory import write_json
from .utils.seeding import rng_state, seed_everything, set_rng_state, stream_seed

TRAIN_STREAM, TEST_STREAM, REPLAY_STREAM = range(3)


@dataclass(frozen=True)
class RunConfig:
    """Keys of the run itself; each part named here declares its own."""

    name: str = key("omarl", pattern=r"[^/\\]*[^/\\.][^/\\]*", help="the run's name: a folder of the results")
    label: str = key("", help="a free text, kept with the run")
    runner: str = key("episode", component="runner", help="environments and controller to episodes")
    mac: str = key("basic_mac", component="mac", help="the agents' controller")
    learner: str = key("q_learner", component="learner", help="what one update does")
    env: str = key("pettingzoo", component="env", help="where environments come from")
    env_args: dict[str, Any] = key({}, help="key, episode_limit, and what the environment itself takes")
    common_reward: bool = key(False, help="agents share one reward")
    reward_scalarisation: Literal["sum", "mean"] = key("sum", help="of the agents' rewards, if shared")
    t_max: int = key(100_000, low=1, help="environment steps, over all copies")
    batch_size_run: int = key(8, low=1, help="copies of the environment")
    env_workers: int | Literal["auto"] = key("auto", low=0, help="processes; 0 steps copies in this one")
    env_steps_per_update: int = key(25, low=1, help="environment steps for each learner update")
    batch_size: int = key(32, low=1, help="episodes in a learner's batch")
    buffer_size: int = key(5000, low=1, help="episodes kept for replay")
    test_interval: int = key(10_000, low=0, help="environment steps between tests; 0 never tests")
    test_nepisode: int = key(32, low=1, help="episodes of a test")
    log_interval: int = key(10_000, low=0, help="environment steps between lines on the console")
    runner_log_interval: int = key(1000, low=1, help="environment steps between logs of returns")
    use_tensorboard: bool = key(True, help="TensorBoard events in the run's folder")
    save_model: bool = key(True, help="checkpoints in the run's folder")
    save_model_interval: int = key(50_000, low=1, help="environment steps between checkpoints")
    save_buffer: bool = key(False, help="the replay buffer in each checkpoint: a resumed run need not refill it")
    checkpoint_path: str = key("", help="a run's folder or a checkpoint to go on from")
    load_step: int = key(0, low=0, help="which checkpoint, by environment steps; 0: the last")
    evaluate: bool = key(False, help="test the checkpoint and stop")
    local_results_path: str = key("results", help="root of the results")
    use_cuda: bool = key(False, help="train on the GPU")
    buffer_cpu_only: bool = key(True, help="keep the replay buffer in main memory")
    torch_threads: int = key(1, low=1, help="more pay for large networks on an idle machine alone")
    seed: int = key(0, low=0, high=2**32 - 1, help="of everything random; Sacred draws one where it is not given")


@dataclass
class Parts:
    """The objects of a run."""

    config: RunConfig
    args: SimpleNamespace
    info: EnvInfo
    env: VecEnv
    test_env: VecEnv
    scheme: Scheme
    groups: dict[str, int]
    learner: Any
    runner: Any
    tester: Any
    logger: Logger

    def close(self) -> None:
        """Frees the environments and closes the files."""
        self.env.close()
        self.test_env.close()
        self.logger.close()


def n_workers(config: RunConfig, n_envs: int) -> int:
    """Processes for ``n_envs`` copies; ``auto`` takes one for each core that this process may use."""
    if config.env_workers == "auto":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(n_envs, cores)
    return min(int(config.env_workers), n_envs)


def resumed_at(config: RunConfig) -> int:
    """The step that the run goes on from: its environments must not repeat their first episodes."""
    if not config.checkpoint_path or config.evaluate:
        return 0
    name = find_checkpoint(config.checkpoint_path, config.load_step).name
    return int(name) if name.isdigit() else 0


def make_env(config: RunConfig, n_envs: int, stream: int) -> VecEnv:
    """``n_envs`` copies whose seeds come from the run's seed and ``stream``."""
    seed = stream_seed(config.seed, stream, resumed_at(config))
    return make_vec_env(config.env, config.env_args, n_envs, n_workers(config, n_envs), seed)


def device_of(config: RunConfig) -> str:
    """``cuda`` or ``cpu``.

    Raises:
        ConfigError: a GPU is asked for and there is none.
    """
    if config.use_cuda and not torch.cuda.is_available():
        raise ConfigError("use_cuda: torch sees no GPU here; set use_cuda=False")
    return "cuda" if config.use_cuda else "cpu"


def check_sizes(config: RunConfig) -> None:
    """Numbers that are each in range and do not go together.

    Raises:
        ConfigError: naming both.
    """
    for name in ("batch_size", "batch_size_run"):
        if getattr(config, name) > config.buffer_size:
            raise ConfigError(
                f"buffer_size: {config.buffer_size} episodes are fewer than {name}={getattr(config, name)}; "
                "raise the one or lower the other"
            )


def build(values: Mapping[str, Any], logger: Logger) -> Parts:
    """Makes every object of a run from its configuration."""
    config = read(RunConfig, values)
    check_sizes(config)
    device = device_of(config)
    torch.set_num_threads(config.torch_threads)
    seed_everything(config.seed)
    env = make_env(config, config.batch_size_run, TRAIN_STREAM)
    try:
        test_env = make_env(config, min(config.batch_size_run, config.test_nepisode), TEST_STREAM)
    except BaseException:
        env.close()
        raise
    try:
        info = env.info
        scheme, groups = make_scheme(info, config.common_reward)
        args = SimpleNamespace(
            **values,
            n_agents=info.n_agents,
            n_actions=info.n_actions,
            state_shape=info.state_shape,
            obs_shape=info.obs_shape,
            episode_limit=info.episode_limit,
            agent_names=info.agents,
            agent_types=info.agent_types,
            device=device,
        )
        mac = resolve("mac", config.mac)(scheme, groups, args)
        learner = resolve("learner", config.learner)(mac, scheme, logger, args)
        if config.use_cuda:
            learner.cuda()
        actor = mac if hasattr(mac, "act") else PyMARLController(mac, scheme, groups, device)
        runner_class = resolve("runner", config.runner)
        runner = runner_class(env, actor, scheme, groups, args)
        tester = runner_class(test_env, actor, scheme, groups, args, test_mode=True)
    except BaseException:
        env.close()
        test_env.close()
        raise
    return Parts(config, args, info, env, test_env, scheme, groups, learner, runner, tester, logger)


def describe(parts: Parts) -> str:
    """One line on what runs where."""
    kinds: dict[str, int] = {}
    for kind in parts.info.agent_types:
        kinds[kind] = kinds.get(kind, 0) + 1
    agents = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    workers = n_workers(parts.config, parts.config.batch_size_run)
    where = f"in {workers} processes" if workers else "in this process"
    c = parts.config
    return f"{c.name} on {parts.info.key} ({agents}), {c.batch_size_run} copies {where}, seed {c.seed}"


class Training:
    """The loop: collect episodes, keep them, learn so many times, test, log, save.

    Args:
        parts: the run's objects.
        values: the whole configuration, kept with the checkpoints.
        directory: the run's folder; None keeps nothing.
    """

    def __init__(self, parts: Parts, values: Mapping[str, Any], directory: Path | None) -> None:
        self.parts, self.values, self.directory = parts, values, directory
        c = self.config = parts.config
        device = "cpu" if c.buffer_cpu_only else parts.args.device
        rng = np.random.default_rng(stream_seed(c.seed, REPLAY_STREAM))
        limit = parts.info.episode_limit
        self.buffer = ReplayBuffer(parts.scheme, parts.groups, c.buffer_size, limit, rng, device)
        self.updates = 0
        self.next_update: int | None = None  # the step that the next update is due at, once learning has begun
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
        state = load_checkpoint(folder, self.parts.learner, self.parts.args.device)
        if state["t_env"] >= self.config.t_max:
            raise ConfigError(f"t_max: {folder} stands at step {state['t_env']} already; give a larger t_max")
        self.updates = state["updates"]
        self.parts.runner.t_env, self.parts.runner.episodes = state["t_env"], state["episodes"]
        set_rng_state(state["rng"])
        self.buffer.rng.bit_generator.state = json.loads(state["replay_rng"])
        say = self.parts.logger.console_logger.info
        if state.get("buffer") is not None:
            self.buffer.load_state_dict(state["buffer"])
            self.next_update = state["next_update"]
        else:
            say("the checkpoint holds no replay buffer (save_buffer): learning goes on when it is refilled")
        say(f"resumed from {folder}")

    def save(self) -> None:
        """A checkpoint at the present step."""
        runner = self.parts.runner
        if self.directory is None or not self.config.save_model or self.saved_at == runner.t_env:
            return
        state = {
            "episodes": runner.episodes,
            "updates": self.updates,
            "next_update": self.next_update,
            "rng": rng_state(),
            "replay_rng": json.dumps(self.buffer.rng.bit_generator.state),
            "buffer": self.buffer.state_dict() if self.config.save_buffer else None,
        }
        save_checkpoint(self.directory, runner.t_env, self.parts.learner, self.values, state)
        self.saved_at = runner.t_env

    def learn(self) -> None:
        """The updates that the environment steps taken so far call for."""
        t_env = self.parts.runner.t_env
        if not self.buffer.can_sample(self.config.batch_size):
            return
        if self.next_update is None:
            self.next_update = t_env
        while t_env >= self.next_update:
            self.next_update += self.config.env_steps_per_update
            batch = self.buffer.sample(self.config.batch_size)
            if str(batch.device) != self.parts.args.device:
                batch = batch.to(self.parts.args.device)
            self.parts.learner.train(batch, t_env, self.parts.runner.episodes)
            self.updates += 1

    def log(self, last: bool = False) -> None:
        """What is due at the present step; at the last one, whatever has not been logged."""
        parts, t_env = self.parts, self.parts.runner.t_env
        if self.runner_logs.due(t_env) or (last and parts.runner.stats.lengths):
            parts.runner.stats.log(parts.logger, parts.info.agents, t_env)
            if hasattr(parts.runner.mac, "exploration"):
                for name, value in parts.runner.mac.exploration(t_env).items():
                    parts.logger.log_stat(name, value, t_env)
            parts.logger.log_stat("steps_per_second", self.stopwatch.rate(t_env), t_env)
            parts.logger.log_stat("episode", parts.runner.episodes, t_env)
            parts.logger.log_stat("updates", self.updates, t_env)

    def test(self) -> None:
        """A greedy test in environments of its own, logged at the present step."""
        if self.config.test_interval and self.tested_at != self.parts.runner.t_env:
            self.tested_at = self.parts.runner.t_env
            log_test(self.parts, self.tested_at)

    def run(self) -> None:
        """Trains until ``t_max``, with a test before the first step and after the last."""
        runner, config = self.parts.runner, self.config
        self.test()
        with progress_bar(config.t_max, runner.t_env) as bar:
            while runner.t_env < config.t_max:
                self.buffer.insert(runner.run())
                self.learn()
                self.log()
                if self.tests.due(runner.t_env) and runner.t_env < config.t_max:
                    self.test()
                if self.saves.due(runner.t_env):
                    self.save()
                if self.console_logs.due(runner.t_env) and bar.disable:
                    self.parts.logger.console_logger.info(headline(self.parts.logger.latest, runner.t_env))
                bar.set_postfix_str(live(self.parts.logger.latest), refresh=False)
                bar.update(runner.t_env - bar.n)
        self.log(last=True)
        self.test()


def log_test(parts: Parts, t_env: int) -> list[EpisodeBatch]:
    """Plays ``test_nepisode`` greedy episodes and logs what they were like, the VAE's held-out fit included."""
    batches = parts.tester.collect(parts.config.test_nepisode)
    parts.tester.stats.log(parts.logger, parts.info.agents, t_env, prefix="test_")
    if hasattr(parts.learner, "evaluate"):
        on_device = [batch.to(parts.args.device) for batch in batches]
        for name, value in parts.learner.evaluate(on_device).items():
            parts.logger.log_stat(f"test_{name}", value, t_env)
    return batches


def picture(directory: Path) -> str:
    """Draws the curves and says where; a disk that is full must not hide what ended the run."""
    try:
        return f"curves: {draw_curves(directory)}"
    except (OSError, OmarlError) as error:
        return f"curves.png not drawn ({error})"


def train(values: Mapping[str, Any], logger: Logger, directory: Path | None) -> float | None:
    """The whole run. Whatever ends it, what was logged stays and the picture is drawn.

    Args:
        values: the complete configuration.
        logger: where numbers go.
        directory: the run's folder, or None.

    Returns:
        The last test's ``test_return_mean``, where there was a test.
    """
    say = logger.console_logger.info
    parts = build(values, logger)
    training: Training | None = None
    try:
        training = Training(parts, values, directory)
        say(describe(parts))
        say(f"replay buffer: {parts.config.buffer_size} episodes, at most {training.buffer.bytes / 2**30:.2f} GiB")
        if directory is not None:
            say(f"run directory: {directory}")
        training.run()
        training.save()
    except KeyboardInterrupt:
        say(f"interrupted at step {parts.runner.t_env}")
        if training is not None:
            training.save()
        raise
    except EnvError:
        if training is not None:
            training.save()
        raise
    finally:
        parts.close()
        if training is not None:
            runner = parts.runner
            for line in summary(logger.latest, parts.info.agents, runner.t_env, runner.episodes, training.updates):
                say(line)
        if directory is not None:
            say(picture(directory))
    return logger.latest.get("test_return_mean")


def evaluate(values: Mapping[str, Any], logger: Logger) -> dict[str, Any]:
    """Tests a checkpoint's agents and its VAE on fresh episodes.

    Returns:
        The means, each episode's return and length, and where they were written (``evaluation.json`` in the
        checkpoint, if it can be written).

    Raises:
        ConfigError: there is no such checkpoint, or it cannot be loaded.
    """
    config = read(RunConfig, values)
    folder = find_checkpoint(config.checkpoint_path, config.load_step)
    parts = build(values, logger)
    try:
        state = load_checkpoint(folder, parts.learner, parts.args.device)
        batches = log_test(parts, state["t_env"])
    finally:
        parts.close()
    result: dict[str, Any] = dict(logger.latest)
    result["t_env"] = state["t_env"]
    result["episode_returns"] = [r for batch in batches for r in episode_returns(batch)]
    try:
        write_json(folder / "evaluation.json", result)
        result["file"] = str(folder / "evaluation.json")
    except OSError as error:
        logger.console_logger.warning(f"{folder}/evaluation.json not written ({error.strerror})")
    return result


def episode_returns(batch: EpisodeBatch) -> list[list[float]]:
    """Each episode's undiscounted return for each agent (one number where the reward is shared)."""
    return batch["reward"].sum(dim=1).tolist()
