"""The composition root: declares the run's own keys, and makes and connects its objects."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import torch

from . import budget
from .components.episode_batch import Scheme, make_scheme
from .config.keys import RewardKeys, StepKeys, TestKeys
from .config.schema import key, read
from .controllers.pymarl_controller import PyMARLController
from .envs.make import PACKAGED, free_cores, make_vec_env
from .envs.watch import Limits
from .games.lookup import game_named
from .modules.compiled import threads_set
from .opponents.pool import Pool, read_pool
from .opponents.pool_env import OpponentKeys, PoolEnv
from .opponents.switching import switch_of
from .registry import resolve
from .runners.episode_runner import EpisodeRunner
from .types import ConfigError, EnvError, EnvInfo, Learner, VecEnv
from .utils.checkpoints import find_checkpoint, why_new_episodes
from .utils.isolation import one_blas_thread, process_state_kept
from .utils.memory import memory_errors_explained
from .utils.metrics import Logger
from .utils.seeding import seed_everything, stream_seed

MOST_THREADS = 4  # of compiled functions, which divide their rows into up to four groups
MANY_COPIES = 256  # from here on, the memory of the copies is checked before they are made
NAME = re.compile(r"[^/\\\x00-\x1f]*[^/\\.\x00-\x1f][^/\\\x00-\x1f]*")  # of a run, which names folders
TRAIN_STREAM, TEST_STREAM, REPLAY_STREAM, OPPONENTS_STREAM = range(4)


@dataclass(frozen=True)
class RunConfig(StepKeys, RewardKeys, TestKeys, OpponentKeys):
    """Keys of the run itself; each part named here declares its own."""

    renamed: ClassVar[dict[str, str]] = {"opponents_told": "opponent_information"}

    name: str = key("omarl", pattern=NAME.pattern, help="name of the run and of its folder")
    label: str = key("", help="name of the run in compare and crossplay; empty: that of its algorithm")
    runner: str = key("episode", component="runner", help="collects episodes or rollouts from the environments")
    mac: str = key("basic_mac", component="mac", help="the agents' controller")
    learner: str = key("q_learner", component="learner", help="trains the agents")
    env: str = key("pettingzoo", component="env", help="interface of the environment, or package.module:Class")
    env_args: dict[str, Any] = key({}, help="key, episode_limit, backend, and the environment's own arguments")
    game: str = key("", help="foraging, tag, spread or package.module:Class; empty: inferred from the environment")
    prior_t_max: int = key(200_000, low=1, help="most environment steps of the run that trains a missing prior")
    reward_weights: list[float] = key([], help="weights of the numbers of a vector reward; their sum is the reward")
    max_seconds: float = key(
        0.0, low=0, help="end the run so many seconds after its first test, with a last test; 0: at t_max only"
    )
    batch_size_run: int = key(8, low=1, help="number of copies of the environment, stepped together")
    env_workers: int | Literal["auto"] = key(
        "auto", low=0, help="worker processes that step copies; 0: none; auto: chosen by speed"
    )
    env_timeout: float = key(60.0, low=0, help="most seconds of a reset, step or close of one copy; 0: no limit")
    env_restarts: int = key(3, low=0, help="most new worker processes in place of those that hang or die")
    env_steps_per_update: int = key(25, low=1, help="environment steps between updates of a learner from replay")
    batch_size: int = key(32, low=1, help="episodes in a batch of a learner from replay")
    buffer_size: int = key(5000, low=1, help="episodes in the replay buffer")
    test_interval: int = key(10_000, low=0, help="environment steps between tests; 0: no tests")
    test_nepisode: int = key(32, low=1, help="episodes of each test")
    log_interval: int = key(10_000, low=0, help="environment steps between lines on the console")
    runner_log_interval: int = key(1000, low=1, help="environment steps between logs of returns")
    use_tensorboard: bool = key(True, help="write TensorBoard events into the run's folder")
    observers: list[str] | str = key(
        [], help="further loggers: wandb, mlflow, mongo, or package.module:Class of a Sacred observer"
    )
    save_model: bool = key(True, help="write checkpoints into the run's folder")
    save_model_interval: int = key(50_000, low=1, help="environment steps between checkpoints")
    save_buffer: Literal["auto"] | bool = key(
        "auto", help="store the replay buffer in checkpoints, for a resumed run; auto: below 500 MiB"
    )
    keep_checkpoints: int = key(
        2, low=1, help="last checkpoints that keep the buffer and the episodes in progress, besides the best one"
    )
    checkpoint_path: str = key("", help="a run's folder or a checkpoint, to resume or to test")
    load_step: int = key(0, low=0, help="environment steps of the checkpoint to load, or the nearest; 0: the last")
    evaluate: bool = key(False, help="test the checkpoint instead of training")
    local_results_path: str = key("results", help="folder of all results")
    buffer_cpu_only: bool = key(True, help="keep the replay buffer in main memory, also when training on the GPU")
    torch_threads: int = key(1, low=1, help="threads of torch; more than 1 speed up only large networks")
    compiled_threads: int = key(
        0, low=0, help="threads of compiled recurrent layers; 0: in training the cores free at the start, at most 4"
    )
    seed: int = key(0, low=0, high=2**32 - 1, help="seed of all random numbers; drawn if not given")


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
    learner: Learner
    runner: Any
    tester: Any
    logger: Logger

    def close(self) -> None:
        """Frees the environments and closes the files. An environment that cannot be closed is reported."""
        for env in (self.env, self.test_env):
            try:
                env.close()
            except EnvError as error:  # must not hide the results
                self.logger.console_logger.warning(str(error))
        self.logger.close()


def resumed_at(config: RunConfig) -> int:
    """The step of the checkpoint from which new episodes begin, else 0. It enters their seed: none is repeated."""
    if not config.checkpoint_path or config.evaluate:
        return 0
    folder = find_checkpoint(config.checkpoint_path, config.load_step)
    return int(folder.name) if folder.name.isdecimal() and why_new_episodes(folder, vars(config)) else 0


def agents_config(values: Mapping[str, Any]) -> Any:
    """The ``Config`` of the learner that trains the agents; None for a host's learner, which has none."""
    return getattr(resolve("learner", values.get("base_learner") or values["learner"]), "Config", None)


