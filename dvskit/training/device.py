"""Precision and memory of training."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

import torch

from dvskit.models.device import has_fast_bfloat16


def training_precision(device: torch.device, precision: str = "auto") -> torch.autocast:
    """Return the autocast of a training step: bfloat16, or none.

    precision  "float32", "bfloat16", or "auto": bfloat16 if it is fast
    """
    enabled = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of mallopt(3)
_LARGEST = 2**31 - 1
_ASKED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")


def keep_memory() -> bool:
    """Make this process keep the memory that it frees, and reuse it.

    By default the C library of Linux returns large blocks to the system when they are freed;
    finding and clearing the pages of new blocks costs several times as much as writing to them, and
    a training step allocates the same large tensors each time. `train` calls this function; call it
    once before a training loop of your own. The process then holds its peak memory until it ends.

    Returns whether it took effect: with glibc on Linux, unless the environment sets
    MALLOC_MMAP_THRESHOLD_ or the like.

        dvskit.training.keep_memory()  # True on most Linux systems
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    if any(name in os.environ for name in _ASKED):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept = mallopt(_MMAP_THRESHOLD, _LARGEST) or mallopt(_MMAP_MAX, 0)  # the second in old glibc
    return bool(kept and mallopt(_TRIM_THRESHOLD, _LARGEST))
