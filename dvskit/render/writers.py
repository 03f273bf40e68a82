"""Write pictures to a file: H.264, GIF, a folder of PNG. And a thread for it."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, Self

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, OutputError, VideoError
from dvskit.render import frame_kernels

_WAITING = 4  # pictures between drawing and encoding
_PAUSE_S = 0.001  # much less than encoding that many takes
# A fading picture is the mean of its neighbors in time: pictures predicted from both cost no time
# and make smaller files. Their number is fixed, which needs no look-ahead. Residuals are rounded
# nearly to the nearest step, not towards zero: faint events are not noise to be lost.
_ADDED = {"ultrafast": "bframes=3:b-adapt=0:deadzone-inter=6:deadzone-intra=6"}
MOVING_SUFFIXES = (".mp4", ".mkv", ".mov", ".gif")
TIMES_FILE = "timestamps_us.txt"
FPS_LIMITS = (0.01, 1000)  # of videos
CRF_LIMITS = (0, 51)  # of x264
PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
)  # fmt: skip


def output_fps(fps: float | None, *, gif: bool, usual: float) -> Fraction:
    """Return the rate of a video; by default 25 for a GIF, else the usual one."""
    rate = (25 if gif else usual) if fps is None else fps
    if gif and rate > 50:
        raise ConfigError(f"fps={rate}: a GIF shows at most 50 frames per second")
    return Fraction(rate).limit_denominator(1001)


class Writer(Protocol):
    """Takes pictures: (height, width) uint8 rows of a palette of 256 colors by default."""

    def pack(self, t_us: int, picture: NDArray[np.uint8]) -> Any:
        """Return a picture in the form for `put`; the picture may be overwritten then."""

    def put(self, packed: Any) -> None:
        """Encode a packed picture."""

    def finish(self) -> None:
        """Write the remaining data."""

    def close(self) -> None:
        """Release the file, finished or not."""


def yuv_table(palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (256, 3) Y, U, V of RGB colors: ITU-R BT.709, limited range."""
    red, green, blue = (palette.astype(np.float64) / 255).T
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    u, v = (blue - luma) / 1.8556, (red - luma) / 1.5748
    table = np.stack([16 + 219 * luma, 128 + 224 * u, 128 + 224 * v], axis=1)
    return np.asarray(np.rint(table), dtype=np.uint8)


def packed_table(yuv: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return (256,) Y << 20 | V << 10 | U, as read by `frame_kernels.planes`."""
    y, u, v = yuv.astype(np.uint32).T
    return np.asarray(y << 20 | v << 10 | u, dtype=np.uint32)


def _plane(plane: Any) -> NDArray[np.uint8]:
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)


class _StreamWriter:
    """A file of one stream, through PyAV."""

    _container: Any
    _stream: Any

    def put(self, packed: Any) -> None:
        self._container.mux(self._stream.encode(packed))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))

    def close(self) -> None:
        self._container.close()


class _Ticks:
    """The positions of pictures in a video: their number, or their times in ticks of a clock.

    clock_hz  of the times; None to count the pictures
    """

    def __init__(self, clock_hz: int | None) -> None:
        self.timed = clock_hz is not None
        self._clock_hz, self._count = clock_hz, 0
        self._first_us = self._last = 0

    def at(self, t_us: int) -> int:
        """Return the position of the next picture; later than the one before."""
        number, self._count = self._count, self._count + 1
        if self._clock_hz is None:
            return number
        if not number:
            self._first_us = t_us
            return 0
        passed = round((t_us - self._first_us) * self._clock_hz / 1_000_000)
        self._last = max(self._last + 1, passed)
        return self._last


class H264Writer(_StreamWriter):
    """An H.264 video of palette pictures, or RGB ones without a palette, in BT.709.

    timed  each picture has its own time, counted from the first one; else they follow at `fps`
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        palette: NDArray[np.uint8] | None,
        *,
        fps: Fraction,
        crf: float,
        preset: str,
        timed: bool = False,
    ) -> None:
        self._ticks = _Ticks(1_000_000 if timed else None)
        self._table = None if palette is None else packed_table(yuv_table(palette))
        self._size = size
        # The index is before the pictures, so that a page can play the file while loading it;
        # Matroska gets no random identifier, so that the same pictures give the same bytes.
        options = {"movflags": "+faststart"}
        if path.suffix == ".mkv":
            options = {"fflags": "+bitexact"}
        self._container: Any = av.open(str(path), "w", options=options)
        self._stream: Any = self._container.add_stream("libx264", rate=fps)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        codec = self._stream.codec_context
        codec.time_base = Fraction(1, 1_000_000) if timed else 1 / fps
        codec.colorspace = codec.color_primaries = codec.color_trc = 1  # BT.709
        codec.color_range = 1  # limited
        # Several pictures at once: slices of one, PyAV's default, leave cores idle.
        codec.thread_type = "FRAME"
        chosen: dict[str, object] = {"crf": f"{crf:g}", "preset": preset}
        if preset in _ADDED:
            chosen["x264-params"] = _ADDED[preset]
        self._stream.options = chosen

    def pack(self, t_us: int, picture: NDArray[np.uint8]) -> Any:
        """Return the picture packed."""
        frame = av.VideoFrame(*self._size, "yuv420p")
        frame.pts, frame.time_base = self._ticks.at(t_us), self._stream.codec_context.time_base
        planes = [_plane(plane) for plane in frame.planes]
        if self._table is None:
            frame_kernels.rgb_planes(picture, *planes)
        else:
            frame_kernels.planes(picture, self._table, *planes)
        return frame


