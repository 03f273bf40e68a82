"""The times of reconstructed images, and their automatic exposure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, checked, checked_dataclass
from dvskit.errors import ConfigError, VideoError
from dvskit.events import Events, Size
from dvskit.formats.image_list import read_times
from dvskit.video.source import checked_fps, checked_times

_MOST_EMPTY = 1_000_000  # consecutive images without an event: damaged times are more likely


class ImageClock(Protocol):
    """The times of one pass."""

    def due(self, events: Events) -> tuple[int, int] | None:
        """Return the next image that is complete once the first of `events` are in.

        events  those after the ones of the image before, at least one

        The image is (count, t_us): its time, and the number of leading events that belong to it.
        None if these events do not complete it: all of them belong to it.
        """

    def rest(self) -> Iterator[int]:
        """Yield the times of the images that the end of the stream completes."""


class ImageTimes(Protocol):
    """Frozen parameters of image times.

    Custom times can start those of another class. These are the times of each 1,000th event:

        class EachThousand:
            def start(self, size):
                every = 1000 / (size.width * size.height)
                return dvskit.reconstruction.EventsPerPixel(every).start(size)

        events = dvskit.load_events("events.raw")
        images = dvskit.reconstruction.reconstruct(events, "filter", EachThousand())
        len([t_us for t_us, image in images])  # 32
    """

    def start(self, size: Size) -> ImageClock:
        """Return the times of one pass over a stream of a sensor's size."""


@dataclass(frozen=True, slots=True)
class SteadyTimes:
    """Images at a steady rate; the first one comes a period after the first event.

    Image k is at start + (k + 1) / fps, rounded down to microseconds, as in `dvskit.render.frames`.
    The last one holds the last event. Raises ConfigError unless 0.001 <= fps <= 1000000.

        times = dvskit.reconstruction.SteadyTimes(fps=50)
        events = dvskit.load_events("events.raw").between(0, 500_000)
        images = dvskit.reconstruction.reconstruct(events, "filter", times)
        [t_us for t_us, image in images][:3]  # [23175, 43175, 63175]
    """

    fps: float = 30.0

    def __post_init__(self) -> None:
        checked_fps(self.fps)

    def start(self, size: Size) -> ImageClock:
        """Return the times of one pass."""
        rate = checked_fps(self.fps)
        assert rate is not None
        return _SteadyClock(1_000_000 / rate)


class _SteadyClock:
    def __init__(self, period_us: Fraction) -> None:
        self._period = period_us
        self._start_us: int | None = None
        self._number = self._empty = 0

    def _next(self) -> int:
        assert self._start_us is not None
        steps = (self._number + 1) * self._period
        return self._start_us + steps.numerator // steps.denominator

    def due(self, events: Events) -> tuple[int, int] | None:
        if self._start_us is None:
            self._start_us = int(events.t[0])
        t_us = self._next()
        count = count_until(events, t_us)
        self._empty = 0 if count else self._empty + 1
        if count == len(events):
            return None
        if self._empty > _MOST_EMPTY:
            raise VideoError(
                f"more than {_MOST_EMPTY:,} consecutive images have no events (until {t_us} us); "
                "choose a part of the recording (start_us= and stop_us=)"
            )
        self._number += 1
        return count, t_us

    def rest(self) -> Iterator[int]:
        if self._start_us is not None:
            yield self._next()


@checked_dataclass(frozen=True, slots=True)
class EventsPerPixel:
    """An image each time that `every` events per pixel of the sensor have arrived.

    Image k, from 1, comes with event number k * every * width * height, rounded up, at the time of
    that event. An image at the time of the image before is left out. Raises ConfigError unless
    every > 0.

        times = dvskit.reconstruction.EventsPerPixel(0.35)
        events = dvskit.load_events("events.raw")  # 32,477 on 128x128
        images = dvskit.reconstruction.reconstruct(events, "filter", times)
        [t_us for t_us, image in images]  # 5 times; images are dense where much moves
    """

    every: float = checked(check_number, above=0)

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, size: Size) -> ImageClock:
        """Return the times of one pass."""
        share = Fraction(self.every).limit_denominator(1_000_000)
        return _CountClock(max(share, Fraction(1, 1_000_000)) * size.width * size.height)


class _CountClock:
    def __init__(self, events: Fraction) -> None:
        self._step, self._number, self._seen = events, 0, 0
        self._last_us: int | None = None

    def due(self, events: Events) -> tuple[int, int] | None:
        done, stop = 0, self._seen + len(events)
        while True:
            wanted = math.ceil((self._number + 1) * self._step)
            if wanted > stop:
                self._seen = stop
                return None
            self._number += 1
            done = max(wanted - self._seen, done)
            t_us = int(events.t[done - 1]) if done else self._last_us
            if t_us is not None and t_us != self._last_us:
                self._last_us, self._seen = t_us, self._seen + done
                return done, t_us

    def rest(self) -> Iterator[int]:
        return iter(())


