"""Events -> counts per time bin, polarity and pixel, and their relatives: one pass, one sum a bin.

Occupancy, ON minus OFF, frames of a number of events, voxel grids; and clips, whose events are
counted without being made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dvskit._checks import check_choice, check_fields, check_whole, checked, checked_dataclass
from dvskit._threads import run_parts
from dvskit.errors import ConfigError, ShapeError
from dvskit.events import Events, Size, Source
from dvskit.tensors.counts_kernels import (
    Span,
    add_counts,
    add_shares,
    add_signs,
    add_tally,
    count_few,
    mark,
)
from dvskit.tensors.representation import (
    LATEST_US,
    OUTSIDE,
    BinnedPart,
    BinnedPlanes,
    Bins,
    NumberParts,
    Outside,
    Planar,
    Planes,
    PlanesFill,
    PolarityPlanes,
    TimeParts,
    columns_of,
    count_events,
    find_span,
    planes_for,
    refuse_outside,
    threads_for,
    time_bins,
)

if TYPE_CHECKING:
    from dvskit.emulator.params import EmulatorParams

# The largest count of a dtype, up to which all integers are exact.
MOST = {
    torch.uint8: 255,
    torch.int16: (1 << 15) - 1,
    torch.int32: (1 << 31) - 1,
    torch.float32: 1 << 24,
}
_SIGNED = tuple(each for each in MOST if each.is_signed)
# One pass is faster up to this many events, measured with 1 to 20 bins on 34x34 and 640x480 pixels:
# it starts 10 to 20 us earlier, and takes up to 1.7 times as long per event.
_FEW = 1 << 14


def refuse_full(full: int, most: int) -> None:
    """Raise ShapeError if some events exceeded the range of the dtype."""
    if full:
        raise ShapeError(
            f"{full:,} events exceed {most} per bin and pixel, which the dtype cannot "
            "hold; use shorter bins, or dtype=torch.int32"
        )


class _CheckedFill(PlanesFill):
    """A tensor of counts up to `most` being filled; `full` counts the events beyond that."""

    def __init__(self, made: Any, bins: Bins, planes: Planes, size: Size) -> None:
        super().__init__(made, bins, planes, size)
        self.most = MOST[made.dtype]
        self.full: list[int] = []

    def note(self, full: int) -> None:
        """Add the number of events that could not be counted."""
        if full:
            self.full.append(full)

    def finish(self) -> None:
        """Raise ShapeError if counts did not fit."""
        super().finish()
        refuse_full(sum(self.full), self.most)


class CountsFill(_CheckedFill):
    """A tensor of counts being filled."""

    def add(self, part: BinnedPart, first: int, stop: int) -> None:
        """Count the events of some bins."""
        if len(part.borders) == 2:
            count = len(part.events)  # adding a plane costs as much as some events per value
            shares = min(threads_for(count), count // self.planes.length)
            if shares > 1:
                self._add_shared(part.events, part.first, shares)
                return
        span = self.planes.span(part.first + first, part.first + stop)
        self._count(part.events, part.borders[first : stop + 1], span, self.most)

    def _count(self, events: Events, borders: NDArray[np.int64], span: Span, most: int) -> None:
        self.note(add_counts(columns_of(events), borders, span, self.width, self.on, most))

    def _add_shared(self, events: Events, number: int, shares: int) -> None:
        """Count the events of one bin with several threads, the first one in the plane itself."""
        planes, length = self.planes, self.planes.length
        ends = np.arange(shares + 1) * len(events) // shares
        own = np.zeros((shares, length), np.int32)  # counts as many events as fit into memory
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts(PolarityPlanes):
    """Events per time bin, polarity and pixel: (bins, channels, H, W). The sum is their number.

    bins, bin_us, outside  the time bins, as in `bin_events`; a call takes `start_us`
    channels  2: OFF, ON; 1: both together
    dtype     uint8, int16, int32 or float32; a call raises ShapeError if a count exceeds its range

        events = dvskit.load_events("events.raw")
        counts = dvskit.tensors.Counts(bins=20, dtype=torch.float32)
        counts(events)                    # (20, 2, 128, 128) float32
        counts.shape(events.sensor_size)         # (20, 2, 128, 128)
        batch = torch.empty(20, 4, 2, 128, 128)
        first = counts(events, out=batch[:, 0])    # written into place
    """

    dtype: torch.dtype = checked(check_choice, tuple(MOST), default=torch.int32)
    _fill = CountsFill

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the counts; see `Representation`."""
        if isinstance(events, Events) and 0 < len(events) <= _FEW:
            bins = time_bins((events,), self.bins, self.bin_us, start_us)
            if -LATEST_US <= bins.start <= LATEST_US:
                return self._count_few(events, bins, out)
        return Planar.__call__(self, events, start_us=start_us, out=out)

    def _count_few(self, events: Events, bins: Bins, out: Tensor | None) -> Tensor:
        """Do the work of `_fill` at once, with one thread."""
        width, height = events.sensor_size
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
        refuse_outside(missed, (bins.start, bins.stop), self.outside)
        return counts


