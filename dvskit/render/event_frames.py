"""Events to accumulated frames, streamed: memory is bounded by a frame and a block.

Frame k is at start + (k + 1) * period, rounded down to microseconds, and shows earlier events.
A style determines the appearance of a frame: frozen parameters, and a run that holds the state.
A frame at time T shows the events with t < T. Fading times are in microseconds of the recording;
None stands for a number of frames, so that slow motion looks like real time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import LONGEST_US, check_fields, check_number, check_whole, checked
from dvskit._threads import run_ranges, thread_count
from dvskit.errors import ConfigError, EventsError, GeometryError, VideoError
from dvskit.events import Events, Size, Source, as_source, cut
from dvskit.filters.base import columns
from dvskit.render import frame_kernels
from dvskit.render.colormap import DARK, Theme, diverging, sequential

LEVELS = 63  # steps from the ground to full color, on each side of a diverging palette
_LONGEST_US = 1 << 30  # of a window: its rest is kept in 32 bits
_PIXELS_A_PART = 1 << 17


class StyleRun(Protocol):
    """One pass of a style over a stream.

    A run that needs later events first has `prepare(events)`, which takes them before they are cut
    into frames, and returns those that can be drawn, in order; `rest()` returns the others.
    One that draws lines or text has `draw_over(picture, factor)`, which draws them after `draw` on
    the frame enlarged by a factor.
    """

    def add(self, events: Events, frame_us: int) -> None:
        """Add events that are not earlier than the last frame, and before `frame_us`."""

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        """Write the frame at `frame_us` to `index` (height, width) as rows of the palette."""


class FrameStyle(Protocol):
    """Frozen parameters of the appearance of a frame.

    A custom style can start a run of another. This one has other colors:

        class RedAndBlue:
            def start(self, size, frame_us):
                return dvskit.render.Decay(tau_us=2 * frame_us).start(size, frame_us)

            def palette(self, theme):  # OFF, the ground in row 63, ON
                at = np.linspace(-1, 1, 127)[:, None]
                return np.where(at < 0, -at * [0, 0, 255], at * [255, 0, 0]).astype(np.uint8)

        events = dvskit.load_events("events.raw")
        t_us, picture = next(iter(dvskit.render.frames(events, style=RedAndBlue())))
    """

    def start(self, size: Size, frame_us: float) -> StyleRun:
        """Return a run for frames `frame_us` apart (on average)."""

    def palette(self, theme: Theme) -> NDArray[np.uint8]:
        """Return the colors, (2 * LEVELS + 1, 3) uint8 RGB."""


def _by_rows(size: Size, work: Callable[[slice], object]) -> None:
    """Call `work` on slices of the rows, in parallel if it pays."""
    parts = min(thread_count(), 8, max(1, size.width * size.height // _PIXELS_A_PART))
    run_ranges(lambda first, stop: work(slice(first, stop)), size.height, parts)


class _Signed:
    """Styles with ON and OFF on either side of the ground."""

    __slots__ = ()

    def palette(self, theme: Theme) -> NDArray[np.uint8]:
        """Return OFF colors, the ground, ON colors."""
        return diverging(theme, LEVELS)


class _Unsigned:
    """Styles in one direction from the ground: from old to new, from few to many."""

    __slots__ = ()

    def palette(self, theme: Theme) -> NDArray[np.uint8]:
        """Return the ground, then the colors of the events."""
        return sequential(theme, 2 * LEVELS)


@dataclass(frozen=True, slots=True)
class LatestPolarity(_Signed):
    """ON or OFF: a pixel's latest event in the last `window_us` (None: since the last frame).

    A pixel with events has the full color of its polarity.

        style = dvskit.render.LatestPolarity(window_us=30_000)
        for t_us, picture in dvskit.render.frames(dvskit.open_events("events.raw"), style=style):
            picture  # (128, 128, 3) uint8: orange, blue and the ground
    """

    window_us: int | None = checked(check_whole, 1, _LONGEST_US, default=None)

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, size: Size, frame_us: float) -> StyleRun:
        """Return a run for frames `frame_us` apart."""
        # One more, so that something is left at the age of window_us.
        return _LatestRun(size, None if self.window_us is None else self.window_us + 1, steps=1)


@dataclass(frozen=True, slots=True)
class LinearFade(_Signed):
    """The latest event of a pixel, fading linearly to nothing in `window_us`.

    value = +-max(0, 1 - (frame_us - t) / window_us); None: 6 frames.

        style = dvskit.render.LinearFade(window_us=100_000)
        view = dvskit.render.VideoView(style=style, stop_us=300_000)
        dvskit.render.video(dvskit.load_events("events.raw"), "linear.mp4", view=view)
    """

    window_us: int | None = checked(check_whole, 1, _LONGEST_US, default=None)

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, size: Size, frame_us: float) -> StyleRun:
        """Return a run for frames `frame_us` apart."""
        window_us = self.window_us or max(1, min(_LONGEST_US, round(6 * frame_us)))
        return _LatestRun(size, window_us, steps=LEVELS)


class _LatestRun:
    def __init__(self, size: Size, window_us: int | None, *, steps: int) -> None:
        self._size = size
        self._lasts = window_us is not None
        self._window_us = _LONGEST_US if window_us is None else window_us
        self._steps = steps
        self._state = np.zeros((size.height, size.width), np.int32)

    def add(self, events: Events, frame_us: int) -> None:
        frame_kernels.add_remaining(columns(events), frame_us, self._window_us, self._state)

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        passed, state = next_us - frame_us if self._lasts else _LONGEST_US, self._state
        per_us = np.float32(LEVELS / self._window_us)

        def work(rows: slice) -> None:
            if self._steps == 1:
                frame_kernels.draw_polarity(state[rows], passed, LEVELS, index[rows])
            else:
                frame_kernels.draw_linear(state[rows], passed, per_us, LEVELS, index[rows])

        _by_rows(self._size, work)


@dataclass(frozen=True, slots=True)
class Decay(_Signed):
    """The sum of all earlier events of a pixel, ON less OFF, fading exponentially.

    value = sum of +-exp(-(frame_us - t) / tau_us); `full` and beyond has full color.
    tau_us None: 3 frames.

        style = dvskit.render.Decay(tau_us=20_000, full=2)
        frames = dvskit.render.frames(dvskit.open_events("events.raw"), style=style, fps=30)
        pictures = np.stack([picture for t_us, picture in frames])  # (60, 128, 128, 3) uint8
    """

    tau_us: float | None = checked(check_number, 1, LONGEST_US, default=None)
    full: float = checked(check_number, 0.01, 10**6, default=1.0)

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, size: Size, frame_us: float) -> StyleRun:
        """Return a run for frames `frame_us` apart."""
        tau_us = 3 * frame_us if self.tau_us is None else self.tau_us
        add = frame_kernels.add_decaying
        return _FadingRun(size, tau_us, add, levels=LEVELS, middle=LEVELS, full=self.full)


class _FadingRun:
    """A plane of added events that fades; shown from `middle` on in `levels`."""

    def __init__(
        self, size: Size, tau_us: float, add: Callable[..., None], *,
        levels: int, middle: int, full: float = 1.0,
    ) -> None:  # fmt: skip
        self._size, self._tau_us, self._add = size, tau_us, add
        self._levels, self._middle = levels, middle
        self._gain = np.float32(levels / full)
        self._state = np.zeros((size.height, size.width), np.float32)

    def add(self, events: Events, frame_us: int) -> None:
        self._add(columns(events), frame_us, self._tau_us, self._state)

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        fade = np.float32(math.exp((frame_us - next_us) / self._tau_us))
        state = self._state
        _by_rows(
            self._size,
            lambda rows: frame_kernels.draw_decaying(
                state[rows], fade, self._gain, self._levels, self._middle, index[rows]
            ),
        )


@dataclass(frozen=True, slots=True)
class Surface(_Unsigned):
    """The time surface: the age of a pixel's latest event, of either polarity.

    value = exp(-(frame_us - t) / tau_us); tau_us None: 6 frames. Lagorce et al., "HOTS" (2017).

        style = dvskit.render.Surface(tau_us=50_000)
        frames = dvskit.render.frames(dvskit.open_events("events.raw"), style=style, fps=10)
        for t_us, picture in frames:
            picture  # (128, 128, 3) uint8: recent events are bright
    """

    tau_us: float | None = checked(check_number, 1, LONGEST_US, default=None)

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, size: Size, frame_us: float) -> StyleRun:
        """Return a run for frames `frame_us` apart."""
        tau_us = 6 * frame_us if self.tau_us is None else self.tau_us
        return _FadingRun(size, tau_us, frame_kernels.set_decaying, levels=2 * LEVELS, middle=0)


@dataclass(frozen=True, slots=True)
class Count(_Unsigned):
    """The number of events of a pixel in the last `window_us` (None: since the last frame).

    One event has 0.35 of the colors, to be visible; from there colors follow the logarithm of the
    count; `full` and more has full color. A given window keeps its events in memory.

        style = dvskit.render.Count(window_us=200_000, full=20)
        frames = dvskit.render.frames(dvskit.open_events("events.raw"), style=style, fps=10)
        for t_us, picture in frames:
            picture  # (128, 128, 3) uint8
    """

    window_us: int | None = checked(check_whole, 1, default=None)
    full: int = checked(check_whole, 2, 10**6, default=12)

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, size: Size, frame_us: float) -> StyleRun:
        """Return a run for frames `frame_us` apart."""
        return _CountRun(size, self.window_us, self.full)


class _CountRun:
    def __init__(self, size: Size, window_us: int | None, full: int) -> None:
        self._size = size
        self._window_us = window_us
        self._kept: deque[Events] = deque()
        self._state = np.zeros((size.height, size.width), np.int32)
        self._table = count_table(full)

    def add(self, events: Events, frame_us: int) -> None:
        frame_kernels.add_counts(events.x, events.y, 1, self._state)
        if self._window_us is not None:
            self._kept.append(events)

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        if self._window_us is not None:
            self._forget(frame_us - self._window_us)
        state = self._state
        _by_rows(
            self._size,
            lambda rows: frame_kernels.draw_counts(state[rows], self._table, index[rows]),
        )
        if self._window_us is None:
            state[:] = 0

    def _forget(self, before_us: int) -> None:
        while self._kept:
            events = self._kept[0]
            old = cut(events, None, before_us)
            frame_kernels.add_counts(old.x, old.y, -1, self._state)
            if len(old) < len(events):
                self._kept[0] = events[len(old) :]
                return
            self._kept.popleft()


def count_table(full: int) -> NDArray[np.uint8]:
    """Return the palette row of each count from 0 to `full`: (full + 1,) uint8."""
    shares = 0.35 + 0.65 * np.log(np.arange(1, full + 1)) / math.log(full)
    return np.concatenate([[0], np.rint(shares * 2 * LEVELS)]).astype(np.uint8)


styles: dict[str, type[LatestPolarity | Count | Decay | LinearFade | Surface]] = {
    "polarity": LatestPolarity, "count": Count, "decay": Decay, "linear": LinearFade,
    "surface": Surface,
}  # fmt: skip


_MOST_EMPTY = 1_000_000  # consecutive frames without events: hours; damaged times are more likely
_LONGEST_PERIOD_US = 1_000_000_000  # from frame to frame


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
    palette    (n, 3) uint8 RGB: the colors of `moments`
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
            if block.sensor_size != self.size:
                raise GeometryError(f"a block is {block.sensor_size}, its source {self.size}")
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
    if not 1 <= period <= _LONGEST_PERIOD_US:
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
