"""`dvskit reconstruct`: images from events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dvskit._files import shipped_folders
from dvskit.cli import _console
from dvskit.cli._batch import Crew, on_many, suffix_option, write_pictures
from dvskit.cli._inputs import RECORDINGS, Paths
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
    reconstructor_names,
)
from dvskit.cli._shown import ShownRecording, finish, opened
from dvskit.cli._writer import Kind, OutputWriter, only_for
from dvskit.errors import ConfigError, VideoError, count_of

if TYPE_CHECKING:
    from dvskit.reconstruction import GivenTimes, ImageTimes, Reconstructed

_FPS = 30.0


@dataclass(frozen=True, slots=True)
class _Images:
    """The images and their times.

    model     reconstruct, a recurrent network; filter, the complementary filter, which also uses
              the recording's frames (filter:uses_frames=false ignores them); a model folder; or an
              ONNX export of E2VID, FILE.onnx, or of FireNet, FILE.onnx:firenet; :e2vid+ and
              :firenet+ take voxels that are not normalized.
    fps       Images a second.
    every     An image each time that this many events per pixel have come, such as 0.35.
    times     A list of image times, such as images.txt: an image at each of them.
    beside    Of a video: show the events of each image at its right.
    exposure  Adapt the brightness, so that 1 % of the pixels are black and 1 % white.
    """

    cameras: CameraOptions = field(default_factory=CameraOptions)
    model: str | None = option(
        metavar="MODEL", shown="reconstruct if it is there, else filter",
        autocompletion=reconstructor_names,
    )  # fmt: skip
    fps: float | None = option(shown="30")
    every: float | None = option(shown=False)
    times: Path | None = option(shown=False)
    span: Span = field(default_factory=Span)
    beside: bool = only_for(Kind.VIDEO, default=False)
    exposure: bool = False

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
    words: list[str] | None = argument(metavar="FILE"),
    out: str = output(default=REQUIRED),
    wanted: _Images = _Images(),
    reading: Reading = Reading(),
    json: Json = False,
    force: Force = False,
    to: str | None = suffix_option(_SUFFIXES),
    crew: Crew = Crew(),
) -> None:
    """Turn events into gray images: a video, PNG files, or arrays.

    An image shows the brightness at its time, from the events up to then. Images are written as
    they come, also of live events and a webcam. Ctrl-C completes the output with the images so far.

    words  An event file or its folder, - for standard input, or an address ({addresses}). A video
           or a folder of images is emulated first. Left out with --camera. Or many: folders of
           recordings, several files, and patterns such as 'rec/**/*.raw'.
    out    A video (.mp4, .mkv, .mov, .gif), arrays t_us and images (.npz), or a folder for PNG
           files and images.txt (no suffix). For many inputs, the folder to write into.
    """
    paths = Paths(tuple(words or ()), out, RECORDINGS)
    given = {"wanted": wanted, "reading": reading, "force": force, "json": json}
    write_pictures(_reconstruct, paths, crew, given, to=to, suffixes=_SUFFIXES, single="json")


def _reconstruct(
    file: Path | None, out: Path, *, wanted: _Images, reading: Reading, json: bool, force: bool
) -> int:
    kinds = Kind.VIDEO | Kind.ARRAYS | Kind.FOLDER
    writer = OutputWriter(out, "images", kinds, wanted, force=force, json=json)
    image_times = wanted.image_times()
    from dvskit.reconstruction import AutoExposure, GivenTimes, load_reconstructor
    from dvskit.reconstruction import reconstruct as images_of
    from dvskit.reconstruction.writing import SeenEvents, save_images

    name = wanted.model or default_model()
    model = load_reconstructor(name)
    with opened(
        file, reading, wanted.span, writer, cameras=wanted.cameras, unit="images", stops=True
    ) as shown:
        seen = SeenEvents(shown) if wanted.beside else None
        images = _UntilStopped(
            images_of(
                seen or shown, model, image_times, frames=None if shown.live else shown.part,
                exposure=AutoExposure() if wanted.exposure else None,
            ),
            shown,
        )  # fmt: skip
        try:
            saved = save_images(images, out, beside=seen, overwrite=force, on_image=shown.progress)
        except VideoError as error:
            if shown.stopped and not images.count:
                raise KeyboardInterrupt from error
            raise _with_reason(error, wanted.every, shown, images.count) from error
    if isinstance(image_times, GivenTimes) and not shown.stopped:
        _note_outside(image_times, shown, wanted.times)
    finish(
        writer, [shown],
        f"{count_of(saved.images, 'image')} of {saved.size} by {name}, from {shown.words}",
        {
            "model": name, "images": saved.images, "first_us": saved.first_us,
            "last_us": saved.last_us, "width": saved.size.width, "height": saved.size.height,
            "events": shown.count,
        },
    )  # fmt: skip
    return shown.count


def _with_reason(
    error: VideoError, every: float | None, shown: ShownRecording, images: int
) -> VideoError:
    """Return the error; without an image for --every, one that names the number of events."""
    if images or every is None:
        return error
    pixels = shown.size.width * shown.size.height
    return VideoError(
        f"{shown.file}: {count_of(shown.count, 'event')} on {shown.size} are "
        f"{shown.count / pixels:.3g} per pixel, fewer than an image of --every {every:g} takes"
    )


def _note_outside(times: GivenTimes, shown: ShownRecording, file: Path | None) -> None:
    """Note the number of given times without events there."""
    t_us = np.asarray(times.t_us)
    outside = int(((t_us < shown.first_us) | (t_us > shown.last_us)).sum())
    if outside:
        _console.note(
            f"{file}: {outside} of {count_of(len(t_us), 'time')} are before the first event, at "
            f"{shown.first_us} us, or after the last, at {shown.last_us} us"
        )


def default_model() -> str:
    """Return the name of the shipped network; that of the filter if it is not there."""
    # Without `shipped_models`, which loads torch: the filter does not need it.
    return "reconstruct" if "reconstruct" in shipped_folders("model.toml") else "filter"


class _UntilStopped:
    """Images until Ctrl-C."""

    def __init__(self, images: Reconstructed, shown: ShownRecording) -> None:
        self.size, self._images, self._shown = images.size, images, shown
        self.count = 0

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for t_us, image in self._images:
            if self._shown.stopped:
                return
            self.count += 1
            yield t_us, image
