"""Writes and reads ``checkpoints/<t_env>/``: PyMARL's model files and the remaining state of a run."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..config.files import usable_path
from ..types import ConfigError, PathLike, TrainingError
from .run_directory import write_json
from .tensor_files import load_tensors

log = logging.getLogger(__name__)

RUN_FILE = "run.th"
RESUME_FILE = "resume.th"  # the large part of the state, which only an exactly resumed run needs
# keys that determine episodes
OF_EPISODES = ("seed", "env", "env_args", "game", "batch_size_run", "test_nepisode", "runner", "pool", "split",
               "omg_learners", "opponent_information", "opponents_switch", "opponents_switch_order")  # fmt: skip
MANIFEST = "checkpoint.json"  # the size and the SHA-256 of every file, the score, and what the checkpoint leaves out


def save_checkpoint(
    run_directory: Path,
    t_env: int,
    learner: Any,
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    resume_state: Mapping[str, Any] | None = None,
    left_out: Sequence[str] = (),
    score: float | None = None,
) -> Path:
    """Writes ``checkpoints/<t_env>/`` completely or, on an error, not at all.

    Args:
        run_directory: the run's folder.
        t_env: environment step, the checkpoint's name.
        learner: its ``save_models`` writes the models; its ``state_dict``, if it has one, is stored too.
        config: stored with the models, so that the checkpoint can be moved and evaluated elsewhere.
        state: further state of the run, such as counters and random generators.
        resume_state: the replay buffer and the episodes in progress.
        left_out: what an exactly resumed run would need and neither state has.
        score: the mean return of the last test, for ``prune``.

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
        torch.save(dict(resume_state or {}), draft / RESUME_FILE)
        write_json(draft / "config.json", dict(config))
        files = {str(file.relative_to(draft)): {"bytes": file.stat().st_size, "sha256": digest(file)}
                 for file in draft.rglob("*") if file.is_file()}  # fmt: skip
        write_json(draft / MANIFEST, {"t_env": t_env, "files": files, "left_out": list(left_out), "score": score})
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        shutil.rmtree(draft, ignore_errors=True)
        raise TrainingError(f"cannot write the checkpoint {folder} (is the disk full?): {error}") from error
    return folder


def prune(run_directory: Path, kept: int) -> None:
    """Removes ``resume.th`` from checkpoints except the last ``kept`` and the one with the highest score."""
    folders = [run_directory / "checkpoints" / str(step) for step in _steps(run_directory / "checkpoints")]
    contents = {folder: _manifest(folder) for folder in folders}
    scored = [folder for folder in folders if contents[folder].get("score") is not None]
    best = max(reversed(scored), key=lambda folder: contents[folder]["score"], default=None)
    for folder in folders[: len(folders) - kept]:
        content = contents[folder]
        if folder == best or RESUME_FILE not in content.get("files", {}):
            continue
        del content["files"][RESUME_FILE]
        write_json(folder / MANIFEST, {**content, "left_out": ["the replay buffer and the episodes in progress"]})
        (folder / RESUME_FILE).unlink(missing_ok=True)


def remove_leftovers(run_directory: Path) -> None:
    """Removes what an interrupted write left in a run's folder. No run may be writing there."""
    for path in (*run_directory.glob(".*.tmp"), *run_directory.glob("checkpoints/.*.tmp")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest's content; {} if it is missing or damaged."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def damage(folder: Path) -> str:
    """The first difference of a checkpoint's files from its manifest, in a few words; empty if there is none."""
    stats = tuple((str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns)
                  for file in sorted(folder.rglob("*")))  # fmt: skip
    return _damage(folder, stats)


@cache
def _damage(folder: Path, stats: tuple[tuple[str, int, int], ...]) -> str:
    """``damage`` of the files with these sizes and times: every file is hashed once in a process."""
    sizes = {name: size for name, size, _ in stats}
    if MANIFEST not in sizes:
        if RUN_FILE not in sizes:
            return f"{RUN_FILE} is missing"
        log.warning("%s has no %s (omarl 0.1 wrote none): its files are used unchecked", folder, MANIFEST)
        return ""
    files = _manifest(folder).get("files")
    if not isinstance(files, dict) or RUN_FILE not in files or "config.json" not in files:
        return f"{MANIFEST} is damaged"
    for name, entry in files.items():
        if name not in sizes:
            return f"{name} is missing"
        if not isinstance(entry, dict) or sizes[name] != entry.get("bytes"):
            return f"{name} has {sizes[name]} bytes, not {entry.get('bytes') if isinstance(entry, dict) else entry}"
        try:
            if digest(folder / name) != entry.get("sha256"):
                return f"{name} has changed since it was written"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return ""


def _steps(folder: Path) -> list[int]:
    """The environment steps of the checkpoints in ``folder``, rising."""
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdecimal() and (p / RUN_FILE).is_file())


