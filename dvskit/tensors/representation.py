"""The common interface of representations: callables with frozen parameters, and time bins."""

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

    The same events give the same tensor, for any blocks of a Source and any number of threads.
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
    def add(self, part: Part, first: int, stop: int) -> None:
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

        def add(first: int, stop: int, part: Part = part) -> None:
            filling.add(part, first, stop)

        in_spans(add, count, len(part.events))
    filling.finish()
    return planes.finish()
