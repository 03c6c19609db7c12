"""Fits the defaults of a run to its environment: sizes to memory and length, the discount to short episodes.

An estimated episode limit is stored.
"""

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from . import budget
from .config.schema import read
from .envs.actions import actions_by_score
from .envs.episode_limits import NAMES
from .run import TRAIN_STREAM, RunConfig, agents_config, make_env
from .types import EnvError, EnvInfo, VecEnv
from .utils.memory import readable

# Keys that are halved until the run fits, and the least value that a default shrinks to
SHRINKING = {"buffer_size": 1, "test_nepisode": 1, "batch_size_run": 1, "rollout_steps": 5, "batch_size": 4,
             "model_memory": 2, "replay_rollouts": 1, "vae_window": 1}  # fmt: skip
SHORTEST = 25  # steps of an episode that is cut off because of memory
ROUNDS = 4  # a run collects at least so many episodes from each copy, and has so many times its batch of episodes
UPDATES = 40  # a run from rollouts makes at least so many updates
RAMPS = 2  # a run has so many times the VAE's updates of the ramp of the KL weight
MOST_VAE_UPDATES = 32  # for each batch
VAE_NUMBERS = 2**22  # of states in the VAE's updates for each batch, or as many as the agents read
FEWEST_TESTED = 4  # episodes of a test that is shortened because they are long
TIMED_STEPS, TIMED_SECONDS = 50, 2.0  # at most so many random steps are timed, for at most so long


def fitted(values: Mapping[str, Any], user_keys: Collection[str], say: Callable[[str], None]) -> dict[str, Any]:
    """The keys that differ in the run: sizes, the discount of short episodes, and an estimated episode limit.

    A run that continues from a checkpoint keeps the checkpoint's values.

    Args:
        values: the complete configuration.
        user_keys: the keys that the user has set, which do not change.
        say: receives a line about each change.

    Raises:
        ConfigError, EnvError: the environment cannot be made.
    """
    if values.get("checkpoint_path"):
        return {}
    complete = {**vars(read(RunConfig, values)), **values}
    env = make_env(replace(read(RunConfig, values), env_workers=0), 1, TRAIN_STREAM)
    pace = seconds_per_step(env) if complete["max_seconds"] else 0.0
    with suppress(EnvError):  # reported when the run's copies are closed
        env.close()
    lengths = by_length(complete, env.info, user_keys)
    if lengths:
        changes = _changes(lengths, complete)
        steps = f"episodes have up to {env.info.episode_limit} steps, the run {complete['t_max']}"
        say(f"length: {steps}, so {changes}; a value that you set is kept")
    if updates := vae_updates(complete, lengths, env.info, user_keys):
        changes = _changes(updates, complete)
        say(f"length: the run has {complete['t_max']} steps, so {changes}; a value that you set is kept")
    lengths |= updates
    complete |= lengths
    if tests := by_time(complete, env.info, pace, user_keys):
        say(f"time: a step takes {1000 * pace:.0f} ms, so {_changes(tests, complete)}; a value that you set is kept")
    lengths |= tests
    complete |= tests
    sizes, info = shrunk(complete, env.info, user_keys)
    before = {**complete, "env_args.episode_limit": env.info.episode_limit}
    after = {**sizes, "env_args.episode_limit": info.episode_limit}
    if changes := _changes(after, before):
        free = readable(budget.available_memory("cpu"))
        say(f"memory: {free} are available, so {changes}; a value that you set is kept")
    result: dict[str, Any] = {name: size for name, size in (lengths | sizes).items() if size != values.get(name)}
    if discount := by_horizon(complete, info, user_keys):
        changes = _changes(discount, complete)
        say(f"episodes: they have at most {info.episode_limit} steps, so {changes}; a value that you set is kept")
    result |= discount
    if info.interface and (not info.limit_source or info.episode_limit != env.info.episode_limit):
        result["env_args"] = {**values["env_args"], "episode_limit": info.episode_limit}
    return result


def _changes(after: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={size} (instead of {before[name]})" for name, size in after.items()
                     if size != before[name])  # fmt: skip


