"""Makes one copy of any environment: recognises its interface and limits the length of its episodes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..games.game import Game, declares_game
from ..types import ConfigError, EnvError, EnvInfo, OmarlError
from .adapter import Adapter
from .factories import construct
from .interfaces import AECAdapter, GymAdapter, ParallelAdapter, lean
from .messages import describe
from .watch import CLOSE, INTERRUPTS, MAKE, RESET, Call, Progress


def make_single(target: Any, name: str, env_args: Mapping[str, Any], state_size: int) -> Adapter:
    """Makes one copy by the class or factory ``target``; ``state_size``: see ``look_at``.

    Raises:
        ConfigError: a wrong argument, an unknown kind of environment or space, or unlimited episodes.
        EnvError: the environment cannot be made.
    """
    arguments = dict(env_args)
    limit = _steps("episode_limit", arguments.pop("episode_limit", None))
    _steps("max_cycles", arguments.get("max_cycles"))
    if not isinstance(arguments.get("key", ""), str):
        raise ConfigError(f"env_args.key: {arguments['key']!r} is not a text")
    key = str(arguments.get("key", name))
    env = lean(construct(target, key, arguments))
    kind = _kind(env, key)
    own_limit = _own_limit(env)
    if own_limit and kind is AECAdapter:
        own_limit *= len(env.possible_agents)  # the environment's limit counts rounds, episode_limit counts turns
    limits = [steps for steps in (limit, own_limit) if steps]
    if not limits:
        raise ConfigError(
            f"env_args.episode_limit: environment {key} has no limit on its episodes; "
            "set env_args.episode_limit to a number of steps"
        )
    try:
        adapter = kind(env, key, min(limits))
    except OmarlError:
        raise
    except Exception as error:
        raise EnvError(f"the agents and spaces of environment {key} cannot be read: {describe(error)}") from error
    own_arguments = {k: v for k, v in arguments.items() if k != "key"}
    adapter.info = replace(adapter.info, arguments=own_arguments, game=declared_game(env))
    adapter.use_state(state_size)
    return adapter


def look_at(target: Any, name: str, env_args: Mapping[str, Any], progress: Progress) -> tuple[EnvInfo, int, Any]:
    """Makes a copy to read what all copies have in common. Arguments and errors: see ``make_single``.

    ``progress`` records its calls.

    Returns:
        Names and sizes; the size of the environment's own state, 0 for none; and the copy, unwrapped and closed: its
        settings can be read.
    """
    progress.begin(0, MAKE)
    adapter = make_single(target, name, env_args, 0)
    progress.begin(0, RESET)
    try:
        state_size = adapter.find_state()
    except INTERRUPTS:
        raise
    except BaseException as error:
        raise EnvError(f"environment {adapter.info.key} raised in its first reset: {describe(error)}") from error
    with Call(adapter.info.key, 0, CLOSE, progress):
        adapter.close()
    adapter.use_state(state_size)
    return adapter.info, state_size, getattr(adapter.env, "unwrapped", adapter.env)


def _kind(env: Any, key: str) -> type[ParallelAdapter] | type[AECAdapter] | type[GymAdapter]:
    """By what it can do, not by its class: wrappers and look-alikes count too."""
    if hasattr(env, "possible_agents"):
        return AECAdapter if hasattr(env, "agent_iter") else ParallelAdapter
    if hasattr(env, "observation_space") and hasattr(env, "step"):
        return GymAdapter
    raise ConfigError(
        f"environment {key}: {type(env).__name__} is neither a PettingZoo environment (with possible_agents) "
        "nor a gymnasium one"
    )


def declared_game(env: Any) -> type[Game] | None:
    """The attribute ``game`` of the environment's class, or of the class that it wraps, if that is a ``Game``."""
    declared = (getattr(type(each), "game", None) for each in (env, getattr(env, "unwrapped", env)))
    return next((game for game in declared if declares_game(game)), None)


def _steps(name: str, value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ConfigError(f"env_args.{name}: {value!r} is not a positive number of steps")


def _own_limit(env: Any) -> int | None:
    """The environment's own limit on the steps of an episode; None if it has none."""
    inner = getattr(env, "unwrapped", env)
    candidates = (
        getattr(inner, "max_cycles", None),
        getattr(getattr(inner, "env", None), "max_cycles", None),
        getattr(getattr(env, "spec", None), "max_episode_steps", None),
        getattr(inner, "_max_episode_steps", None),
    )
    return next((int(steps) for steps in candidates if isinstance(steps, int) and steps > 0), None)
