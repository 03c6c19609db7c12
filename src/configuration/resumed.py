"""The configuration with which a run continues in its own folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.keys import OneRunKeys
from ..config.schema import new_default
from ..run import RunConfig
from ..types import ConfigError
from ..utils.checkpoints import checkpoints_in
from ..utils.run_directory import status_of, write_json
from .layers import COMMAND_LINE, STORED, Layers, complete, from_checkpoint

# keys that change no number of the run
MAY_CHANGE = {"t_max", "max_seconds", "trust", "torch_threads", "compiled_threads", "env_workers", "env_timeout",
              "env_restarts", "log_interval", "use_tensorboard", "observers", "save_model_interval", "save_buffer",
              "keep_checkpoints"}  # fmt: skip


@dataclass(frozen=True)
class ResumeConfig(RunConfig, OneRunKeys):
    """Keys of ``resume``, in addition to the run's."""

    run: str = new_default(OneRunKeys, "run", "", "folder of the run that continues")


def resumed(updates: Mapping[str, Any], source: str = COMMAND_LINE) -> Layers:
    """The configuration of the run ``updates["run"]``; other ``updates`` may repeat its keys, and change some.

    Raises:
        ConfigError: there is no such run, it stores no checkpoints, all of them are damaged, or a key would change
            its numbers.
    """
    given = dict(updates)
    name = given.pop("run", "")
    if not name or not isinstance(name, str):
        raise ConfigError("run: resume needs the folder of a run; give run=FOLDER")
    folder = Path(name).expanduser().absolute()
    if not (folder / "config.json").is_file():
        raise ConfigError(f"run: {folder} is not the folder of a run (it has no config.json)")
    checkpoint = next(checkpoints_in(folder, "run"), None)
    if checkpoint is None and any(folder.glob("checkpoints/*")):
        raise ConfigError(f"run: all checkpoints of {folder} are damaged; start a new run")
    layers = _stored(checkpoint or folder)
    before = dict(layers.values)
    layers.add(given, source, by_user=True)
    full = complete(layers, ResumeConfig)
    for name in given:
        if name not in MAY_CHANGE and full.values[name] != before.get(name):
            raise ConfigError(
                f"{name}: a run keeps its configuration; for a new run from its last checkpoint, use "
                f"checkpoint_path={folder} {name}={given[name]} ({source})"
            )
    if checkpoint is None and not full.values["save_model"] and status_of(folder) != "COMPLETED":
        raise ConfigError(f"run: {folder} stores no checkpoints (save_model=False); start a new run")
    full.values["run"] = str(folder)
    return full


def _stored(folder: Path) -> Layers:
    """The configuration in ``folder``, with its loggers and the checkpoint from which that run itself began."""
    layers = from_checkpoint(folder)
    stored = json.loads((folder / STORED).read_text(encoding="utf-8"))
    kept = ("checkpoint_path", "load_step", "observers")
    layers.add({name: stored[name] for name in kept if name in stored}, STORED)
    return layers


def record_changes(layers: Layers) -> None:
    """Writes the keys that the user has changed into the run's config.json."""
    file = Path(layers.values["run"]) / STORED
    stored = json.loads(file.read_text(encoding="utf-8"))
    changes = {name: layers.values[name] for name in layers.by_user & stored.keys() if name in layers.values}
    if any(stored[name] != value for name, value in changes.items()):
        write_json(file, {**stored, **changes})


def is_complete(values: Mapping[str, Any]) -> bool:
    """Whether the run ``values["run"]`` has reached ``t_max``."""
    folder = Path(values["run"])
    checkpoint = next(checkpoints_in(folder, "run"), None)
    if checkpoint is None:
        return status_of(folder) == "COMPLETED"
    return int(checkpoint.name) >= values["t_max"]