def checkpoints_in(run: Path, key: str = "checkpoint_path") -> Iterator[Path]:
    """The undamaged checkpoints of a run, the last first. A warning names each damaged one on the way."""
    root = run / "checkpoints" if (run / "checkpoints").is_dir() else run
    present = [path for path in root.glob("*") if path.name.isdecimal() and path.is_dir()] if root.is_dir() else []
    for folder in sorted(present, key=lambda path: -int(path.name)):
        reason = damage(folder)
        if not reason:
            yield folder
            continue
        log.warning("%s: the checkpoint %s is damaged (%s); the one before it is used", key, folder, reason)


def find_checkpoint(path: PathLike, load_step: int = 0, key: str = "checkpoint_path") -> Path:
    """Finds a checkpoint's folder.

    Args:
        path: a run's folder, its ``checkpoints`` folder, or one checkpoint.
        load_step: the environment step of the wanted checkpoint; the nearest is taken. 0 takes the last undamaged
            one.
        key: the configuration key of the path, for error messages.

    Raises:
        ConfigError: there is no checkpoint, or the one that was asked for is damaged.
    """
    root = usable_path(path, key)
    steps = _steps(root / "checkpoints" if (root / "checkpoints").is_dir() else root)
    if (root / RUN_FILE).is_file() or (root / MANIFEST).is_file() or (load_step and steps):
        if load_step and steps:
            nearest = str(min(steps, key=lambda step: abs(step - load_step)))
            root = root / "checkpoints" / nearest if (root / "checkpoints").is_dir() else root / nearest
        reason = damage(root)
        if reason:
            raise ConfigError(f"{key}: the checkpoint {root} is damaged ({reason}); give another one")
        return root
    for folder in checkpoints_in(root, key):
        return folder
    if root.exists() and any(root.glob("checkpoints/*")):
        raise ConfigError(f"{key}: all checkpoints of {root} are damaged; give another run")
    reason = "holds no checkpoint (the run ended before its first?)" if root.exists() else "does not exist"
    raise ConfigError(f"{key}: {root} {reason}; give a run's directory")


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
    state = _tensors(folder / RUN_FILE)
    if "t_env" not in state:
        raise ConfigError(f"checkpoint_path: {folder / RUN_FILE} is not the state of a run")
    saved = state.get("learner")
    try:
        learner.load_models(str(folder))
        if saved is not None and hasattr(learner, "load_state_dict"):
            learner.load_state_dict(saved)
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = reason_of(error)
        if isinstance(error, OSError) or "zip archive" in reason:
            raise ConfigError(f"checkpoint_path: {folder} is damaged ({reason})") from error
        raise ConfigError(
            f"checkpoint_path: {folder} belongs to another learner, environment or size of network ({reason})"
        ) from error
    return state


def load_resume_state(folder: Path) -> dict[str, Any]:
    """The ``resume_state`` of a checkpoint; {} if it has none. Raises ConfigError if the file is damaged."""
    return _tensors(folder / RESUME_FILE) if (folder / RESUME_FILE).is_file() else {}


def _tensors(file: Path) -> dict[str, Any]:
    """A dictionary that ``torch.save`` wrote, on the CPU, since it may hold a large replay buffer."""
    try:
        content = load_tensors(file)
    except ConfigError as error:
        raise ConfigError(f"checkpoint_path: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"checkpoint_path: {file} has no dictionary")
    return content


def why_new_episodes(folder: Path, config: Mapping[str, Any]) -> str:
    """Why a run with this configuration cannot continue the episodes in a checkpoint; empty if it can."""
    if not (folder / RESUME_FILE).is_file():
        return "the checkpoint has no episodes in progress"
    try:
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "the checkpoint has no configuration"
    differing = [name for name in OF_EPISODES if name in stored and stored[name] != config.get(name)]
    return f"{', '.join(differing)} differ from the checkpoint's" if differing else ""


def left_out(folder: Path) -> list[str]:
    """What the checkpoint lacks for an exactly resumed run."""
    return list(_manifest(folder).get("left_out", ()))


def reason_of(error: BaseException) -> str:
    """The first informative line of an error's text; torch starts with a heading that ends with a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith(":")), type(error).__name__)
