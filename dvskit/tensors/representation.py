"""The interface of representations: bins, planes of memory, and files of tensors.

A stream is cut at the borders of bins, along time or along the number of events; each bin fills
planes of a tensor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from dvskit._checks import check_choice, check_fields, check_whole, checked
from dvskit._files import whole_file
from dvskit._threads import memory_bytes, run_ranges, thread_count
from dvskit.errors import ConfigError, OutputError, ShapeError, did_you_mean
from dvskit.events import Events, Size, Source, as_size, as_source, cut
from dvskit.tensors.counts_kernels import Columns, Span

Outside = Literal["error", "ignore"]
OUTSIDE: tuple[Outside, ...] = get_args(Outside)

LARGEST = 1 << 62  # bound on products of times and bins: exact in int64
LATEST_US = (1 << 63) - 1
_WORTH_A_THREAD = 1 << 17  # starting a thread costs as much as counting ten thousand events


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of equal length on an integer axis: times in microseconds, or event numbers.

    Bin k holds start <= at < stop with (at - start) * numerator // denominator == k.
    """

    start: int
    stop: int
    count: int
    numerator: int
    denominator: int

    def of(self, at: int) -> int:
        """Return the bin of a position between start and stop."""
        return (at - self.start) * self.numerator // self.denominator

    def edges(self, first: int, stop: int) -> NDArray[np.int64]:
        """Return the starts of the bins first, ..., stop - 1, relative to `start`."""
        numbers = np.arange(first, stop, dtype=np.int64)
        return -(-numbers * self.denominator // max(1, self.numerator))

    def reaching(self, part: BinnedPart) -> BinnedPart:
        """Return a part extended by the next bin, empty, if there is one."""
        if part.first + len(part.borders) > self.count:
            return part
        return part._replace(borders=np.append(part.borders, part.borders[-1]))

    def check(self) -> None:
        """Raise ShapeError if int64 cannot compute the bins exactly."""
        span = self.stop - self.start
        if span * self.numerator + self.denominator >= LARGEST:
            raise ShapeError(
                f"{self.count} bins over {span} us are too many to count exactly; take fewer bins"
            )


class BinnedPart(NamedTuple):
    """Events of a block and the bin borders: bin `first` + i is events[borders[i]:borders[i + 1]].

    borders  int64, from 0 to the number of events
    """

    events: Events
    first: int
    borders: NDArray[np.int64]


def columns_of(events: Events) -> Columns:
    """Return the event columns for kernels: t, x, y and p."""
    return events.t, events.x, events.y, events.p


class TimeParts:
    """A Source cut at the borders of time bins. `missed` counts the events outside all bins."""

    def __init__(self, source: Source, bins: Bins, outside: Outside) -> None:
        self.source, self.bins, self.outside, self.missed = source, bins, outside, 0

    def __iter__(self) -> Iterator[BinnedPart]:
        bins = self.bins
        # Numbers beyond int64 would be compared as floats.
        stop = None if bins.stop > LATEST_US else bins.stop
        for block in self.source:
            inside = cut(block, bins.start, stop)
            self.missed += len(block) - len(inside)
            if not len(inside):
                continue
            first, last = bins.of(int(inside.t[0])), bins.of(int(inside.t[-1]))
            borders = np.zeros(last - first + 2, np.int64)
            borders[-1] = len(inside)
            if last > first:
                edges = bins.edges(first + 1, last + 1) + bins.start
                borders[1:-1] = np.searchsorted(inside.t, edges)
            yield BinnedPart(inside, first, borders)

    def refuse_missed(self) -> None:
        """Raise ShapeError if events were missed and `outside` is "error"."""
        refuse_outside(self.missed, (self.bins.start, self.bins.stop), self.outside)


def refuse_outside(missed: int, window_us: tuple[int, int], outside: Outside) -> None:
    """Raise ShapeError if events were outside the window and `outside` is "error"."""
    if missed and outside == "error":
        start_us, stop_us = window_us
        raise ShapeError(
            f"{missed:,} events are outside the window [{start_us}, {stop_us}) us; widen it, "
            'or pass outside="ignore"'
        )


class NumberParts:
    """A Source cut at bins of event numbers. `missed` counts the events after the last bin.

    Number 0 is the first event at or after `start_us`; earlier events are dropped.
    """

    def __init__(
        self, source: Source, bins: Bins, outside: Outside, start_us: int | None = None
    ) -> None:
        self.source, self.bins, self.outside, self.missed = source, bins, outside, 0
        self.start_us = start_us

    def __iter__(self) -> Iterator[BinnedPart]:
        bins, seen = self.bins, 0
        for block in self.source:
            block = cut(block, self.start_us, None)
            inside = block[: max(0, bins.stop - seen)]
            self.missed += len(block) - len(inside)
            if len(inside):
                first, last = bins.of(seen), bins.of(seen + len(inside) - 1)
                borders = np.zeros(last - first + 2, np.int64)
                borders[1:-1] = bins.edges(first + 1, last + 1) - seen
                borders[-1] = len(inside)
                yield BinnedPart(inside, first, borders)
            seen += len(block)

    def refuse_missed(self) -> None:
        """Raise ShapeError if events were missed and `outside` is "error"."""
        if self.missed and self.outside == "error":
            raise ShapeError(
                f"{self.missed:,} events follow the {self.bins.count} frames of "
                f'{self.bins.denominator} events; use more frames, or pass outside="ignore"'
            )


def in_spans(work: Callable[[int, int], None], count: int, amount: int) -> None:
    """Call `work(first, stop)` for spans that cover range(count), in parallel if it pays.

    `amount` is the number of values touched in total. Spans do not overlap, so each bin can be
    written without a lock.
    """
    threads = threads_for(amount)
    if threads == 1 or count == 1:
        work(0, count)
        return
    parts = min(count, 4 * threads)
    run_ranges(work, count, parts, threads)


def threads_for(amount: int) -> int:
    """Return the number of threads for touching this many values."""
    return thread_count() if amount >= _WORTH_A_THREAD else 1


def time_bins(
    blocks: Iterable[Events], bins: int | None, bin_us: int | None, start_us: int | None
) -> Bins:
    """Return the time bins that `bin_events` describes; reads the times if necessary."""
    first, last = start_us, None
    if bins is None or bin_us is None or start_us is None:
        first, last = find_span(blocks)
    start = int(start_us) if start_us is not None else first if first is not None else 0
    span = 0 if last is None else max(0, last - start + 1)  # [start, last], the last included
    if bin_us is not None:
        bins = -(-span // bin_us) if bins is None else int(bins)
        found = Bins(start, start + bins * int(bin_us), bins, 1, int(bin_us))
    else:
        bins = int(bins or 0)  # one of both is given
        found = Bins(start, start + span, bins, bins, max(1, span))
    found.check()
    return found


def find_span(blocks: Iterable[Events]) -> tuple[int | None, int | None]:
    """Return the times of the first and the last event; None without events."""
    first = last = None
    for block in blocks:
        if len(block):
            first = int(block.t[0]) if first is None else first
            last = int(block.t[-1])
    return first, last


def count_events(source: Source, start_us: int | None = None) -> int:
    """Return the number of events of a Source at or after `start_us`."""
    return sum(len(cut(block, start_us, None)) for block in source)


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


class Planar(ABC):
    """A representation made of planes: (bins, channels, H, W)."""

    __slots__ = ()
    _fill: ClassVar[type[PlanesFill]]
    _reaching: ClassVar[bool] = False  # whether events are also added to the next bin

    @property
    @abstractmethod
    def channels(self) -> int:
        """The number of planes per bin."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype of the tensor."""

    @property
    @abstractmethod
    def _count(self) -> int | None:
        """The number of bins; None if it depends on the events."""

    @abstractmethod
    def _parts(self, source: Source, start_us: int | None) -> TimeParts | NumberParts:
        """Return a source cut at the borders of the bins."""

    def bin_shape(self, size: Size) -> tuple[int, ...]:
        """Return the shape of a bin."""
        return self.channels, size.height, size.width

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of the tensor. Raises ShapeError if it depends on the events."""
        if self._count is None:
            raise ShapeError(f"the number of bins of {self} depends on the events; give it too")
        return int(self._count), *self.bin_shape(as_size(size))

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the tensor of the events; see `Representation`."""
        source = as_source(events)
        parts, size = self._parts(source, start_us), as_size(source.size)
        bins = parts.bins
        planes = planes_for((bins.count, *self.bin_shape(size)), self.dtype, out)
        filling = self._fill(self, bins, planes, size)
        for part in map(bins.reaching, parts) if self._reaching else parts:
            count = len(part.borders) - 1
            if filling.in_order:
                filling.add(part, 0, count)
                continue

            def add(first: int, stop: int, part: BinnedPart = part) -> None:
                filling.add(part, first, stop)

            in_spans(add, count, len(part.events))
        filling.finish()
        tensor = planes.finish()
        parts.refuse_missed()
        return tensor


class PlanesFill(ABC):
    """The planes of one tensor being filled; one plane per bin.

    Planes have rows of `width` pixels; ON follows OFF at an offset of `on` values.

    in_order  whether bins must be added in sequence; else several at once
    """

    in_order: ClassVar[bool] = False

    def __init__(self, made: Any, bins: Bins, planes: Planes, size: Size) -> None:
        self.bins, self.planes, self.width = bins, planes, size.width
        self.on = size.width * size.height if made.channels == 2 else 0

    @abstractmethod
    def add(self, part: BinnedPart, first: int, stop: int) -> None:
        """Add the events of the bins first, ..., stop - 1 of a part; one thread per bin."""

    def finish(self) -> None:
        """Complete the tensor after all events are added: planes without events become zeros."""
        self.planes.clear_rest()


@dataclass(frozen=True, slots=True, kw_only=True)
class BinnedPlanes(Planar):
    """Planes per time bin, as in `bin_events`: (bins, channels, H, W).

    bins     the number of bins; without `bin_us` they divide the time between the first event and
             the last
    bin_us   the length of a bin in microseconds; without `bins` there are as many as reach the last
             event, so the last bin may end after it and no event is dropped
    outside  "error" or "ignore", for events outside a window given by both
    """

    bins: int | None = checked(check_whole, 1, LARGEST, default=None)
    bin_us: int | None = checked(check_whole, 1, LARGEST, default=None)
    outside: Outside = checked(check_choice, OUTSIDE, default="error")
    _one_bin: ClassVar[bool] = False  # by default

    def __post_init__(self) -> None:
        if self.bins is None and self.bin_us is None:
            if not self._one_bin:
                raise ConfigError(f"{type(self).__name__}: give bins, bin_us, or both")
            object.__setattr__(self, "bins", 1)
        check_fields(self)

    @property
    def _count(self) -> int | None:
        return self.bins

    def _parts(self, source: Source, start_us: int | None) -> TimeParts:
        bins = time_bins(source, self.bins, self.bin_us, start_us)
        return TimeParts(source, bins, self.outside)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolarityPlanes(BinnedPlanes):
    """Planes per time bin, one per polarity or one for both: (bins, channels, H, W).

    channels  2: OFF, ON; 1: both together
    """

    channels: Literal[1, 2] = checked(check_choice, (1, 2), default=2)


_SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")


def save_tensor(
    tensor: Tensor,
    path: str | PathLike[str],
    *,
    name: str = "tensor",
    notes: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a tensor to a file in the format of its suffix.

    .npy          an array, for numpy.load; uncompressed, so that it can be memory-mapped
    .npz          an array `name` in a compressed archive, for numpy.load
    .pt, .pth     the tensor itself, for torch.load, also with weights_only=True
    .safetensors  a tensor `name`, with `notes`, for safetensors.torch.load_file

    The file is written whole or not at all. Raises OutputError for another suffix, for an existing
    file unless `overwrite`, and for errors of the operating system.

        events = dvskit.load_events("events.raw")
        counts = dvskit.tensors.bin_events(events, bins=20)
        dvskit.tensors.save_tensor(counts, "counts.npy")
        np.load("counts.npy", mmap_mode="r").shape    # (20, 2, 128, 128)
    """
    suffix = tensor_suffix(path)
    with whole_file(path, overwrite=overwrite) as partial:
        try:
            _write(tensor.detach().cpu().contiguous(), partial, suffix, name, notes)
        except (SafetensorError, RuntimeError) as error:  # write errors of torch and safetensors
            raise OutputError(f"{path}: {error}; choose another place") from error


def tensor_suffix(path: str | PathLike[str]) -> str:
    """Return the suffix that selects the format. Raises OutputError for any other."""
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise OutputError(
            f"{path}: the suffix selects the format; {did_you_mean(suffix, _SUFFIXES)}"
        )
    return suffix


def _write(
    tensor: Tensor, path: Path, suffix: str, name: str, notes: Mapping[str, str] | None
) -> None:
    if suffix == ".safetensors":
        # save_file writes to a name of its own, which stays if the process is killed.
        path.write_bytes(save({name: tensor}, dict(notes or {})))
        return
    with path.open("wb") as file:  # given a path, torch would store the name of the partial file
        if suffix == ".npy":
            np.save(file, tensor.numpy(), allow_pickle=False)
        elif suffix == ".npz":
            np.savez_compressed(file, **{name: tensor.numpy()})  # type: ignore[arg-type]
        else:
            torch.save(tensor, file)
