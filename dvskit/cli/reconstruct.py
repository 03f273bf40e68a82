"""`dvskit reconstruct`: images from events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dvskit import _interrupt
from dvskit._files import check_output, shipped_folders
from dvskit.cli import _console
from dvskit.cli._batch import Crew, on_many, suffix_option, write_pictures
from dvskit.cli._clips import SHOWN_FILE, CountedEvents, UntilStopped, note_assumptions
from dvskit.cli._inputs import RECORDINGS, Paths
from dvskit.cli._live_stream import open_seen
from dvskit.cli._options import (
    REQUIRED,
    CameraOptions,
    Force,
    Json,
    Reading,
    Span,
    argument,
    option,
    output,
    part_of,
    reconstructor_names,
)
from dvskit.errors import ConfigError, VideoError, count_of
from dvskit.video.source import FrameSource

if TYPE_CHECKING:
    from dvskit.reconstruction import GivenTimes, ImageTimes, Reconstructed
    from dvskit.reconstruction.writing import SavedImages

_FPS = 30.0


@dataclass(frozen=True, slots=True)
class _Shown:
    """The images: the options --camera to --exposure."""

    cameras: CameraOptions = field(default_factory=CameraOptions)
    model: str | None = option(
        "reconstruct, a recurrent network; filter, the complementary filter, which also uses the "
        "recording's frames (filter:uses_frames=false ignores them); a model folder; or an ONNX "
        "network such as an export of E2VID or FireNet: FILE.onnx, or FILE.onnx:firenet+ for "
        "voxels that are not normalised.",
        metavar="MODEL", shown="reconstruct if it is there, else filter",
        autocompletion=reconstructor_names,
    )  # fmt: skip
    fps: float | None = option("Images a second.", shown="30")
    every: float | None = option(
        "An image each time that this many events per pixel have come, such as 0.35.", shown=False
    )
    times: Path | None = option(
        "A list of image times, such as images.txt: an image at each of them.", shown=False
    )
    span: Span = field(default_factory=Span)
    beside: bool = option(
        "Of a video: show the events of each image at its right.", "--beside", default=False
    )
    exposure: bool = option(
        "Adapt the brightness, so that 1 % of the pixels are black and 1 % white.",
        "--exposure", default=False,
    )  # fmt: skip

    def image_times(self) -> ImageTimes:
        """Return the times of the images. Raises ConfigError for several options."""
        from dvskit.reconstruction import EventsPerPixel, SteadyTimes, listed_times

        given = [
            f"--{name}" for name in ("fps", "every", "times") if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} both set the times of the images; give one")
        if self.times is not None:
            times = listed_times(self.times)
            if not len(times.t_us):
                raise VideoError(f"{self.times}: holds no times; give one a line, in seconds")
            return times
        if self.every is not None:
            return EventsPerPixel(self.every)
        return SteadyTimes(_FPS if self.fps is None else self.fps)


_SUFFIXES = (".mp4", ".mkv", ".mov", ".gif", ".npz")


@on_many
def reconstruct(
    words: list[str] | None = argument(
        f"{SHOWN_FILE} Left out with --camera. Or many: folders of recordings, several files, and "
        "patterns such as 'rec/**/*.raw'.",
        metavar="FILE",
    ),
    out: str = output(
        "A video (.mp4, .mkv, .mov, .gif), arrays t_us and images (.npz), or a folder for PNG "
        "files and images.txt (no suffix). For many inputs, the folder to write into.",
        default=REQUIRED,
    ),
    shown: _Shown = _Shown(),
    reading: Reading = Reading(),
    json: Json = False,
    force: Force = False,
    to: str | None = suffix_option(_SUFFIXES),
    crew: Crew = Crew(),
) -> None:
    """Turn events into gray images: a video, PNG files, or arrays.

    An image shows the brightness at its time, from the events up to then. Images are written as
    they come, also of live events and a webcam. Ctrl-C completes the output with the images so far.
    """
    paths = Paths(tuple(words or ()), out, RECORDINGS)
    given = {"shown": shown, "reading": reading, "force": force, "json": json}
    write_pictures(
        _reconstruct, paths, crew, given, to=to, suffixes=_SUFFIXES, single={"--json": json}
    )


def _reconstruct(
    file: Path | None,
    out: Path,
    *,
    shown: _Shown,
    reading: Reading,
    json: bool,
    force: bool,
) -> int:
    if str(out) == "-":
        raise ConfigError("-: images are not written to standard output; name a file or a folder")
    from dvskit.reconstruction import AutoExposure, GivenTimes, load_reconstructor
    from dvskit.reconstruction import reconstruct as images_of
    from dvskit.reconstruction.writing import SeenEvents, check_images_path, save_images

    check_images_path(out, beside=shown.beside)
    if out.suffix:
        check_output(out, overwrite=force)
    image_times, times = shown.image_times(), shown.span.times()
    name = shown.model or default_model()
    _console.announce_compiling()
    model = load_reconstructor(name)
    file, recording = open_seen(file, shown.cameras, reading)
    part = part_of(recording, *times)
    with _console.stoppable() as stop:
        source = CountedEvents(part, file)
        until = UntilStopped(source, stop)
        seen = SeenEvents(until) if shown.beside else None
        images = _Until(
            images_of(
                seen or until, model, image_times, frames=None if recording.live else part,
                exposure=AutoExposure() if shown.exposure else None,
            ), stop,
        )  # fmt: skip
        with _console.progress(out.name, None, "images") as show:
            try:
                saved = save_images(
                    images, out, beside=seen, overwrite=force,
                    on_image=lambda count, t_us: show(
                        count, _console.describe_us(t_us - source.first_us)
                    ),
                )  # fmt: skip
            except VideoError as error:
                if stop.asked and not images.count:
                    raise KeyboardInterrupt from error
                raise _with_reason(error, file, shown.every, source, images.count) from error
    note_assumptions(file, recording, part)
    if isinstance(image_times, GivenTimes) and not stop.asked:
        _note_outside(image_times, source, shown.times)
    if json:
        _console.print_json(_facts(file, name, saved, source))
    else:
        _console.say(
            f"{out}: {count_of(saved.images, 'image')} of {saved.size} by {name}, from "
            f"{source.words}"
        )
    if stop.asked:
        _interrupt.advise(f"{out} holds the images so far")
        raise KeyboardInterrupt
    return source.count


def _facts(file: Path, model: str, saved: SavedImages, source: CountedEvents) -> dict[str, Any]:
    return {
        "file": str(file), "out": str(saved.path), "model": model, "images": saved.images,
        "first_us": saved.first_us, "last_us": saved.last_us, "width": saved.size.width,
        "height": saved.size.height, "events": source.count,
    }  # fmt: skip


def _with_reason(
    error: VideoError, file: Path, every: float | None, source: CountedEvents, images: int
) -> VideoError:
    """Return the error; without an image for --every, one that names the number of events."""
    if images or every is None:
        return error
    pixels = source.size.width * source.size.height
    return VideoError(
        f"{file}: {count_of(source.count, 'event')} on {source.size} are "
        f"{source.count / pixels:.3g} per pixel, fewer than an image of --every {every:g} takes"
    )


def _note_outside(times: GivenTimes, source: CountedEvents, file: Path | None) -> None:
    """Note the number of given times without events there."""
    t_us = np.asarray(times.t_us)
    outside = int(((t_us < source.first_us) | (t_us > source.last_us)).sum())
    if outside:
        _console.note(
            f"{file}: {outside} of {count_of(len(t_us), 'time')} are before the first event, at "
            f"{source.first_us} us, or after the last, at {source.last_us} us"
        )


def default_model() -> str:
    """Return the name of the shipped network; that of the filter if it is not there."""
    # Without `shipped_models`, which loads torch: the filter does not need it.
    return "reconstruct" if "reconstruct" in shipped_folders("model.toml") else "filter"


class _Until(FrameSource):
    """Images until Ctrl-C."""

    def __init__(self, images: Reconstructed, stop: _console.Stop) -> None:
        self.size, self._images, self._stop = images.size, images, stop
        self.count = 0

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for t_us, image in self._images:
            if self._stop.asked:
                return
            self.count += 1
            yield t_us, image