class _BinaryFill(PlanesFill):
    def add(self, part: BinnedPart, first: int, stop: int) -> None:
        span = self.planes.span(part.first + first, part.first + stop)
        mark(columns_of(part.events), part.borders[first : stop + 1], span, self.width, self.on)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(PolarityPlanes):
    """1 if there was an event, else 0, per time bin, polarity and pixel: (bins, channels, H, W).

    It is 1 exactly where `Counts` is not 0.

    bins, bin_us, outside  the time bins, as in `bin_events`; a call takes `start_us`
    channels  2: OFF, ON; 1: both together
    dtype     uint8, int16, int32 or float32

        binary = dvskit.tensors.Binary(bins=20, channels=1)
        pixels = binary(dvskit.load_events("events.raw"))    # (20, 1, 128, 128) uint8
    """

    dtype: torch.dtype = checked(check_choice, tuple(MOST), default=torch.uint8)
    _fill = _BinaryFill


class _SignedFill(_CheckedFill):
    def add(self, part: BinnedPart, first: int, stop: int) -> None:
        span = self.planes.span(part.first + first, part.first + stop)
        borders = part.borders[first : stop + 1]
        self.note(add_signs(columns_of(part.events), borders, span, self.width, self.most))


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed(BinnedPlanes):
    """ON minus OFF events per time bin and pixel: (bins, 1, H, W).

    Opposite events of a pixel cancel within a bin.

    bins, bin_us, outside  the time bins, as in `bin_events`; a call takes `start_us`
    dtype  int16, int32 or float32; a call raises ShapeError if a value exceeds its range

        signed = dvskit.tensors.Signed(bin_us=50_000)
        frames = signed(dvskit.open_events("events.raw"))    # (bins, 1, 128, 128) int32
    """

    dtype: torch.dtype = checked(check_choice, _SIGNED, default=torch.int32)
    channels: ClassVar[int] = 1
    _fill = _SignedFill


