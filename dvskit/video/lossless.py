"""Gray video without loss, written as it comes: FFV1 in Matroska, times in microseconds."""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from dvskit._files import not_written
from dvskit.errors import OutputError, ShapeError, VideoError
from dvskit.events import Size, as_size

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
