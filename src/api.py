"""omarl from Python: ``omarl.train``, ``load``, ``evaluate``, ``make_env``, ``diagnose``, ``compare``.

No call changes the process of its caller: random generators, threads, signal handlers, the allocator, environment
variables, the working directory, loggers and warning filters are as before when it returns or raises. Wrong input
raises an ``omarl.OmarlError`` with a one-line message. The command line calls the same functions.
"""

import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import evaluation, training
from . import run as composition
from .analysis.comparison import CompareConfig, Comparison
from .analysis.comparison import compare as compare_runs
from .analysis.doctor import DiagnoseConfig, Diagnosis, diagnose_arrays
from .analysis.doctor import diagnose as diagnose_run
from .analysis.doctor.examination import examine_run
from .analysis.runs import read_config, read_metrics
from .config.schema import read
from .configuration.layers import KEYWORD
from .configuration.request import Env, from_keywords
from .configuration.resumed import is_complete, record_changes, resumed
from .configuration.suited import suited
from .default_pool import with_pool
from .envs.make import raw_env
from .evaluation import Evaluation
from .policy import Policy, load
from .run import TEST_STREAM, TRAIN_STREAM, RunConfig
from .types import ConfigError, PathLike, VecEnv
from .utils.checkpoints import find_checkpoint
from .utils.console import console_logger
from .utils.isolation import process_state_kept
from .utils.metrics import Logger
from .utils.run_directory import new_directory, status_recorded, write_json

__all__ = ["Comparison", "Diagnosis", "Evaluation", "Metric", "Policy", "Run", "compare", "diagnose", "evaluate",
           "load", "make_env", "make_raw_env", "resume", "train"]  # fmt: skip


class Metric(NamedTuple):
    """One metric over training: ``steps, values = run.metrics["return_mean"]``.

    Attributes:
        steps: float64 [points], environment steps, increasing.
        values: float64 [points]; NaN where the number was not finite.
    """

    steps: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """A run's folder, made by ``omarl.train`` or by the command line: ``omarl.Run("results/sacred/iql/.../1")``.

    It is accepted as a path by all functions and by ``os.fspath``.

    Attributes:
        path: the folder.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    def __fspath__(self) -> str:
        return str(self.path)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The complete configuration: every key with its value."""
        return read_config(self.path)

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """Every logged metric by its name (docs/metrics.md), read from the file at the first access.

        Raises:
            OmarlError: the folder holds no metrics.
        """
        return {name: Metric(series.t, series.value) for name, series in read_metrics(self.path).items()}


def train(
    config: PathLike | None = None,
    env: Env | None = None,
    *,
    path: PathLike | None = None,
    progress: bool = False,
    **keys: Any,
) -> Run:
    """Trains agents: ``omarl.train("iql", env="simple_spread", t_max=3000)``.

    Writes into the run's folder: ``config.json``, ``run.json`` (its status), ``metrics.jsonl`` (always),
    ``test_episodes.jsonl`` (if there are tests), ``curves.png``, ``checkpoints/<t_env>/`` (unless
    ``save_model=False``) and ``tb/`` (unless ``use_tensorboard=False``).

    Args:
        config: the algorithm's configuration, a name or the path of a YAML file, as after ``--config``;
            ``omg_vae`` by default.
        env: the environment's configuration, as after ``--env-config``; or a mapping, which is ``env_args``
            (``{"key": "mpe2.simple_adversary_v3"}``); or ``package.module:Class`` of another environment.
        path: the run's folder, new or empty. By default the next number under
            ``<local_results_path>/sacred/<name>/<environment>/``, as on the command line.
        progress: prints the command line's messages and progress bar on standard error. By default the messages go to
            the logger ``omarl`` at level INFO, which Python does not print unless logging is configured.
        keys: any key of the configuration (``python -m omarl help train --config=NAME`` lists them). Without a seed
            one is drawn and stored in ``run.config``. ``checkpoint_path=RUN, t_max=...`` without ``config`` and
            ``env`` resumes a run.

    Raises:
        ConfigError: a key or a value that cannot run; raised before the training.
        EnvError, TrainingError: the training cannot continue. Logged metrics remain.
        KeyboardInterrupt: passed on, after a checkpoint was saved.
    """
    with process_state_kept():
        layers, lines = suited(from_keywords(keys, config, env))
        values = {"seed": secrets.randbelow(2**31), **layers.values}
        if values["evaluate"]:
            raise ConfigError("evaluate: call omarl.evaluate(path)")
        if values["observers"]:
            raise ConfigError("observers: the command line has them (Sacred calls them); read run.metrics here")
        folder = new_directory(values, path)
        console = console_logger() if progress else logging.getLogger("omarl")
        for line in lines:
            console.info(line)
        with status_recorded(folder):
            write_json(folder / "config.json", values)
            logger = Logger(console, folder, config=values)
            with closing(logger):
                training.train(with_pool(values, logger), logger, folder, layers.by_user, progress)
    return Run(folder)


def resume(run: PathLike, *, progress: bool = False, **keys: Any) -> Run:
    """Continues an interrupted run in its own folder, up to its ``t_max``; a complete run is returned unchanged.

    On the CPU its metrics are those of an uninterrupted run, bit for bit, unless a message states why not.

    Args:
        run: the run's folder (or the ``Run``).
        progress: see ``train``.
        keys: ``t_max``, ``torch_threads`` and other keys that change no number; the names of own code
            (``env="package.module:Class"``) must be repeated.

    Raises:
        ConfigError: there is no such run, its checkpoints are damaged, or a key would change its numbers.
        EnvError, TrainingError, KeyboardInterrupt: see ``train``.
    """
    with process_state_kept():
        layers = resumed({**keys, "run": os.fspath(run)}, KEYWORD)
        if is_complete(layers.values):
            return Run(Path(layers.values["run"]))
        record_changes(layers)
        folder = Path(layers.values.pop("run"))
        console = console_logger() if progress else logging.getLogger("omarl")
        with status_recorded(folder):
            logger = Logger(console, folder, config=layers.values)
            with closing(logger):
                training.train(
                    with_pool(layers.values, logger), logger, folder, layers.by_user, progress, continues=True
                )
    return Run(folder)


