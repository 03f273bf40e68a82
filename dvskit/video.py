"""Videos, image folders and arrays to (t_us, frame): gray frames with their own time stamps.

And back: `write_video` encodes gray frames.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._files import whole_file
from dvskit.errors import ShapeError, VideoError
from dvskit.events import Size, as_size

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".exr", ".hdr")

# A video's luma is stored as 16..235 unless it says otherwise; levels outside are extremes.
_FULL_RANGE = np.clip(np.round((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
_LIMITED_RANGE = np.round(np.arange(256) * (219 / 255) + 16).astype(np.uint8)
_JPEG_RANGE = 2  # AVCOL_RANGE_JPEG
_NO_COLOR = 128  # chroma of gray
# What FFmpeg makes of any bytes by the suffix alone: text as a terminal's picture, bytes as pixels.
_GUESSES = ("tty", "rawvideo", "bin", "xbin", "adf", "idf")


class FrameSource(ABC):
    """Frames in time order: starts anew at each iteration.

    size         of each frame
    frame_count  how many there are, where it is known without decoding
    """

    size: Size
    frame_count: int | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (t_us, frame): int microseconds, and (height, width) gray."""


def _checked_fps(fps: float | None) -> Fraction | None:
    if fps is None:
        return None
    if not 1e-3 <= fps <= 1e6:
        raise VideoError(f"fps = {fps} is outside 0.001..1000000")
    return Fraction(fps).limit_denominator(1_000_000)


def _nth_time_us(number: int, fps: Fraction) -> int:
    return round(number * 1_000_000 / fps)


class VideoFrames(FrameSource):
    """Gray frames (uint8, 0..255) of a video file, at the file's own time stamps.

    `fps` replaces the time stamps by a steady rate. Raises VideoError for a file that is no video.
    """

    def __init__(self, path: str | PathLike[str], *, fps: float | None = None) -> None:
        self.path = Path(path)
        self._fps = _checked_fps(fps)
        with self._open() as container:
            stream = container.streams.video[0]
            if not stream.width or not stream.height:
                raise VideoError(f"{self.path}: is not a video that can be opened (no frame size)")
            self.size = as_size((stream.width, stream.height))
            self.frame_count = stream.frames or None

    def _open(self) -> Any:
        if not self.path.exists():
            raise VideoError(f"{self.path}: no such file")
        try:
            container = av.open(str(self.path))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"{self.path}: is not a video that can be opened ({_reason(error)})"
            ) from error
        if container.format.name in _GUESSES:
            container.close()
            raise VideoError(f"{self.path}: is not a video that can be opened (plain text or raw)")
        if not container.streams.video:
            container.close()
            raise VideoError(f"{self.path}: has no video stream")
        return container

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            number = 0
            try:
                for frame in container.decode(stream):
                    yield self._time_us(frame, number), self._gray(frame, number)
                    number += 1
            except av.error.FFmpegError as error:
                raise VideoError(
                    f"{self.path}: frame {number} cannot be decoded ({_reason(error)})"
                ) from error

    def _time_us(self, frame: Any, number: int) -> int:
        if self._fps is not None:
            return _nth_time_us(number, self._fps)
        if frame.pts is None or frame.time_base is None:
            raise VideoError(f"{self.path}: frame {number} has no time stamp; pass fps (--fps)")
        seconds = Fraction(int(frame.pts)) * Fraction(frame.time_base)
        return round(seconds * 1_000_000)

    def _gray(self, frame: Any, number: int) -> NDArray[np.uint8]:
        if (frame.width, frame.height) != self.size:
            raise VideoError(
                f"{self.path}: frame {number} is {frame.width}x{frame.height}, "
                f"the first was {self.size}"
            )
        name = frame.format.name
        if name.startswith(("yuv4", "yuvj4", "nv12", "nv21")) and "p1" not in name:
            plane = frame.planes[0]  # the luma of an 8-bit video, as it was decoded
            luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            luma = luma[:, : frame.width]
            if name.startswith("yuvj") or frame.color_range == _JPEG_RANGE:
                return np.ascontiguousarray(luma)
            return np.asarray(cv2.LUT(luma, _FULL_RANGE), dtype=np.uint8)
        return np.asarray(frame.to_ndarray(format="gray"), dtype=np.uint8)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0]


class ImageFolder(FrameSource):
    """Frames of a folder of images, in natural order of their names.

    Times come from `fps`, or from one of these files in the folder:
    timestamps_us.txt (a whole number of microseconds a line), timestamps.txt (seconds a line),
    images.txt (`seconds name` lines), images.csv (`nanoseconds,name` lines).
    Color is turned gray (Rec. 601); 16-bit and float images stay so.
    Raises VideoError for a folder without images or without times.
    """

    def __init__(self, path: str | PathLike[str], *, fps: float | None = None) -> None:
        self.path = Path(path)
        images = sorted(
            (file for file in self.path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES),
            key=_natural,
        )
        if not images:
            raise VideoError(f"{self.path}: no images ({', '.join(IMAGE_SUFFIXES)}) in this folder")
        rate = _checked_fps(fps)
        if rate is not None:
            self._entries = [(_nth_time_us(n, rate), file) for n, file in enumerate(images)]
        else:
            self._entries = _timed_images(self.path, images)
        self.frame_count = len(self._entries)
        height, width = self._read(self._entries[0][1]).shape
        self.size = as_size((width, height))

    def _read(self, file: Path) -> NDArray[Any]:
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) if file.is_file() else None
        if image is None:
            raise VideoError(f"{file}: is not an image that can be read")
        if image.ndim == 3:
            code = cv2.COLOR_BGRA2GRAY if image.shape[2] == 4 else cv2.COLOR_BGR2GRAY
            image = cv2.cvtColor(image, code)
        return np.asarray(image)

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        for t_us, file in self._entries:
            image = self._read(file)
            if (image.shape[1], image.shape[0]) != self.size:
                raise VideoError(
                    f"{file}: is {image.shape[1]}x{image.shape[0]}, the first was {self.size}"
                )
            yield t_us, image


