"""Events -> times and ages of the latest events, surfaces and counts that decay with age."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvskit._checks import check_fields, check_number, check_whole, checked, checked_dataclass
from dvskit.errors import ConfigError
from dvskit.events import Events, Size, Source, as_size, as_source, cut
from dvskit.tensors.representation import (
    BinnedPart,
    BinnedPlanes,
    Bins,
    Planes,
    PlanesFill,
    PolarityPlanes,
    columns_of,
    in_spans,
    planes_for,
    zeros_for,
)
from dvskit.tensors.surface_kernels import (
    add_faded,
    add_surfaces,
    carry_faded,
    carry_stamps,
    fade_stamps,
    log_ages,
    push_latest,
    stamp,
)

_NOTHING = 104.0  # exp(-104) is less than half the smallest float32


def fading_tables(
    longest_us: int, tau_us: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `low` and `high` with exp(-age / tau) = high[age >> s] * low[age & (2**s - 1)].

    len(low) is 2**s. Ages beyond `high` decay to 0 in float32; no age exceeds `longest_us`. Two
    lookups take a fifth of the time of exp.
    """
    longest = int(min(longest_us, _NOTHING * tau_us))
    shift = (longest.bit_length() + 1) // 2
    low = np.arange(1 << shift, dtype=np.int64)
    high = np.arange((longest >> shift) + 1, dtype=np.int64) << shift
    return np.exp(-low / tau_us), np.exp(-high / tau_us)


NEVER_US = -(1 << 63)  # of LastTimes: no event yet
_LONGEST_US = (1 << 31) - 2  # a bin whose stamps fit into int32


class _LastTimesFill(PlanesFill):
    def __init__(self, made: Any, bins: Bins, planes: Planes, size: Size) -> None:
        super().__init__(made, bins, planes, size)
        self.stamps = planes
        self.edges = bins.edges(0, bins.count + 1)

    def add(self, part: BinnedPart, first: int, stop: int) -> None:
        number = part.first
        stamp(
            columns_of(part.events),
            part.borders[first : stop + 1],
            self.stamps.span(number + first, number + stop),
            (self.width, self.on),
            self.bins.start,
            self.edges[number + first : number + stop],
        )

    def finish(self) -> None:
        stamps, start = self.stamps, self.bins.start
        stamps.clear_rest()
        values = stamps.flat, stamps.step

        def carry(first: int, stop: int) -> None:
            carry_stamps(values, first, stop, start, self.edges, NEVER_US)

        in_spans(carry, stamps.length, self.bins.count * stamps.length)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTimes(PolarityPlanes):
    """The time of each pixel's latest event up to the end of each bin: int64 microseconds.

    (bins, channels, H, W), the surface of active events; NEVER_US, the smallest int64, if there was
    no event yet. Events of all earlier bins count; those before `start_us` do not.

    bins      1 by default: the surface after the last event
    bin_us, outside  as in `bin_events`
    channels  2: OFF, ON; 1: both together

        events = dvskit.load_events("events.raw")
        latest = dvskit.tensors.LastTimes(channels=1)(events)    # (1, 1, 128, 128) int64
        seen = latest != dvskit.tensors.NEVER_US
        (events.t[-1] - latest[seen]).median()    # the median age of a pixel in microseconds
    """

    dtype: ClassVar[torch.dtype] = torch.int64
    _fill = _LastTimesFill
    _one_bin = True


@checked_dataclass(frozen=True, slots=True, kw_only=True)
class _DecayingPlanes(PolarityPlanes):
    """Surfaces on which events decay with age, with the time constant tau_us."""

    tau_us: float = checked(check_number, above=0)
    dtype: ClassVar[torch.dtype] = torch.float32
    _one_bin = True


class _TimeSurfaceFill(_LastTimesFill):
    def __init__(self, made: TimeSurface, bins: Bins, planes: Planes, size: Size) -> None:
        super().__init__(made, bins, planes, size)
        self.surface = planes
        self.tables = fading_tables(int(self.edges[-1]), float(made.tau_us))
        if bins.count and int(np.diff(self.edges).max()) <= _LONGEST_US:
            self.stamps = planes.seen_as(np.dtype(np.int32))  # uses no memory besides the surface
        else:
            shape = (bins.count, planes.length)
            self.stamps = planes_for(shape, torch.int64, None)

    def finish(self) -> None:
        stamps, surface = self.stamps, self.surface
        stamps.clear_rest()

        def fade(first: int, stop: int) -> None:
            given, faded = (stamps.flat, stamps.step), (surface.flat, surface.step)
            fade_stamps(given, faded, first, stop, self.edges, self.tables)

        in_spans(fade, surface.length, self.bins.count * surface.length)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSurface(_DecayingPlanes):
    """Time surfaces: exp(-age / tau) of each pixel's latest event, at the end of each bin.

    (bins, channels, H, W) float32, 0 if there was no event yet (Lagorce et al. 2017, "HOTS: a
    hierarchy of event-based time-surfaces for pattern recognition", here over the whole
    sensor). Ages are measured at the exclusive end of a bin: with `bins` alone the last bin ends a
    microsecond after the last event, with `bin_us` where the next bin would begin. Events of all
    earlier bins count.

    tau_us    the age at which 1/e is left, in microseconds
    bins      1 by default: the surface after the last event
    bin_us, outside  as in `bin_events`
    channels  2: OFF, ON; 1: both together

        surface = dvskit.tensors.TimeSurface(tau_us=30_000, bins=10)
        frames = surface(dvskit.load_events("events.raw"))    # (10, 2, 128, 128) float32, 0 to 1
    """

    _fill = _TimeSurfaceFill


