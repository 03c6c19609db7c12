"""Folders ``checkpoints/<t_env>/``: PyMARL's model files, and what else a resumed run needs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..types import ConfigError, TrainingError
from .errors import reason_of
from .run_directory import write_json

log = logging.getLogger(__name__)

RUN_FILE = "run.th"


def save_checkpoint(
    run_directory: Path, t_env: int, learner: Any, config: Mapping[str, Any], state: Mapping[str, Any]
) -> Path:
    """Writes ``checkpoints/<t_env>/`` whole, or not at all.

    Args:
        run_directory: the run's folder.
        t_env: names the checkpoint.
        learner: its ``save_models`` writes the models; its ``state_dict``, where it has one, the rest.
        config: kept beside them, so that the checkpoint can be evaluated wherever it is moved.
        state: counters, generators and whatever else the run adds.

    Raises:
        TrainingError: the files cannot be written.
    """
    folder = run_directory / "checkpoints" / str(t_env)
    draft = folder.with_name(f".{t_env}.tmp")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        learner.save_models(str(draft))
        saved = {"t_env": t_env, **state}
        if hasattr(learner, "state_dict"):
            saved["learner"] = learner.state_dict()
        torch.save(saved, draft / RUN_FILE)
        write_json(draft / "config.json", dict(config))
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        shutil.rmtree(draft, ignore_errors=True)
        raise TrainingError(f"cannot write the checkpoint {folder} (is the disk full?): {error}") from error
    return folder


def find_checkpoint(path: str, load_step: int = 0, key: str = "checkpoint_path") -> Path:
    """The checkpoint's folder.

    Args:
        path: a run's folder, its ``checkpoints`` folder, or one checkpoint.
        load_step: which one, by environment steps (the nearest); 0 takes the last.
        key: under which the path was given, for the message.

    Raises:
        ConfigError: there is none.
    """
    root = Path(path)
    if (root / RUN_FILE).is_file():
        return root
    if (root / "checkpoints").is_dir():
        root = root / "checkpoints"
    steps = [int(p.name) for p in root.glob("*") if p.name.isdigit() and (p / RUN_FILE).is_file()]
    if not steps:
        reason = "holds no checkpoint (the run ended before its first?)" if root.exists() else "does not exist"
        raise ConfigError(f"{key}: {path} {reason}; give a run's directory")
    nearest = min(steps, key=lambda step: abs(step - load_step)) if load_step else max(steps)
    return root / str(nearest)


def last_checkpoints(runs: Iterable[Path], key: str) -> dict[Path, Path]:
    """Each run's last checkpoint. Of several runs, those without one (which failed early) are left out, and told.

    Raises:
        ConfigError: none of them has one.
    """
    found: dict[Path, Path] = {}
    without: list[ConfigError] = []
    for run in runs:
        try:
            found[run] = find_checkpoint(str(run), key=key)
        except ConfigError as error:
            without.append(error)
    if without and not found:
        raise without[0]
    for reason in without:
        log.warning("left out: %s", reason)
    return found


def load_checkpoint(folder: Path, learner: Any) -> dict[str, Any]:
    """Puts a checkpoint into ``learner`` and returns the rest of the run's state, which lies on the CPU.

    Raises:
        ConfigError: the files are damaged, or belong to another learner or other networks.
    """
    try:
        # Written by save_checkpoint: tensors and plain containers only. To the CPU: it may hold a replay buffer.
        state = torch.load(folder / RUN_FILE, map_location="cpu", weights_only=True)
        saved = state.get("learner")
    except Exception as error:  # torch and pickle raise every kind on damaged files
        raise ConfigError(f"checkpoint_path: {folder / RUN_FILE} is damaged") from error
    try:
        learner.load_models(str(folder))
        if saved is not None and hasattr(learner, "load_state_dict"):
            learner.load_state_dict(saved)  # what those files leave out; a learner inside it may offer nothing
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = reason_of(error)
        if isinstance(error, OSError) or "zip archive" in reason:
            raise ConfigError(f"checkpoint_path: {folder} is damaged ({reason})") from error
        raise ConfigError(
            f"checkpoint_path: {folder} belongs to another learner, environment or size of network ({reason})"
        ) from error
    return state
