"""Video files, through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import MissingFileError, VideoError
from dvskit.events import as_size
from dvskit.video.light import Light, checked_light, luminance
from dvskit.video.source import FrameSource, checked_fps, nth_time_us

# A video's luma is stored as 16..235 unless it says otherwise; levels outside are extremes.
_FULL_RANGE = np.clip(np.round((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
_JPEG_RANGE = 2  # AVCOL_RANGE_JPEG
# What FFmpeg makes of any bytes by the suffix alone: text as a terminal's picture, bytes as pixels.
_GUESSES = ("tty", "rawvideo", "bin", "xbin", "adf", "idf")


def reason(error: Exception) -> str:
    """Return what FFmpeg says of an error, in one line."""
    return str(getattr(error, "strerror", None) or error).splitlines()[0]


class VideoFrames(FrameSource):
    """Gray frames of a video file, at the file's own time stamps.

    light  "luma": uint8, 0..255, as the file's own luma has it, gamma-coded; "linear": float32, the
           luminance of its colors as linear light, 1.0 for white

    `fps` replaces the time stamps by a steady rate. Raises VideoError for a file that is no video.
    """

    def __init__(
        self, path: str | PathLike[str], *, fps: float | None = None, light: Light = "luma"
    ) -> None:
        self.path = Path(path)
        self._light = checked_light(light)
        self._fps = checked_fps(fps)
        with self._open() as container:
            stream = container.streams.video[0]
            if not stream.width or not stream.height:
                raise VideoError(f"{self.path}: is not a video that can be opened (no frame size)")
            self.size = as_size((stream.width, stream.height))
            self.frame_count = stream.frames or None

    def _open(self) -> Any:
        if not self.path.exists():
            raise MissingFileError(self.path)
        try:
            container = av.open(str(self.path))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"{self.path}: is not a video that can be opened ({reason(error)})"
            ) from error
        if container.format.name in _GUESSES:
            container.close()
            raise VideoError(f"{self.path}: is not a video that can be opened (plain text or raw)")
        if not container.streams.video:
            container.close()
            raise VideoError(f"{self.path}: has no video stream")
        return container

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
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
                    f"{self.path}: frame {number} cannot be decoded ({reason(error)})"
                ) from error

    def _time_us(self, frame: Any, number: int) -> int:
        if self._fps is not None:
            return nth_time_us(number, self._fps)
        if frame.pts is None or frame.time_base is None:
            raise VideoError(f"{self.path}: frame {number} has no time stamp; pass fps (--fps)")
        seconds = Fraction(int(frame.pts)) * Fraction(frame.time_base)
        return round(seconds * 1_000_000)

    def _gray(self, frame: Any, number: int) -> NDArray[Any]:
        if (frame.width, frame.height) != self.size:
            raise VideoError(
                f"{self.path}: frame {number} is {frame.width}x{frame.height}, "
                f"the first was {self.size}"
            )
        if self._light == "linear":
            return luminance(frame.to_ndarray(format="rgb24"))
        name = frame.format.name
        if name.startswith(("yuv4", "yuvj4", "nv12", "nv21")) and "p1" not in name:
            plane = frame.planes[0]  # the luma of an 8-bit video, as it was decoded
            luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            luma = luma[:, : frame.width]
            if name.startswith("yuvj") or frame.color_range == _JPEG_RANGE:
                return np.ascontiguousarray(luma)
            return np.asarray(cv2.LUT(luma, _FULL_RANGE), dtype=np.uint8)
        return np.asarray(frame.to_ndarray(format="gray"), dtype=np.uint8)
