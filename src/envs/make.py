"""Makes vector environments by name."""

import logging
import os
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from ..games.lookup import batched_rules
from ..registry import resolve
from ..types import Block, ConfigError, EnvError, EnvInfo, VecEnv
from .actions import actions_by_score
from .adapter import Adapter
from .arrays import lay_out
from .copies import Copies, generators_kept
from .episode_limits import ESTIMATED, estimated_limit
from .factories import construct
from .images import KEYS
from .single import look_at, make_single
from .stacking import stacked
from .vector import VectorEnv
from .watch import DEFAULT_LIMITS, Limits, Progress, TimeLimit
from .workers import Workers

PACKAGED = ("pettingzoo", "gymnasium")  # interfaces whose environments are named by ``env_args.key``
OWN = ("backend", "episode_limit", "reward_weights", "frame_stack", *KEYS)  # arguments that no constructor gets
OF_ALL_COPIES = ("backend", "frame_stack")  # arguments that no single copy gets
BACKENDS = ("auto", "batched", "pettingzoo")
WORTH_WORKERS = 1e-3  # least seconds for a step of all copies in one process at which workers are faster
TRIED_STEPS, TRIED_SECONDS = 7, 0.1

log = logging.getLogger(__name__)


def make_vec_env(
    env: str,
    env_args: Mapping[str, Any],
    n_envs: int,
    n_workers: int | None,
    seed: int,
    limits: Limits = DEFAULT_LIMITS,
) -> VecEnv:
    """E copies of an environment, identical bit for bit for any number of processes.

    ``env_args.backend`` selects how they are stepped: ``batched`` by the array version of the environment (all copies
    in one call, one or two orders of magnitude faster; the same rules, other random numbers), ``pettingzoo`` by the
    package's own code, ``auto`` (the default) as arrays if possible. The result's ``how`` reports it.

    Args:
        env: ``pettingzoo``, ``gymnasium``, or ``package.module:Class``: a ParallelEnv, an AECEnv, a gymnasium
            environment with Tuple spaces, or a function that makes one. A class that is a VecEnv itself
            (``vectorised = True``) is made with ``n_envs``, ``seed`` and ``env_args``.
        env_args: the constructor's arguments (``key`` names the environment of a backend), and ``episode_limit``:
            the most steps of an episode, estimated if neither it nor the environment states one;
            ``reward_weights`` of vector rewards; ``resize`` and ``grayscale`` of images (``images.Images``); and
            ``frame_stack``, the number of observations that are joined in one.
        n_envs: E.
        n_workers: worker processes, 0 for none; at most E. None times one copy and chooses the faster number.
        seed: of all copies and episodes; each derives its own.
        limits: on the time of calls, and on the number of new worker processes.

    Raises:
        ConfigError: a name, an argument or a space that cannot run.
        EnvError: the environment cannot be made.
    """
    for name, value, least in (("n_envs", n_envs, 1), ("n_workers", n_workers or 0, 0), ("seed", seed, 0)):
        if value < least:
            raise ConfigError(f"{name}: {value} is less than {least}")
    arguments = dict(env_args)
    frames = arguments.pop("frame_stack", 1)
    return stacked(_vec_env(env, arguments, n_envs, n_workers, seed, limits), frames)


def _vec_env(
    env: str, arguments: dict[str, Any], n_envs: int, n_workers: int | None, seed: int, limits: Limits
) -> VecEnv:
    """``make_vec_env`` without frame stacking; changes ``arguments``."""
    target = resolve("env", env)
    if getattr(target, "vectorised", False):
        return target(n_envs=n_envs, seed=seed, **_of_arrays(env, arguments))
    wanted = _take_backend(env, arguments)
    info, state, original = _first_look(target, env, arguments, seed, limits.timeout)
    arguments["episode_limit"] = info.episode_limit  # of all copies
    if wanted != "pettingzoo":
        rules, why_not = batched_rules(original)
        if rules is not None:
            arrays = lay_out(info, n_envs)
            return VectorEnv(info, n_envs, arrays, rules(original, info, arrays, seed), "as arrays")
        if wanted == "batched":
            raise ConfigError(f"env_args.backend: {info.key} cannot be batched: {why_not}; use backend=pettingzoo")
    make = partial(make_single, target, env, arguments, state)
    return _one_by_one(make, info, n_envs, n_workers, seed, limits)


