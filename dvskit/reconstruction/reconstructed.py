"""Reconstructed images of a stream as a clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import EventsError, GeometryError, VideoError
from dvskit.events import Events, Source, as_source
from dvskit.formats import Recording, RecordingPart
from dvskit.reconstruction.exposure import Exposure
from dvskit.reconstruction.image_times import ImageTimes, as_times, count_until
from dvskit.reconstruction.named import load_reconstructor
from dvskit.reconstruction.reconstructor import ReconstructionPass, Reconstructor
from dvskit.video import FrameSource
from dvskit.video.images import full_scale, middle_us
from dvskit.video.pictures import gray_picture

TimedImages = Iterable[tuple[int, NDArray[Any]]]
Given = Recording | RecordingPart | FrameSource | TimedImages


def reconstruct(
    events_or_source: Events | Source,
    reconstructor: Reconstructor | str,
    times: ImageTimes | Sequence[int] | NDArray[Any],
    *,
    frames: Given | None = None,
    exposure: Exposure | None = None,
) -> Reconstructed:
    """Return the images of a stream at given times as a clip: iterate for (t_us, image).

    reconstructor  a Reconstructor, or its name: see `load_reconstructor`
    times     SteadyTimes(fps), EventsPerPixel(every), listed_times(path), or times in microseconds
    frames    of the same sensor: a recording with frames, a FrameSource, or pairs (t_us, image) in
              order of time. None: those of the source, if it is a recording that is not live.
              Reconstructors that use events only ignore them
    exposure  such as AutoExposure(), or None to leave the brightness alone

    An image at t_us uses the events with t <= t_us, and the frames with exposures that ended before
    t_us; the light of a frame is that of the middle of its exposure. A frame of another
    source has a single time. Images come as soon as a later event shows that their time is over, so
    live sources work; memory is bounded by a block, the events of an exposure, a frame and an
    image. Raises EventsError for anything but events, and the errors of `load_reconstructor` for a
    name.

        recording = dvskit.open_events("davis").between(0, 300_000)
        times = dvskit.reconstruction.SteadyTimes(fps=30)
        for t_us, image in dvskit.reconstruction.reconstruct(recording, "filter", times):
            image  # (90, 120) uint8, from events and frames
    """
    made = load_reconstructor(reconstructor) if isinstance(reconstructor, str) else reconstructor
    source = as_source(events_or_source)
    return Reconstructed(source, made, as_times(times), frames=frames, exposure=exposure)


class Reconstructed(FrameSource):
    """Images of a stream as a clip: (t_us, uint8 (height, width)); each iteration is a pass.

    `reconstruct` returns one; `size` is that of its images. Each pass raises EventsError if time
    decreases from block to block, GeometryError for a block or a frame of another size, VideoError
    for frames with decreasing times.

        events = dvskit.load_events("events.raw")
        times = dvskit.reconstruction.SteadyTimes(fps=50)
        images = dvskit.reconstruction.reconstruct(events, "filter", times)  # a Reconstructed
        t_us, image = next(images.images())  # (128, 128) float32, 0 black to 1 white
        again = dvskit.emulate(images)  # a source of events: images are a clip like any other
    """

    def __init__(
        self,
        source: Source,
        reconstructor: Reconstructor,
        times: ImageTimes,
        *,
        frames: Given | None = None,
        exposure: Exposure | None = None,
    ) -> None:
        self.size = source.size
        self.source, self.reconstructor = source, reconstructor
        self._times, self._frames, self._exposure = times, frames, exposure

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for t_us, image in self.images():
            yield t_us, np.rint(image * np.float32(255)).astype(np.uint8)

    def images(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (t_us, image), float32 (height, width), 0 black to 1 white."""
        run = self.reconstructor.start(self.size)
        expose = None if self._exposure is None else self._exposure.start()
        clock = self._times.start(self.size)
        merged = _Merged(run, self._seen_frames())

        def image(t_us: int) -> tuple[int, NDArray[np.float32]]:
            seen = np.clip(run.image(t_us), 0, 1)
            return t_us, seen if expose is None else expose(t_us, seen)

        for block in self._blocks():
            events = block
            while len(events):
                due = clock.due(events)
                if due is None:
                    merged.add(events)
                    break
                count, t_us = due
                merged.add(events[:count])
                merged.finish(t_us)
                events = events[count:]
                yield image(t_us)
        for t_us in clock.rest():
            merged.finish(t_us)
            yield image(t_us)

    def _blocks(self) -> Iterator[Events]:
        last_us: int | None = None
        for block in self.source:
            if block.size != self.size:
                raise GeometryError(f"a block is {block.size}, its source {self.size}")
            if len(block):
                if last_us is not None and block.t[0] < last_us:
                    raise EventsError(f"a block starts at {block.t[0]} us, before {last_us} us")
                last_us = int(block.t[-1])
                yield block

    def _seen_frames(self) -> Iterator[_Seen]:
        """Yield the frames to show, checked, in order of time."""
        if not getattr(self.reconstructor, "uses_frames", False):
            return
        last_us: int | None = None
        for number, (t_us, stop_us, picture) in enumerate(self._given_frames()):
            frame = as_gray(picture, number)
            if frame.shape != (self.size.height, self.size.width):
                height, width = frame.shape
                raise GeometryError(
                    f"the frame at {t_us} us is {width}x{height}, the events are {self.size}; "
                    "use events only (filter:uses_frames=false)"
                )
            if last_us is not None and t_us < last_us:
                raise VideoError(f"a frame at {t_us} us follows one at {last_us} us; sort them")
            last_us = t_us
            yield _Seen(t_us, stop_us, frame)

    def _given_frames(self) -> Iterator[tuple[int, int, Any]]:
        given = self.source if self._frames is None else self._frames
        if isinstance(given, Recording | RecordingPart):
            for each in () if given.live else full_scale(given):
                yield middle_us(each), each.stop_us, each.image
        elif self._frames is not None:
            for t_us, picture in self._frames:  # type: ignore[misc]
                yield t_us, t_us, picture


