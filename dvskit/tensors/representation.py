"""What representations share: parameters that are frozen, called with events, and bins of time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from dvskit.errors import ShapeError
from dvskit.events import Events, Size, Source, as_size, as_source
from dvskit.tensors.bins import (
    Bins,
    NumberParts,
    Outside,
    Part,
    TimeParts,
    check_bins,
    in_spans,
    time_bins,
)
from dvskit.tensors.planes import Planes, planes_for


@runtime_checkable
class Representation(Protocol):
    """Frozen parameters of a function from events to a tensor.

    The same events give the same tensor, of a Source however it is cut, and with any number of
    threads.
    """

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the tensor."""

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of the tensor of events on a sensor of `size` (width, height).

        Raises ShapeError where it depends on the events too.
        """

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the tensor of the events.

        start_us  where time begins; the time of the first event unless given
        out       a tensor of that shape and dtype, a view such as `batch[:, b]` too: it is written
                  over and returned. After an error it holds anything

        Raises ShapeError for an `out` that does not fit, and where memory cannot hold the tensor.
        """


class Planar(Protocol):
    """A representation that has planes: what their tensor is like."""

    @property
    def channels(self) -> int:
        """How many planes a bin has."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the tensor."""


class PlanesFill(ABC):
    """The planes of one tensor that are filled; a plane is a bin.

    They are rows of `width` pixels, ON `on` values behind OFF.

    in_order  whether bins are added one after the other, else several at once
    """

    in_order: ClassVar[bool] = False

    def __init__(self, made: Planar, bins: Bins, planes: Planes, size: Size) -> None:
        self.bins, self.planes, self.width = bins, planes, size.width
        self.on = size.width * size.height if made.channels == 2 else 0

    @abstractmethod
    def add(self, part: Part, first: int, stop: int) -> None:
        """Add the events of the bins first, ..., stop - 1 of a part; no one else adds to them."""

    def finish(self) -> None:
        """Do what is left to do when all events are added: zeros where planes hold none."""
        self.planes.clear_rest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Binned(ABC):
    """Planes of each of some bins of time, as `bin_events` describes them: (bins, channels, H, W).

    bins     how many there are; without `bin_us` they cut the time from the first event to the last
    bin_us   how long each is, in microseconds; without `bins` there are as many as reach the last
             event, so that the last bin may go on behind it: no event is left out
    outside  events outside of bins of a given number and length are an error, or to be ignored
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
        """How many planes a bin has."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype of the tensor."""

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return (bins, channels, H, W). Raises ShapeError without `bins`."""
        if self.bins is None:
            raise ShapeError(
                f"how many bins of {self.bin_us} us there are depends on the events; give bins too"
            )
        width, height = as_size(size)
        return int(self.bins), self.channels, height, width

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the tensor of the events, as `Representation` says."""
        source = as_source(events)
        parts = TimeParts(source, time_bins(source, self.bins, self.bin_us, start_us))
        tensor = fill(self, parts, self._fill, out)
        parts.refuse_missed(self.outside)
        return tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class BinnedByPolarity(Binned):
    """Planes of each bin, one a polarity or one for both: (bins, channels, H, W).

    channels  2: OFF, ON; 1: both together
    """

    channels: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        Binned.__post_init__(self)
        check_channels(self.channels)


def one_bin_unless_given(binned: Binned) -> None:
    """Set `bins` to 1 where neither bins nor their length is given."""
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
    """Return a tensor (bins, channels, H, W) that is filled with the parts of a stream.

    reaching  whether events are added to the bin behind theirs, too
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

        def add(first: int, stop: int, part: Part = part) -> None:
            filling.add(part, first, stop)

        in_spans(add, count, len(part.events))
    filling.finish()
    return planes.finish()