def make_env(config: RunConfig, n_envs: int, stream: int) -> VecEnv:
    """``n_envs`` copies whose seeds come from the run's seed and ``stream``.

    Tests use the package's own code unless ``env_args.backend`` is set.
    """
    seed = stream_seed(config.seed, stream, resumed_at(config))
    env_args = config.env_args
    if stream == TEST_STREAM and config.env in PACKAGED and env_args.get("backend", "auto") == "auto":
        env_args = {**env_args, "backend": "pettingzoo"}
    if config.reward_weights:
        env_args = {**env_args, "reward_weights": config.reward_weights}
    workers = None if config.env_workers == "auto" else config.env_workers
    env = make_vec_env(config.env, env_args, n_envs, workers, seed, Limits(config.env_timeout, config.env_restarts))
    if config.game:
        env.info = replace(env.info, game=game_named(config.game))
    return with_opponents(env, config, stream, seed) if config.pool else env


def check_game(config: RunConfig, pool: Pool) -> None:
    """Raises ConfigError if the pool was made for another environment."""
    own, other = (str(args.get("key", "")) for args in (config.env_args, pool.env_args))
    if own != other:
        raise ConfigError(f"pool: {pool.folder} was made for {other}, and this run is in {own}; make one for it")


def with_opponents(env: VecEnv, config: RunConfig, stream: int, seed: int) -> VecEnv:
    """The environment with the pool's opponents in it; tests play against each of them in turn."""
    testing = stream == TEST_STREAM
    learners = [config.omg_learners] if isinstance(config.omg_learners, str) else config.omg_learners
    try:
        pool = read_pool(config.pool, config.trust)
        check_game(config, pool)
        information: list[str] = list(dict.fromkeys(config.opponent_information))
        return PoolEnv(env, pool, config.split if testing else "train", learners, information,
                       stream_seed(seed, OPPONENTS_STREAM), in_turn=testing,
                       switch=switch_of(config.opponents_switch, config.opponents_switch_order),
                       trained_from=0 if testing else config.trained_opponents_from)  # fmt: skip
    except BaseException:
        env.close()
        raise


def check_keys(config: RunConfig) -> None:
    """Raises ConfigError if ``use_cuda`` is set without a GPU, the replay buffer is smaller than a batch, or keys of
    opponents are given without a pool or contradict each other."""
    for name in ("opponents_switch", "trained_opponents_from"):
        if getattr(config, name) and not config.pool:
            raise ConfigError(f"{name}: there are no opponents; give pool=FOLDER, or leave it out")
    if config.opponents_switch and config.trained_opponents_from:
        raise ConfigError("trained_opponents_from: not together with opponents_switch; leave one of them out")
    if config.use_cuda and not torch.cuda.is_available():
        raise ConfigError("use_cuda: torch finds no GPU; set use_cuda=False")
    for name in ("batch_size", "batch_size_run") if config.runner == "episode" else ():  # others have no buffer
        if getattr(config, name) > config.buffer_size:
            raise ConfigError(
                f"buffer_size: {config.buffer_size} episodes are fewer than {name}={getattr(config, name)}; "
                "raise the one or lower the other"
            )


