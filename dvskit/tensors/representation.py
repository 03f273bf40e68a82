"""The common interface of representations, time bins, and the memory they are written to."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit.errors import ShapeError
from dvskit.events import Events, Size, Source, as_size, as_source
from dvskit.tensors.bins import (
    BinnedPart,
    Bins,
    NumberParts,
    Outside,
    TimeParts,
    check_bins,
    in_spans,
    time_bins,
)
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
    if out.shape[0] > 1 and out.stride(0) < length:
        return False
    return not out.numel() or out[0].is_contiguous()


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


@runtime_checkable
class Representation(Protocol):
    """Frozen parameters of a function from events to a tensor.

    The same events give the same tensor, for any blocks of a Source and any number of threads. The
    smallest one of your own is a class such as this; `register_representation` also takes a plain
    function of events.

        class EventCount:
            dtype = torch.float32

            def shape(self, size):
                return (1,)

            def __call__(self, events, *, start_us=None, out=None):
                blocks = dvskit.events.as_source(events)
                count = torch.tensor([float(sum(map(len, blocks)))])
                return count if out is None else out.copy_(count)

        isinstance(EventCount(), dvskit.tensors.Representation)    # True
    """

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the tensor."""

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of the tensor for events on a sensor of `size` (width, height).

        Raises ShapeError if it depends on the events too.
        """

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the tensor of the events.

        start_us  the origin of time; the time of the first event if None
        out       a tensor of that shape and dtype, or a view such as `batch[:, b]`; it is
                  overwritten and returned. Undefined content after an error

        Raises ShapeError if `out` does not fit, and if memory is too small.
        """


class Planar(Protocol):
    """A representation made of planes."""

    @property
    def channels(self) -> int:
        """The number of planes per bin."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the tensor."""


class PlanesFill(ABC):
    """The planes of one tensor being filled; one plane per bin.

    Planes have rows of `width` pixels; ON follows OFF at an offset of `on` values.

    in_order  whether bins must be added in sequence; else several at once
    """

    in_order: ClassVar[bool] = False

    def __init__(self, made: Planar, bins: Bins, planes: Planes, size: Size) -> None:
        self.bins, self.planes, self.width = bins, planes, size.width
        self.on = size.width * size.height if made.channels == 2 else 0

    @abstractmethod
    def add(self, part: BinnedPart, first: int, stop: int) -> None:
        """Add the events of the bins first, ..., stop - 1 of a part; one thread per bin."""

    def finish(self) -> None:
        """Complete the tensor after all events are added: planes without events become zeros."""
        self.planes.clear_rest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Binned(ABC):
    """Planes per time bin, as in `bin_events`: (bins, channels, H, W).

    bins     the number of bins; without `bin_us` they divide the time between the first event and
             the last
    bin_us   the length of a bin in microseconds; without `bins` there are as many as reach the last
             event, so the last bin may end after it and no event is dropped
    outside  "error" or "ignore", for events outside a window given by both
    """

    bins: int | None = None
    bin_us: int | None = None
    outside: Outside = "error"
    _fill: ClassVar[type[PlanesFill]]

    def __post_init__(self) -> None:
        check_bins(self.bins, self.bin_us, self.outside)

    @property
    @abstractmethod
    def channels(self) -> int:
        """The number of planes per bin."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype of the tensor."""

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return (bins, channels, H, W). Raises ShapeError without `bins`."""
        if self.bins is None:
            raise ShapeError(
                f"the number of bins of {self.bin_us} us depends on the events; pass bins too"
            )
        width, height = as_size(size)
        return int(self.bins), self.channels, height, width

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the tensor of the events; see `Representation`."""
        source = as_source(events)
        parts = TimeParts(source, time_bins(source, self.bins, self.bin_us, start_us))
        tensor = fill(self, parts, self._fill, out)
        parts.refuse_missed(self.outside)
        return tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class BinnedByPolarity(Binned):
    """Planes per time bin, one per polarity or one for both: (bins, channels, H, W).

    channels  2: OFF, ON; 1: both together
    """

    channels: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        Binned.__post_init__(self)
        check_channels(self.channels)


def one_bin_unless_given(binned: Binned) -> None:
    """Set `bins` to 1 if neither bins nor bin_us is given."""
    if binned.bins is None and binned.bin_us is None:
        object.__setattr__(binned, "bins", 1)


def check_channels(channels: int) -> None:
    """Raise ShapeError unless there are 1 or 2 channels."""
    if channels not in (1, 2):
        raise ShapeError(f"channels={channels} is neither 1, ON and OFF together, nor 2, OFF, ON")


def fill(
    made: Planar, parts: TimeParts | NumberParts, kind: type[PlanesFill], out: Tensor | None, *,
    reaching: bool = False,
) -> Tensor:  # fmt: skip
    """Return a tensor (bins, channels, H, W) filled with the parts of a stream.

    reaching  whether events are also added to the next bin
    """
    size = as_size(parts.source.size)
    shape = parts.bins.count, made.channels, size.height, size.width
    planes = planes_for(shape, made.dtype, out)
    filling = kind(made, parts.bins, planes, size)
    for part in map(parts.bins.reaching, parts) if reaching else parts:
        count = len(part.borders) - 1
        if filling.in_order:
            filling.add(part, 0, count)
            continue

        def add(first: int, stop: int, part: BinnedPart = part) -> None:
            filling.add(part, first, stop)

        in_spans(add, count, len(part.events))
    filling.finish()
    return planes.finish()
