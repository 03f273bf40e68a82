"""Interpolated frames, so that nothing moves more than about a pixel from one to the next.

Motion is estimated in both directions (`video.motion_search`). The frame at share s of an interval
samples each pixel at its moved place in the previous and in the next frame, weighted by the
distance in time (Jiang et al. 2018, Super SloMo, eq. 4). Where the two motions contradict each
other, as at occlusions, the two frames are blended in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_number
from dvskit.errors import ShapeError
from dvskit.events import Size
from dvskit.video import FrameSource
from dvskit.video.motion_search import LEAST_SIDE, TwoWaySearch

Image = NDArray[np.float32]

MOST_STEPS = 64
_CONTRADICTION_PX = 1.0
_FRACTION_MOVING = 0.001  # share of the pixels that may move further: the search has outliers


class Upsampled(FrameSource):
    """A clip with frames added where it moves: codes as uint16, floats as float32.

    Each interval is cut into as many equal steps as pixels that its motion covers, at most 64;
    times are rounded to the nearest microsecond. `steps` counts the intervals of the latest pass by
    their number of steps, `done` the clip's own frames so far.
    """

    def __init__(
        self, frames: FrameSource | Iterable[tuple[int, NDArray[Any]]], size: Size, *,
        most_px: float = 1.0,
    ) -> None:  # fmt: skip
        check_number("most_px", most_px, 0.05, 1000)
        if min(size) < LEAST_SIDE:
            raise ShapeError(f"frames of {size} are too small to estimate motion; {LEAST_SIDE} px")
        self._frames, self._most_px = frames, most_px
        self.size = size
        if isinstance(frames, FrameSource):
            self.notes, self.transfer = frames.notes, frames.transfer
            self.container_start_us = frames.container_start_us
        self.steps: dict[int, int] = {}
        self.done = 0
        self._search = TwoWaySearch()

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        self.steps, self.done = {}, 0
        before: tuple[int, Image] | None = None
        for t_us, frame in self._frames:
            image, coded = _as_float(frame), frame.dtype.kind == "u"
            added = () if before is None else self._between(*before, t_us, image)
            for between_us, made in added:
                yield between_us, _as_codes(made) if coded else made
            self.done += 1
            yield t_us, _as_codes(image) if coded else image
            before = t_us, image
        if isinstance(self._frames, FrameSource):
            self.damage = self._frames.damage

    def _between(self, t0: int, first: Image, t1: int, last: Image) -> Iterator[tuple[int, Image]]:
        if np.array_equal(first, last):
            self.steps[1] = self.steps.get(1, 0) + 1
            return
        onward, back = self._search(_for_search(first), _for_search(last))
        steps = min(steps_of(onward, back, self._most_px), t1 - t0, MOST_STEPS)
        self.steps[steps] = self.steps.get(steps, 0) + 1
        blended = _contradictions(onward, back)
        for number in range(1, steps):
            share = number / steps
            made = _frame_at(share, first, last, onward, back)
            plain = cv2.addWeighted(first, 1 - share, last, share, 0.0)
            cv2.copyTo(plain, blended, made)
            yield t0 + round(share * (t1 - t0)), made


def steps_of(onward: Image, back: Image, most_px: float) -> int:
    """Return the number of steps, of at most this many pixels, for a motion (H, W, 2) each way."""
    furthest = 0.0
    for flow in (onward, back):
        lengths = np.hypot(flow[..., 0], flow[..., 1]).reshape(-1)
        allowed = max(1, int(_FRACTION_MOVING * lengths.size))
        furthest = max(furthest, float(np.partition(lengths, -allowed)[-allowed]))
    return max(1, math.ceil(furthest / most_px))


def _as_float(frame: NDArray[Any]) -> Image:
    if frame.dtype == np.uint8:
        return frame.astype(np.float32) / np.float32(255)
    if frame.dtype == np.uint16:
        return frame.astype(np.float32) / np.float32(65535)
    return frame.astype(np.float32)


def _as_codes(image: Image) -> NDArray[np.uint16]:
    return np.asarray(np.rint(image * np.float32(65535)), np.uint16)


def _for_search(image: Image) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), np.uint8)


@lru_cache(maxsize=2)
def _places(height: int, width: int) -> Image:
    """Return x and y of each pixel: (height, width, 2)."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], axis=-1)


def _sample(image: Image, flow: Image) -> Image:
    """Return the image sampled at each pixel moved by `flow`; the border extends outwards."""
    places = cv2.add(flow, _places(*image.shape[:2]))
    remap: Any = cv2.remap  # its types differ between OpenCV 5.0 and 5.1
    sampled = remap(image, places, None, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    return np.asarray(sampled, np.float32)


def _contradictions(onward: Image, back: Image) -> NDArray[np.uint8]:
    """Return 0 where forward and backward motion agree, 1 where they do not."""
    missed = onward + _sample(back, onward)
    return np.asarray(np.hypot(missed[..., 0], missed[..., 1]) > _CONTRADICTION_PX, np.uint8)


def _frame_at(share: float, first: Image, last: Image, onward: Image, back: Image) -> Image:
    # OpenCV blends in one pass over memory, on all threads; NumPy takes several.
    to_first = cv2.addWeighted(onward, -(1 - share) * share, back, share * share, 0.0)
    to_last = cv2.addWeighted(onward, (1 - share) ** 2, back, -share * (1 - share), 0.0)
    ahead = _sample(first, np.asarray(to_first, np.float32))
    behind = _sample(last, np.asarray(to_last, np.float32))
    return np.asarray(cv2.addWeighted(ahead, 1 - share, behind, share, 0.0), np.float32)