def evaluate(path: PathLike, episodes: int | None = None, step: int = 0, **keys: Any) -> Evaluation:
    """Plays greedy test episodes with a checkpoint's agents; nothing is written.

    Args:
        path: a run's folder (or the ``Run``), or one checkpoint.
        episodes: the least number of episodes; every copy of the environment plays the same number. By default the
            run's ``test_nepisode``.
        step: which checkpoint, by environment steps (the nearest); 0: the last.
        keys: replace the checkpoint's configuration: ``seed=5``, ``split="test"``, ``env_args={"N": 5}``, ...;
            ``trust=True``: see ``load``.

    Raises:
        ConfigError: there is no checkpoint, or it cannot be loaded.
    """
    with process_state_kept():
        folder = find_checkpoint(os.fspath(path), step, "path")
        asked = {} if episodes is None else {"test_nepisode": episodes}
        layers = from_keywords({**keys, **asked, "checkpoint_path": folder}, command="evaluate")
        return evaluation.tested(layers.values, folder, Logger(logging.getLogger("omarl")))


def make_env(env: Env | None = None, n_envs: int = 1, *, test: bool = False, **keys: Any) -> VecEnv:
    """Copies of an environment, stepped together in array form as in training; see ``omarl.types.VecEnv``.

    ``reset()`` gives an ``Observation``: obs [E, N, O], state [E, S], avail [E, N, U], agent_mask [E, N].
    ``step(actions [E, N])`` gives a ``Step``: the reward [E, N], terminated [E], truncated [E], the final observation
    and the next one. Call ``close`` at the end.

    Args:
        env: as in ``train``.
        n_envs: E.
        test: as in tests: in the package's own code, and against each of a pool's opponents in turn.
        keys: ``seed`` (0 by default), ``env_args``, ``env_workers``, ``pool``, ...;
            ``checkpoint_path=RUN`` without ``env`` takes the environment that a run was trained in.

    Raises:
        ConfigError, EnvError: the environment cannot be made.
    """
    with process_state_kept():
        command = "evaluate" if test and keys.get("checkpoint_path") else "train"  # the episodes that evaluate plays
        config = read(RunConfig, from_keywords(keys, None, env, command).values)
        return composition.make_env(config, n_envs, TEST_STREAM if test else TRAIN_STREAM)


def make_raw_env(env: Env | None = None, **keys: Any) -> Any:
    """The environment as its own package makes it: PettingZoo's ParallelEnv or AECEnv, or a Gymnasium environment.

    ``Policy.act`` accepts the results of its ``reset`` and ``step``. (Gymnasium's observations are tuples: give
    ``dict(zip(policy.agents, observations))``, and use ``tuple(actions.values())``.) Arguments: see ``make_env``.
    """
    with process_state_kept():
        config = read(RunConfig, from_keywords(keys, None, env).values)
        return raw_env(config.env, config.env_args)


def diagnose(
    run: PathLike | Mapping[str, Any],
    *,
    steps: Any = None,
    config: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
    out: PathLike | None = None,
) -> Diagnosis:
    """Finds the faults of a VAE's training and their remedies.

    Args:
        run: a run's folder, of omarl or a PyMARL fork; a file of numbers (CSV, JSON lines, TensorBoard); or arrays:
            ``{"kl": [...], "recon": [...], "loss": [...]}``.
        steps: of arrays: [points], or name -> steps; 0, 1, 2, ... by default.
        config: of arrays: the run's keys, if known.
        names: ``kl``, ``recon``, ``loss``, ... -> the name of a series, if it is not a usual one.
        out: a folder for diagnosis.json, .md, .png and suggested.yaml; by default nothing is written.

    Returns:
        The findings; ``print`` formats them as the command does.

    Raises:
        ConfigError, OmarlError: not a run, no metrics of a VAE, or ``out`` cannot be written.
    """
    with process_state_kept():
        if isinstance(run, Mapping):
            return diagnose_arrays(run, steps, config, **(names or {}))
        if out is None:
            return examine_run(Path(run), names or {})[0]
        asked = {"run": os.fspath(run), "out": os.fspath(out), "diagnose": dict(names or {})}
        return diagnose_run(read(DiagnoseConfig, asked))


def compare(
    runs: PathLike | Sequence[PathLike],
    *,
    metric: str = "",
    by: Sequence[str] = (),
    until: int = 0,
    out: PathLike | None = None,
) -> Comparison:
    """Compares the learning curves of runs, with 95% intervals over seeds.

    Args:
        runs: folders of runs, folders that hold runs, or patterns with * and **.
        metric: the compared metric; the test return by default.
        by: further keys that distinguish groups, such as ``["lr"]``.
        until: compare only up to this environment step; 0: all steps.
        out: a folder for tables and pictures (docs/comparisons.md); by default nothing is written.

    Raises:
        ConfigError, OmarlError: no runs, none that logged the metric, or ``out`` cannot be written.
    """
    paths = [runs] if isinstance(runs, str | os.PathLike) else runs
    with process_state_kept():
        asked = {"metric": metric, "by": list(by), "until": until, "out": os.fspath(out or "")}
        config = read(CompareConfig, {**asked, "runs": [os.fspath(path) for path in paths]})
        return compare_runs(config, write=out is not None)
