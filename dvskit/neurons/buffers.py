"""Memory layout of sequences (T, ...), and a pool that reuses their memory.

The first write to a new page of memory costs several times as much as a write to a used one (4
against 30 GB/s). The spikes and gradients of a layer have the same size at each training step.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit._threads import memory_bytes


def strides_of(x: Tensor) -> tuple[int, ...]:
    """Return the strides for the spikes of `x` (T, ...): of `x` if dense, else contiguous."""
    if not is_dense(x):
        lengths = [max(length, 1) for length in x.shape]
        return tuple(prod(lengths[dim + 1 :]) for dim in range(x.ndim))
    return (prod(x.shape[1:]), *x.stride()[1:])


def is_dense(x: Tensor) -> bool:
    """Return whether steps fill runs of memory, in any order of dimensions, one after the other."""
    size = _dense_step(x)
    return size is not None and (x.shape[0] == 1 or x.stride(0) == size)


def same_strides(x: Tensor, strides: Sequence[int]) -> bool:
    """Return whether `x` has these strides; dimensions of size 1 are ignored."""
    sides = zip(x.shape, x.stride(), strides, strict=True)
    return all(size == 1 or ours == wanted for size, ours, wanted in sides)


def _dense_step(x: Tensor) -> int | None:
    """Return the number of elements of a time step if it fills a run of memory, else None."""
    expected = 1
    dims = [dim for dim in range(1, x.ndim) if x.shape[dim] > 1]
    for dim in sorted(dims, key=x.stride):
        if x.stride(dim) != expected:
            return None
        expected *= x.shape[dim]
    return expected


_SMALLEST = 1 << 20  # bytes; torch's allocator already reuses smaller blocks
_SPARE = 1.5  # a block may be this many times as large as its use
_ALIGNMENT = 64


class _Lease:
    """Memory in use: tensors made of it hold this object, and its end returns the memory."""

    __slots__ = ("__array_interface__", "_block", "_returned")

    def __init__(
        self, block: NDArray[np.uint8], size: int, returned: deque[NDArray[np.uint8]]
    ) -> None:
        self._block, self._returned = block, returned
        address = block.ctypes.data + -block.ctypes.data % _ALIGNMENT
        self.__array_interface__: dict[str, Any] = {
            "data": (address, False), "shape": (size,), "typestr": "|u1", "version": 3,
        }  # fmt: skip

    def __del__(self) -> None:
        # Called in any thread and within any other code: an append is atomic and takes no lock.
        self._returned.append(self._block)


class BufferPool:
    """Blocks of memory that are not in use, at most `limit` bytes; the oldest are freed first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._returned: deque[NDArray[np.uint8]] = deque()
        self._idle: list[NDArray[np.uint8]] = []  # oldest first

    def empty(self, shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return a dense tensor like `torch.empty_strided`; its values are arbitrary."""
        size = prod(shape) * dtype.itemsize
        if size < _SMALLEST:
            return torch.empty_strided(tuple(shape), tuple(strides), dtype=dtype)
        lease = _Lease(self._take(size + _ALIGNMENT), size, self._returned)
        flat = torch.from_numpy(np.asarray(lease)).view(dtype)
        return flat.as_strided(tuple(shape), tuple(strides))

    @property
    def idle_bytes(self) -> int:
        """The number of bytes kept but not in use."""
        with self._lock:
            self._collect()
            return sum(block.nbytes for block in self._idle)

    def release(self) -> None:
        """Return all memory that is not in use to the system."""
        with self._lock:
            self._collect()
            self._idle.clear()

    def _take(self, size: int) -> NDArray[np.uint8]:
        with self._lock:
            self._collect()
            fitting = [block for block in self._idle if size <= block.nbytes <= _SPARE * size]
            if fitting:
                best = min(fitting, key=lambda block: block.nbytes)
                self._idle = [block for block in self._idle if block is not best]
                return best
        return np.empty(size, np.uint8)

    def _collect(self) -> None:
        """Take in returned blocks, and free those above the limit."""
        while self._returned:
            self._idle.append(self._returned.popleft())
        total = sum(block.nbytes for block in self._idle)
        while total > self.limit:
            total -= self._idle.pop(0).nbytes


POOL = BufferPool(min(1 << 30, memory_bytes() // 8))


def release_buffers() -> None:
    """Return the memory that layers of neurons keep for their next pass to the system.

    Layers keep blocks of 1 MB and more after their tensors are gone: at most 1 GB, or an eighth of
    the memory. Tensors in use are not touched.

        spikes = dvskit.neurons.LIF()(torch.rand(100, 8, 1000))
        del spikes
        dvskit.neurons.release_buffers()  # 3 MB go back to the system
    """
    POOL.release()