class _GifWriter(_StreamWriter):
    """An animated GIF with the given palette; its clock ticks in hundredths of a second."""

    def __init__(
        self, path: Path, size: tuple[int, int], palette: NDArray[np.uint8], *, fps: Fraction,
        timed: bool = False,
    ) -> None:  # fmt: skip
        self._size = size
        self._fps = fps
        self._ticks = _Ticks(100 if timed else None)
        self._colors = np.full((256, 4), 255, np.uint8)
        self._colors[:, :3] = palette[:, ::-1]  # BGRA in memory
        self._container: Any = av.open(str(path), "w")
        self._stream: Any = self._container.add_stream("gif", rate=fps)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "pal8"
        self._stream.codec_context.time_base = Fraction(1, 100)

    def pack(self, t_us: int, picture: NDArray[np.uint8]) -> Any:
        frame: Any = av.VideoFrame(*self._size, "pal8")
        _plane(frame.planes[0])[:, : self._size[0]] = picture
        np.frombuffer(frame.planes[1], np.uint8)[:1024] = self._colors.ravel()
        tick = self._ticks.at(t_us)
        frame.pts = tick if self._ticks.timed else round(tick * 100 / self._fps)
        frame.time_base = Fraction(1, 100)
        return frame


class _FolderWriter:
    """PNG files in a folder, and the time of each (us), as read by `dvskit.video.open_frames`."""

    def __init__(self, folder: Path, palette: NDArray[np.uint8]) -> None:
        folder.mkdir()
        self._folder = folder
        self._colors = np.ascontiguousarray(palette[:, ::-1])
        self._times: list[int] = []

    def pack(self, t_us: int, picture: NDArray[np.uint8]) -> Any:
        return t_us, picture.copy()

    def put(self, packed: Any) -> None:
        t_us, picture = packed
        file = self._folder / f"frame_{len(self._times):06}.png"
        bgr = self._colors[picture] if picture.ndim == 2 else picture[..., ::-1]
        _, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 3])
        file.write_bytes(data.tobytes())
        self._times.append(t_us)

    def finish(self) -> None:
        lines = "".join(f"{t_us}\n" for t_us in self._times)
        (self._folder / TIMES_FILE).write_text(lines, encoding="utf-8")

    def close(self) -> None:
        """Do nothing: each file is closed when it is written."""


@dataclass(frozen=True, slots=True)
class Film:
    """The output format of pictures.

    suffix       .gif, one of H.264, or "" for a folder of PNG
    palette      of the pictures; those of H.264 and folders may be RGB if `in_color`
    timed        a video keeps the times of its pictures; else they follow at `fps`
    crf, preset  quality and effort of x264
    """

    suffix: str
    size: tuple[int, int]
    palette: NDArray[np.uint8]
    fps: Fraction
    crf: float
    preset: str
    in_color: bool
    timed: bool = False

    def writer(self, partial: Path) -> Writer:
        """Begin a file, or a folder; raises OSError or VideoError for FFmpeg's errors."""
        try:
            if not self.suffix:
                return _FolderWriter(partial, self.palette)
            if self.suffix == ".gif":
                return _GifWriter(partial, self.size, self.palette, fps=self.fps, timed=self.timed)
            palette = None if self.in_color else self.palette
            return H264Writer(
                partial, self.size, palette, fps=self.fps, crf=self.crf, preset=self.preset,
                timed=self.timed,
            )  # fmt: skip
        except av.error.FFmpegError as error:
            if isinstance(error, OSError) and error.errno:
                raise OSError(error.errno, error.strerror, str(partial)) from error
            raise VideoError(f"{partial}: cannot be encoded ({error})") from error


class InThread:
    """Runs a writer in its own thread: a context manager.

    `name` is for messages. `write` waits while too much is to be encoded. A clean exit completes
    the file. Raises the writer's errors; FFmpeg's own errors as VideoError.
    """

    def __init__(self, writer: Writer, name: str = "the video") -> None:
        self._writer, self._name = writer, name
        # Not a Queue: an interrupt at the wrong moment would leave its lock held for ever.
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._dropped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dvskit-encoder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def write(self, t_us: int, picture: NDArray[np.uint8]) -> None:
        """Hand over a picture, which may be overwritten afterwards."""
        if self._error is not None:
            self._raise(self._error)
        packed = self._writer.pack(t_us, picture)
        while self._queue.qsize() >= _WAITING:
            time.sleep(_PAUSE_S)
        self._queue.put(packed)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._dropped.set()
        self._queue.put(None)
        try:
            self._thread.join()
        except BaseException:  # an interrupt: the file is removed once nothing writes it
            self._dropped.set()
            self._thread.join()
            raise
        if error is None and self._error is not None:
            self._raise(self._error)

    def _work(self) -> None:
        try:
            while (packed := self._queue.get()) is not None:
                # After an error the queue is still emptied, so that no caller waits for ever.
                if self._error is None and not self._dropped.is_set():
                    self._guard(lambda packed=packed: self._writer.put(packed))
            if self._error is None and not self._dropped.is_set():
                self._guard(self._writer.finish)
        finally:
            self._guard(self._writer.close)

    def _guard(self, step: Any) -> None:
        try:
            step()
        except BaseException as error:
            self._error = self._error or error

    def _raise(self, error: BaseException) -> None:
        if isinstance(error, OSError) and error.errno:
            raise OutputError(
                f"{self._name}: cannot be written: {error.strerror}; free some space or choose "
                "another place"
            ) from error
        if isinstance(error, (av.error.FFmpegError, ValueError)):
            raise VideoError(
                f"{self._name}: cannot be encoded: {error}; name a file that is no pipe, or "
                "another suffix"
            ) from error
        raise error
