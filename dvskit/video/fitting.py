"""Crop, trim and scale clips."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, GeometryError, ShapeError
from dvskit.events import Size, as_size
from dvskit.video.light import MIDDLE_GRAY, coded, luminance
from dvskit.video.source import FrameSource


class _Changed(FrameSource):
    """Frames of another source, each transformed separately; the same in each pass."""

    path: Path | None = None

    def __init__(self, frames: FrameSource, size: Size, note: str = "") -> None:
        self.frames, self.size = frames, size
        self.frame_count, self.transfer = frames.frame_count, frames.transfer
        self.notes = (*frames.notes, note) if note else frames.notes
        self.container_start_us = frames.container_start_us
        self.path = getattr(frames, "path", None)

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        size = self.frames.size
        try:
            for t_us, frame in self._chosen():
                if frame.shape != (size.height, size.width):
                    raise ShapeError(
                        f"the frame at {t_us} us has shape {frame.shape}, the first was {size}"
                    )
                yield t_us, self._change(frame)
        finally:
            self.damage = self.frames.damage

    def _chosen(self) -> Iterator[tuple[int, NDArray[Any]]]:
        return iter(self.frames)

    @abstractmethod
    def _change(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Return the transformed frame."""


class Cropped(_Changed):
    """A rectangle of each frame: `size` pixels from (left, top).

    Raises GeometryError unless it lies in the frame.

        frames = dvskit.video.Cropped(dvskit.video.open_frames("video.mp4"), 16, 0, (96, 96))
        t_us, frame = next(iter(frames))
        frame.shape    # (96, 96)
    """

    def __init__(self, frames: FrameSource, left: int, top: int, size: tuple[int, int]) -> None:
        width, height = size
        whole = frames.size
        inside = left >= 0 and top >= 0 and width >= 1 and height >= 1
        if not inside or left + width > whole.width or top + height > whole.height:
            raise GeometryError(
                f"{left},{top},{width},{height} (x, y, width, height) is not inside frames of "
                f"{whole}"
            )
        super().__init__(frames, as_size(size))
        self._left, self._top = left, top

    def _change(self, frame: NDArray[Any]) -> NDArray[Any]:
        rows = slice(self._top, self._top + self.size.height)
        return np.ascontiguousarray(frame[rows, self._left : self._left + self.size.width])


class Trimmed(_Changed):
    """The frames from `start_us` to before `stop_us` after the first; None leaves a side open.

    They keep their times. Raises ConfigError unless `stop_us` is after `start_us`.

        whole = dvskit.video.open_frames("video.mp4")
        frames = dvskit.video.Trimmed(whole, 500_000, 1_000_000)
        next(iter(frames))[0]    # 500000
    """

    def __init__(self, frames: FrameSource, start_us: int | None, stop_us: int | None) -> None:
        if stop_us is not None and stop_us <= (start_us or 0):
            raise ConfigError(f"stop_us = {stop_us} is not after start_us = {start_us or 0}")
        super().__init__(frames, frames.size)
        self.frame_count = None
        self._start_us, self._stop_us = start_us or 0, stop_us

    def _chosen(self) -> Iterator[tuple[int, NDArray[Any]]]:
        origin_us: int | None = None
        for t_us, frame in self.frames:
            origin_us = t_us if origin_us is None else origin_us
            if self._stop_us is not None and t_us >= origin_us + self._stop_us:
                return
            if t_us >= origin_us + self._start_us:
                yield t_us, frame

    def _change(self, frame: NDArray[Any]) -> NDArray[Any]:
        return frame


