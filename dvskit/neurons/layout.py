"""How a sequence (T, ...) lies in memory, and the same as (T, N) without a copy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def strides_of(x: Tensor) -> tuple[int, ...]:
    """Return the strides in which the spikes of `x` (T, ...) lie: its own where they are dense.

    Dense is an input whose time steps fill a run of memory each and follow one another, in whatever
    order of dimensions (channels_last too); of another, spikes are contiguous.
    """
    if not is_dense(x):
        return _contiguous(x.shape)
    return (_count(x.shape[1:]), *x.stride()[1:])


def is_dense(x: Tensor) -> bool:
    """Return whether each time step fills a run of memory, and the steps follow one another."""
    size = _dense_step(x)
    return size is not None and (x.shape[0] == 1 or x.stride(0) == size)


def same_strides(x: Tensor, strides: Sequence[int], *, behind_time: bool = False) -> bool:
    """Return whether x lies in such strides; with `behind_time` those of time may differ."""
    pairs = list(zip(x.shape, x.stride(), strides, strict=True))
    return all(size == 1 or ours == wanted for size, ours, wanted in pairs[int(behind_time) :])


def _dense_step(x: Tensor) -> int | None:
    """Return how many elements a time step has if it fills a run of memory, else None."""
    expected = 1
    dims = [dim for dim in range(1, x.ndim) if x.shape[dim] > 1]
    for dim in sorted(dims, key=x.stride):
        if x.stride(dim) != expected:
            return None
        expected *= x.shape[dim]
    return expected


def _contiguous(shape: torch.Size) -> tuple[int, ...]:
    strides, size = [], 1
    for length in reversed(shape):
        strides.append(size)
        size *= max(length, 1)
    return tuple(reversed(strides))


def _count(shape: torch.Size) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