class _Seen(NamedTuple):
    """A frame, the middle and the end of its exposure."""

    t_us: int
    stop_us: int
    frame: NDArray[np.uint8]


class _Merged:
    """Adds events to a pass and shows it the frames between them.

    A frame is shown after the events up to the middle of its exposure. Later events wait until the
    exposure has ended, or an image comes before that: the frame is then shown after the image.
    """

    def __init__(self, run: ReconstructionPass, frames: Iterator[_Seen]) -> None:
        self._run, self._frames = run, frames
        self._next = next(frames, None)
        self._waiting: list[Events] = []

    def add(self, events: Events) -> None:
        """Add the next events."""
        while len(events):
            if self._next is None:
                self._run.add(events)
                return
            count = count_until(events, self._next.t_us)
            if count:
                self._run.add(events[:count])
                events = events[count:]
            elif events.t[-1] > self._next.stop_us:
                events = Events.concatenate([*self._show(), events])
            else:
                self._waiting.append(events.copy())  # the caller may change its arrays
                return

    def finish(self, t_us: int) -> None:
        """Show the frames before an image, and add the events that wait."""
        while self._next is not None and self._next.stop_us < t_us:
            for events in self._show():
                self.add(events)
        for events in self._waiting:
            self._run.add(events)
        self._waiting = []

    def _show(self) -> list[Events]:
        """Show the next frame; return the events that waited for it."""
        assert self._next is not None
        self._run.see(self._next.t_us, self._next.frame)
        self._next = next(self._frames, None)
        waiting, self._waiting = self._waiting, []
        return waiting


def as_gray(picture: Any, number: int) -> NDArray[np.uint8]:
    """Return image `number` of a clip as gray uint8, (height, width)."""
    gray: NDArray[Any] = gray_picture(picture, number)
    if gray.dtype == np.uint8:
        return gray
    if gray.dtype == np.uint16:
        return np.asarray(np.rint(gray * (255 / 65535)), np.uint8)
    return np.asarray(np.rint(np.clip(gray, 0, 1) * 255), np.uint8)