class Resized(_Changed):
    """Frames scaled to cover `size`; the excess at two sides is cut off.

    A sensor pixel sums the light that falls on it. So codes are converted to light before averaging
    over areas, and back to codes afterwards: the mean of codes would be too dark along edges. When
    frames grow, light is interpolated. uint8 and uint16 frames become uint16, because means fall
    between the steps of 8 bits; floats are light and stay so.

        frames = dvskit.video.Resized(dvskit.video.open_frames("video.mp4"), (64, 48))
        frames.notes[-1]    # 'the middle 128x96 of 128x128, scaled to 64x48'
    """

    def __init__(self, frames: FrameSource, size: tuple[int, int], why: str = "") -> None:
        target, whole = as_size(size), frames.size
        scale = max(target.width / whole.width, target.height / whole.height)
        width = min(whole.width, max(1, round(target.width / scale)))
        height = min(whole.height, max(1, round(target.height / scale)))
        kept = f"{whole}" if (width, height) == whole else f"the middle {width}x{height} of {whole}"
        super().__init__(frames, target, f"{kept}, scaled to {target}{why}")
        self._left, self._top = (whole.width - width) // 2, (whole.height - height) // 2
        self._kept = Size(width, height)
        self._way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR

    def _change(self, frame: NDArray[Any]) -> NDArray[Any]:
        rows = slice(self._top, self._top + self._kept.height)
        part = frame[rows, self._left : self._left + self._kept.width]
        whole = luminance(part, transfer=self.transfer)
        light = np.asarray(cv2.resize(whole, self.size, interpolation=self._way), np.float32)
        return light if frame.dtype.kind == "f" else coded(light, self.transfer)


class Bordered(_Changed):
    """Whole frames centered in frames of `size`, with a border of mid gray, which never changes.

    They are scaled to fit, as `Resized` scales; the border is at two sides, or there is none.

        frames = dvskit.video.Bordered(dvskit.video.open_frames("video.mp4"), (160, 120))
        t_us, frame = next(iter(frames))
        frame.shape, frame.dtype    # (120, 160), uint16
    """

    def __init__(self, frames: FrameSource, size: tuple[int, int]) -> None:
        target, whole = as_size(size), frames.size
        scale = min(target.width / whole.width, target.height / whole.height)
        inner = Size(max(1, round(whole.width * scale)), max(1, round(whole.height * scale)))
        super().__init__(resized(frames, inner), target, f"with a gray border to {target}")
        self._inner = inner
        self._left = (target.width - inner.width) // 2
        self._top = (target.height - inner.height) // 2

    def _change(self, frame: NDArray[Any]) -> NDArray[Any]:
        gray = MIDDLE_GRAY if frame.dtype.kind == "f" else np.iinfo(frame.dtype).max // 2
        picture = np.full((self.size.height, self.size.width), gray, frame.dtype)
        rows = slice(self._top, self._top + self._inner.height)
        picture[rows, self._left : self._left + self._inner.width] = frame
        return picture


def resized(frames: FrameSource, size: tuple[int, int] | None) -> FrameSource:
    """Return frames scaled to `size`; the same frames for None and for their own size.

    Frames are scaled as `Resized` scales them, which adds a note.

        frames = dvskit.video.resized(dvskit.video.open_frames("video.mp4"), (64, 64))
        frames.size    # Size(width=64, height=64)
    """
    return frames if size is None or frames.size == size else Resized(frames, size)


@dataclass(frozen=True, slots=True)
class ClipPart:
    """The part of a clip to use, and its size.

    start_us, stop_us  microseconds after the first frame, half-open; None leaves a side open
    crop               (x, y, width, height) in the clip's own pixels, before scaling
    size               (width, height) that the part is scaled to; None keeps its own
    why                the end of the note on scaling

        part = dvskit.video.ClipPart(stop_us=500_000, crop=(16, 0, 96, 96), size=(64, 64))
        frames = part.of(dvskit.video.open_frames("video.mp4"))
        events = dvskit.emulate(frames).load()
    """

    start_us: int | None = None
    stop_us: int | None = None
    crop: tuple[int, int, int, int] | None = None
    size: tuple[int, int] | None = None
    why: str = ""

    def of(self, frames: FrameSource) -> FrameSource:
        """Return the part. Raises GeometryError for a crop off the frames, ConfigError."""
        if (self.start_us, self.stop_us) != (None, None):
            frames = Trimmed(frames, self.start_us, self.stop_us)
        if self.crop is not None:
            x, y, *size = self.crop
            frames = Cropped(frames, x, y, (size[0], size[1]))
        if self.size is None or frames.size == self.size:
            return frames
        return Resized(frames, self.size, self.why)
