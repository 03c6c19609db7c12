"""Writes files atomically and checks that folders are writable."""

import os
from collections.abc import Mapping
from pathlib import Path

from ..config.files import usable_path
from ..types import ConfigError, OmarlError


def writable(folder: Path, key: str) -> Path:
    """Creates ``folder`` and checks that a file can be written there, so that no work is lost later.

    Args:
        folder: may begin with ``~`` for the home folder.
        key: the configuration key of the folder, for the error message.

    Raises:
        ConfigError: the folder cannot be written.
    """
    folder = usable_path(folder, key)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        message = f"{key}: cannot write into {folder} ({error.strerror}); give another folder with {key}=..."
        raise ConfigError(message) from None
    return folder


def is_within(folder: Path, root: Path) -> bool:
    """Whether a folder is inside ``root``, also after links: a link in a run's folder may lead elsewhere."""
    return folder.resolve().is_relative_to(root.resolve())


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Writes ``content`` to a temporary file, then replaces ``path``; an interruption leaves the old file intact.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # else it may be a link to another file
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_files(folder: Path, contents: Mapping[str, str | bytes]) -> list[Path]:
    """Creates ``folder`` and writes these files into it. Raises OmarlError if a file cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [write_atomically(folder / name, content) for name, content in contents.items()]
    except OSError as error:
        raise OmarlError(f"out: cannot write into {folder} ({error.strerror or error})") from error
