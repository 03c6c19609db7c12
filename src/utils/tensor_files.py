"""Reads files that ``torch.save`` wrote, without trusting them: no code, no expansion, no silent damage."""

import copy
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..types import ConfigError, PathLike

MOST_PICKLE = 8 * 2**20  # bytes of a file's structure, without the tensors' numbers
# the names that the pickle of tensors, numbers, texts and containers has
NAMES = re.compile(
    r"torch \w+Storage|torch\.storage (Untyped|Typed)Storage|torch\._utils _rebuild_(tensor_v[23]|parameter)|"
    r"torch (Size|device|bool|b?float\d+|u?int\d+|complex\d+)|collections (OrderedDict|Counter)|_codecs encode|"
    r"(__builtin__|builtins) (set|complex)"
)


def load_tensors(path: PathLike, map_location: Any = "cpu") -> Any:
    """The content of a file that ``torch.save`` wrote: tensors, numbers, texts, and containers of these.

    Args:
        path: the file.
        map_location: device of the tensors.

    Raises:
        ConfigError: the file is missing or damaged, or it has other objects, compressed entries, or tensors that are
            larger than their numbers in the file.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{file}: there is no such file")
    try:
        most = _check_archive(file)
        # torch 2.6 trusts the sizes that a file states, unless it maps the file: then it cannot read beyond its end
        content = torch.load(file, map_location=map_location, weights_only=True, mmap=True)
        _check_sizes(content, most)
        return copy.deepcopy(content)  # without a connection to the file
    except RefusedError as error:
        raise ConfigError(f"{file} is refused: {error}") from None
    except Exception as error:  # zipfile, torch and pickle raise many kinds of errors for damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{file} is damaged ({reason[:200]})") from error


class RefusedError(Exception):
    """A file has something that ``torch.save`` of tensors never writes."""


def _check_archive(file: Path) -> int:
    """Checks a file's entries and the names in its pickle; returns the bytes of all tensors."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise RefusedError("it has compressed entries")
        if sum(entry.file_size for entry in entries) > file.stat().st_size:
            raise RefusedError("its entries are larger than the file")
        pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
        if len(pickles) != 1 or not pickles[0].filename.endswith("/data.pkl"):
            raise RefusedError("it has not one data.pkl, as files of torch.save do")
        if pickles[0].file_size > MOST_PICKLE:
            raise RefusedError(f"its data.pkl has more than {MOST_PICKLE:,} bytes")
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} differs from its checksum")
        for code, name, _ in pickletools.genops(archive.read(pickles[0])):
            if code.name in ("STACK_GLOBAL", "INST") or (code.name == "GLOBAL" and not NAMES.fullmatch(str(name))):
                raise RefusedError(f"it names {name or 'a class'}, and only tensors, numbers and texts are read")
        return sum(entry.file_size for entry in entries if "/data/" in entry.filename)


def _check_sizes(content: Any, most: int) -> None:
    """Raises RefusedError if tensors are larger than their storages, or all storages larger than ``most`` bytes."""
    storages: dict[int, int] = {}
    visited: set[int] = set()
    rest = [content]
    while rest:
        part = rest.pop()
        if isinstance(part, Tensor):
            storage = part.untyped_storage()
            storages[storage.data_ptr()] = max(storage.nbytes(), storages.get(storage.data_ptr(), 0))
            if part.numel() * part.element_size() > storage.nbytes():
                raise RefusedError(f"a tensor of shape {tuple(part.shape)} has only {storage.nbytes()} bytes")
        elif isinstance(part, dict | list | tuple | set) and id(part) not in visited:
            visited.add(id(part))
            rest.extend(part.values() if isinstance(part, dict) else part)
    if sum(storages.values()) > most:
        raise RefusedError(f"its tensors have more than the file's {most:,} bytes")
