"""How the codes whose next spike depends on the ones before run over their channels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dvskit._threads import run_ranges, thread_count

_SMALLEST_PART = 1 << 16  # samples; below it a thread costs more than it gives
_BLOCK = 2048  # channels; the rows under a filter stay in the cache


def on_processor(signal: Tensor) -> bool:
    """Return whether compiled loops can take the signal; torch serves other devices."""
    return signal.device.type == "cpu"


def flat_signal(signal: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a signal (T, ...) as (T, N) of `dtype`, each time step a run of memory."""
    steps = signal.shape[0]
    return signal.detach().to(dtype).reshape(steps, signal[0].numel()).contiguous()


def over_channels(work: Callable[[int, int], object], shape: torch.Size) -> None:
    """Call `work(first, last)` for parts of the channels of (T, N), on all threads."""
    steps, channels = shape
    parts = max(1, min(thread_count(), channels, steps * channels // _SMALLEST_PART))
    run_ranges(work, channels, max(parts, -(-channels // _BLOCK)))
