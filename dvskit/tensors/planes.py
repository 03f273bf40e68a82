"""The output memory of a representation: a new tensor, or a given view."""

from __future__ import annotations

import os
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit.errors import ShapeError
from dvskit.tensors.counts_kernels import Span


class Planes(NamedTuple):
    """A tensor of contiguous planes, `step` values from one to the next.

    flat    (values,) the memory from the first plane on
    length  values per plane
    held    int64, events in each plane; a plane with 0 may not be written yet
    clean   whether unwritten planes hold zeros
    tensor  the planes as a tensor
    out     the requested tensor: `tensor`, or a view that the planes are copied to
    """

    flat: NDArray[Any]
    step: int
    length: int
    held: NDArray[np.int64]
    clean: bool
    tensor: Tensor
    out: Tensor

    def span(self, first: int, stop: int) -> Span:
        """Return the kernel arguments for the planes first, ..., stop - 1."""
        held = self.held[first:stop]
        return self.flat, first * self.step, self.step, self.length, held, self.clean

    def plane(self, number: int) -> NDArray[Any]:
        """Return a plane, (length,)."""
        start = number * self.step
        plane: NDArray[Any] = self.flat[start : start + self.length]
        return plane

    def seen_as(self, dtype: np.dtype[Any]) -> Planes:
        """Return the same memory viewed as another dtype of the same width."""
        return self._replace(flat=self.flat.view(dtype))

    def clear_rest(self) -> None:
        """Write zeros to the planes without events."""
        if not self.clean:
            for number in np.flatnonzero(self.held == 0).tolist():
                self.plane(number)[:] = 0

    def finish(self) -> Tensor:
        """Return the tensor: the given `out`, or the new one."""
        if self.out is not self.tensor:
            self.out.copy_(self.tensor)
        return self.out


def planes_for(shape: tuple[int, ...], dtype: torch.dtype, out: Tensor | None) -> Planes:
    """Return planes for a tensor of `shape`, whose first dimension counts the planes.

    They are `out` itself if its planes are contiguous in CPU memory, as in `batch[:, b]` of a
    (T, B, ...) tensor. Otherwise the planes are copied to `out` at the end.

    Raises ShapeError if `out` has another shape or dtype, or if memory is too small.
    """
    length = prod(shape[1:])
    if out is not None:
        check_out(out, shape, dtype)
        if _stands_in_one_piece(out, length):
            given = out.detach()
            step = given.stride(0) if shape[0] > 1 else length
            values = (shape[0] - 1) * step + length if given.numel() else 0
            flat = given.as_strided((values,), (1,)).numpy()
            return Planes(flat, step, length, np.zeros(shape[0], np.int64), False, out, out)
    zeros = zeros_for(shape, dtype)
    tensor = torch.from_numpy(zeros)
    held = np.zeros(shape[0], np.int64)
    out = tensor if out is None else out
    return Planes(zeros.reshape(-1), length, length, held, True, tensor, out)


def check_out(out: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Raise ShapeError unless `out` has this shape and dtype."""
    if tuple(out.shape) != shape or out.dtype != dtype:
        raise ShapeError(
            f"out is {tuple(out.shape)} of {out.dtype}; {shape} of {dtype} is to be written"
        )


def _stands_in_one_piece(out: Tensor, length: int) -> bool:
    if not out.is_cpu or out.layout != torch.strided:
        return False
    shape, strides = out.shape, out.stride()
    if shape[0] > 1 and strides[0] < length:
        return False
    if not length:
        return True
    within = 1  # same as `out[0].is_contiguous()`, without creating a tensor
    for size, stride in zip(shape[:0:-1], strides[:0:-1], strict=True):
        if size != 1 and stride != within:
            return False
        within *= size
    return True


def zeros_for(shape: tuple[int, ...], dtype: torch.dtype) -> NDArray[Any]:
    """Return an array of zeros, (shape).

    NumPy places large arrays in huge pages, torch does not: half the time to touch them.
    Raises ShapeError if memory is too small.
    """
    size = prod(shape) * dtype.itemsize
    try:
        if size > memory_bytes():
            raise MemoryError
        return np.zeros(shape, torch.empty(0, dtype=dtype).numpy().dtype)
    except (MemoryError, ValueError) as error:
        raise ShapeError(
            f"a tensor of shape {shape} takes {size / 2**30:,.1f} GiB, more than is available; "
            "use fewer or longer bins"
        ) from error


def memory_bytes() -> int:
    """Return the memory of this machine in bytes; the largest integer if unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return (1 << 63) - 1
