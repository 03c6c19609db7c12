"""Writes and reads ``checkpoints/<t_env>/``: PyMARL's model files and the remaining state of a run."""

import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..config.files import usable_path
from ..types import ConfigError, PathLike, TrainingError
from .run_directory import write_json
from .tensor_files import load_tensors

log = logging.getLogger(__name__)

RUN_FILE = "run.th"


def save_checkpoint(
    run_directory: Path, t_env: int, learner: Any, config: Mapping[str, Any], state: Mapping[str, Any]
) -> Path:
    """Writes ``checkpoints/<t_env>/`` completely or, on an error, not at all.

    Args:
        run_directory: the run's folder.
        t_env: environment step, the checkpoint's name.
        learner: its ``save_models`` writes the models; its ``state_dict``, if it has one, is stored too.
        config: stored with the models, so that the checkpoint can be moved and evaluated elsewhere.
        state: further state of the run, such as counters and random generators.

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


def find_checkpoint(path: PathLike, load_step: int = 0, key: str = "checkpoint_path") -> Path:
    """Finds a checkpoint's folder.

    Args:
        path: a run's folder, its ``checkpoints`` folder, or one checkpoint.
        load_step: the environment step of the wanted checkpoint; the nearest is taken. 0 takes the last one.
        key: the configuration key of the path, for error messages.

    Raises:
        ConfigError: there is no checkpoint.
    """
    root = usable_path(path, key)
    if (root / RUN_FILE).is_file():
        return root
    if (root / "checkpoints").is_dir():
        root = root / "checkpoints"
    steps = [int(p.name) for p in root.glob("*") if p.name.isdigit() and (p / RUN_FILE).is_file()]
    if not steps:
        reason = "holds no checkpoint (the run ended before its first?)" if root.exists() else "does not exist"
        raise ConfigError(f"{key}: {root} {reason}; give a run's directory")
    nearest = min(steps, key=lambda step: abs(step - load_step)) if load_step else max(steps)
    return root / str(nearest)


def last_checkpoints(runs: Iterable[Path], key: str) -> dict[Path, Path]:
    """Finds each run's last checkpoint; runs without one (which failed early) are left out with a warning.

    Raises:
        ConfigError: no run has a checkpoint.
    """
    checkpoints: dict[Path, Path] = {}
    errors: list[ConfigError] = []
    for run in runs:
        try:
            checkpoints[run] = find_checkpoint(str(run), key=key)
        except ConfigError as error:
            errors.append(error)
    if errors and not checkpoints:
        raise errors[0]
    for reason in errors:
        log.warning("left out: %s", reason)
    return checkpoints


def load_checkpoint(folder: Path, learner: Any) -> dict[str, Any]:
    """Loads a checkpoint into ``learner`` and returns the run's remaining state, with tensors on the CPU.

    Raises:
        ConfigError: the files are damaged, or were written by another learner or for other networks.
    """
    try:
        state = load_tensors(folder / RUN_FILE)  # on the CPU, since it may hold a large replay buffer
    except ConfigError as error:
        raise ConfigError(f"checkpoint_path: {error}") from error
    if not isinstance(state, dict):
        raise ConfigError(f"checkpoint_path: {folder / RUN_FILE} holds no state of a run")
    saved = state.get("learner")
    try:
        learner.load_models(str(folder))
        if saved is not None and hasattr(learner, "load_state_dict"):
            learner.load_state_dict(saved)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = reason_of(error)
        if isinstance(error, OSError) or "zip archive" in reason:
            raise ConfigError(f"checkpoint_path: {folder} is damaged ({reason})") from error
        raise ConfigError(
            f"checkpoint_path: {folder} belongs to another learner, environment or size of network ({reason})"
        ) from error
    return state


def reason_of(error: BaseException) -> str:
    """The first informative line of an error's text; torch starts with a heading that ends with a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith(":")), type(error).__name__)
