"""Configures glibc's allocator to keep freed memory, because returning it to the system is slow."""

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # parameters of glibc's mallopt
KEPT = 1 << 28  # bytes of freed memory that the process keeps


def keep_freed_memory() -> bool:
    """Makes glibc keep up to 256 MiB of freed memory and reuse it for large blocks; returns whether that worked.

    torch frees and allocates megabytes at each update. By default glibc returns them to the system, which must then
    map and clear each page again. For the sizes in this package that takes longer than the computation.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = ((MMAP_THRESHOLD, KEPT), (TRIM_THRESHOLD, KEPT), (TOP_PAD, KEPT >> 4))
    return all([mallopt(name, value) == 1 for name, value in settings])
