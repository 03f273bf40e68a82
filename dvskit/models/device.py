"""The device of networks and the number of torch's threads; the only place that picks a device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

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


def started_together() -> int:
    """Return the number of processes that torchrun started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


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


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
