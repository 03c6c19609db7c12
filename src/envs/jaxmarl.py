"""Vector environments of JaxMARL (Rutherford et al. 2024), which needs the extra ``jax``."""

import io
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any
from warnings import catch_warnings, filterwarnings

import numpy as np
from numpy.typing import NDArray

from ..registry import install_hint, load, suggest
from ..types import ConfigError, EnvError, OmarlError, Step
from .actions import actions_by_score
from .episode_limits import ESTIMATED, FALLBACK, SHORT, TRIED_STEPS
from .factories import construct
from .jax_copies import JaxCopies
from .jax_interface import NEVER, Interface
from .messages import describe
from .single import positive_steps
from .vector import VectorEnv

# Tables of JaxMARL that hold the values which arguments name: ``key`` -> argument, constructor's argument, table.
_SMAX = ("map", "scenario", "jaxmarl.environments.smax.smax_env:MAP_NAME_TO_SCENARIO")
TABLES = {
    "SMAX": _SMAX,
    "HeuristicEnemySMAX": _SMAX,
    "LearnedPolicyEnemySMAX": _SMAX,
    "overcooked": ("layout", "layout", "jaxmarl.environments.overcooked.layouts:overcooked_layouts"),
    "overcooked_v2": ("layout", "layout", "jaxmarl.environments.overcooked_v2.layouts:overcooked_v2_layouts"),
}

log = logging.getLogger(__name__)

# Observations are views of JAX's arrays, which nothing writes to.
filterwarnings("ignore", "The given NumPy array is not writable")


class JaxMARLEnv(VectorEnv):
    """``env: jaxmarl``: E copies of an environment of JaxMARL, stepped by one compiled call.

    Args:
        n_envs: E.
        seed: of all copies and episodes; each derives its own.
        key: a name that ``jaxmarl.make`` knows, or ``package.module:Class``, a ``MultiAgentEnv``.
        episode_limit: the most steps of an episode; None: the environment's own limit.
        arguments: of the environment's constructor; ``map`` names a map of SMAX, ``layout`` one of Overcooked.

    Raises:
        ConfigError: a name or an argument is unknown, an action space is not supported, or jaxmarl is missing.
        EnvError: the environment cannot be made.
    """

    vectorised = True

    def __init__(
        self, n_envs: int, seed: int, key: str = "", episode_limit: int | None = None, **arguments: Any
    ) -> None:
        env = make_jaxmarl(key, **arguments)
        own = positive_steps("episode_limit", episode_limit)
        unlimited, stated = without_limit(env)
        limit = min(own or NEVER, stated + counts_late(env))
        try:
            game = Interface(env, unlimited, stated, key, FALLBACK if limit == NEVER else limit, arguments)
        except OmarlError:
            raise
        except Exception as error:
            raise EnvError(f"the agents and spaces of environment {key} cannot be read: {describe(error)}") from error
        self._copies = JaxCopies(game, n_envs, seed)
        super().__init__(game.info, n_envs, self._copies.arrays, self._copies, "as arrays of JAX")
        if limit == NEVER:
            self._estimate_limit(seed)

    def step(self, actions: NDArray[Any]) -> Step:
        """See ``VectorEnv.step``; also tells which episodes were won, and the environment's shaped reward."""
        step = super().step(actions)
        return step._replace(won=self._copies.won, shaped_reward=self._copies.shaped_reward)

    def _complete_first(self, ongoing: NDArray[np.bool_]) -> None:
        """Does nothing: they are complete."""

    def _run(self, call: str, *arguments: Any) -> Any:
        try:
            return super()._run(call, *arguments)
        except (OmarlError, ValueError, KeyError):
            raise
        except Exception as error:
            raise EnvError(f"environment {self.info.key} raised {describe(error)} in {call}") from error
        finally:
            self._arrays = self._copies.arrays

    def _estimate_limit(self, seed: int) -> None:
        """Sets the limit to a multiple of the longest of the random episodes that end within ``TRIED_STEPS``."""
        rng, longest, t = np.random.default_rng(seed), 0, np.zeros(self.n_envs, np.int64)
        observation = self.reset()
        for _ in range(TRIED_STEPS):
            scores = rng.random(observation.avail.shape) * observation.avail
            step, t = self.step(actions_by_score(self.info.actions, scores)), t + 1
            observation = step.observation
            longest = max(longest, int(t[step.terminated].max(initial=0)))
            t[step.terminated | step.truncated] = 0
        how = f"{SHORT} times the longest of random episodes"
        steps = min(SHORT * longest, FALLBACK) if longest else FALLBACK
        log.warning(ESTIMATED, self.info.key, steps, how if longest else "no random episode ended")
        self.info = replace(self.info, episode_limit=steps)
        self._copies.restart(self.info)
        self._current = None


