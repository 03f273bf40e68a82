"""Memory that is freed and asked for again at each training step is kept."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of mallopt(3)
_LARGEST = 2**31 - 1
_ASKED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")


def keep_memory() -> bool:
    """Have this process keep the memory that it frees, for what it allocates next.

    By default the C library of Linux gives large blocks back to the system when they are freed, and
    gets new ones, whose pages have to be found and cleared at the first write: several times the
    cost of writing them. A training step allocates and frees the same large tensors each time.
    `train` calls this; call it once before a training loop of your own. The process then holds as
    much memory as it ever needed at once, until it ends.

    Returns whether it took effect: with glibc on Linux. Elsewhere, and where the environment
    (MALLOC_MMAP_THRESHOLD_ and the like) already says otherwise, nothing is changed.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    if any(name in os.environ for name in _ASKED):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept = mallopt(_MMAP_THRESHOLD, _LARGEST) or mallopt(_MMAP_MAX, 0)  # the second in old ones
    return bool(kept and mallopt(_TRIM_THRESHOLD, _LARGEST))
