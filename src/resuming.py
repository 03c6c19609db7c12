"""The part of a checkpoint that an exactly resumed run needs: the replay buffer and the episodes in progress."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .components.replay_buffer import ReplayBuffer
from .run import Parts
from .types import ConfigError
from .utils.checkpoints import load_resume_state, why_new_episodes
from .utils.stateful import UnsavedError

GROWING = ("metrics.jsonl", "test_episodes.jsonl")  # files of a run's folder to which lines are appended
AUTO_LIMIT = 500 * 2**20  # bytes of a replay buffer that save_buffer=auto stores


def resume_state(
    parts: Parts, buffer: ReplayBuffer | None, save_buffer: bool | str, with_episodes: bool = True
) -> tuple[dict[str, Any], list[str]]:
    """The state, and what it leaves out, with the reason."""
    state: dict[str, Any] = {}
    left_out = []
    replay = replay_of(parts, buffer)
    if replay is not None:
        size = f"{replay.bytes / 2**20:.0f} MiB"
        if save_buffer is True or (save_buffer == "auto" and replay.bytes <= AUTO_LIMIT):
            state["buffer"] = replay.state_dict()
        else:
            left_out.append(f"the replay buffer, at most {size} (save_buffer=True stores it)")
    try:
        if not with_episodes:
            raise UnsavedError("the environment has failed")
        state["runner"] = parts.runner.state_dict()
        if parts.tester.observation is not None:
            state["test_env"] = parts.test_env.state_dict()  # type: ignore[attr-defined]
    except UnsavedError as error:
        left_out.append(f"the episodes in progress ({error})")
    if not hasattr(parts.learner, "state_dict"):
        left_out.append(f"the learner's state ({type(parts.learner).__name__} has no state_dict)")
    return state, left_out + getattr(parts.learner, "left_out", [])  # of learners of teams


def replay_of(parts: Parts, buffer: ReplayBuffer | None) -> Any:
    """The run's replay buffer, or those that the learner keeps itself (for its teams); None: there is none."""
    return buffer if buffer is not None else getattr(parts.learner, "replay", None) or None


def restore(parts: Parts, buffer: ReplayBuffer | None, folder: Path) -> list[str]:
    """Restores what ``resume_state`` saved in a checkpoint, if it fits. Returns what does not, a phrase each."""
    state, missing = load_resume_state(folder), []
    replay = replay_of(parts, buffer)
    if replay is not None and state.get("buffer") is not None:
        replay.load_state_dict(state["buffer"])
    elif replay is not None:
        missing.append("the checkpoint has no replay buffer: learning continues when it is filled again")
    reason = why_new_episodes(folder, vars(parts.config))
    if reason or "runner" not in state:
        return [*missing, f"new episodes begin: {reason or 'the checkpoint has none in progress'}"]
    try:
        parts.runner.load_state_dict(state["runner"])
        if "test_env" in state:
            parts.test_env.load_state_dict(state["test_env"])  # type: ignore[attr-defined]
            parts.tester.observation = parts.test_env.observation()  # type: ignore[attr-defined]
    except (LookupError, ValueError, RuntimeError, AttributeError, UnsavedError) as error:
        parts.runner.observation = None
        missing.append(f"new episodes begin: those of the checkpoint do not fit this run ({error})")
    return missing


def sizes(directory: Path) -> dict[str, int]:
    """Bytes of the growing files in a run's folder."""
    return {name: (directory / name).stat().st_size for name in GROWING if (directory / name).is_file()}


def cut_back(directory: Path, sizes: Mapping[str, int]) -> None:
    """Removes from the growing files the lines after the checkpoint; without one, all lines.

    Raises:
        ConfigError: a file is shorter than at the checkpoint, or cannot be written.
    """
    for name in GROWING:
        path, size = directory / name, sizes.get(name, 0)
        present = path.stat().st_size if path.is_file() else 0
        if present < size:
            raise ConfigError(f"run: {path} has {present} bytes, {size - present} less than at the checkpoint; "
                              "start a new run from it with checkpoint_path=RUN")  # fmt: skip
        try:
            if present > size:
                os.truncate(path, size)
        except OSError as error:
            raise ConfigError(f"run: cannot write {path} ({error.strerror})") from None
