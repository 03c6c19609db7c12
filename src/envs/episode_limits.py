"""The most steps of an episode: stated by an environment, or estimated from a few random episodes."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from ..types import EnvError, EnvInfo
from .actions import actions_by_score
from .adapter import Adapter
from .arrays import lay_out
from .copies import Copies

# The attributes under which environments store their limit, in the order of the search.
NAMES = (
    "max_cycles",
    "max_steps",
    "_max_steps",
    "_max_episode_steps",
    "max_episode_steps",
    "timestep_limit",
    "horizon",
    "episode_limit",
)
LARGEST = 100_000  # a larger number stands for "no limit"
DEEPEST = 30  # of wrappers inside wrappers
TRIED_EPISODES, TRIED_STEPS, TRIED_SECONDS = 5, 2000, 3.0
SHORT, LONG = 4, 2  # times the longest random episode: agents that learn may play longer
ENOUGH = 500  # steps of an episode that counts as long
FALLBACK = 1000  # if no random episode ends
ESTIMATED = "environment %s states no limit on its episodes: they end after %d steps (%s); set env_args.episode_limit"


def stated_limit(env: Any) -> tuple[int, str]:
    """The limit that the environment states, and the attribute that holds it; (0, "") if there is none.

    Wrappers are searched from the outermost to the innermost: a wrapper may shorten episodes.
    """
    for layer in _layers(env):
        for name in NAMES:
            if steps := _positive(_attribute(layer, name)):
                return steps, name
        if steps := _positive(_attribute(_attribute(layer, "spec"), "max_episode_steps")):
            return steps, "spec.max_episode_steps"
    return 0, ""


def estimated_limit(make: Callable[[], Adapter], info: EnvInfo, seed: int, timeout: float = 0.0) -> tuple[int, str]:
    """A generous limit, and how it was found: a multiple of the longest of a few random episodes.

    If several were truncated after equally many steps, and none was longer, that is the environment's own limit.
    ``make`` makes a copy whose episodes are limited to ``TRIED_STEPS`` steps. Short runs of random actions bound the
    search, in steps and in seconds.
    """
    arrays, rng = lay_out(info, 1), np.random.default_rng(seed)
    copies = Copies(make, info, range(1), arrays, seed, timeout)
    lengths: list[int] = []
    cut: list[int] = []  # lengths of those that were truncated
    try:
        copies.reset()
        frame, begun, total, length = arrays.first, time.monotonic(), 0, 0
        while len(lengths) < TRIED_EPISODES and total < TRIED_STEPS and time.monotonic() - begun < TRIED_SECONDS:
            arrays.actions[...] = actions_by_score(info.actions, rng.random(frame.avail.shape) * frame.avail)
            copies.step()
            total, length, frame = total + 1, length + 1, arrays.final
            if (arrays.terminated | arrays.truncated).any():
                if length < TRIED_STEPS:
                    lengths.append(length)
                    if arrays.truncated.any():
                        cut.append(length)
                length, frame = 0, arrays.first
    finally:
        with suppress(EnvError):  # reported when the run's copies are closed
            copies.close()
    if not lengths:
        return FALLBACK, f"none of {total} random steps ended an episode"
    if len(cut) > 1 and min(cut) == max(lengths):
        return max(lengths), f"{len(cut)} of {len(lengths)} random episodes were truncated there"
    episodes = "episode" if len(lengths) == 1 else "episodes"
    times = SHORT if max(lengths) < ENOUGH else LONG
    return times * max(lengths), f"{times} times the longest of {len(lengths)} random {episodes}"


def _layers(env: Any) -> Iterator[Any]:
    """The environment, what it wraps, and what that wraps, and so on."""
    seen: list[Any] = []
    pending = [env, getattr(env, "unwrapped", None)]
    while pending and len(seen) < DEEPEST:
        layer = pending.pop(0)
        if layer is None or any(layer is other for other in seen):
            continue
        seen.append(layer)
        yield layer
        pending.insert(0, _attribute(layer, "env"))


def _attribute(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name, None)
    except Exception:  # of a property
        return None


def _positive(value: Any) -> int:
    is_number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return int(value) if is_number and 0 < value <= LARGEST else 0