def _of_arrays(env: str, env_args: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of an environment made of arrays; its rewards are numbers."""
    if "reward_weights" in env_args:
        raise ConfigError(f"reward_weights: {env} steps its copies itself, with a reward for each agent")
    return env_args


def _take_backend(env: str, arguments: dict[str, Any]) -> str:
    """Removes ``backend`` from the arguments and returns it.

    A user's constructor may change the environment; an array version would not include the changes.
    """
    wanted = str(arguments.pop("backend", "auto")) if env in PACKAGED else "pettingzoo"
    if wanted not in BACKENDS:
        raise ConfigError(f"env_args.backend: {wanted!r} is none of {', '.join(BACKENDS)}")
    return "pettingzoo" if "reward_weights" in arguments else wanted


def described(env: str, env_args: Mapping[str, Any], timeout: float) -> EnvInfo:
    """The ``EnvInfo`` of one copy, without an estimate of the episode limit: an unknown limit is 1 here.

    Arguments and errors: see ``make_vec_env``.
    """
    target = resolve("env", env)
    arguments = {name: value for name, value in {"episode_limit": 1, **env_args}.items() if name not in OF_ALL_COPIES}
    if not getattr(target, "vectorised", False):
        return _first_look(target, env, arguments, 0, timeout)[0]
    if "episode_limit" not in signature(target).parameters:
        arguments = {name: value for name, value in env_args.items() if name != "frame_stack"}
    with closing(target(n_envs=1, seed=0, **_of_arrays(env, arguments))) as made:
        return made.info


def _first_look(
    target: Any, env: str, arguments: Mapping[str, Any], seed: int, timeout: float
) -> tuple[EnvInfo, Block | None, Any]:
    """``look_at``: reports errors before any process starts, and determines the sizes of the arrays.

    An episode limit that nothing states is estimated.
    """
    progress = Progress()
    limit = TimeLimit(str(arguments.get("key", env)), timeout, progress)
    try:
        with generators_kept(np.random.MT19937(seed)), limit:
            info, state, original = look_at(target, env, arguments, progress)
    finally:
        limit.release()
    if not info.limit_source:
        make = partial(make_single, target, env, arguments, state)
        steps, how = estimated_limit(make, info, seed, timeout)
        log.warning(ESTIMATED, info.key, steps, how)
        info = replace(info, episode_limit=steps)
    return info, state, original


def _one_by_one(
    make: Callable[[], Adapter], info: EnvInfo, n_envs: int, n_workers: int | None, seed: int, limits: Limits
) -> VectorEnv:
    """Copies that are stepped one after another, in this process or in workers."""
    if n_workers is None:
        seconds = step_seconds(make, info, seed, limits.timeout) * n_envs
        n_workers = workers_that_pay(seconds, free_cores() if seconds >= WORTH_WORKERS else 1)
    if not n_workers:
        arrays = lay_out(info, n_envs)
        copies = Copies(make, info, range(n_envs), arrays, seed, limits.timeout)
        return VectorEnv(info, n_envs, arrays, copies, "in this process")
    n_workers = min(n_workers, n_envs)
    workers = Workers(make, info, n_envs, n_workers, seed, limits)
    where = "in 1 process" if n_workers == 1 else f"in {n_workers} processes"
    return VectorEnv(info, n_envs, workers.arrays, workers, where, workers.lost)


def raw_env(env: str, env_args: Mapping[str, Any]) -> Any:
    """One copy as its package makes it, without an adapter. Arguments and errors: see ``make_vec_env``."""
    arguments = {name: value for name, value in env_args.items() if name not in OWN}
    return construct(resolve("env", env), str(arguments.get("key", env)), arguments)


def single_adapter(env: str, env_args: Mapping[str, Any]) -> Adapter | None:
    """One copy in array form; None for an environment that is made of arrays. Arguments: see ``make_vec_env``."""
    target = resolve("env", env)
    if getattr(target, "vectorised", False):
        return None
    return make_single(
        target, env, {name: value for name, value in env_args.items() if name not in OF_ALL_COPIES}, None
    )


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def running() -> float:
    """The number of threads that run or wait for a core at present, this one included: the mean over 0.1 s.

    The load average would also count a run that has just ended. 1 where the system does not say (not Linux).
    """
    counts = []
    for _ in range(10):
        try:
            counts.append(int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]))
        except OSError:
            return 1.0
        time.sleep(0.01)
    return statistics.mean(counts)


def free_cores() -> int:
    """Cores that other processes leave free at present, at least 1.

    Where there are none, each message between processes waits for its turn on a core, at every step.
    """
    return max(cores() - round(running() - 1.0), 1)


def workers_that_pay(seconds: float, n_cores: int) -> int:
    """Worker processes for copies that one process steps in ``seconds``; none if messages would take longer."""
    return n_cores if n_cores > 1 and seconds >= WORTH_WORKERS else 0


def step_seconds(make: Callable[[], Adapter], info: EnvInfo, seed: int, timeout: float = 0.0) -> float:
    """Seconds for a step of one copy, the median of a few steps."""
    arrays = lay_out(info, 1)
    copies = Copies(make, info, range(1), arrays, seed, timeout)
    try:
        copies.reset()
        frame = arrays.first
        taken: list[float] = []
        while len(taken) < TRIED_STEPS and sum(taken) < TRIED_SECONDS:
            arrays.actions[...] = actions_by_score(info.actions, frame.avail)
            begun = time.perf_counter()
            copies.step()
            taken.append(time.perf_counter() - begun)
            frame = arrays.first if (arrays.terminated | arrays.truncated).any() else arrays.final
    finally:
        with suppress(EnvError):  # reported when the run's copies are closed
            copies.close()
    return statistics.median(taken)
