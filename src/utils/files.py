"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from ..types import ConfigError


def writable(folder: Path, key: str) -> Path:
    """Makes ``folder`` and tries it, before any work is done whose results are to lie there.

    Args:
        folder: with ``~`` for home.
        key: what names it in the configuration.

    Raises:
        ConfigError: nothing can be written there.
    """
    folder = folder.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"{key}: cannot write into {folder} ({error.strerror}); "
                          f"give another folder with {key}=...") from None  # fmt: skip
    return folder


def write_whole(path: Path, content: str | bytes) -> Path:
    """Writes ``content`` beside the target, then moves: whenever it is cut off, what was there stays.

    Raises:
        OSError: the folder takes no files.
    """
    half = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        half.write_bytes(content.encode() if isinstance(content, str) else content)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    return path
