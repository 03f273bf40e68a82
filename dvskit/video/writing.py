"""Write frames as video, as PNG files with a list of their times, or as they come without loss."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._files import not_written, whole_file, whole_folder
from dvskit.errors import OutputError, ShapeError, VideoError
from dvskit.events import Size, as_size
from dvskit.formats import Recording, RecordingPart
from dvskit.formats.image_list import IMAGES_NAME
from dvskit.streams import Frame
from dvskit.video.file import reason
from dvskit.video.images import full_scale, middle_us
from dvskit.video.light import LINEAR_PNG, PNG_HEAD

_LIMITED_RANGE = np.round(np.arange(256) * (219 / 255) + 16).astype(np.uint8)
_NO_COLOR = 128  # chroma of gray


def write_video(
    frames: Iterable[tuple[int, NDArray[np.uint8]]],
    path: str | PathLike[str],
    *,
    fps: int,
    overwrite: bool = False,
) -> None:
    """Encode gray frames as H.264 (mp4, mkv, mov by the suffix), each at its own time.

    frames: (t_us, uint8 (height, width)), with even width and height. `fps` is the usual rate.
    Raises VideoError for frames that do not fit, OutputError for an existing file unless
    `overwrite`.

        frames = dvskit.video.open_frames("video.mp4")
        inverted = ((t_us, 255 - frame) for t_us, frame in frames)
        dvskit.video.write_video(inverted, "inverted.mp4", fps=100)
    """
    with whole_file(path, overwrite=overwrite) as partial:
        try:
            with av.open(str(partial), "w") as container:
                _encode(frames, container, fps)
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise VideoError(f"{path}: cannot be encoded ({reason(error)})") from error


def _encode(frames: Iterable[tuple[int, NDArray[np.uint8]]], container: Any, fps: int) -> None:
    stream = None
    clock = Fraction(1, 1_000_000)
    for number, (t_us, gray) in enumerate(frames):
        if stream is None:
            height, width = gray.shape
            if width % 2 or height % 2:
                raise VideoError(f"frames are {width}x{height}; H.264 needs even sides")
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = clock
            stream.options = {"crf": "18", "preset": "veryfast"}
        if gray.shape != (height, width) or gray.dtype != np.uint8:
            raise VideoError(f"frame {number} is {gray.dtype} {gray.shape}, unlike the first")
        planes = np.full((height * 3 // 2, width), _NO_COLOR, np.uint8)
        planes[:height] = _LIMITED_RANGE[gray]
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = t_us, clock
        container.mux(stream.encode(frame))
    if stream is None:
        raise VideoError("no frames to encode")
    container.mux(stream.encode(None))


class WrittenImages(NamedTuple):
    """The result of `write_images`: the number of images, and their sizes."""

    images: int
    sizes: tuple[Size, ...]


def write_images(
    frames: Iterable[Frame] | Recording | RecordingPart,
    path: str | PathLike[str],
    *,
    overwrite: bool = False,
) -> WrittenImages:
    """Write frames as frame_000000.png and so on, and images.txt, into a folder.

    images.txt has a line of seconds (the middle of the exposure, six decimals) and name for each,
    as in the event-camera dataset. Images are gray or RGB, with 8 or 16 bits as given; those of a
    recording of 10 bits are scaled to 16. Those of a recording are marked as linear light (gAMA of
    PNG), as sensors count it. The folder is written whole or not at all.
    Returns the number of images and their sizes. Raises VideoError without frames, OutputError for
    a folder with files unless `overwrite`.

        recording = dvskit.open_events("davis")
        written = dvskit.video.write_images(recording, "frames")
        written.images, written.sizes    # their number, and (Size(width=120, height=90),)
    """
    given = full_scale(frames) if isinstance(frames, Recording | RecordingPart) else frames
    head = b"" if given is frames else LINEAR_PNG
    lines: list[str] = []
    sizes: dict[Size, None] = {}
    with whole_folder(path, overwrite=overwrite, is_own=_is_image) as partial:
        for number, frame in enumerate(given):
            if not number:
                partial.mkdir()
            name, image = f"frame_{number:06d}.png", frame.image
            sizes[as_size((image.shape[1], image.shape[0]))] = None
            found, data = cv2.imencode(".png", image if image.ndim == 2 else image[..., ::-1])
            if not found:
                raise VideoError(f"{path}: frame {number} cannot be written as PNG")
            png = data.tobytes()
            (partial / name).write_bytes(png[:PNG_HEAD] + head + png[PNG_HEAD:])
            lines.append(f"{_seconds(middle_us(frame))} {name}\n")
        if not lines:
            raise VideoError(f"{path}: there are no frames to write")
        (partial / IMAGES_NAME).write_text("".join(lines), encoding="utf-8")
    return WrittenImages(len(lines), tuple(sizes))


def _seconds(t_us: int) -> str:
    whole, part = divmod(abs(t_us), 1_000_000)
    return f"{'-' if t_us < 0 else ''}{whole}.{part:06d}"


def _is_image(name: str) -> bool:
    return name == IMAGES_NAME or re.fullmatch(r"frame_\d{6,}\.png", name) is not None


_US, _MS = Fraction(1, 1_000_000), Fraction(1, 1_000)
# TimestampScale (RFC 9559): nanoseconds per unit of time. FFmpeg writes a million, always.
_MILLISECONDS, _MICROSECONDS = bytes.fromhex("2ad7b1830f4240"), bytes.fromhex("2ad7b1830003e8")
_HEAD = 4096  # bytes that contain the header


def check_gray(frame: Any, size: Size, name: str) -> None:
    """Raise ShapeError, with the name of the frame, unless it is (height, width) uint8."""
    shape = (size.height, size.width)
    if not isinstance(frame, np.ndarray) or frame.shape != shape or frame.dtype != np.uint8:
        found = f"{getattr(frame, 'dtype', type(frame).__name__)} {np.shape(frame)}"
        raise ShapeError(f"{name} is {found}; give gray frames uint8 {shape}")


class LosslessWriter:
    """Writes gray frames to a file, each with its own time; `close` completes the file.

    size  (width, height) of the frames
    A file that is never closed, because the process was killed, holds all frames but the last few;
    `open_frames(path, strict=False)` reads them. Times are stored relative to the first frame.
    `frames` counts them. Raises OutputError if the file cannot be written.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.path, self.size, self.frames = path, as_size(size), 0
        self.first_us = self.last_us = 0
        try:
            self._file = _Microseconds(path)
        except OSError as error:
            raise not_written(path, error) from error
        options = {"flush_packets": "1"}
        self._container = av.open(self._file, "w", format="matroska", options=options)
        stream: Any = self._container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = *self.size, "gray"
        stream.codec_context.time_base = _US
        # Each frame has checksums, and needs no other frame: a cut-off end damages none before.
        stream.options = {"level": "3", "slicecrc": "1", "g": "1"}
        self._stream = stream

    def add(self, t_us: int, frame: NDArray[Any]) -> None:
        """Write a frame (height, width) uint8.

        Raises ShapeError for another shape or dtype, VideoError for a time that is not after the
        one before; nothing is written then. Raises OutputError.
        """
        check_gray(frame, self.size, f"frame {self.frames}")
        if self.frames and t_us <= self.last_us:
            raise VideoError(
                f"frame {self.frames}, at {t_us} us, is not after the one before, at "
                f"{self.last_us} us; give times that increase"
            )
        if not self.frames:
            self.first_us = t_us
        given = av.VideoFrame.from_ndarray(frame, format="gray")
        given.pts, given.time_base = t_us - self.first_us, _US
        self._mux(given)
        self.frames, self.last_us = self.frames + 1, t_us

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                packet.time_base = _MS  # counted in milliseconds here, in microseconds in the file
                self._container.mux(packet)
        except (av.error.FFmpegError, OSError) as error:
            raise OutputError(f"{self.path}: {error.strerror or error}; free some space") from error

    def close(self) -> None:
        """Complete the file. Raises OutputError."""
        try:
            self._mux(None)
            self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise OutputError(f"{self.path}: {error.strerror or error}; free some space") from error
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Close the file, and remove it."""
        with suppress(av.error.FFmpegError, OSError):
            self._container.close()
        self._file.close()
        self.path.unlink(missing_ok=True)


class _Microseconds:
    """A file whose Matroska header says that times are microseconds."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)  # a killed process loses nothing it wrote

    def write(self, data: bytes) -> int:
        # The header is written at the start, and again at the end with the duration.
        if self._file.tell() < _HEAD:
            data = bytes(data).replace(_MILLISECONDS, _MICROSECONDS, 1)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
