"""The one place that picks a device and a precision."""

from __future__ import annotations

from pathlib import Path

import torch

from dvskit.training.world import started_together

_CPUINFO = Path("/proc/cpuinfo")


def pick_device() -> torch.device:
    """Return the accelerator that torch finds, else the processor.

    Of several GPUs it is the current one: `joined` gives each process its own.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available() and started_together() == 1:  # gloo is of processors
        return torch.device("mps")
    return torch.device("cpu")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 is faster than float32 here: a GPU's or a processor's own units.

    Without them torch emulates bfloat16 and is slower than in float32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    try:
        flags = _CPUINFO.read_text("utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def training_precision(device: torch.device, precision: str = "auto") -> torch.autocast:
    """Return the autocast of a training step: of bfloat16, or none.

    precision  "float32", "bfloat16", or "auto": bfloat16 where it is fast
    """
    enabled = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
