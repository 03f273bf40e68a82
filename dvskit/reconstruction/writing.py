"""Write reconstructed images: a video at their own times, PNG files, or arrays."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import IO, Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._files import check_output, whole_file
from dvskit.errors import ConfigError, VideoError
from dvskit.events import Events, ReadableSource, Size, Source, as_source
from dvskit.render.colormap import DARK
from dvskit.render.event_frames import LatestPolarity, Moment
from dvskit.render.videos import Canvas, ImagesBeside, lay_out, whole_palette
from dvskit.render.writers import MOVING_SUFFIXES, Film, InThread
from dvskit.streams import Frame
from dvskit.video.writing import write_images

IMAGES_SUFFIXES = (*MOVING_SUFFIXES, ".npz")
_FPS = 30  # a video's nominal rate: its images have their own times
_CRF, _PRESET = 15.0, "veryfast"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same images give the same bytes

Timed = Iterator[tuple[int, NDArray[np.uint8]]]


class ImageStream(Protocol):
    """Gray images with their times in us, and the size of the images; such as a `FrameSource`."""

    size: Size

    def __iter__(self) -> Timed:
        """Yield (t_us, image)."""


class SeenEvents(ReadableSource):
    """A stream that keeps the events of a pass until they are taken, to show them beside images.

    The memory is that of the blocks since the latest image.

        seen = dvskit.reconstruction.SeenEvents(dvskit.load_events("events.raw"))
        times = dvskit.reconstruction.SteadyTimes(fps=10)
        images = dvskit.reconstruction.reconstruct(seen, "filter", times)
        dvskit.reconstruction.save_images(images, "beside.gif", beside=seen)
    """

    def __init__(self, source: Events | Source) -> None:
        self.source = as_source(source)
        self.size = self.source.size
        self._blocks: list[Events] = []

    def __iter__(self) -> Iterator[Events]:
        self._blocks = []
        for block in self.source:
            self._blocks.append(block)
            yield block

    def take(self, t_us: int) -> Events:
        """Return the events up to `t_us` that were not taken yet."""
        events = Events.concatenate(self._blocks, self.size)
        count = int(np.searchsorted(events.t, t_us, "right"))
        self._blocks = [events[count:]]
        return events[:count]


@dataclass(frozen=True, slots=True)
class SavedImages:
    """Written images: their number, size in pixels, and the times of the first and the last in us.

    `save_images` returns it.

        events = dvskit.load_events("events.raw")
        images = dvskit.reconstruction.reconstruct(events, "filter", [500_000, 1_000_000])
        saved = dvskit.reconstruction.save_images(images, "two_images")  # a folder of PNG files
        saved.images, saved.size, saved.last_us  # (2, (128, 128), 1000000)
    """

    path: Path
    images: int
    size: Size
    first_us: int
    last_us: int


def save_images(
    images: ImageStream,
    path: str | PathLike[str],
    *,
    beside: SeenEvents | None = None,
    overwrite: bool = False,
    on_image: Callable[[int, int], object] | None = None,
) -> SavedImages:
    """Write images as a video, a folder or arrays, by the suffix of `path`, as they come.

    .mp4, .mkv, .mov, .gif  a video; each image has its own time, counted from the first
    .npz       `t_us` (N,) int64, `images` (N, height, width) uint8
    no suffix  a folder of PNG files and images.txt, as `dvskit.video.write_images` writes it

    beside    the source of the images: a video then shows the events since the image before at the
              right of each image, ON and OFF
    on_image  is called with the number of images so far and the time of the latest in us

    The output is written whole or not at all. Raises ConfigError for another suffix, VideoError
    without images, OutputError if the file exists and `overwrite` is false.

        events = dvskit.load_events("events.raw")
        times = dvskit.reconstruction.SteadyTimes(fps=20)
        images = dvskit.reconstruction.reconstruct(events, "filter", times)
        dvskit.reconstruction.save_images(images, "images.mp4")
        dvskit.reconstruction.save_images(images, "images.npz")
        np.load("images.npz")["images"]  # (40, 128, 128) uint8
    """
    target = check_images_path(path, beside=beside is not None)
    seen = _Seen(images, on_image)
    if not target.suffix:
        write_images((Frame(t, t, image) for t, image in seen), target, overwrite=overwrite)
    elif target.suffix.lower() == ".npz":
        with whole_file(target, overwrite=overwrite) as partial:
            _write_arrays(seen, partial)
            seen.check(target)
    else:
        _write_video(seen, target, beside, overwrite)
    return SavedImages(target, seen.count, images.size, seen.first_us, seen.last_us)


def check_images_path(path: str | PathLike[str], *, beside: bool) -> Path:
    """Return where images are written. Raises ConfigError for another suffix."""
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix and suffix not in IMAGES_SUFFIXES:
        raise ConfigError(
            f"{target}: images are written as {', '.join(IMAGES_SUFFIXES[:-1])} or .npz, or into a "
            f"folder (no suffix), not {suffix}"
        )
    if beside and suffix not in MOVING_SUFFIXES:
        raise ConfigError(
            f"{target}: only videos show events beside the images ({', '.join(MOVING_SUFFIXES)}); "
            "leave out beside="
        )
    return target


class _Seen:
    """Images, with their number and times so far."""

    def __init__(self, images: ImageStream, on_image: Callable[[int, int], object] | None) -> None:
        self.size, self._images, self._on_image = images.size, images, on_image
        self.count = self.first_us = self.last_us = 0

    def __iter__(self) -> Timed:
        for t_us, image in self._images:
            self.first_us = self.first_us if self.count else t_us
            self.count, self.last_us = self.count + 1, t_us
            yield t_us, image
            if self._on_image is not None:
                self._on_image(self.count, t_us)

    def check(self, target: Path) -> None:
        """Raise VideoError if there were none."""
        if not self.count:
            raise VideoError(f"{target}: there are no images to write")


def _write_arrays(seen: _Seen, partial: Path) -> None:
    """Write the images to a temporary file, then the archive: one image is in memory."""
    times: list[int] = []
    with tempfile.TemporaryFile(dir=partial.parent) as rows:
        for t_us, image in seen:
            times.append(t_us)
            rows.write(np.ascontiguousarray(image).data)
        rows.seek(0)
        width, height = seen.size
        # A pipe is opened once: of a path zipfile tries another mode first.
        with partial.open("wb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            with _member(archive, "t_us", np.dtype("<i8"), (len(times),)) as member:
                member.write(np.array(times, "<i8").tobytes())
            shape = len(times), height, width
            with _member(archive, "images", np.dtype(np.uint8), shape) as member:
                while data := rows.read(1 << 20):
                    member.write(data)


@contextmanager
def _member(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> Iterator[IO[bytes]]:
    entry = zipfile.ZipInfo(f"{name}.npy", _DATE)
    with archive.open(entry, "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": dtype.str, "fortran_order": False, "shape": shape}
        )
        yield member


def _write_video(seen: _Seen, target: Path, beside: SeenEvents | None, overwrite: bool) -> None:
    gif = target.suffix.lower() == ".gif"
    drawn = _Plain(seen.size) if beside is None else _WithEvents(beside, in_color=not gif)
    film = Film(
        target.suffix.lower(), drawn.size, drawn.palette, Fraction(_FPS), _CRF, _PRESET,
        in_color=beside is not None and not gif, timed=True,
    )  # fmt: skip
    check_output(target, overwrite=overwrite)
    with (
        whole_file(target, overwrite=overwrite) as partial,
        InThread(film.writer(partial), str(target)) as out,
    ):
        for t_us, image in seen:
            out.write(t_us, drawn.draw(t_us, image))
        seen.check(target)


class _Plain:
    """Images alone; a side that is odd gets one pixel more, since videos have even sides."""

    def __init__(self, size: Size) -> None:
        self.palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
        self._more = (0, size.height % 2), (0, size.width % 2)
        self.size = Size(size.width + size.width % 2, size.height + size.height % 2)

    def draw(self, t_us: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return rows of the palette."""
        return np.ascontiguousarray(np.pad(image, self._more, "edge"))