def check_copies(values: Mapping[str, Any], config: RunConfig, trains: bool) -> None:
    """Raises ConfigError if a run with many copies of its environment needs too much memory; see ``budget``."""
    if config.batch_size_run > MANY_COPIES:
        env = make_env(replace(config, env_workers=0), 1, TRAIN_STREAM)
        with suppress(EnvError):  # reported when the run's copies are closed
            env.close()
        budget.check_memory({**vars(config), **values}, env.info, trains)


def build(values: Mapping[str, Any], logger: Logger, user_keys: Collection[str] = (), trains: bool = False) -> Parts:
    """Makes all objects of a run from its configuration.

    Initial weights come from torch's global generator, which ``opened`` seeds.

    Args:
        values: the complete configuration.
        logger: receives numbers.
        user_keys: the keys that the user has set; parts find them in ``args``, see ``config.schema.user_keys``.
        trains: whether the run will train; otherwise its memory for training is not required.
    """
    config = read(RunConfig, values)
    check_keys(config)
    check_copies(values, config, trains)
    env = make_env(config, config.batch_size_run, TRAIN_STREAM)
    try:
        test_env = make_env(config, min(config.batch_size_run, config.test_nepisode), TEST_STREAM)
    except BaseException:
        env.close()
        raise
    return assemble(values, env, test_env, logger, user_keys, trains)


def assemble(
    values: Mapping[str, Any],
    env: VecEnv,
    test_env: VecEnv,
    logger: Logger,
    user_keys: Collection[str] = (),
    trains: bool = False,
) -> Parts:
    """The objects of a run for given environments, which are closed if an object cannot be made. See ``build``."""
    config = read(RunConfig, values)
    try:
        check_keys(config)
        device = "cuda" if config.use_cuda else "cpu"
        info = env.info
        sizes = {**vars(config), **values}
        memory = budget.check_memory(sizes, info, trains)
        if trains:
            logger.console_logger.info("\n".join([str(memory), *budget.notices(sizes, info)]))
        scheme, groups = make_scheme(info, config.common_reward)
        args = SimpleNamespace(
            **values,
            **info.arguments_of_parts(),
            device=device,
            user_keys=frozenset(user_keys),
        )
        mac = resolve("mac", config.mac)(scheme, groups, args)
        learner = resolve("learner", config.learner)(mac, scheme, logger, args)
        is_packaged = ":" not in config.learner  # a user's learner may train the model itself
        if is_packaged and getattr(mac, "model", None) is not None and not getattr(learner, "trains_model", False):
            raise ConfigError("opponent_model: nothing trains it; set learner=opponent_model_learner")
        if config.use_cuda:
            learner.cuda()
        actor = mac if hasattr(mac, "act") else PyMARLController(mac, scheme, groups, device)
        runner_class = resolve("runner", config.runner)
        runner = runner_class(env, actor, scheme, groups, args)
        tester = EpisodeRunner(test_env, actor, scheme, groups, args, test_mode=True)
    except BaseException:
        env.close()
        test_env.close()
        raise
    return Parts(config, args, info, env, test_env, scheme, groups, learner, runner, tester, logger)


@cache
def _cores_free_at_start() -> int:
    """The cores that were free when this process first made the objects of a run."""
    return free_cores()


@contextmanager
def opened(
    values: Mapping[str, Any], logger: Logger, user_keys: Collection[str] = (), trains: bool = False
) -> Iterator[Parts]:
    """Makes the objects of a run, after setting its seed and its number of threads.

    When the body ends, also by an error, they are closed, and the process's generators, threads and other state are
    restored. Arguments: see ``build``.
    """
    with process_state_kept(), one_blas_thread(), memory_errors_explained():
        config = read(RunConfig, values)
        torch.set_num_threads(config.torch_threads)
        seed_everything(config.seed)
        free = min(_cores_free_at_start(), MOST_THREADS) if trains and not config.compiled_threads else 1
        with threads_set(config.compiled_threads or free):
            parts = build(values, logger, user_keys, trains)
            try:
                yield parts
            finally:
                parts.close()
