"""Device, precision, threads and memory of training; the only place that picks a device."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dvskit.training.distributed import started_together


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_CPUINFO = Path("/proc/cpuinfo")


def pick_device() -> torch.device:
    """Return the accelerator that torch finds, else the CPU.

    With several GPUs it is the current one: `joined` gives each process its own.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available() and started_together() == 1:  # gloo needs CPU tensors
        return torch.device("mps")
    return torch.device("cpu")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 is faster than float32: whether the device has units for it.

    Without them torch emulates bfloat16, which is slower than float32. Products of Intel's
    processors are faster in AMX only: their AVX-512 units take twice the time that float32 takes.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    try:
        said = _CPUINFO.read_text("utf-8")
    except OSError:
        return False
    return "amx_bf16" in said or ("avx512_bf16" in said and "GenuineIntel" not in said)


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
