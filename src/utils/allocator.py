"""The C library's memory: keeping what is freed, because asking the system again costs more than computing."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt
KEPT = 1 << 28  # bytes that stay with the process when they are freed


def keep_freed_memory() -> bool:
    """Lets glibc keep up to 256 MiB of freed memory, and serve large blocks from it; whether that took effect.

    torch frees and asks again for megabytes at each update. By default glibc hands them back to the system, and
    each page must be mapped and cleared anew: on the sizes here that takes longer than the arithmetic.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = ((MMAP_THRESHOLD, KEPT), (TRIM_THRESHOLD, KEPT), (TOP_PAD, KEPT >> 4))
    return all([mallopt(name, value) == 1 for name, value in settings])
