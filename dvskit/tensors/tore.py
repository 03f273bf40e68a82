"""Events -> TORE volumes: the ages of the latest events of each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dvskit.errors import ShapeError
from dvskit.events import Events, Source, as_size, as_source
from dvskit.tensors.bins import TimeParts, check_whole, columns_of, in_spans, time_bins
from dvskit.tensors.planes import planes_for, zeros_for
from dvskit.tensors.representation import Binned, one_bin_unless_given
from dvskit.tensors.surface_kernels import log_ages, push_latest


@dataclass(frozen=True, slots=True, kw_only=True)
class Tore(Binned):
    """Time-ordered recent events: log ages of each pixel's latest, at the end of each bin.

    (bins, 2 * latest, H, W) float32: the latest of OFF, the one before it, ..., then those of ON.
    A value is log(age + 1) - log(shortest + 1), ages in microseconds taken to lie between shortest
    and longest; where there were fewer events it is that of `longest_us` (Baldwin et al. 2022,
    "Time-ordered recent event (TORE) volumes for event cameras", whose constants are the defaults).
    Ages are counted as in `TimeSurface`; events of all bins before count.

    bins  1 unless given: the volume after the last event
    """

    latest: int = 4
    shortest_us: float = 150.0
    longest_us: float = 5_000_000.0
    dtype: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        one_bin_unless_given(self)
        Binned.__post_init__(self)
        check_whole("latest", self.latest)
        if not 0 <= self.shortest_us < self.longest_us < float("inf"):
            raise ShapeError(
                f"shortest_us={self.shortest_us} and longest_us={self.longest_us} are no range of "
                "ages in microseconds"
            )

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return (bins, 2 * latest, H, W). Raises ShapeError without `bins`."""
        width, height = as_size(size)
        return self._count(), 2 * int(self.latest), height, width

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the volumes, as `Representation` says."""
        source = as_source(events)
        width, height = as_size(source.size)
        bins = time_bins(source, self.bins, self.bin_us, start_us)
        deep, pixels = int(self.latest), width * height
        planes = planes_for((bins.count, 2 * deep, height, width), self.dtype, out)
        latest = zeros_for((2 * pixels, deep), torch.int64)
        edges = bins.edges(0, bins.count + 1) + 1  # 0 is no event: stamps begin at 1
        ages = (float(self.shortest_us), float(self.longest_us))
        written = 0

        def write_to(number: int) -> None:
            """Write the bins before `number`, which are over."""
            nonlocal written
            for bin_ in range(written, number):
                plane, now = planes.plane(bin_), int(edges[bin_ + 1])

                def write(first: int, stop: int, plane=plane, now=now) -> None:  # type: ignore[no-untyped-def]
                    log_ages(latest, plane, first, stop, now, ages)

                in_spans(write, 2 * pixels, planes.length)
            written = number

        parts = TimeParts(source, bins)
        for part in parts:
            events = part.events
            for i in range(len(part.borders) - 1):
                write_to(part.first + i)
                some = slice(int(part.borders[i]), int(part.borders[i + 1]))
                push_latest(columns_of(events[some]), latest, width, pixels, bins.start - 1)
        write_to(bins.count)
        parts.refuse_missed(self.outside)
        return planes.finish()