def by_length(values: Mapping[str, Any], info: EnvInfo, fixed: Collection[str]) -> dict[str, int]:
    """The sizes that a short run or long episodes change, so that the run makes updates and does not mostly test.

    Each copy plays ``ROUNDS`` episodes at least. A run from replay collects whole episodes: with episodes of 500
    steps, 8 copies and batches of 32, its first update would come after 16,000 steps, so a batch has at most that
    part of the run's episodes. A run from rollouts makes one update for each rollout of all copies: with 32 copies
    and rollouts of 25 steps, 10,000 steps were 13 updates; it has as many copies as leave ``UPDATES``.

    A test takes at most a fifth of the steps between two tests, but has ``FEWEST_TESTED`` episodes. Tests against a
    pool are not shortened: each of its opponents is to be met.
    """
    wanted: dict[str, int] = {}
    steps, t_max, copies = info.episode_limit, values["t_max"], values["batch_size_run"]
    most = t_max // (ROUNDS * steps)
    if values["runner"] == "rollout":
        most = min(most, t_max // (UPDATES * values["rollout_steps"]))
    if "batch_size_run" not in fixed:
        copies = wanted["batch_size_run"] = min(copies, max(most, 1))
    if values["runner"] == "episode":
        episodes = copies * -(-t_max // (copies * steps))
        wanted["batch_size"] = max(episodes // ROUNDS, 1)
    if values["test_interval"] and not values["pool"]:
        wanted["test_nepisode"] = max(values["test_interval"] // (5 * steps), FEWEST_TESTED)
    return {name: size for name, size in wanted.items() if name not in fixed and size < values[name]}


def by_horizon(values: Mapping[str, Any], info: EnvInfo, fixed: Collection[str]) -> dict[str, float]:
    """The discount of a learner whose values need a horizon that suits short episodes (``default_discount``)."""
    rule = getattr(agents_config(values), "default_discount", None)
    if rule is None or "gamma" in fixed:
        return {}
    gamma = rule(values["gamma"], info.episode_limit)
    return {"gamma": gamma} if gamma < values["gamma"] else {}


def by_time(values: Mapping[str, Any], info: EnvInfo, pace: float, fixed: Collection[str]) -> dict[str, int]:
    """Shorter tests of a run with ``max_seconds`` in a slow environment, one step of which takes ``pace`` seconds.

    A test takes about a fifth of the seconds, but has ``FEWEST_TESTED`` episodes. What networks take is not counted.
    """
    if not (pace and values["test_interval"]) or values["pool"] or "test_nepisode" in fixed:
        return {}
    episodes = max(int(values["max_seconds"] / (5 * pace * info.episode_limit)), FEWEST_TESTED)
    return {"test_nepisode": episodes} if episodes < values["test_nepisode"] else {}


def seconds_per_step(env: VecEnv) -> float:
    """The seconds of one step of a single copy, from a few random ones; 0.0 if it fails, which the run reports."""
    rng, kind, steps = np.random.default_rng(0), env.info.actions, 0
    try:
        observation, begun = env.reset(), time.monotonic()
        while steps < TIMED_STEPS and time.monotonic() - begun < TIMED_SECONDS:
            scores = rng.random(observation.avail.shape) * observation.avail
            observation, steps = env.step(actions_by_score(kind, scores)).observation, steps + 1
        return (time.monotonic() - begun) / steps
    except EnvError:
        return 0.0


def vae_updates(
    values: Mapping[str, Any], lengths: Mapping[str, int], info: EnvInfo, fixed: Collection[str]
) -> dict[str, int]:
    """The VAE's updates for each batch, if the run's length changes them.

    They rise if a run is so short that the KL weight would not reach its end: to as many as reach it, and at least to
    one pass over the states of a batch, as long as the VAE reads fewer numbers than the agents do. Rollouts that have
    fewer copies because of ``lengths`` have proportionally fewer.
    """
    if "vae_updates" not in values or "vae_updates" in fixed:
        return {}
    sizes, default = {**values, **lengths}, values["vae_updates"]
    is_rollout = values["runner"] == "rollout"
    steps, states = values["env_steps_per_update"], sizes["batch_size"] * info.episode_limit
    least = default
    if is_rollout:
        steps = states = sizes["batch_size_run"] * values["rollout_steps"]
        least = -(-default * sizes["batch_size_run"] // values["batch_size_run"])
    of_ramp = -(-RAMPS * values["vae_alpha_ramp"] // max(values["t_max"] // steps, 1))
    if of_ramp <= least:
        return {"vae_updates": least} if least != default else {}
    drawn = values["vae_batch_states"] or states
    numbers = VAE_NUMBERS
    if info.state_dtype is not np.uint8:  # convolutions of images cost more
        numbers = max(numbers, states * info.n_agents * info.obs_shape)
    most = min(MOST_VAE_UPDATES, numbers // (drawn * info.state_shape))
    updates = max(min(max(of_ramp, states // drawn), most), least)
    return {"vae_updates": updates} if updates != default else {}


def shrunk(values: Mapping[str, Any], info: EnvInfo, fixed: Collection[str]) -> tuple[dict[str, int], EnvInfo]:
    """The values of ``SHRINKING`` with which the run fits, and the environment with a shorter limit if necessary.

    Each time, the key whose half saves the most memory is halved. Episodes are cut off only if no key is left, and
    then batches become smaller than ``SHRINKING`` states. If nothing fits, the smallest sizes are returned.
    """
    current = dict(values)
    need = budget.need(current, info)

    def of(changes: Mapping[str, int], limit: int = info.episode_limit) -> budget.Need:
        parts = budget.need({**current, **changes}, replace(info, episode_limit=limit)).parts
        return budget.Need(parts, need.available)

    limit, floors = info.episode_limit, dict(SHRINKING)
    may_cut = bool(info.interface) and not any(name in values.get("env_args", {}) for name in NAMES)
    while not of({}, limit).fits(budget.SUGGESTED):
        halves = {name: max(int(current[name]) // 2, least, budget.least(current, name))
                  for name, least in floors.items() if current.get(name) and name not in fixed}  # fmt: skip
        total = of({}, limit).everywhere()
        saved = {name: total - of({name: half}, limit).everywhere()
                 for name, half in halves.items() if half < current[name]}  # fmt: skip
        name = max(saved, key=lambda name: saved[name], default="")
        if name and saved[name] > 0:
            current[name] = halves[name]
        elif may_cut and limit > SHORTEST:
            limit = max(limit // 2, SHORTEST)
        elif floors["batch_size"] > 1:
            floors["batch_size"] = 1
        else:
            break
    return {name: current[name] for name in SHRINKING if name in values}, replace(info, episode_limit=limit)
