"""Flow between a recording's own frames, as a comparison for flow of events."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_known
from dvskit.errors import VideoError
from dvskit.streams import Frame

_PRESETS = {
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
_LEAST_PX = 16  # a side; the search fails for less


class FrameFlow(NamedTuple):
    """The flow from one frame to the next.

    start_us, stop_us  the times of both frames: the middle of their exposures
    flow               (H, W, 2) float32, x and y in px/s at the pixels of the first frame
    x, y               position of the first frame's upper left pixel on the sensor

        found = next(dvskit.motion.frame_flow(dvskit.open_events("davis").frames()))
        found.start_us, found.stop_us  # (0, 40000)
        moved_px = found.flow * (found.stop_us - found.start_us) * 1e-6  # (90, 120, 2)
    """

    start_us: int
    stop_us: int
    flow: NDArray[np.float32]
    x: int = 0
    y: int = 0


def frame_flow(
    frames: Iterable[Frame], at_us: Iterable[int] | None = None, *, preset: str = "medium"
) -> Iterator[FrameFlow]:
    """Yield the flow between frames in sequence, by OpenCV's dense inverse search.

    frames  in order of time, such as `recording.frames()`
    at_us   increasing times: of the pairs of frames only those around them are used, each once;
            None for all
    preset  "fast" or "medium"

    After Kroeger et al. 2016, "Fast optical flow using dense inverse search". Raises VideoError for
    fewer than two frames, and for frames of less than 16 pixels a side; ConfigError for another
    preset.

        frames = dvskit.open_events("davis").frames()
        for found in dvskit.motion.frame_flow(frames, at_us=[20_000, 500_000], preset="fast"):
            found.flow  # (90, 120, 2) float32 in px/s, around 20 ms and around 500 ms
    """
    check_known("preset", preset, _PRESETS)
    search = cv2.DISOpticalFlow.create(_PRESETS[preset])
    wanted = None if at_us is None else sorted(at_us)
    before: Frame | None = None
    count = 0
    for frame in frames:
        count += 1
        if before is not None and before.image.shape[:2] == frame.image.shape[:2]:
            start_us, stop_us = _middle_us(before), _middle_us(frame)
            if stop_us > start_us and _is_wanted(wanted, start_us, stop_us):
                yield _between(search, before, frame)
        before = frame
    if count < 2:
        raise VideoError(
            f"flow between frames needs two at least, not {count}; plane_flow needs events only"
        )


def _middle_us(frame: Frame) -> int:
    return frame.t_us + (frame.stop_us - frame.t_us) // 2


def _is_wanted(wanted: list[int] | None, start_us: int, stop_us: int) -> bool:
    return wanted is None or bisect_left(wanted, start_us) < bisect_left(wanted, stop_us)


def _between(search: Any, before: Frame, frame: Frame) -> FrameFlow:
    if min(before.image.shape[:2]) < _LEAST_PX:
        height, width = before.image.shape[:2]
        raise VideoError(f"flow needs frames of at least 16x16 pixels; these are {width}x{height}")
    start_us, stop_us = _middle_us(before), _middle_us(frame)
    moved = search.calc(_gray(before.image), _gray(frame.image), None)
    flow: NDArray[np.float32] = moved * np.float32(1e6 / (stop_us - start_us))
    return FrameFlow(start_us, stop_us, flow, before.x, before.y)


def _gray(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a frame as uint8, (H, W)."""
    if image.ndim == 3:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    return np.asarray(image >> 8, np.uint8) if image.dtype == np.uint16 else image
