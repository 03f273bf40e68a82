"""Images with times: folders, arrays in archives, animations, and frames of recordings."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dvskit.errors import FormatError, MissingFileError, VideoError, count_of, one_line
from dvskit.events import as_size
from dvskit.formats import Recording, RecordingPart, open_events
from dvskit.formats.image_list import (
    MOST_VIDEO_PIXELS,
    find_images,
    frame_size,
    images_in,
    read_image,
)
from dvskit.formats.stored_array import StoredArray, open_archive
from dvskit.streams import Frame
from dvskit.video.light import LINEAR_PNG, PNG_HEAD, gray_of, luminance
from dvskit.video.source import FileFrames, checked_times, nth_time_us

_MOST_OF_12_BITS = 4095  # cameras of 10 or 12 bits are often stored so, unscaled
_SUDDEN_MS, _USUAL_MS = 10, 100  # browsers show a frame of at most 10 ms for 100 ms
_STRIP = 1 << 24  # values
_LAST_BLOCK = b";"  # of GIF
_DAMAGE = (
    OSError, ValueError, IndexError, SyntaxError, EOFError, struct.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


class ImageFolder(FileFrames):
    """Frames of a folder of images, at the times of a list, or else at `fps`.

    The list is searched in the folder, then in the two above it; its times are kept:

    images.txt              `seconds name` lines (event-camera dataset; UZH-FPV numbers them); also
                            rgb.txt (TUM RGB-D)
    images.csv              `nanoseconds,name` lines (ESIM)
    timestamps.txt          seconds per line, or a number and seconds (E2VID, vid2e); whole numbers
                            too far apart for seconds are microseconds (DSEC) or nanoseconds
    timestamps_us.txt, images_timestamps_us.txt, image_timestamps.txt (DSEC),
    image_timestamps_left.txt (TUM-VIE)    microseconds per line

    Names are relative to the list, and the images need not lie in the folder itself: a folder that
    holds images.txt and images/ works. Without names, images are in natural order. Colors become
    gray (Rec. 601); 16-bit and float images keep their dtype. The EXIF orientation is applied;
    transparent pixels are shown on black. With light="linear" frames are float32 of linear light
    instead (1.0 is white): float images are assumed to be linear already.

    Integer images are sRGB codes, but frames of a sensor are linear light: PNG files that say so
    (gAMA), and images beside an events.txt, as in the event-camera dataset.

    With strict=False an image that cannot be read, or has another size, is skipped and listed in
    `damage`; `notes` lists the assumptions made. Raises VideoError for a folder without images or
    without times, for a damaged list, with the line, and for a damaged image.

        frames = dvskit.video.ImageFolder("davis")    # images.txt has the times
        frames.frame_count, frames.size
        events = dvskit.emulate(frames).load()
    """

    def _look(self) -> None:
        if self._fps is None:
            self._entries, notes = find_images(self.path)
            self.notes = tuple(notes)
        else:
            images = images_in(self.path) or [file for _, file in find_images(self.path).images]
            self._entries = [(nth_time_us(n, self._fps), file) for n, file in enumerate(images)]
        if not self._entries:
            raise VideoError(
                f"{self.path}: a time-stamp file without image names; add them to its lines"
            )
        self.frame_count = len(self._entries)
        if self._holds_light():
            self.transfer = "linear"
        first = self._first()
        self.size = as_size((first.shape[1], first.shape[0]))
        top = int(first.max()) if first.dtype == np.uint16 else 0
        if 0 < top <= _MOST_OF_12_BITS:
            self.notes += (
                f"the first of its 16-bit images reaches {top:,} of 65,535, which is white: scale "
                "images of fewer bits first",
            )

    def _holds_light(self) -> bool:
        """Return whether the images are frames of a sensor, which counts light."""
        if any(
            (folder / "events.txt").is_file() for folder in (self.path, self.path.absolute().parent)
        ):
            return True
        with suppress(OSError), self._entries[0][1].open("rb") as file:
            return file.read(PNG_HEAD + len(LINEAR_PNG)).endswith(LINEAR_PNG)
        return False

    def _first(self) -> NDArray[Any]:
        """Return the first image; without `strict`, the first readable one."""
        for _, file in self._entries[:-1]:
            try:
                return self._read(file)
            except VideoError:
                if self.strict:
                    raise
        return self._read(self._entries[-1][1])

    def _read(self, file: Path) -> NDArray[Any]:
        return _on_black(read_image(file), self._gray)

    def _gray(self, image: NDArray[Any]) -> NDArray[Any]:
        if self._light == "linear":
            rgb = image[..., ::-1] if image.ndim == 3 else image
            return luminance(rgb, transfer=self.transfer)
        return gray_of(image, bgr=True)

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        return self._pass(self._read)

    def pictures(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the same images as RGB, (height, width, 3); gray ones as (height, width)."""
        return self._pass(lambda file: _on_black(read_image(file), _rgb))

    def _pass(self, read: Callable[[Path], NDArray[Any]]) -> Iterator[tuple[int, NDArray[Any]]]:
        self.damage = losses = self._no_losses()
        for t_us, file in self._entries:
            try:
                image = read(file)
            except VideoError as error:
                losses.lose(one_line(error).removeprefix(f"{self.path}/"), frames=1)
                continue
            if self._fits(image, file.name, losses):
                yield t_us, image


