"""The complete configuration of a run, for the command line and for Python alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .config.files import find, read_yaml
from .config.load import COMMAND_LINE, Layers, complete, from_checkpoint, from_files
from .config.schema import read
from .envs.factories import is_gymnasium_id
from .run import RunConfig
from .types import ConfigError
from .utils.checkpoints import find_checkpoint

DEFAULT_CONFIG = "omg_vae"
DEFAULT_ENV_CONFIG = "simple_tag"


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
    given = read(RunConfig, {name: updates[name] for name in ("checkpoint_path", "load_step") if name in updates})
    if given.checkpoint_path and config is None and env_config is None:
        layers = from_checkpoint(find_checkpoint(given.checkpoint_path, given.load_step))
    else:
        layers = from_files(config or DEFAULT_CONFIG, env_config or default_environment(updates))
    layers.add(updates, source, by_user=True)
    recognise_gymnasium(layers)
    full = complete(layers, root)
    command = "evaluate" if full.values["evaluate"] else command
    if command in ("evaluate", "replay") and not full.values["checkpoint_path"]:
        raise ConfigError(f"checkpoint_path: {command} needs one; give a run's directory")
    full.values["evaluate"] = command in ("evaluate", "replay")  # their seeds do not depend on the checkpoint's step
    if "seed" not in layers.values:
        del full.values["seed"]
    return full