@dataclass(frozen=True, slots=True, eq=False)
class GivenTimes:
    """Images at given times, (n,) whole microseconds, which increase.

    Raises VideoError for other times.

        times = dvskit.reconstruction.GivenTimes(np.arange(100_000, 600_000, 100_000))
        events = dvskit.load_events("events.raw")
        images = dvskit.reconstruction.reconstruct(events, "filter", times)
        [t_us for t_us, image in images]  # [100000, 200000, 300000, 400000, 500000]
    """

    t_us: Sequence[int] | NDArray[Any]

    def __post_init__(self) -> None:
        times = checked_times(self.t_us)
        for number, (before, after) in enumerate(pairwise(times), 1):
            if after <= before:
                raise VideoError(
                    f"image times must increase; number {number}, from 0, is {after} us after "
                    f"{before} us"
                )

    def start(self, size: Size) -> ImageClock:
        """Return the times of one pass."""
        return _GivenClock(checked_times(self.t_us))


class _GivenClock:
    def __init__(self, times: list[int]) -> None:
        self._times, self._number = times, 0

    def due(self, events: Events) -> tuple[int, int] | None:
        if self._number == len(self._times):
            return None
        t_us = self._times[self._number]
        count = count_until(events, t_us)
        if count == len(events):
            return None
        self._number += 1
        return count, t_us

    def rest(self) -> Iterator[int]:
        yield from self._times[self._number :]


def count_until(events: Events, t_us: int) -> int:
    """Return the number of events with t <= t_us."""
    return int(np.searchsorted(events.t, t_us, "right"))


def listed_times(path: str | PathLike[str]) -> GivenTimes:
    """Return the times in a list of images, such as images.txt; the images need not exist.

    Kinds of lists and their units are those of `dvskit.video.ImageFolder`, by the name of the
    file; others have lines that begin with seconds. Raises VideoError for damaged lines.

        times = dvskit.reconstruction.listed_times("davis/images.txt")
        times.t_us[:3]  # [0, 40000, 80000]: the times of the frames
        images = dvskit.reconstruction.reconstruct(dvskit.open_events("davis"), "filter", times)
    """
    return GivenTimes(read_times(Path(path)))


def as_times(times: ImageTimes | Sequence[int] | NDArray[Any]) -> ImageTimes:
    """Return image times: the argument itself, or given times of a sequence."""
    if callable(getattr(times, "start", None)):  # a range has a start, too
        return times  # type: ignore[return-value]
    return GivenTimes(times)  # type: ignore[arg-type]


Image = NDArray[np.float32]
_LEAST_SPAN = 0.3  # between dark and bright: less would show noise, as where little moves
_LOOKED_AT = 20_000  # pixels of an image


class Exposure(Protocol):
    """Frozen parameters of a change of brightness from image to image.

    Images are (height, width) float32, 0 black to 1 white. A custom exposure returns a new step for
    each pass:

        class Gamma:
            def start(self):
                return lambda t_us, image: image**0.7  # brighter

        images = dvskit.reconstruction.reconstruct(
            dvskit.load_events("events.raw"), "filter", [500_000], exposure=Gamma()
        )
        t_us, image = next(iter(images))  # 500000, (128, 128) uint8
    """

    def start(self) -> Callable[[int, Image], Image]:
        """Return the step of one pass, (t_us, image) -> image."""


@dataclass(frozen=True, slots=True)
class AutoExposure:
    """Stretches the brightness, so that a share of pixels is black and another is white.

    dark, bright  the quantiles of an image that become 0 and 1
    smooth_s      time constant of both in seconds, so that the images do not flicker

    Raises ConfigError for values out of range.

        exposure = dvskit.reconstruction.AutoExposure(dark=0.02, bright=0.98)
        times = dvskit.reconstruction.SteadyTimes(fps=10)
        images = dvskit.reconstruction.reconstruct(
            dvskit.load_events("events.raw"), "filter", times, exposure=exposure
        )
        saved = dvskit.reconstruction.save_images(images, "exposed.npz")
    """

    dark: float = checked(check_number, 0, 1, default=0.01)
    bright: float = checked(check_number, 0, 1, default=0.99)
    smooth_s: float = checked(check_number, 0, default=0.5)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.dark >= self.bright:
            raise ConfigError(
                f"AutoExposure: dark = {self.dark} is not below bright = {self.bright}"
            )

    def start(self) -> Callable[[int, Image], Image]:
        """Return the step of one pass; it does not depend on the length of the stream."""
        held: NDArray[Any] | None = None
        last_us = 0

        def step(t_us: int, image: Image) -> Image:
            nonlocal held, last_us
            some = image.ravel()[:: -(-image.size // _LOOKED_AT)]
            now: NDArray[Any] = np.quantile(some, (self.dark, self.bright))
            if held is not None and self.smooth_s > 0:
                now = held + (now - held) * -math.expm1((last_us - t_us) / 1e6 / self.smooth_s)
            held, last_us = now, t_us
            low, high = now
            middle, half = (low + high) / 2, max(high - low, _LEAST_SPAN) / 2
            shown: Image = np.clip((image - np.float32(middle - half)) / np.float32(2 * half), 0, 1)
            return shown

        return step