def bin_events(
    events: Events | Source,
    *,
    bins: int | None = None,
    bin_us: int | None = None,
    start_us: int | None = None,
    outside: Outside = "error",
) -> Tensor:
    """Count events per time bin, polarity and pixel; nothing is lost or merged.

    bins             [start_us, t_last] is cut into `bins` parts, equal to a microsecond
    bin_us           as many bins of `bin_us` microseconds as reach the last event; the last bin is
                     complete, even if it ends after that event
    bins and bin_us  the window [start_us, start_us + bins * bin_us)

    `start_us` is the time of the first event unless given. Returns (bins, 2, H, W) int32; channel 0
    is OFF, channel 1 ON. A Source is read twice (once for its times) unless bins, bin_us and
    start_us are all given. `Counts` does the same for other dtypes and into a given tensor.

    Raises ConfigError if neither bins nor bin_us is given, or if one is below 1; ShapeError for
    events outside the window, unless outside="ignore".

        events = dvskit.load_events("events.raw")
        counts = dvskit.tensors.bin_events(events, bins=20)        # (20, 2, 128, 128) int32
        counts.sum() == len(events)                                # True
        first = dvskit.tensors.bin_events(
            events, bins=10, bin_us=50_000, start_us=0, outside="ignore"
        )    # 0 to 0.5 s
    """
    return Counts(bins=bins, bin_us=bin_us, outside=outside)(events, start_us=start_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFrames(Planar):
    """Counts in frames of a number of events or of a duration: (frames, channels, H, W).

    frames            the events are cut into `frames` parts whose sizes differ by one at most
    count             frames of `count` events each, to the end ("stacking based on the
                      number of events", Wang et al. 2019, "Event-based high dynamic range image and
                      very high frame rate video generation")
    duration_us       frames of this many microseconds, to the end ("based on time")
    frames and count, or frames and duration_us
                      that many such frames from the first event on; later events are an error or
                      ignored, depending on `outside`; frames without events are empty

    partial   whether an incomplete last frame is kept, without `frames`: one with fewer than
              `count` events, or one that ends after the last event
    channels  2: OFF, ON; 1: both together
    dtype     uint8, int16, int32 or float32, as for `Counts`

    The call's `start_us` is the start of the first frame of a duration; frames of a number of
    events begin with the first event at or after it.

        events = dvskit.load_events("events.raw")
        frames = dvskit.tensors.EventFrames(count=5_000, partial="drop")(events)
        frames.sum((1, 2, 3)).unique()    # [5000]: the same number of events in each
    """

    frames: int | None = checked(check_whole, 1, default=None)
    count: int | None = checked(check_whole, 1, default=None)
    duration_us: int | None = checked(check_whole, 1, default=None)
    partial: Literal["keep", "drop"] = checked(check_choice, ("keep", "drop"), default="keep")
    outside: Outside = checked(check_choice, OUTSIDE, default="error")
    channels: Literal[1, 2] = checked(check_choice, (1, 2), default=2)
    dtype: torch.dtype = checked(check_choice, tuple(MOST), default=torch.int32)
    _fill = CountsFill

    def __post_init__(self) -> None:
        check_fields(self)
        if self.frames is None and self.count is None and self.duration_us is None:
            raise ConfigError("EventFrames: give frames, count or duration_us")
        if self.count is not None and self.duration_us is not None:
            raise ConfigError("EventFrames: a frame has a count or a duration_us; give one of them")

    @property
    def _count(self) -> int | None:
        return self.frames

    def _parts(self, source: Source, start_us: int | None) -> TimeParts | NumberParts:
        outside: Outside = "ignore" if self.frames is None else self.outside
        if self.duration_us is not None:
            return TimeParts(source, self._spans(source, start_us), outside)
        return NumberParts(source, self._numbers(source, start_us), outside, start_us)

    def _spans(self, source: Source, start_us: int | None) -> Bins:
        length = int(self.duration_us or 0)
        if self.frames is not None or self.partial == "keep":
            return time_bins(source, self.frames, length, start_us)
        first, last = find_span(source)
        start = int(start_us) if start_us is not None else first or 0
        full = 0 if last is None else max(0, last + 1 - start) // length
        return time_bins(source, full, length, start)

    def _numbers(self, source: Source, start_us: int | None) -> Bins:
        if self.frames is not None and self.count is not None:
            frames, count = int(self.frames), int(self.count)
            found = Bins(0, frames * count, frames, 1, count)
        else:
            total = count_events(source, start_us)
            if self.count is None:
                frames = int(self.frames or 0)
                found = Bins(0, total, frames, frames, max(1, total))
            else:
                count = int(self.count)
                frames = total // count if self.partial == "drop" else -(-total // count)
                found = Bins(0, min(total, frames * count), frames, 1, count)
        found.check()
        return found


class _VoxelFill(PlanesFill):
    def add(self, part: BinnedPart, first: int, stop: int) -> None:
        bins, node = self.bins, part.first + first
        add_shares(
            columns_of(part.events),
            (part.borders[first : stop + 1], part.borders[first - 1] if first else 0),
            self.planes.span(node, part.first + stop),
            self.width,
            (bins.start, bins.numerator, bins.denominator),
            node,
        )


@checked_dataclass(frozen=True, slots=True, kw_only=True)
class VoxelGrid(Planar):
    """A voxel grid, bilinear in time: (bins, 1, H, W) float32.

    An event at time t adds its polarity, +1 or -1, times max(0, 1 - |b - t*|) to bin b, with t* =
    (bins - 1) (t - start) / duration (Zhu et al. 2019, "Unsupervised event-based learning of
    optical flow, depth, and egomotion", equations 1 to 3). The sum is that of the polarities: the
    first event counts fully in the first bin, the last one in the last.

    bins         the number of nodes in time
    duration_us  the time from the first node to the last, both inclusive; up to the last event if
                 None
    outside      "error" or "ignore", for events outside a given duration

    Values are added as float32 in the order of time, with a rounding error up to 1e-7 per event.

        grid = dvskit.tensors.VoxelGrid(bins=5)
        voxels = grid(dvskit.load_events("events.raw"))    # (5, 1, 128, 128) float32
        voxels = voxels / voxels.abs().max()               # for a network of images
    """

    bins: int = checked(check_whole, 1)
    duration_us: int | None = checked(check_whole, 1, default=None)
    outside: Outside = checked(check_choice, OUTSIDE, default="error")
    dtype: ClassVar[torch.dtype] = torch.float32
    channels: ClassVar[int] = 1
    _fill = _VoxelFill
    _reaching = True

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def _count(self) -> int:
        return self.bins

    def _parts(self, source: Source, start_us: int | None) -> TimeParts:
        return TimeParts(source, self._intervals(source, start_us), self.outside)

    def _intervals(self, source: Source, start_us: int | None) -> Bins:
        """Return the intervals between nodes; that of the last node has one instant."""
        first, last, bins = start_us, None, int(self.bins)
        if start_us is None or self.duration_us is None:
            first, last = find_span(source)
        start = int(start_us) if start_us is not None else first or 0
        if self.duration_us is not None:
            duration = int(self.duration_us)
        else:
            duration = 0 if last is None else max(0, last - start)
        if duration and bins > 1:
            found = Bins(start, start + duration + 1, bins, bins - 1, duration)
        else:
            found = Bins(start, start + duration + 1, bins, 0, 1)  # all at the first node
        found.check()
        return found


def bin_clips(
    clips: ArrayLike | Tensor,
    t_us: ArrayLike,
    *,
    bins: int,
    bin_us: int,
    start_us: int | None = None,
    params: EmulatorParams | str | Sequence[EmulatorParams] | None = None,
    seed: int = 0,
    outside: Outside = "error",
) -> Tensor:
    """Emulate clips and count their events in bins, without making the events.

    clips  (B, T, H, W), t_us (T,) or (B, T), params and seed as `emulate_batch` takes them

    Returns (B, bins, 2, H, W) int32, equal to binning the events of each clip with `bin_events`:
    bin k holds start_us + k * bin_us <= t < start_us + (k + 1) * bin_us, with start_us the time of
    the clip's first frame unless given. Raises what the two raise.

        clips = np.random.default_rng(0).integers(0, 255, (4, 10, 32, 32), np.uint8)    # B, T, H, W
        t_us = np.arange(10) * 10_000
        counts = dvskit.tensors.bin_clips(clips, t_us, bins=9, bin_us=10_001)    # (4, 9, 2, 32, 32)
    """
    from dvskit.emulator.source import Batch  # loads PyAV and OpenCV

    check_whole("bins", bins, 1)
    check_whole("bin_us", bin_us, 1)
    check_choice("outside", outside, OUTSIDE)
    batch = Batch(clips, t_us, params, seed)
    shape = (len(batch), bins, 2, batch.height, batch.width)
    counts = np.zeros(shape, np.int32)
    missed = [0] * len(batch)

    def count(number: int) -> None:
        run = batch.start(number)
        start = int(batch.t_us[number, 0]) if start_us is None else start_us
        missed[number] = sum(
            run.count(t, frame, counts[number], start, bin_us) for t, frame in batch.frames(number)
        )

    run_parts(count, len(batch))
    if any(missed) and outside == "error":
        raise ShapeError(
            f"{sum(missed):,} events are outside the {bins} bins of {bin_us} us; widen them, or "
            'pass outside="ignore"'
        )
    return torch.from_numpy(counts)
