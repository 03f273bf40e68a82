"""Reconstructed images of a stream as a clip; the protocol of reconstructors, and their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import (
    ConfigError,
    EventsError,
    GeometryError,
    VideoError,
    did_you_mean,
    one_line,
)
from dvskit.events import Events, Size, Source, as_source
from dvskit.filters.names import described, values_of
from dvskit.formats import Recording, RecordingPart
from dvskit.reconstruction.image_times import Exposure, ImageTimes, as_times, count_until
from dvskit.video import FrameSource
from dvskit.video.images import full_scale, middle_us
from dvskit.video.source import gray_picture


class ReconstructionPass(Protocol):
    """One pass over a stream; it holds the state of that pass.

    A custom pass has three methods:

        class SumPass:  # each event changes the brightness of its pixel by 0.1
            def __init__(self, size):
                self.sums = np.full((size.height, size.width), 0.5, np.float32)

            def add(self, events):
                np.add.at(self.sums, (events.y, events.x), np.where(events.p, 0.1, -0.1))

            def see(self, t_us, frame):
                self.sums[:] = frame / 255

            def image(self, t_us):
                return self.sums.clip(0, 1)

        events = dvskit.load_events("events.raw").between(0, 500_000)
        run = SumPass(events.sensor_size)
        run.add(events)
        run.image(500_000)  # (128, 128) float32
    """

    def add(self, events: Events) -> None:
        """Take in events. They come in time order; the borders of blocks have no meaning."""

    def see(self, t_us: int, frame: NDArray[Any]) -> None:
        """Take in a frame of the same sensor, (height, width) uint8, taken at `t_us`.

        A pass that uses events only ignores it.
        """

    def image(self, t_us: int) -> NDArray[np.float32]:
        """Return the brightness at `t_us`, (height, width), 0 black to 1 white.

        All events up to `t_us` were added before, and no later ones.
        """


class Reconstructor(Protocol):
    """Frozen parameters of a way from events to images.

    Its passes receive frames only if it has an attribute `uses_frames` that is true. A custom
    reconstructor returns a new pass for each stream. This one chooses a parameter by the size of
    the sensor:

        class FilterBySize:
            uses_frames = True

            def start(self, size):
                smooth_px = 1.0 if size.width < 640 else 2.0
                return dvskit.reconstruction.ComplementaryFilter(smooth_px=smooth_px).start(size)

        recording = dvskit.open_events("davis")
        images = dvskit.reconstruction.reconstruct(recording, FilterBySize(), [100_000, 200_000])
    """

    def start(self, size: Size) -> ReconstructionPass:
        """Return one pass over a stream of a sensor's size."""


def _filter(arguments: str) -> Reconstructor:
    from dvskit.reconstruction.complementary import ComplementaryFilter

    try:
        return ComplementaryFilter(**values_of(ComplementaryFilter, arguments))
    except ConfigError as error:
        usage = described("filter", ComplementaryFilter)
        raise ConfigError(f"{one_line(error)} (usage: {usage})") from error


def _onnx(path: str, convention: str | None) -> Reconstructor:
    from dvskit.reconstruction.onnx import OnnxReconstructor

    return OnnxReconstructor(path, convention=convention or "e2vid")


def _network(name: str) -> Reconstructor:
    """Return the network in a folder, or of a shipped model's name."""
    from dvskit.reconstruction.network import NetworkReconstructor, load_reconstruction_model

    return NetworkReconstructor(load_reconstruction_model(name))


# A name and its maker, which is called with the text after "NAME:".
NAMES: dict[str, Callable[[str], Reconstructor]] = {"filter": _filter}
_ONNX = re.compile(r"(?P<path>.+\.onnx)(:(?P<convention>.*))?", re.IGNORECASE)


def load_reconstructor(name: str) -> Reconstructor:
    """Return a reconstructor by name.

    filter            the complementary filter; arguments follow: "filter:cutoff_hz=2"
    reconstruct       a shipped network; or the folder of one that `dvskit train` wrote
    FILE.onnx         a network in the layout of E2VID or FireNet; its convention of voxels may
                      follow: "net.onnx:firenet+". See `OnnxReconstructor`

    Raises ConfigError for an unknown name and for wrong arguments, ModelError for a classifier and
    for damaged models, and the errors of a file.

        method = dvskit.reconstruction.load_reconstructor("filter:cutoff_hz=2")
        events = dvskit.load_events("events.raw")
        for t_us, image in dvskit.reconstruction.reconstruct(events, method, [500_000, 1_000_000]):
            image  # (128, 128) uint8
    """
    made = find_reconstructor(name)
    if made is not None:
        return made
    from dvskit.networks.model_folder import shipped_models

    text = str(name).strip()
    if Path(text).is_dir() or text in shipped_models():
        return _network(text)  # raises: it is no network for images
    raise ConfigError(
        f"unknown reconstructor {text!r}; {did_you_mean(text, reconstructor_names())}, a file "
        "*.onnx, a model folder"
    )


def reconstructor_names() -> tuple[str, ...]:
    """Return the names that `load_reconstructor` takes, without files and folders."""
    try:
        from dvskit.networks.model_folder import shipped_models
    except ModuleNotFoundError:  # in a light install, without torch
        return tuple(NAMES)
    return *NAMES, *shipped_models("reconstruction")


def find_reconstructor(name: str) -> Reconstructor | None:
    """Return a reconstructor by name, as `load_reconstructor`; None for other names and models."""
    text = str(name).strip()
    file = _ONNX.fullmatch(text)
    if file is not None:
        return _onnx(file["path"], file["convention"])
    word, _, arguments = text.partition(":")
    kind = NAMES.get(word.strip().lower())
    if kind is None:
        return _network(text) if _is_network(text) else None
    try:
        return kind(arguments.strip())
    except ConfigError as error:
        raise ConfigError(f"{text}: {one_line(error)}") from error


def _is_network(name: str) -> bool:
    from dvskit.networks.model_folder import MODEL_TOML, read_toml, shipped_models

    toml = Path(name, MODEL_TOML)
    if toml.is_file():
        return read_toml(toml).get("task") == "reconstruction"
    return name in shipped_models("reconstruction")


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
        merged = _EventsAndFrames(run, self._seen_frames())

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
            if block.sensor_size != self.size:
                raise GeometryError(f"a block is {block.sensor_size}, its source {self.size}")
            if len(block):
                if last_us is not None and block.t[0] < last_us:
                    raise EventsError(f"a block starts at {block.t[0]} us, before {last_us} us")
                last_us = int(block.t[-1])
                yield block

    def _seen_frames(self) -> Iterator[_ExposedFrame]:
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
            yield _ExposedFrame(t_us, stop_us, frame)

    def _given_frames(self) -> Iterator[tuple[int, int, Any]]:
        given = self.source if self._frames is None else self._frames
        if isinstance(given, Recording | RecordingPart):
            for each in () if given.live else full_scale(given):
                yield middle_us(each), each.stop_us, each.image
        elif self._frames is not None:
            for t_us, picture in self._frames:  # type: ignore[misc]
                yield t_us, t_us, picture


class _ExposedFrame(NamedTuple):
    """A frame, the middle and the end of its exposure."""

    t_us: int
    stop_us: int
    frame: NDArray[np.uint8]


class _EventsAndFrames:
    """Adds events to a pass and shows it the frames between them.

    A frame is shown after the events up to the middle of its exposure. Later events wait until the
    exposure has ended, or an image comes before that: the frame is then shown after the image.
    """

    def __init__(self, run: ReconstructionPass, frames: Iterator[_ExposedFrame]) -> None:
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
