"""Events -> counts per time bin, polarity and pixel; whether there was any; ON less OFF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit._threads import run_parts
from dvskit.errors import ShapeError
from dvskit.events import Events, Size, Source, as_source
from dvskit.tensors.bins import (
    LATEST_US,
    Bins,
    Outside,
    Part,
    columns_of,
    refuse_outside,
    threads_for,
    time_bins,
)
from dvskit.tensors.counts_kernels import Span, add_counts, add_signs, add_tally, count_few, mark
from dvskit.tensors.planes import Planes, planes_for
from dvskit.tensors.representation import Binned, BinnedByPolarity, Planar, PlanesFill

# The most that a dtype counts to, each number in between too.
MOST = {
    torch.uint8: 255,
    torch.int16: (1 << 15) - 1,
    torch.int32: (1 << 31) - 1,
    torch.float32: 1 << 24,
}
# Events up to which one pass is faster, measured with 1 to 20 bins on 34x34 and 640x480 pixels: it
# begins 10 to 20 us earlier, and takes up to 1.7 times as long for an event.
_FEW = 1 << 14


def refuse_full(full: int, most: int) -> None:
    """Raise ShapeError where events could not be counted."""
    if full:
        raise ShapeError(
            f"{full:,} events are more than {most} in a bin of their pixel, which the dtype cannot "
            "hold; take shorter bins, or dtype=torch.int32"
        )


class _CheckedFill(PlanesFill):
    """A tensor of counts up to `most` that is filled; events beyond that are noted in `full`."""

    def __init__(self, made: Planar, bins: Bins, planes: Planes, size: Size) -> None:
        super().__init__(made, bins, planes, size)
        self.most = MOST[made.dtype]
        self.full: list[int] = []

    def note(self, full: int) -> None:
        """Note how many events could not be counted."""
        if full:
            self.full.append(full)

    def finish(self) -> None:
        """Refuse counts that do not fit. Raises ShapeError."""
        super().finish()
        refuse_full(sum(self.full), self.most)


class CountsFill(_CheckedFill):
    """A tensor of counts that is filled."""

    def add(self, part: Part, first: int, stop: int) -> None:
        """Count the events of some bins."""
        if len(part.borders) == 2:
            count = len(part.events)  # to add a plane takes as long as some events for each value
            shares = min(threads_for(count), count // self.planes.length)
            if shares > 1:
                self._add_shared(part.events, part.first, shares)
                return
        span = self.planes.span(part.first + first, part.first + stop)
        self._count(part.events, part.borders[first : stop + 1], span, self.most)

    def _count(self, events: Events, borders: NDArray[np.int64], span: Span, most: int) -> None:
        self.note(add_counts(columns_of(events), borders, span, self.width, self.on, most))

    def _add_shared(self, events: Events, number: int, shares: int) -> None:
        """Count the events of one bin by several threads, the first in its plane."""
        planes, length = self.planes, self.planes.length
        ends = np.arange(shares + 1) * len(events) // shares
        own = np.zeros((shares, length), np.int32)  # holds as many events as fit into memory
        nothing = np.zeros(0, np.int64)

        def count(share: int) -> None:
            some = events[ends[share] : ends[share + 1]]
            borders = np.array([0, len(some)])
            if share:
                span = own[share], 0, length, length, np.zeros(1, np.int64), True
                self._count(some, borders, span, MOST[torch.int32])
            else:
                self._count(some, borders, planes.span(number, number + 1), self.most)

        run_parts(count, shares, shares)
        for share in range(1, shares):
            held, more = int(planes.held[number]), int(ends[share + 1] - ends[share])
            plane = planes.plane(number)
            self.note(add_tally(plane, own[share], nothing, held, more, self.most))
            planes.held[number] += more


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class Counts(BinnedByPolarity):
    """Events per time bin, polarity and pixel: (bins, channels, H, W). The sum is their number.

    channels  2: OFF, ON; 1: both together
    dtype     uint8, int16, int32 or float32: a pixel with more events in a bin than it counts to is
              a ShapeError
    """

    dtype: torch.dtype = torch.int32
    _fill = CountsFill

    def __post_init__(self) -> None:
        BinnedByPolarity.__post_init__(self)
        check_dtype(self.dtype)

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the counts, as `Representation` says."""
        if isinstance(events, Events) and 0 < len(events) <= _FEW:
            bins = time_bins(as_source(events), self.bins, self.bin_us, start_us)
            if -LATEST_US <= bins.start <= LATEST_US:
                return self._count_few(events, bins, out)
        return BinnedByPolarity.__call__(self, events, start_us=start_us, out=out)

    def _count_few(self, events: Events, bins: Bins, out: Tensor | None) -> Tensor:
        """Do at once, with one thread, what `_fill` does in parts."""
        width, height = events.size
        planes = planes_for((bins.count, self.channels, height, width), self.dtype, out)
        latest = min(bins.stop - 1, LATEST_US)
        full, missed = count_few(
            columns_of(events),
            (bins.count, bins.start, latest, bins.numerator, bins.denominator),
            (planes.flat, planes.step, planes.length, planes.clean),
            width,
            width * height if self.channels == 2 else 0,
            MOST[self.dtype],
        )
        refuse_full(full, MOST[self.dtype])
        counts = planes.finish()
        refuse_outside(missed, bins, self.outside)
        return counts


