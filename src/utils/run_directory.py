"""The folder of a run, ``<local_results_path>/sacred/<name>/<env key>/<id>/`` as in EPyMARL, and its files."""

import json
import logging
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..config.files import usable_path
from ..types import ConfigError, PathLike, TrainingError
from .files import writable, write_atomically

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)


def env_label(config: Mapping[str, Any]) -> str:
    """The name of the environment's folder: ``env_args.key``, or the environment's name if there is no key."""
    arguments = config.get("env_args")
    key = arguments.get("key") if isinstance(arguments, Mapping) else None
    return str(key or config.get("env")).replace("/", "_")


def base_directory(config: Mapping[str, Any]) -> Path:
    """The folder of all runs of one configuration in one environment."""
    return Path(config["local_results_path"]) / "sacred" / str(config["name"]) / env_label(config)


def new_directory(config: Mapping[str, Any], path: PathLike | None = None) -> Path:
    """Creates a run's folder: ``path``, or the next number in the folder of its configuration's runs.

    Raises:
        ConfigError: ``path`` is not empty, or cannot be written.
    """
    if path is not None:
        folder = usable_path(path, "path").absolute()
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"path: {folder} is not empty; give a new folder")
        return writable(folder, "path")
    base = writable(base_directory(config).absolute(), "local_results_path")
    number = 1 + max((int(run.name) for run in base.iterdir() if run.name.isdecimal()), default=0)
    while True:
        try:
            (base / str(number)).mkdir()
        except FileExistsError:  # another run started at the same time
            number += 1
        else:
            return base / str(number)


@contextmanager
def status_recorded(folder: Path) -> Iterator[None]:
    """Records the body's status in ``run.json`` with Sacred's names: RUNNING, COMPLETED, INTERRUPTED or FAILED."""
    record: dict[str, Any] = {"status": "RUNNING", "start_time": datetime.now(UTC).isoformat()}
    write_json(folder / "run.json", record)
    try:
        yield
        record["status"] = "COMPLETED"
    except KeyboardInterrupt:
        record["status"] = "INTERRUPTED"
        raise
    except BaseException as error:
        record |= {"status": "FAILED", "fail_trace": traceback.format_exception(error)}
        raise
    finally:
        record["stop_time"] = datetime.now(UTC).isoformat()
        write_json(folder / "run.json", record)


def status_of(folder: Path) -> str:
    """The status in ``run.json``, with Sacred's names; empty if it cannot be read."""
    try:
        return str(json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


@contextmanager
def locked(folder: Path, key: str = "run", waits: bool = False) -> Iterator[None]:
    """Keeps other processes from training in ``folder`` meanwhile; POSIX only.

    If one does, it ``waits`` for it, or raises ConfigError.
    """
    if fcntl is None:
        yield
        return
    path = folder / ".lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not waits:
                raise ConfigError(f"{key}: another process trains in {folder}; wait for it or stop it") from None
            log.info("waiting for another process, which works in %s", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if not waits:  # else others wait for this very file
                path.unlink(missing_ok=True)


def resume_command(folder: Path, config: Mapping[str, Any]) -> str:
    """The command that continues the run in ``folder``; it repeats the names of code outside omarl."""
    program = "python main.py" if Path(sys.argv[0]).name == "main.py" else "omarl"
    names = config.get("trust") or []
    trusted = "True" if names is True else names[0] if len(names) == 1 else f"[{','.join(names)}]"
    words = [*program.split(), "resume", "with", f"run={folder}", *([f"trust={trusted}"] if names else [])]
    return f"to continue: {shlex.join(words)}"


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically: an interruption leaves the old file intact."""
    write_atomically(path, json.dumps(value, sort_keys=True, indent=2))


def append_line(path: Path, value: Any) -> None:
    """Appends ``value`` as a line of JSON.

    Raises:
        TrainingError: the file cannot be written, for example because the disk is full.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value) + "\n")
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error
