"""Events -> tensors that say where there was any event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dvskit.events import Events, Size, Source, as_size
from dvskit.tensors.bins import Bins, Part
from dvskit.tensors.counts import check_channels, check_dtype
from dvskit.tensors.counts_kernels import mark
from dvskit.tensors.planes import Planes
from dvskit.tensors.representation import Binned


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(Binned):
    """Whether there was an event, 1 or 0, per time bin, polarity and pixel: (bins, channels, H, W).

    It is 1 exactly where `Counts` is not 0.

    channels  2: OFF, ON; 1: both together
    dtype     uint8, int16, int32 or float32
    """

    channels: Literal[1, 2] = 2
    dtype: torch.dtype = torch.uint8

    def __post_init__(self) -> None:
        Binned.__post_init__(self)
        check_channels(self.channels)
        check_dtype(self.dtype)

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return (bins, channels, H, W). Raises ShapeError without `bins`."""
        width, height = as_size(size)
        return self._count(), self.channels, height, width

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return ones and zeros, as `Representation` says."""
        return self._fill(events, self.channels, self.dtype, self._start, start_us, out)

    def _start(self, bins: Bins, planes: Planes, size: Size) -> _BinaryFill:
        return _BinaryFill(planes, size, self.channels)


class _BinaryFill:
    def __init__(self, planes: Planes, size: Size, channels: int) -> None:
        self.planes, self.width = planes, size.width
        self.on = size.width * size.height if channels == 2 else 0

    def add(self, part: Part, first: int, stop: int) -> None:
        events, number = part.events, part.first
        mark(
            events.x,
            events.y,
            events.p,
            part.borders[first : stop + 1],
            *self.planes.span(number + first, number + stop),
            self.width,
            self.on,
        )

    def finish(self) -> None:
        self.planes.clear_rest()
