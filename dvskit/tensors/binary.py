"""Events -> tensors that say where there was any event."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dvskit.events import Size
from dvskit.tensors.bins import Bins, Part
from dvskit.tensors.counts import check_dtype
from dvskit.tensors.counts_kernels import mark
from dvskit.tensors.planes import Planes
from dvskit.tensors.representation import BinnedByPolarity


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(BinnedByPolarity):
    """Whether there was an event, 1 or 0, per time bin, polarity and pixel: (bins, channels, H, W).

    It is 1 exactly where `Counts` is not 0.

    channels  2: OFF, ON; 1: both together
    dtype     uint8, int16, int32 or float32
    """

    dtype: torch.dtype = torch.uint8

    def __post_init__(self) -> None:
        BinnedByPolarity.__post_init__(self)
        check_dtype(self.dtype)

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
