"""The motion between two images, by OpenCV's dense inverse search (Kroeger et al. 2016)."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts

LEAST_SIDE = 12  # of an image, in pixels
SearchPreset = Literal["fast", "medium"]
# OpenCV's constant, and the side below which the search of long images crashes.
_PRESETS = {
    "fast": (cv2.DISOPTICAL_FLOW_PRESET_FAST, 32),
    "medium": (cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, 16),
}
_LONG = 32  # sides in pixels up to which small images need no margin


class MotionSearch:
    """The search for the motion from one gray image to another; pairs of images are independent.

    from_rest  whether the search begins at a motion of 0; otherwise OpenCV begins it, with results
               that differ by some thousandths of a pixel

    An object serves one thread at a time, and reuses its memory.
    """

    def __init__(self, preset: SearchPreset = "medium", *, from_rest: bool = False) -> None:
        constant, self._least = _PRESETS[preset]
        self._from_rest = from_rest
        self._search: Any = cv2.DISOpticalFlow.create(constant)

    def __call__(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the motion of each pixel of the first image, (height, width, 2) in pixels.

        Images are (height, width), with sides of at least `LEAST_SIDE`.
        """
        height, width = first.shape
        if min(height, width) < self._least and max(height, width) > _LONG:
            margins = 0, max(0, self._least - height), 0, max(0, self._least - width)
            first, second = (
                np.asarray(cv2.copyMakeBorder(each, *margins, cv2.BORDER_REPLICATE), np.uint8)
                for each in (first, second)
            )
        start = np.zeros((*first.shape, 2), np.float32) if self._from_rest else None
        found = self._search.calc(first, second, start)
        return np.ascontiguousarray(found[:height, :width], np.float32)


class TwoWaySearch:
    """The search for the motion between two gray images in both directions, on two threads."""

    def __init__(self) -> None:
        self._searches = MotionSearch(from_rest=True), MotionSearch(from_rest=True)

    def __call__(
        self, first: NDArray[np.uint8], last: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the motion from the first image to the last, and back."""
        found: list[Any] = [None, None]
        images = first, last

        def search(way: int) -> None:
            found[way] = self._searches[way](images[way], images[1 - way])

        run_parts(search, 2)
        return found[0], found[1]
