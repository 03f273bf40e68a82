"""Events to accumulated frames, streamed: memory is bounded by a frame and a block.

Frame k is at start + (k + 1) * period, rounded down to microseconds, and shows earlier events.
A style (`styles`) determines the appearance of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_number
from dvskit.errors import ConfigError, EventsError, GeometryError, VideoError
from dvskit.events import Events, Size, Source, as_source, cut
from dvskit.render.colormap import DARK, Theme
from dvskit.render.frames.styles import Decay, FrameStyle, StyleRun

_MOST_EMPTY = 1_000_000  # consecutive frames without events: hours; damaged times are more likely
_LONGEST_US = 1_000_000_000  # from frame to frame


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame: its time, its picture as rows of the palette, and the events since the last one.

    `index` (height, width) uint8 is overwritten by the next frame. `draw_over`, if it is there,
    draws on it, or on it enlarged by a factor: lines and text are finer there.
    """

    t_us: int
    index: NDArray[np.uint8]
    on: int
    off: int
    draw_over: Callable[[NDArray[np.uint8], int], None] | None = None


class RenderedFrames:
    """Frames of a stream of events; each iteration is a pass over its source.

    `frames` returns them. Iteration yields (t_us, (height, width, 3) uint8 RGB).

    size       of each frame
    palette    (n, 3) uint8 RGB: the colours of `moments`
    period_us  from one frame to the next, exactly

        rendered = dvskit.render.frames(dvskit.load_events("events.raw"), fps=30)
        for moment in rendered.moments():  # faster than RGB
            moment.t_us, moment.on, moment.off  # the numbers of ON and OFF events since the last
        picture = rendered.palette[moment.index]  # (128, 128, 3) uint8
    """

    def __init__(
        self,
        source: Source,
        style: FrameStyle,
        period_us: Fraction,
        *,
        start_us: int | None = None,
        stop_us: int | None = None,
        theme: Theme = DARK,
    ) -> None:
        if start_us is not None and stop_us is not None and stop_us <= start_us:
            raise ConfigError(f"the window {start_us}..{stop_us} us is empty")
        self.size: Size = source.size
        self.style = style
        self.period_us = period_us
        self.start_us = start_us
        self.stop_us = stop_us
        self.palette = style.palette(theme)
        self._source = source

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield (t_us, (height, width, 3) uint8 RGB)."""
        for moment in self.moments():
            if moment.draw_over is not None:
                moment.draw_over(moment.index, 1)
            yield moment.t_us, self.palette[moment.index]

    def moments(self) -> Iterator[Moment]:
        """Yield the frames as rows of the palette: faster than RGB.

        Raises EventsError if time decreases from block to block, GeometryError for a block of
        another size, VideoError for more than a million consecutive frames without an event.
        """
        drawn: _Pass | None = None
        last_us: int | None = None
        for block in self._blocks():
            if block.size != self.size:
                raise GeometryError(f"a block is {block.size}, its source {self.size}")
            events = cut(block, self.start_us, self.stop_us)
            if not len(events):
                continue
            if last_us is not None and events.t[0] < last_us:
                raise EventsError(f"a block starts at {events.t[0]} us, before {last_us} us")
            last_us = int(events.t[-1])
            if drawn is None:
                start_us = int(events.t[0]) if self.start_us is None else self.start_us
                drawn = _Pass(self, start_us)
            yield from drawn.frames_of(drawn.prepare(events))
        if drawn is None and self.start_us is not None and self.stop_us is not None:
            drawn = _Pass(self, self.start_us)
        if drawn is not None:  # the frame of the last events, and those until the end
            yield from drawn.frames_of(drawn.rest(self.size))
            yield drawn.frame()
            while self.stop_us is not None and drawn.frame_us <= self.stop_us:
                yield drawn.frame()

    def _blocks(self) -> Iterator[Events]:
        between: Any = getattr(self._source, "between", None)
        if between is not None and (self.start_us, self.stop_us) != (None, None):
            return iter(between(self.start_us, self.stop_us))
        return iter(self._source)


class _Pass:
    """The state of one pass; `frame_us` is the time of the next frame."""

    def __init__(self, frames: RenderedFrames, start_us: int) -> None:
        self._period, self._start_us = frames.period_us, start_us
        self._number = self._empty = self._on = self._off = 0
        self._run: StyleRun = frames.style.start(frames.size, float(frames.period_us))
        self._index = np.empty((frames.size.height, frames.size.width), np.uint8)
        self.frame_us = self._time(0)

    def _time(self, number: int) -> int:
        return self._start_us + (number + 1) * self._period.numerator // self._period.denominator

    def add(self, events: Events) -> None:
        if len(events):
            self._empty = 0
            self._run.add(events, self.frame_us)
            on = int(np.count_nonzero(events.p))
            self._on += on
            self._off += len(events) - on

    def prepare(self, events: Events) -> Events:
        """Return the events that can be drawn, once those are known."""
        prepare: Any = getattr(self._run, "prepare", None)
        return events if prepare is None else prepare(events)

    def rest(self, size: Size) -> Events:
        """Return the events that the style has held back."""
        rest: Any = getattr(self._run, "rest", None)
        return Events.empty(size) if rest is None else rest()

    def frames_of(self, events: Events) -> Iterator[Moment]:
        """Add events; yield the frames before the last of them."""
        while len(events):
            # The next frame is usually near: search only the remaining events.
            count = int(np.searchsorted(events.t, self.frame_us))
            self.add(events[:count])
            events = events[count:]
            if len(events):
                yield self.frame()

    def frame(self) -> Moment:
        self._empty += 1
        if self._empty > _MOST_EMPTY:
            raise VideoError(
                f"more than {_MOST_EMPTY:,} consecutive frames have no events (until "
                f"{self.frame_us} us); give start_us= and stop_us="
            )
        draw_over = getattr(self._run, "draw_over", None)
        moment = Moment(self.frame_us, self._index, self._on, self._off, draw_over)
        self._number += 1
        self.frame_us = self._time(self._number)
        self._on = self._off = 0
        self._run.draw(moment.t_us, self.frame_us, self._index)
        return moment


def frames(
    events_or_source: Events | Source,
    *,
    style: FrameStyle | None = None,
    fps: float | None = None,
    frame_us: int | None = None,
    start_us: int | None = None,
    stop_us: int | None = None,
    theme: Theme = DARK,
) -> RenderedFrames:
    """Return the events as frames of `style` (None: Decay()): iterate for (t_us, RGB image).

    `fps` frames per second of the recording (None: 60), or one every `frame_us`. Raises ConfigError
    for both at once, for frames less than 1 us apart or more than 1000 s.

        style = dvskit.render.Count(full=6)
        for t_us, picture in dvskit.render.frames(
            dvskit.open_events("events.raw"), style=style, frame_us=50_000
        ):
            picture  # (128, 128, 3) uint8
    """
    if fps is not None and frame_us is not None:
        raise ConfigError("give either fps or frame_us")
    period = Fraction(frame_us) if frame_us is not None else period_of(60 if fps is None else fps)
    if not 1 <= period <= _LONGEST_US:
        raise ConfigError(f"frames {float(period):g} us apart: the least is 1 us, the most 1000 s")
    return RenderedFrames(
        as_source(events_or_source),
        Decay() if style is None else style,
        period,
        start_us=start_us,
        stop_us=stop_us,
        theme=theme,
    )


def period_of(fps: float | Fraction) -> Fraction:
    """Return the microseconds of a frame. Raises ConfigError unless 1e-4 <= fps <= 1e6."""
    check_number("fps", float(fps), 1e-4, 1e6)
    return 1_000_000 / Fraction(fps).limit_denominator(1_000_000)
