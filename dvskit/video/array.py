"""Frames in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ShapeError, VideoError
from dvskit.events import as_size
from dvskit.video.source import FrameSource, checked_fps, nth_time_us


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
        rate = checked_fps(fps)
        if (t_us is None) == (rate is None):
            raise VideoError("give either t_us or fps")
        if rate is not None:
            times = [nth_time_us(number, rate) for number in range(len(frames))]
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
