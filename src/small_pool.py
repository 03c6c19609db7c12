"""The small pool of a run that names none: the scripts of the environment's game, or teams from short runs."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .configuration.layers import complete, from_files
from .fitting import fitted
from .games.lookup import part_of
from .modules.action_distributions import no_discrete
from .opponents.pool import Pool, read_pool
from .pooling import info_of, make_pool
from .registry import resolve
from .run import RunConfig, opened
from .training_loop import Training
from .types import DISCRETE, ConfigError, EnvInfo
from .utils.metrics import Logger
from .utils.run_directory import env_label, locked

NEEDS_POOL = "model_mac"  # the controller of learners that play against a pool
ENVIRONMENT = ("env", "env_args", "game")
FROM_RUN = (*ENVIRONMENT, "reward_weights", "gamma")
OF_MACHINE = ("env_workers", "env_timeout", "env_restarts", "torch_threads", "compiled_threads")  # change no numbers
SHAPE = ("vae_latent_dim", "vae_linear_path", "vae_hidden_dim", "vae_log_var_bound", "vae_log_var_limit")
OF_PRIOR = ("omg_learners", "opponent_information", "common_reward")  # of a prior that is trained beside scripts
PRIOR = {"learner": "omg_vae_learner", "base_learner": "ppo_learner", "vae_updates": 32, "vae_batch_states": 256,
         "vae_window": 4, "vae_lr": 3e-4}  # fmt: skip

# The short runs: split and algorithm. The first one also trains the prior.
TEAMS = (("train", "ippo"), ("train", "iql"), ("train", "vdn"), ("validation", "iql"), ("test", "iql"),
         ("test", "ippo"))  # fmt: skip
# The same where actions are not Discrete. Q-learning does not train them.
TEAMS_OF_POLICIES = (("train", "ippo"), ("train", "mappo"), ("train", "ippo"), ("validation", "mappo"),
                     ("test", "ippo"), ("test", "mappo"))  # fmt: skip
ON_POLICY = ("ippo", "mappo")
LEAST_STEPS, MOST_STEPS = 2_000, 20_000  # of one of them
SHARE = 5  # this part of the run's t_max, between these bounds
SECONDS = 8.0  # the most for the training of one of them
SIZES = {"test_interval": 0, "test_nepisode": 1, "save_buffer": False}
FOR_RESULTS = "for results, make a larger one (`main.py pool`, docs/opponents.md)"


class ShortRun(NamedTuple):
    """A run that is trained for a pool."""

    split: str
    config: str  # the name of its algorithm
    keys: dict[str, Any]  # the keys that differ from the algorithm's

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.config}_{self.keys['seed']}"


class Plan(NamedTuple):
    """What a small pool consists of."""

    keys: dict[str, Any]  # of the command ``pool``, without the runs
    runs: list[ShortRun]
    prior: str  # the name of the run that trains the prior; empty: none
    text: str  # in words

    @property
    def digest(self) -> str:
        """A short text that is equal for equal pools."""
        content = json.dumps([self.keys, self.runs], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:8]


def small_pool(values: Mapping[str, Any], logger: Logger) -> Pool:
    """The pool under ``local_results_path``, made by the first run that needs it.

    Runs that start together wait for the one that makes it. After an interrupt, the next one continues with the short
    runs that are complete.

    Raises:
        ConfigError: the environment does not suit opponents or the opponent model.
    """
    with environments_quiet():
        info = info_of(values)
    model: Any = resolve("opponent_model", values["opponent_model"]) if values.get("opponent_model") else None
    for name in ("learner", "base_learner") if info.actions != DISCRETE else ():  # before a pool is made in vain
        learner: Any = resolve(name, values[name]) if values.get(name) else None
        if getattr(learner, "needs_discrete", False):
            raise ConfigError(no_discrete(values[name], info.actions, model is not None))
    if info.n_agents < 2:
        raise ConfigError(f"pool: {info.key} has only one agent, so it has no opponents; use --config=iql or ippo")
    if model is not None:
        model.check_environment(info)
    plan = planned(values, info, model is not None and model.needs_prior)
    folder = Path(values["local_results_path"]) / "pools" / f"{env_label(values)}_{plan.digest}"
    draft, say = folder.with_name(f".{folder.name}"), logger.console_logger.info
    if folder.is_dir():
        say(f"no pool given: using the small automatic pool in {folder}; {FOR_RESULTS}")
        return read_pool(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent, waits=True):
        if not folder.is_dir():
            draft.mkdir(exist_ok=True)
            say(f"no pool given: making a small automatic pool in {folder}: {plan.text}; {FOR_RESULTS}")
            with environments_quiet():
                _make(plan, {**SIZES, **{name: values[name] for name in OF_MACHINE}}, folder, draft, logger)
        shutil.rmtree(draft, ignore_errors=True)
    return read_pool(folder)


def planned(values: Mapping[str, Any], info: EnvInfo, needs_prior: bool) -> Plan:
    """The scripts of the environment's game, and a run for the prior if it is needed; without scripts, short runs."""
    of_run = {name: values[name] for name in FROM_RUN if name in values}
    if info.interface and not info.limit_source:  # every run would estimate it again
        of_run["env_args"] = {**values["env_args"], "episode_limit": info.episode_limit}
    environment = {name: values[name] for name in ENVIRONMENT if name in values}
    shape = {**complete(from_files("omg_ppo", None), RunConfig).values, **values}
    prior = PRIOR | {name: shape[name] for name in SHAPE}
    train, test = default_scripts(info)
    if train:
        keys = environment | {"scripts": ",".join(train), "test_scripts": ",".join(test)}
        if not needs_prior:
            return Plan(keys, [], "", "scripted opponents")
        steps = min(values["prior_t_max"], max(values["t_max"], LEAST_STEPS))
        more = {name: values[name] for name in OF_PRIOR if name in values}
        run = ShortRun("", "ppo_history", of_run | prior | more | {"seed": 1, "t_max": steps})
        return Plan(keys, [run], run.name, f"scripted opponents, and a prior of {steps:,} steps")
    steps = min(max(values["t_max"] // SHARE, LEAST_STEPS), MOST_STEPS)
    runs = []
    for seed, (split, algorithm) in enumerate(TEAMS if info.actions == DISCRETE else TEAMS_OF_POLICIES, 1):
        keys = of_run | {"seed": seed, "t_max": steps, "save_model_interval": steps // 2}
        keys |= {"batch_size_run": 16} if algorithm in ON_POLICY else of_replay(steps, info.episode_limit)
        runs.append(ShortRun(split, algorithm, keys | (prior if seed == 1 else {})))
    names = ", ".join(dict.fromkeys(run.config for run in runs))
    text = f"{len(runs)} runs of {steps:,} steps or {SECONDS:.0f} s each ({names})"
    return Plan(environment | {"checkpoints": "all"}, runs, runs[0].name, text)


def of_replay(steps: int, episode_limit: int) -> dict[str, Any]:
    """Keys of learners from replay that make updates within ``steps``, also if episodes are long."""
    quarter = max(steps // episode_limit // 4, 1)  # of the episodes
    return {"batch_size_run": min(quarter, 8), "batch_size": min(quarter, 16), "buffer_size": 500,
            "env_steps_per_update": 50, "epsilon_anneal_time": steps // 2}  # fmt: skip


def default_scripts(info: EnvInfo) -> tuple[Sequence[str], Sequence[str]]:
    """The scripts of the environment's game to train and to test against; none if it has none for these settings."""
    try:
        scripts = part_of(info, "scripts")
        train, test = scripts.defaults
        scripts([*train], [0.0] * len(train), info, [info.n_agents - 1], 1, 0)
    except ConfigError:
        return (), ()
    return train, test


@contextmanager
def environments_quiet() -> Iterator[None]:
    """Suppresses warnings about the environment, which the run itself will repeat."""
    log = logging.getLogger(f"{__package__}.envs")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _make(plan: Plan, common: Mapping[str, Any], folder: Path, draft: Path, logger: Logger) -> None:
    """Trains the runs, with ``common`` keys, in the folder ``draft``, and makes the pool of them in ``folder``."""
    scripts = draft / "scripts"
    if "scripts" in plan.keys and plan.runs and not scripts.is_dir():  # the opponents of the run for the prior
        make_pool({**plan.keys, "out": str(scripts)})
    asked: dict[str, Any] = {**plan.keys, "out": str(folder)}
    for run in plan.runs:
        keys = {**common, **run.keys, "pool": "" if run.split else str(scripts)}
        _train(run._replace(keys=keys), draft, logger)
        if run.split:
            name = "runs" if run.split == "train" else f"{run.split}_runs"
            asked.setdefault(name, []).append(str(draft / run.name))
    make_pool({**asked, "prior": str(draft / plan.prior) if plan.prior else ""})


def _train(run: ShortRun, draft: Path, logger: Logger) -> None:
    """Trains a short run in its folder in ``draft``, unless that is complete."""
    folder, unfinished = draft / run.name, draft / f"{run.name}.tmp"
    if folder.is_dir():
        return
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    quiet = logging.getLogger(f"{__name__}.runs")
    quiet.setLevel(logging.WARNING)
    layers = from_files(run.config, None)
    layers.add(run.keys, "the small pool")
    values = complete(layers, RunConfig).values
    values |= fitted(values, (), quiet.info)
    with opened(values, Logger(quiet, unfinished), trains=True) as parts:
        training = Training(parts, values, unfinished, progress=False)
        training.run(seconds=SECONDS if run.split else None)
        training.save()
    unfinished.rename(folder)
    logger.console_logger.info(f"  {run.name}: {training.parts.runner.t_env:,} steps, {training.updates} updates")