class _DecayedFill(PlanesFill):
    def __init__(self, made: DecayedCounts, bins: Bins, planes: Planes, size: Size) -> None:
        super().__init__(made, bins, planes, size)
        self.tau_us = float(made.tau_us)
        self.edges = bins.edges(0, bins.count + 1)
        longest = int(np.diff(self.edges).max()) if bins.count else 0
        self.tables = fading_tables(longest, self.tau_us)

    def add(self, part: BinnedPart, first: int, stop: int) -> None:
        number = part.first
        add_faded(
            columns_of(part.events),
            part.borders[first : stop + 1],
            self.planes.span(number + first, number + stop),
            (self.width, self.on),
            (self.bins.start, self.edges[number + first : number + stop + 1]),
            self.tables,
        )

    def finish(self) -> None:
        super().finish()
        planes = self.planes
        factors = np.exp(-np.diff(self.edges) / self.tau_us).astype(np.float32)

        def carry(first: int, stop: int) -> None:
            carry_faded(planes.flat, planes.step, first, stop, factors)

        in_spans(carry, planes.length, self.bins.count * planes.length)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayedCounts(_DecayingPlanes):
    """Exponential decay: the sum of exp(-age / tau) over a pixel's events, at the end of each bin.

    (bins, channels, H, W) float32: the state of a leaky integrator without threshold. Ages are
    measured as in `TimeSurface`; events of all earlier bins count, added as float32 in the order of
    time.

    tau_us    the age at which 1/e is left, in microseconds
    bins      1 by default: the state after the last event
    bin_us, outside  as in `bin_events`
    channels  2: OFF, ON; 1: both together

        decayed = dvskit.tensors.DecayedCounts(tau_us=30_000, bin_us=100_000, channels=1)
        frames = decayed(dvskit.load_events("events.raw"))    # (bins, 1, 128, 128) float32
    """

    _fill = _DecayedFill


class _ToreFill(PlanesFill):
    in_order = True

    def __init__(self, made: Tore, bins: Bins, planes: Planes, size: Size) -> None:
        super().__init__(made, bins, planes, size)
        self.pixels = size.width * size.height
        self.ages_us = float(made.shortest_us), float(made.longest_us)
        self.zero_us = bins.start - 1  # 0 means no event: stamps begin at 1
        self.edges = bins.edges(0, bins.count + 1) + 1
        self.latest = zeros_for((2 * self.pixels, int(made.latest)), torch.int64)
        self.written = 0

    def add(self, part: BinnedPart, first: int, stop: int) -> None:
        for number in range(first, stop):
            self._write_to(part.first + number)
            some = part.events[part.borders[number] : part.borders[number + 1]]
            push_latest(columns_of(some), self.latest, self.width, self.pixels, self.zero_us)

    def finish(self) -> None:
        self._write_to(len(self.edges) - 1)

    def _write_to(self, number: int) -> None:
        """Write the bins before `number`, which are complete."""
        for over in range(self.written, number):
            plane, now = self.planes.plane(over), int(self.edges[over + 1])

            def write(first: int, stop: int, plane: NDArray[Any] = plane, now: int = now) -> None:
                log_ages(self.latest, plane, first, stop, now, self.ages_us)

            in_spans(write, len(self.latest), self.planes.length)
        self.written = number