def without_limit(env: Any) -> tuple[Any, int]:
    """A copy of the environment without its time limit, or None, and the limit that it states, or NEVER.

    The limit is the attribute ``max_steps`` of the environment or of the one that it wraps. Others that state one
    (``episode_length``; the products of steps in inner and outer episodes) have read it in their constructors.
    """
    inner = env
    while "max_steps" not in vars(inner) and "_env" in vars(inner):
        inner = vars(inner)["_env"]
    if "max_steps" in vars(inner):
        return _with_max_steps(env, NEVER), int(inner.max_steps)
    if hasattr(env, "num_inner_steps"):
        return None, int(env.num_inner_steps) * int(getattr(env, "num_outer_steps", 1))
    return None, int(getattr(env, "episode_length", NEVER))


def _with_max_steps(env: Any, steps: int) -> Any:
    twin = object.__new__(type(env))  # ``copy`` fails where ``__getattr__`` looks into ``_env``
    vars(twin).update(vars(env))
    if "max_steps" in vars(env):
        twin.max_steps = steps
    else:
        vars(twin)["_env"] = _with_max_steps(vars(env)["_env"], steps)
    return twin


def counts_late(env: Any) -> bool:
    """Whether it compares the number of steps with its limit before it counts a step: it plays one step more."""
    return hasattr(env, "world_steps_per_env_step") or ".mpe." in type(env).__module__  # SMAX and MPE


def make_jaxmarl(key: Any, **arguments: Any) -> Any:
    """One copy as JaxMARL makes it. Arguments and errors: see ``JaxMARLEnv``."""
    if not key or not isinstance(key, str):
        raise ConfigError("env_args.key is missing: name an environment of JaxMARL, such as overcooked")
    try:
        with _streams_kept(), catch_warnings(action="ignore"):
            import jaxmarl
    except ImportError as error:
        raise ConfigError(f"env: jaxmarl cannot be imported ({error}); {install_hint('jaxmarl')}") from error
    if ":" in key:
        return construct(load(key, "env_args.key"), key, arguments)
    if key not in jaxmarl.registered_envs:
        raise ConfigError(f"env_args.key: JaxMARL has no environment {key!r}{suggest(key, jaxmarl.registered_envs)}")
    return construct(partial(jaxmarl.make, key), key, _with_table_entry(key, arguments))


@contextmanager
def _streams_kept() -> Iterator[None]:
    """Hides what is printed. While it is imported, JaxMARL prints, and sets ``sys.stdout`` to ``sys.__stdout__``."""
    streams = sys.stdout, sys.stderr, sys.__stdout__
    sys.stdout = sys.__stdout__ = io.StringIO()  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr, sys.__stdout__ = streams  # type: ignore[misc]


def _with_table_entry(key: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments; the name of a map or layout is replaced by the entry of JaxMARL's table."""
    given = dict(arguments)
    argument, target, place = TABLES.get(key, ("", "", ""))
    if not isinstance(given.get(argument), str):
        return given
    module, _, attribute = place.partition(":")
    name, table = given.pop(argument), getattr(import_module(module), attribute)
    if name not in table:
        raise ConfigError(f"env_args.{argument}: {key} has no {argument} {name!r}{suggest(name, list(table))}")
    return {**given, target: table[name]}