def check_dtype(dtype: torch.dtype) -> None:
    """Raise ShapeError for a dtype that does not count."""
    if dtype not in MOST:
        names = ", ".join(str(each).removeprefix("torch.") for each in MOST)
        raise ShapeError(f"dtype={dtype} does not count events; choices: {names}")


class _BinaryFill(PlanesFill):
    def add(self, part: Part, first: int, stop: int) -> None:
        span = self.planes.span(part.first + first, part.first + stop)
        mark(part.columns, part.borders[first : stop + 1], span, self.width, self.on)


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(BinnedByPolarity):
    """Whether there was an event, 1 or 0, per time bin, polarity and pixel: (bins, channels, H, W).

    It is 1 exactly where `Counts` is not 0.

    channels  2: OFF, ON; 1: both together
    dtype     uint8, int16, int32 or float32
    """

    dtype: torch.dtype = torch.uint8
    _fill = _BinaryFill

    def __post_init__(self) -> None:
        BinnedByPolarity.__post_init__(self)
        check_dtype(self.dtype)


class _SignedFill(_CheckedFill):
    def add(self, part: Part, first: int, stop: int) -> None:
        span = self.planes.span(part.first + first, part.first + stop)
        borders = part.borders[first : stop + 1]
        self.note(add_signs(part.columns, borders, span, self.width, self.most))


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class Signed(Binned):
    """ON less OFF events per time bin and pixel: (bins, 1, H, W).

    The sum is the number of ON events less that of OFF events; in a bin of a pixel both cancel.

    dtype  int16, int32 or float32: a pixel with more in a bin than it counts to is a ShapeError
    """

    dtype: torch.dtype = torch.int32
    channels: ClassVar[int] = 1
    _fill = _SignedFill

    def __post_init__(self) -> None:
        Binned.__post_init__(self)
        check_dtype(self.dtype)
        if self.dtype == torch.uint8:
            raise ShapeError("dtype=torch.uint8 has no sign; take torch.int16")


@check_arguments
def bin_events(
    events: Events | Source,
    *,
    bins: int | None = None,
    bin_us: int | None = None,
    start_us: int | None = None,
    outside: Outside = "error",
) -> Tensor:
    """Count events per time bin, polarity and pixel: nothing lost, nothing merged.

    bins             [start_us, t_last] is cut in `bins` parts, equal to a microsecond
    bin_us           as many bins of `bin_us` microseconds as reach the last event: the last one is
                     kept, though it may go on behind that event
    bins and bin_us  the window [start_us, start_us + bins * bin_us)

    `start_us` is the time of the first event unless given. Returns (bins, 2, H, W) int32; channel 0
    is OFF, channel 1 ON. The sum is the number of events; how a Source is cut does not matter. A
    Source is read twice (once for its times) unless bins, bin_us and start_us are all given.
    `Counts` does the same for other dtypes and into a given tensor.

    Raises ShapeError if neither bins nor bin_us is given, if one is below 1, and for events outside
    the window, unless outside="ignore".
    """
    return Counts(bins=bins, bin_us=bin_us, outside=outside)(events, start_us=start_us)
