"""Events -> tensors that say where there was any event, and of ON less OFF events."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dvskit.errors import ShapeError
from dvskit.events import Events, Size, Source, as_size
from dvskit.tensors.bins import Bins, Part
from dvskit.tensors.counts import MOST, check_dtype, refuse_full
from dvskit.tensors.counts_kernels import add_signs, mark
from dvskit.tensors.planes import Planes
from dvskit.tensors.representation import Binned, BinnedByPolarity, PlanesFill


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


class _BinaryFill(PlanesFill):
    def add(self, part: Part, first: int, stop: int) -> None:
        span = self.planes.span(part.first + first, part.first + stop)
        mark(part.columns, part.borders[first : stop + 1], span, self.width, self.on)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed(Binned):
    """ON less OFF events per time bin and pixel: (bins, 1, H, W).

    The sum is the number of ON events less that of OFF events; in a bin of a pixel both cancel.

    dtype  int16, int32 or float32: a pixel with more in a bin than it counts to is a ShapeError
    """

    dtype: torch.dtype = torch.int32

    def __post_init__(self) -> None:
        Binned.__post_init__(self)
        check_dtype(self.dtype)
        if self.dtype == torch.uint8:
            raise ShapeError("dtype=torch.uint8 has no sign; take torch.int16")

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return (bins, 1, H, W). Raises ShapeError without `bins`."""
        width, height = as_size(size)
        return self._count(), 1, height, width

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the signed counts, as `Representation` says."""
        return self._fill(events, 1, self.dtype, self._start, start_us, out)

    def _start(self, bins: Bins, planes: Planes, size: Size) -> _SignedFill:
        return _SignedFill(planes, size, MOST[self.dtype])


class _SignedFill(PlanesFill):
    def __init__(self, planes: Planes, size: Size, most: int) -> None:
        super().__init__(planes, size)
        self.most = most
        self.full: list[int] = []

    def add(self, part: Part, first: int, stop: int) -> None:
        span = self.planes.span(part.first + first, part.first + stop)
        borders = part.borders[first : stop + 1]
        full = add_signs(part.columns, borders, span, self.width, self.most)
        if full:
            self.full.append(full)

    def finish(self) -> None:
        super().finish()
        refuse_full(sum(self.full), self.most)