class _WithEvents:
    """Each image, and at its right the events since the one before, by their latest polarity."""

    def __init__(self, events: SeenEvents, *, in_color: bool) -> None:
        self._events, self._in_color = events, in_color
        style, sensor = LatestPolarity(), events.size
        self.palette = whole_palette(style.palette(DARK), DARK)
        self._run = style.start(sensor, 1)
        self._index = np.empty((sensor.height, sensor.width), np.uint8)
        self._shown = _Shown(sensor)
        layout = lay_out(sensor, None, beside=sensor, footer=False)
        self._layout = layout
        self._canvas = Canvas(layout, 1.0, slow=1.0, beside=self._shown)
        self.size = Size(layout.width, layout.height)

    def draw(self, t_us: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return RGB, or rows of the palette."""
        self._run.add(self._events.take(t_us), t_us + 1)
        self._run.draw(t_us + 1, t_us + 1, self._index)
        self._shown.image = np.repeat(image[..., None], 3, axis=2) if self._in_color else image
        picture = self._canvas.draw(Moment(t_us, self._index, 0, 0))
        if self._in_color:
            picture = self._canvas.in_color(self.palette)
        width = self._layout.sensor.width * self._layout.scale
        end = self._layout.gap_px + 2 * width
        # The canvas has the events first.
        parts = (slice(width + self._layout.gap_px, end), slice(width, end - width), slice(width))
        return np.concatenate([*(picture[:, part] for part in parts), picture[:, end:]], axis=1)


class _Shown(ImagesBeside):
    """The image of the moment."""

    def __init__(self, size: Size) -> None:
        self.size, self.colors = size, None
        self.image = np.zeros((size.height, size.width), np.uint8)

    def advance(self, t_us: int, size: Size) -> NDArray[np.uint8]:
        """Return the image, scaled to a size."""
        return np.asarray(cv2.resize(self.image, tuple(size), interpolation=cv2.INTER_AREA))
