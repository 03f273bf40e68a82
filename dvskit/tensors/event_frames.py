"""Events -> frames of a given number of events, or of a given duration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.errors import ShapeError, did_you_mean
from dvskit.events import Events, Source, as_size, as_source
from dvskit.tensors.bins import (
    Bins,
    NumberParts,
    Outside,
    TimeParts,
    check_outside,
    check_whole,
    count_events,
    find_span,
    time_bins,
)
from dvskit.tensors.counts import CountsFill, check_dtype
from dvskit.tensors.representation import check_channels, fill


@check_arguments
@dataclass(frozen=True, slots=True, kw_only=True)
class EventFrames:
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
    """

    frames: int | None = None
    count: int | None = None
    duration_us: int | None = None
    partial: Literal["keep", "drop"] = "keep"
    outside: Outside = "error"
    channels: Literal[1, 2] = 2
    dtype: torch.dtype = torch.int32

    def __post_init__(self) -> None:
        for name in ("frames", "count", "duration_us"):
            check_whole(name, getattr(self, name))
        if self.frames is None and self.count is None and self.duration_us is None:
            raise ShapeError(
                "give the number of frames, the count of events in each or duration_us"
            )
        if self.count is not None and self.duration_us is not None:
            raise ShapeError("a frame has a count of events or a duration_us; pass one of them")
        if self.partial not in ("keep", "drop"):
            choices = did_you_mean(self.partial, ("keep", "drop"))
            raise ShapeError(f"unknown partial={self.partial!r}; {choices}")
        check_outside(self.outside)
        check_channels(self.channels)
        check_dtype(self.dtype)

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return (frames, channels, H, W). Raises ShapeError without `frames`."""
        if self.frames is None:
            raise ShapeError("the number of frames depends on the events; pass frames too")
        width, height = as_size(size)
        return int(self.frames), self.channels, height, width

    def __call__(
        self, events: Events | Source, *, start_us: int | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the frames; see `Representation`."""
        source = as_source(events)
        parts: TimeParts | NumberParts
        if self.duration_us is not None:
            parts = TimeParts(source, self._spans(source, start_us))
        else:
            parts = NumberParts(source, self._numbers(source, start_us), start_us)
        tensor = fill(self, parts, CountsFill, out)
        if self.frames is not None:
            parts.refuse_missed(self.outside)
        return tensor

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