def _rgb(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _on_black(image: NDArray[Any], made: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
    """Return a gray, BGR or BGRA image with transparent pixels on black.

    A large one in colors is made in strips, which take little memory beside it.
    """
    if image.ndim == 2:
        return made(image)
    if image.size <= _STRIP:
        return _strip_on_black(image, made)
    strips = np.array_split(image, -(-image.size // _STRIP))
    return np.concatenate([_strip_on_black(strip, made) for strip in strips])


def _strip_on_black(
    image: NDArray[Any], made: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    if image.shape[2] < 4:
        return made(image)
    opaque = image[..., 3] / np.float32(np.iinfo(image.dtype).max)
    picture = made(image[..., :3])
    seen = picture * (opaque if picture.ndim == 2 else opaque[..., None])
    return np.asarray(seen if picture.dtype.kind == "f" else np.rint(seen), picture.dtype)


def is_animation(path: Path) -> bool:
    """Return whether a file begins like GIF or WebP."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:  # deleted meanwhile, say; the reader of videos names the reason
        return False
    return head[:6] in (b"GIF87a", b"GIF89a") or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


class AnimatedImage(FileFrames):
    """Gray frames of an animated GIF or WebP, with the durations in the file.

    Frames are uint8, or float32 of linear light (`light`), as in VideoFrames; `fps` replaces the
    times. A frame of at most 10 ms is shown for 100, as browsers do. Transparent pixels are shown
    on black. Raises VideoError for a file that cannot be read; with strict=False, the frames before
    the damage are read and `damage` reports its position.

        from PIL import Image

        shades = [Image.new("L", (64, 48), 40 * k) for k in range(5)]
        shades[0].save("shades.gif", save_all=True, append_images=shades[1:], duration=20)
        frames = dvskit.video.AnimatedImage("shades.gif")
        [t_us for t_us, _ in frames]    # [0, 20000, 40000, 60000, 80000]
    """

    container_start_us = 0

    def _look(self) -> None:
        if not self.path.exists():
            raise MissingFileError(self.path)
        with self._open() as image:
            self.size = frame_size(self.path, image.width, image.height, MOST_VIDEO_PIXELS)
            try:
                pixels = np.asarray(image.convert("RGBA"))
            except _DAMAGE as error:
                raise VideoError(
                    f"{self.path}: holds no frame that can be read ({error})"
                ) from error
        if pixels[..., 3].min() < 255:
            self.notes = ("transparent pixels are shown on black",)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            image = Image.open(self.path)
        except _DAMAGE as error:
            raise VideoError(
                f"{self.path}: is not an image that can be opened ({error})"
            ) from error
        with image:
            yield image

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        return self._pass(self._picture)

    def pictures(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the same frames as RGB, (height, width, 3) uint8."""
        return self._pass(_rgb_on_black)

    def _pass(
        self, picture_of: Callable[[NDArray[np.uint8]], NDArray[Any]]
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        self.damage = self._no_losses()
        t_us = number = 0
        with self._open() as image:
            while True:
                try:
                    image.seek(number)
                    if as_size(image.size) != self.size:  # damage may give it billions of pixels
                        raise ValueError(f"it has {image.size[0]}x{image.size[1]} pixels")
                    picture = picture_of(np.asarray(image.convert("RGBA")))
                except EOFError:
                    break
                except _DAMAGE as error:
                    self.damage.lose(
                        f"frame {number} (at {t_us / 1e6:.3f} s) cannot be read ({error})"
                    )
                    return
                yield (t_us if self._fps is None else nth_time_us(number, self._fps)), picture
                shown_ms = image.info.get("duration") or 0
                t_us += round((shown_ms if shown_ms > _SUDDEN_MS else _USUAL_MS) * 1000)
                number += 1
        if self._is_cut_short():
            self.damage.lose(f"the file is cut short, after frame {number - 1}")

    def _is_cut_short(self) -> bool:
        """Return whether a WebP is shorter than its header says, or a GIF has no last block."""
        data = self.path.read_bytes()
        if data[:4] == b"RIFF":
            return len(data) < int.from_bytes(data[4:8], "little") + 8
        return not data.rstrip(b"\0").endswith(_LAST_BLOCK)

    def _picture(self, rgba: NDArray[np.uint8]) -> NDArray[Any]:
        if self._light == "linear":
            return luminance(rgba[..., :3]) * (rgba[..., 3] / np.float32(255))
        return gray_of(_rgb_on_black(rgba))


def _rgb_on_black(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB, (height, width, 3), on black."""
    if rgba[..., 3].min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    opaque = rgba[..., 3:] / np.float32(255)
    return np.asarray(np.rint(rgba[..., :3] * opaque), np.uint8)


class RecordedFrames(FileFrames):
    """Frames of an event file or a bag, on the clock of its events.

    The time of a frame is the middle of its exposure, rounded down; `fps` replaces it. Color
    becomes gray (Rec. 601), or with light="linear" float32 of linear light. A frame of another size
    than the first is damage: with strict=False it is skipped, and `damage` counts it. Frames of 10
    bits are scaled to 16. Raises VideoError for a recording without frames, and the errors of
    reading the recording.

        frames = dvskit.video.RecordedFrames("davis")    # on the clock of its events
        t_us, image = next(iter(frames))
        image.shape, image.dtype    # (90, 120), uint8
    """

    transfer = "linear"  # sensors count light; nothing in a recording codes it

    def _look(self) -> None:
        self._recording = open_events(self.path, strict=self.strict)
        first = next(full_scale(self._recording), None)
        if first is None:
            raise VideoError(
                f"{self.path}: is an event file ({self._recording.format}) without frames; name a "
                "video (open_events, or dvskit convert, reads its events)"
            )
        height, width = first.image.shape[:2]
        self.size = as_size((width, height))
        top = int(first.image.max()) if first.image.dtype == np.uint16 else 0
        if 0 < top <= _MOST_OF_12_BITS and self._recording.white is None:
            self.notes = (
                f"the first of its 16-bit frames reaches {top:,} of 65,535, which is white",
            )

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        return self._pass(self._gray)

    def pictures(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the same frames as stored: RGB (height, width, 3) or gray."""
        return self._pass(lambda image: image)

    def _gray(self, image: NDArray[Any]) -> NDArray[Any]:
        if self._light == "linear":
            return luminance(image, transfer=self.transfer)
        return gray_of(image)

    def _pass(
        self, made: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        self.damage = losses = self._no_losses()
        for number, frame in enumerate(full_scale(self._recording)):
            t_us = middle_us(frame) if self._fps is None else nth_time_us(number, self._fps)
            if self._fits(frame.image, f"the frame at {t_us} us", losses):
                yield t_us, made(frame.image)


def full_scale(recording: Recording | RecordingPart) -> Iterator[Frame]:
    """Yield the frames of a recording, with those of fewer bits scaled to their whole dtype."""
    whole = recording.recording if isinstance(recording, RecordingPart) else recording
    for frame in recording.frames():
        if whole.white is None:
            yield frame
        else:
            most = np.iinfo(frame.image.dtype).max
            scaled = frame.image.astype(np.float64) * (most / whole.white)
            image = np.rint(np.minimum(scaled, most)).astype(frame.image.dtype)
            yield frame._replace(image=image)


def middle_us(frame: Frame) -> int:
    """Return the middle of a frame's exposure, in whole microseconds."""
    return (frame.t_us + frame.stop_us) // 2


_MOST_IMAGES = 1 << 22
_DTYPES = ("uint8", "uint16", "float32", "float64")


class ImageArrays(FileFrames):
    """Gray frames of an .npz file, one at a time.

    t_us    (N,) whole microseconds; `fps` replaces them
    images  (N, height, width) uint8, uint16 (65535 is white) or float (1.0 is white)

    With light="linear" frames are float32 of linear light; float images are assumed to be linear
    already. Raises VideoError for a file without these arrays, for other shapes and dtypes, and for
    a damaged array; with strict=False, the frames before the damage are read and `damage` reports
    its position.

        images = np.random.default_rng(0).random((20, 48, 64), np.float32)
        np.savez("clip.npz", t_us=np.arange(20) * 10_000, images=images)
        frames = dvskit.video.ImageArrays("clip.npz")
        frames.frame_count, frames.size    # (20, Size(width=64, height=48))
    """

    def _look(self) -> None:
        if not self.path.exists():
            raise MissingFileError(self.path)
        with self._archive() as archive:
            times, images = self._array(archive, "t_us"), self._array(archive, "images", 3)
            count, height, width = images.shape
            self.size, self.frame_count = frame_size(self.path, width, height), count
            if count > _MOST_IMAGES:
                raise VideoError(
                    f"{self.path}: holds {count:,} images; at most {_MOST_IMAGES:,} are read; "
                    "split it"
                )
            try:
                stamps = times.read(min(count, times.shape[0]))
            except FormatError as error:
                raise VideoError(one_line(error)) from error
        if images.dtype.name not in _DTYPES:
            raise VideoError(
                f"{self.path}: images are {images.dtype}; {', '.join(_DTYPES)} are expected"
            )
        if not count or times.shape[0] != count:
            raise VideoError(
                f"{self.path}: holds {count_of(count, 'image')} and "
                f"{count_of(times.shape[0], 'time')}; one of each is needed"
            )
        self._times = checked_times(stamps)

    def _array(self, archive: zipfile.ZipFile, name: str, dimensions: int = 1) -> StoredArray:
        try:
            return StoredArray(archive, name, self.path, dimensions=dimensions)
        except FormatError as error:
            raise VideoError(one_line(error)) from error

    @contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        with ExitStack() as stack:
            try:
                archive = stack.enter_context(open_archive(self.path))
            except FormatError as error:
                raise VideoError(one_line(error)) from error
            yield archive

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        self.damage = losses = self._no_losses()
        width, height = self.size
        with self._archive() as archive:
            images = self._array(archive, "images", 3)
            for number, t_us in enumerate(self._times):
                try:
                    image = images.read(width * height).reshape(height, width)
                except FormatError as error:
                    left = len(self._times) - number
                    problem = one_line(error).removeprefix(f"{self.path}: ")
                    losses.lose(f"image {number}: {problem}", frames=left)
                    return
                frame = luminance(image) if self._light == "linear" else image
                yield (t_us if self._fps is None else nth_time_us(number, self._fps)), frame
