"""The memory that this process may still allocate: the machine's, its container's and its user's limits."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..types import TrainingError

ROOT = Path("/")
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "CUDA out of memory")  # in messages of torch


def available_memory(device: Any = "cpu", root: Path = ROOT) -> int:
    """Bytes that can still be allocated on ``device`` without swapping.

    In main memory it is the least of the system's available memory, the remaining memory of the control groups (of
    both versions) that contain this process, and what ``ulimit -v`` and ``ulimit -d`` leave. ``root`` is the folder
    of ``proc`` and ``sys``.
    """
    if str(device).startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return max(0, min([_system(root), *_control_groups(root), *_user_limits(root)]))


def resident_memory(root: Path = ROOT) -> int:
    """Bytes of main memory that this process occupies; 0 if unknown."""
    return _fields(root / "proc/self/status").get("VmRSS", 0)


def readable(n_bytes: float) -> str:
    """``n_bytes`` in MiB, or in GiB from one GiB on."""
    return f"{n_bytes / 2**30:.2f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"


@contextmanager
def memory_errors_explained() -> Iterator[None]:
    """Replaces a failed allocation of numpy or torch by a TrainingError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, MemoryError) and not any(words in text for words in OUT_OF_MEMORY):
            raise
        raise TrainingError(
            f"out of memory ({readable(available_memory())} are free): lower batch_size_run, batch_size, "
            "rollout_steps, buffer_size or hidden_dim"
        ) from error


def _system(root: Path) -> int:
    available = _fields(root / "proc/meminfo").get("MemAvailable")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if available is None else available


def _fields(file: Path) -> dict[str, int]:
    """The sizes in a file of lines ``name: number kB``, in bytes; empty if there is no such file."""
    try:
        lines = [line.replace(":", " ").split() for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return {}
    return {words[0]: 1024 * int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}


def _control_groups(root: Path) -> Iterator[int]:
    """What each control group with a limit leaves. Memory of cached files counts as free: the kernel drops it."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # a container may see its own group as the root, whatever its path
        inside = Path(path.strip("/"))
        for group in (inside, *inside.parents):
            yield from _remaining(mount / group, *names)


def _remaining(group: Path, limit: str, used: str, cached: str) -> Iterator[int]:
    try:
        most = (group / limit).read_text(encoding="utf-8").strip()
        now = int((group / used).read_text(encoding="utf-8"))
        statistics = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        return
    if most.isdecimal():  # "max": no limit
        yield int(most) - now + int(statistics.get(cached, 0))


def _user_limits(root: Path) -> Iterator[int]:
    if sys.platform == "win32":
        return
    import resource

    status = _fields(root / "proc/self/status")
    for kind, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit - status.get(used, 0)
