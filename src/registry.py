"""Names to classes: ``resolve("learner", "q_learner")`` or ``resolve("learner", "my_pkg.my_mod:MyLearner")``.

Values are strings that are imported when they are needed, so a missing package affects only the parts that use it.
A string that starts with a dot is relative to this package, so a copy of the package works under another name.
"""

import importlib
import logging
import sys
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from .types import ConfigError

log = logging.getLogger(__name__)

BASE_LEARNERS = {
    "q_learner": ".learners.q_learner:QLearner",
    "d3qn_learner": ".learners.d3qn_learner:D3QNLearner",
    "pqn_learner": ".learners.pqn_learner:PQNLearner",
    "ppo_learner": ".learners.ppo_learner:PPOLearner",
}
BASE_MACS = {"basic_mac": ".controllers.basic_controller:BasicMAC"}
OMG_VAE_LEARNER = {"omg_vae_learner": ".learners.omg_vae_learner:OMGVAELearner"}
REGISTRY: dict[str, dict[str, Any]] = {
    "base_learner": BASE_LEARNERS,
    "learner of a team": {**BASE_LEARNERS, **OMG_VAE_LEARNER},
    "mac of a team": BASE_MACS,
    "learner": {
        **BASE_LEARNERS,
        **OMG_VAE_LEARNER,
        "opponent_model_learner": ".learners.opponent_model_learner:OpponentModelLearner",
        "team_learner": ".learners.team_learner:TeamLearner",
    },
    "mac": {
        **BASE_MACS,
        "model_mac": ".controllers.model_controller:ModelMAC",
        "team_mac": ".controllers.team_controller:TeamMAC",
    },
    "opponent_model": {
        "liam": ".opponent_models.liam:LIAMModel",
        "naive": ".opponent_models.naive:NaiveModel",
        "plastic": ".opponent_models.plastic:PlasticModel",
        "meliba": ".opponent_models.meliba:MelibaModel",
        "omg": ".opponent_models.omg.model:OMGModel",
        "place_prediction": ".opponent_models.place_prediction:PlaceModel",
        "object_prediction": ".opponent_models.object_prediction:ObjectModel",
    },
    "agent": {
        "rnn": ".modules.agents.rnn_agent:RNNAgent",
        "features": ".modules.agents.feature_agent:FeatureAgent",
        "mingru": ".modules.agents.rnn_agent:MinGRUAgent",
        "transformer": ".modules.agents.transformer_agent:TransformerAgent",
    },
    "cell": {"gru": ".modules.gru:GRU", "mingru": ".modules.min_gru:MinGRU"},
    "observer": {
        "wandb": ".observers.wandb:WandbObserver",
        "mlflow": ".observers.mlflow:MLflowObserver",
        "mongo": ".observers.mongo:MongoURLObserver",
    },
    "runner": {
        "episode": ".runners.episode_runner:EpisodeRunner",
        "rollout": ".runners.rollout_runner:RolloutRunner",
    },
    "action_selector": {
        "epsilon_greedy": ".components.action_selectors:EpsilonGreedy",
        "softmax": ".components.action_selectors:Softmax",
    },
    "mixer": {"vdn": ".modules.mixers.vdn:VDNMixer", "qmix": ".modules.mixers.qmix:QMixer"},
    "env": {
        "pettingzoo": ".envs.factories:make_pettingzoo",
        "gymnasium": ".envs.factories:make_gymnasium",
        "jaxmarl": ".envs.jaxmarl:JaxMARLEnv",
    },
}

# Old names of registered parts, by kind: old -> new. They work until the next release.
RENAMED: dict[str, dict[str, str]] = {
    "opponent_model": {"subgoal": "omg", "objects": "object_prediction"},
}

# Modules that only files name, such as a checkpoint's configuration: not imported from the working directory.
only_in_files: set[str] = set()

EXTRA = "omarl[envs]"  # the optional packages, as pyproject.toml lists them
EXTRA_MODULES = ("lbforaging", "llvmlite", "mpe2", "numba", "pygame", "pymunk")
JAX_EXTRA = "omarl[jax]"  # those that only env=jaxmarl needs
JAX_MODULES = ("flax", "gymnax", "jax", "jaxlib", "jaxmarl", "jaxtyping")


def install_hint(module: str, package: str = "") -> str:
    """The command that installs a missing module.

    Args:
        module: as it is imported, with dots.
        package: its name for pip, if that differs.
    """
    root = module.partition(".")[0]
    if root in JAX_MODULES:
        return f"pip install '{JAX_EXTRA}'"
    extra = f", or pip install '{EXTRA}' for all optional packages" if root in EXTRA_MODULES else ""
    return f"pip install {package or root}{extra}"


def suggest(name: str, known: list[str]) -> str:
    """Help for a misspelt name: the nearest known name, and the list of names if it is short."""
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listing = f" (known: {', '.join(sorted(known))})" if len(known) <= 40 else ""
    return hint + listing


@cache
def warn_renamed(old: str, new: str, where: str) -> None:
    """Warns once in a process that a name has changed."""
    log.warning("%s is now %s; the old name works until the next release (%s)", old, new, where)


def current_name(kind: str, name: Any) -> Any:
    """The name of a part in this version; an old name gives one warning."""
    new = RENAMED.get(kind, {}).get(name) if isinstance(name, str) else None
    if new:
        warn_renamed(name, new, kind)
    return new or name


def resolve(kind: str, name: str) -> Any:
    """The class or function behind ``name``.

    Args:
        kind: a part of the experiment: ``learner``, ``mac``, ``agent``, ``runner``, ``env``, ...
        name: a registered name, or ``package.module:Class``.

    Raises:
        ConfigError: the name is not registered, or the module or class cannot be imported.
    """
    if not isinstance(name, str):
        raise ConfigError(f"{kind}: {name!r} is not a name; give a registered name or 'package.module:Class'")
    name = current_name(kind, name)
    target = name if ":" in name else REGISTRY[kind].get(name)
    if target is None:
        raise ConfigError(f"{kind}: unknown name {name!r}{suggest(name, list(REGISTRY[kind]))}")
    return load(target, kind) if isinstance(target, str) else target


def import_module(name: str) -> ModuleType:
    """Imports a module, from the working directory, too, if the user names it; not if only files name it."""
    if name not in only_in_files:
        if not name.startswith(".") and str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        return importlib.import_module(name, __package__)
    here, path = Path.cwd(), list(sys.path)
    sys.path[:] = [place for place in path if Path(place).resolve() != here]
    try:
        return importlib.import_module(name, __package__)
    finally:
        sys.path[:] = path


def load(target: str, what: str) -> Any:
    """Imports ``package.module:Class``."""
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"{what}: {target!r} is not 'package.module:Class'")
    try:
        module = import_module(module_name)
    except ImportError as error:
        missing = error.name or ""
        hint = f"; {install_hint(missing)}" if missing.partition(".")[0] in (*EXTRA_MODULES, *JAX_MODULES) else ""
        if module_name in only_in_files:
            hint = "; a name in a file is not imported from the working directory unless you name it too"
        raise ConfigError(f"{what}: cannot import {module_name!r} ({error}){hint}") from error
    try:
        part = getattr(module, attribute)
    except AttributeError:
        names = [n for n in vars(module) if not n.startswith("_")]
        near = get_close_matches(attribute, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{what}: module {module_name!r} has no {attribute!r}{hint}") from None
    if not callable(part):
        raise ConfigError(f"{what}: {target!r} is not a class or function")
    return part
