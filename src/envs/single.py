"""Makes one copy of any environment: recognises its interface and limits the length of its episodes."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..games.game import Game, declares_game
from ..types import Block, ConfigError, EnvError, EnvInfo, OmarlError
from .adapter import Adapter
from .by_agent import INTERFACE, ByAgent, as_parallel
from .episode_limits import TRIED_STEPS, stated_limit
from .factories import construct, with_version
from .images import images_from
from .interfaces import AECAdapter, GymAdapter, ParallelAdapter
from .messages import describe
from .turns import bare, lean
from .watch import CLOSE, INTERRUPTS, MAKE, RESET, Call, Progress

INTERFACES: dict[type[Adapter], str] = {
    ParallelAdapter: "ParallelEnv",
    AECAdapter: "AECEnv, one turn a step",
    GymAdapter: "Gymnasium",
}


def make_single(target: Any, name: str, env_args: Mapping[str, Any], state: Block | None) -> Adapter:
    """Makes one copy by the class or factory ``target``; ``state``: see ``look_at``.

    If neither ``env_args`` nor the environment states the length of its episodes, they have ``TRIED_STEPS`` at most.

    Raises:
        ConfigError: a wrong argument, or an unknown kind of environment or space.
        EnvError: the environment cannot be made.
    """
    arguments = dict(env_args)
    weights, images = arguments.pop("reward_weights", None), images_from(arguments)
    limit = positive_steps("episode_limit", arguments.pop("episode_limit", None))
    positive_steps("max_cycles", arguments.get("max_cycles"))
    if not isinstance(arguments.get("key", ""), str):
        raise ConfigError(f"env_args.key: {arguments['key']!r} is not a text")
    key = with_version(str(arguments.get("key", name)))
    env = as_parallel(lean(construct(target, key, arguments)))
    kind = _kind(env, key)
    stated, source = stated_limit(env)
    if stated and kind is AECAdapter:
        stated *= len(env.possible_agents)  # the environment's limit counts rounds, episode_limit counts turns
    if limit and not (stated and stated < limit):
        stated, source = limit, "episode_limit"
    try:
        adapter = kind(env, key, stated or TRIED_STEPS, images)
    except OmarlError:
        raise
    except Exception as error:
        raise EnvError(f"the agents and spaces of environment {key} cannot be read: {describe(error)}") from error
    own_arguments = {k: v for k, v in arguments.items() if k != "key"}
    adapter.info = replace(
        adapter.info,
        arguments=own_arguments,
        game=declared_game(env),
        interface=INTERFACE if isinstance(env, ByAgent) else INTERFACES[kind],
        limit_source=source,
    )
    adapter.use_state(state)
    if weights:
        adapter.use_reward_weights(weights)
    return adapter


def look_at(
    target: Any, name: str, env_args: Mapping[str, Any], progress: Progress
) -> tuple[EnvInfo, Block | None, Any]:
    """Makes a copy to read what all copies have in common. Arguments and errors: see ``make_single``.

    ``progress`` records its calls.

    Returns:
        Names and sizes; the environment's own state, None for none; and the copy, closed and without wrappers that
        change nothing: its class and its settings can be read.
    """
    progress.begin(0, MAKE)
    adapter = make_single(target, name, env_args, None)
    progress.begin(0, RESET)
    try:
        state = adapter.find_state()
    except INTERRUPTS:
        raise
    except BaseException as error:
        raise EnvError(f"environment {adapter.info.key} raised in its first reset: {describe(error)}") from error
    with suppress(EnvError), Call(adapter.info.key, 0, CLOSE, progress):  # reported when the run's copies are closed
        adapter.close()
    adapter.use_state(state)
    return adapter.info, state, bare(adapter.env)


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


def positive_steps(name: str, value: Any) -> int | None:
    """``value`` of the argument ``name``; ConfigError if it is no positive number of steps."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ConfigError(f"env_args.{name}: {value!r} is not a positive number of steps")
