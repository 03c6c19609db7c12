"""The complete configuration of a run, for the command line and for Python alike."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..config.files import find, read_yaml
from ..config.schema import read
from ..envs.factories import is_gymnasium_id
from ..run import RunConfig
from ..types import ConfigError, PathLike
from ..utils.checkpoints import find_checkpoint
from .layers import COMMAND_LINE, KEYWORD, Layers, complete, from_checkpoint, from_files

DEFAULT_CONFIG = "omg_vae"
DEFAULT_ENV_CONFIG = "simple_tag"
Env = PathLike | Mapping[str, Any]


def default_environment(updates: Mapping[str, Any]) -> str | None:
    """``DEFAULT_ENV_CONFIG``; None where ``updates`` name another environment: its discount is meant for that one."""
    ours = read_yaml(find("envs", DEFAULT_ENV_CONFIG))
    arguments = updates.get("env_args")
    key = arguments.get("key", ours["env_args"]["key"]) if isinstance(arguments, Mapping) else ours["env_args"]["key"]
    same = updates.get("env", ours["env"]) == ours["env"] and key == ours["env_args"]["key"]
    return DEFAULT_ENV_CONFIG if same else None


def recognise_gymnasium(layers: Layers) -> None:
    """Sets ``env: gymnasium`` where ``env_args.key`` is a Gymnasium id and the user has not set ``env``."""
    arguments = layers.values.get("env_args")
    key = arguments.get("key") if isinstance(arguments, Mapping) else None
    may_change = layers.values.get("env", "pettingzoo") == "pettingzoo" and "env" not in layers.by_user
    if may_change and isinstance(key, str) and is_gymnasium_id(key):
        layers.values["env"], layers.source["env"] = "gymnasium", "env_args.key"


def layered(
    updates: Mapping[str, Any], config: str | None = None, env_config: str | None = None, source: str = COMMAND_LINE
) -> Layers:
    """The layers of ``configured``, before any key is checked."""
    given = read(RunConfig, {name: updates[name] for name in ("checkpoint_path", "load_step") if name in updates})
    if given.checkpoint_path and config is None and env_config is None:
        layers = from_checkpoint(find_checkpoint(given.checkpoint_path, given.load_step))
    else:
        layers = from_files(config or DEFAULT_CONFIG, env_config or default_environment(updates))
    layers.add(updates, source, by_user=True)
    recognise_gymnasium(layers)
    return layers


def configured(
    updates: Mapping[str, Any],
    config: str | None = None,
    env_config: str | None = None,
    root: type = RunConfig,
    command: str = "train",
    source: str = COMMAND_LINE,
) -> Layers:
    """Lays the user's keys over the named configurations, or over a checkpoint's own, and checks every key.

    Args:
        updates: the user's keys.
        config, env_config: names or paths, as after ``--config`` and ``--env-config``. Where both are None and
            ``updates`` has a ``checkpoint_path``, the checkpoint's configuration takes their place.
        root: the dataclass of the command's own keys, a ``RunConfig``.
        command: ``evaluate`` and ``replay`` need a checkpoint.
        source: where ``updates`` come from, for messages.

    Returns:
        Every key; the seed is left out where nobody gave one.

    Raises:
        ConfigError: anything that cannot run, before anything is started.
    """
    layers = layered(updates, config, env_config, source)
    given = read(RunConfig, {name: updates[name] for name in ("checkpoint_path", "load_step") if name in updates})
    full = complete(layers, root)
    command = "evaluate" if full.values["evaluate"] else command
    if command in ("evaluate", "replay") and not full.values["checkpoint_path"]:
        raise ConfigError(f"checkpoint_path: {command} needs one; give a run's directory")
    if command == "train" and given.checkpoint_path:
        folder = find_checkpoint(given.checkpoint_path, given.load_step)
        if folder.name.isdecimal() and int(folder.name) >= full.values.get("t_max", np.inf):
            raise ConfigError(f"t_max: {folder} has already reached step {folder.name}; give a larger t_max")
    full.values["evaluate"] = command in ("evaluate", "replay")  # their seeds do not depend on the checkpoint's step
    if "seed" not in layers.values:
        del full.values["seed"]
    return full


def from_keywords(
    keys: Mapping[str, Any],
    config: PathLike | None = None,
    env: Env | None = None,
    command: str = "train",
    root: type = RunConfig,
) -> Layers:
    """``configured`` for Python's arguments.

    Args:
        keys: keyword arguments. Paths, tuples and NumPy's numbers are taken as well.
        config: as in ``configured``.
        env: a name or a path, as in ``configured``; a mapping, which stands for ``env_args``; or
            ``package.module:Class``, which stands for the key ``env``.
        command, root: as in ``configured``.
    """
    updates = _plain(keys)
    env_config = None
    if isinstance(env, Mapping):
        updates["env_args"] = {**_plain(env), **updates.get("env_args", {})}
    elif env is not None and ":" in os.fspath(env):
        updates["env"] = env
    elif env is not None:
        env_config = os.fspath(env)
    for name, value in updates.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name}: {value!r} cannot be kept in config.json ({error})") from None
    name = None if config is None else os.fspath(config)
    return configured(updates, name, env_config, root, command, KEYWORD)


def _plain(value: Any) -> Any:
    """Paths as text, NumPy's numbers as Python's, mappings and sequences as copies."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value