def _natural(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _timed_images(folder: Path, images: list[Path]) -> list[tuple[int, Path]]:
    for name, unit, separator in (
        ("timestamps_us.txt", Fraction(1), None),
        ("timestamps.txt", Fraction(1_000_000), None),
        ("images.txt", Fraction(1_000_000), None),
        ("images.csv", Fraction(1, 1000), ","),
    ):
        if (folder / name).is_file():
            return _read_times(folder / name, images, unit, separator)
    raise VideoError(
        f"{folder}: no time-stamp file (timestamps_us.txt, timestamps.txt, images.txt, "
        "images.csv); add one or pass fps (--fps)"
    )


def _read_times(
    file: Path, images: list[Path], unit: Fraction, separator: str | None
) -> list[tuple[int, Path]]:
    named = file.name.startswith("images")
    entries: list[tuple[int, Path]] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = [word.strip() for word in line.split(separator)]
        try:
            t_us = round(Fraction(words[0]) * unit)
            image = file.parent / words[1] if named else images[len(entries)]
        except (ValueError, IndexError):
            meaning = "a time and a name" if named else "one time an image"
            raise VideoError(f"{file}: line {number} is {line!r}; {meaning} is meant") from None
        entries.append((t_us, image))
    if not entries or (not named and len(entries) != len(images)):
        raise VideoError(f"{file}: has {len(entries)} times for {len(images)} images")
    return entries


class ArrayFrames(FrameSource):
    """Frames of an array (T, height, width), at times `t_us` (T,) or at a steady `fps`."""

    def __init__(
        self,
        frames: NDArray[Any],
        *,
        t_us: NDArray[np.int64] | list[int] | None = None,
        fps: float | None = None,
    ) -> None:
        if frames.ndim != 3:
            raise ShapeError(f"frames have shape {frames.shape}; (T, height, width) is meant")
        rate = _checked_fps(fps)
        if (t_us is None) == (rate is None):
            raise VideoError("give either t_us or fps")
        if rate is not None:
            times = [_nth_time_us(number, rate) for number in range(len(frames))]
        else:
            times = (
                [int(t) for t in t_us or ()]
                if isinstance(t_us, list)
                else np.asarray(t_us).tolist()
            )
        if len(times) != len(frames):
            raise VideoError(f"{len(times)} times for {len(frames)} frames")
        self._frames = frames
        self._times = times
        self.frame_count = len(times)
        self.size = as_size((frames.shape[2], frames.shape[1]))

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        yield from zip(self._times, self._frames, strict=True)


def open_frames(path: str | PathLike[str], *, fps: float | None = None) -> FrameSource:
    """Open a video file or a folder of images. Raises VideoError."""
    if Path(path).is_dir():
        return ImageFolder(path, fps=fps)
    return VideoFrames(path, fps=fps)


def write_video(
    frames: Iterable[tuple[int, NDArray[np.uint8]]],
    path: str | PathLike[str],
    *,
    fps: int,
    overwrite: bool = False,
) -> None:
    """Encode gray frames as H.264 (mp4, mkv, mov by the suffix), each at its own time.

    frames: (t_us, uint8 (height, width)), with even width and height. `fps` is the usual rate.
    Raises VideoError for frames that do not fit, OutputError.
    """
    with whole_file(path, overwrite=overwrite) as partial:
        try:
            with av.open(str(partial), "w") as container:
                _encode(frames, container, fps)
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise VideoError(f"{path}: cannot be encoded ({_reason(error)})") from error


def _encode(frames: Iterable[tuple[int, NDArray[np.uint8]]], container: Any, fps: int) -> None:
    stream = None
    clock = Fraction(1, 1_000_000)
    for number, (t_us, gray) in enumerate(frames):
        if stream is None:
            height, width = gray.shape
            if width % 2 or height % 2:
                raise VideoError(f"frames are {width}x{height}; H.264 takes even numbers")
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = clock
            stream.options = {"crf": "18", "preset": "veryfast"}
        if gray.shape != (height, width) or gray.dtype != np.uint8:
            raise VideoError(f"frame {number} is {gray.dtype} {gray.shape}, not as the first")
        planes = np.full((height * 3 // 2, width), _NO_COLOR, np.uint8)
        planes[:height] = _LIMITED_RANGE[gray]
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = t_us, clock
        container.mux(stream.encode(frame))
    if stream is None:
        raise VideoError("no frames to encode")
    container.mux(stream.encode(None))