@dataclass(frozen=True, slots=True, kw_only=True)
class Tore(BinnedPlanes):
    """Time-ordered recent events: log ages of each pixel's latest, at the end of each bin.

    (bins, 2 * latest, H, W) float32: the latest of OFF, the one before it, ..., then those of ON. A
    value is log(age + 1) - log(shortest_us + 1), with ages clipped to [shortest_us, longest_us];
    missing events have the value of `longest_us` (Baldwin et al. 2022, "Time-ordered recent event
    (TORE) volumes for event cameras", whose constants are the defaults). Ages are measured as in
    `TimeSurface`; events of all earlier bins count.

    bins  1 by default: the volume after the last event
    bin_us, outside  as in `bin_events`

        tore = dvskit.tensors.Tore(latest=3, longest_us=1_000_000)
        volume = tore(dvskit.load_events("events.raw"))    # (1, 6, 128, 128) float32
    """

    latest: int = checked(check_whole, 1, default=4)
    shortest_us: float = checked(check_number, 0, default=150.0)
    longest_us: float = checked(check_number, above=0, default=5_000_000.0)
    dtype: ClassVar[torch.dtype] = torch.float32
    _fill = _ToreFill
    _one_bin = True

    def __post_init__(self) -> None:
        BinnedPlanes.__post_init__(self)
        if self.shortest_us >= self.longest_us:
            raise ConfigError(
                f"Tore: shortest_us = {self.shortest_us} is not below longest_us = "
                f"{self.longest_us}"
            )

    @property
    def channels(self) -> int:
        """K planes of OFF, then K of ON."""
        return 2 * int(self.latest)


@checked_dataclass(frozen=True, slots=True, kw_only=True)
class AveragedTimeSurface:
    """Histograms of averaged time surfaces: (cells, 2, S, S) float32, S = 2 * radius_px + 1.

    The sensor is cut into cells of cell_px x cell_px pixels, row by row; cells at the right and
    lower edges may be smaller. The surface of an event holds, for each place within `radius_px` in
    the same cell, the sum of exp(-age / tau) over the earlier events of its polarity there. The
    surface of a cell is the mean over its OFF events and over its ON events; 0 without events
    (Sironi et al. 2018, "HATS: histograms of averaged time surfaces for robust event-based object
    classification", equations 6 to 9). Earlier means earlier in the stream: simultaneous events
    count in their order, and an event does not count for itself.

    cell_px    the side of a cell
    radius_px  the radius of a surface
    tau_us     the age at which 1/e is left, in microseconds
    window_us  the largest age of an event; all earlier events count if None

    Events before the call's `start_us` are dropped.

        hats = dvskit.tensors.AveragedTimeSurface(cell_px=16, radius_px=3, tau_us=30_000)
        surfaces = hats(dvskit.load_events("events.raw"))    # (64, 2, 7, 7) float32
        features = surfaces.flatten()                        # for a linear classifier
    """

    cell_px: int = checked(check_whole, 1, default=10)
    radius_px: int = checked(check_whole, 1, default=3)
    tau_us: float = checked(check_number, above=0)
    window_us: int | None = checked(check_whole, 1, default=None)
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        check_fields(self)
        if self.radius_px >= self.cell_px:
            raise ConfigError(
                f"AveragedTimeSurface: radius_px = {self.radius_px} is larger than any cell of "
                f"{self.cell_px} pixels"
            )

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return (cells, 2, S, S)."""
        width, height = as_size(size)
        side, cell = 2 * int(self.radius_px) + 1, int(self.cell_px)
        return -(-width // cell) * -(-height // cell), 2, side, side

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the surfaces; see `Representation`."""
        source = as_source(events)
        width, height = as_size(source.size)
        shape = self.shape((width, height))
        planes = planes_for(shape, self.dtype, out)
        sums = zeros_for((2, height, width), torch.float64)
        numbers = zeros_for((2, height, width), torch.int64)
        surfaces, counts = zeros_for(shape, torch.float64), np.zeros(shape[:2], np.int64)
        kept_t = kept_at = np.empty(0, np.int64)
        window = -1 if self.window_us is None else int(self.window_us)
        origin: int | None = None
        for block in source:
            block = cut(block, start_us, None)
            if not len(block):
                continue
            origin = int(block.t[0]) if origin is None else origin
            kept_t, kept_at = (
                np.append(each, np.empty(len(block), np.int64)) for each in (kept_t, kept_at)
            )
            oldest, origin = add_surfaces(
                columns_of(block),
                (kept_t, kept_at),
                (sums, numbers),
                (surfaces, counts),
                origin,
                (int(self.cell_px), window, float(self.tau_us)),
            )
            # Without a window no event expires, so none need be kept.
            oldest = len(kept_t) if window < 0 else oldest
            kept_t, kept_at = kept_t[oldest:].copy(), kept_at[oldest:].copy()
        surfaces /= np.maximum(counts, 1)[:, :, None, None]
        rows = surfaces.reshape(shape[0], prod(shape[1:]))
        for cell in range(shape[0]):
            planes.plane(cell)[:] = rows[cell]
        return planes.finish()
