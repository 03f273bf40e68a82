"""Whether the numbers of frames are on the scale of their type, so that wrong ones are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ScaleWarning, warn

_BRIGHT = 16.0  # floats beyond it are taken for digital numbers: 1.0 is white
_BRIGHT_WHOLE = 2.0  # the same of whole numbers; linear light may be a few times white
_DIM = {"uint8": 1, "uint16": 4095}  # whole clips below it are taken for those of fewer bits
_LOOKED_AT = 16  # frames that a clip is judged by
_WHITES = (1, 255, 1023, 4095, 65535)  # of 1, 8, 10, 12 and 16 bits


class ScaleCheck:
    """Looks at the frames of one clip; gives a ScaleWarning once where they are out of scale."""

    def __init__(self) -> None:
        self._kind: str | None = None
        self._top = 0.0
        self._done = False

    @property
    def is_sure(self) -> bool:
        """Whether further frames would change nothing; floats may always go further."""
        return self._done or self._kind == "float"

    def see(self, frame: NDArray[Any]) -> None:
        """Look at a frame; warn where floats are far beyond 1.0."""
        if self._done or not frame.size:
            return
        self._kind = "float" if frame.dtype.kind == "f" else frame.dtype.name
        if self._kind != "float" and self._kind not in _DIM:
            self._done = True
            return
        self._top = max(self._top, float(frame.max()))
        if self._kind == "float" and self._is_far_from_white(frame):
            self._done = True
            fix = f"divide by {_white(self._top)}, or pass white={_white(self._top)} to emulate"
            warn(
                f"float frames reach {self._top:,.6g}, and 1.0 is white: {fix} "
                "(white=1 where they are meant to be so bright)",
                ScaleWarning,
            )
        elif self._kind != "float" and self._top > _DIM[self._kind]:
            self._done = True

    def _is_far_from_white(self, frame: NDArray[Any]) -> bool:
        if self._top <= _BRIGHT_WHOLE:
            return False
        return self._top > _BRIGHT or bool(np.array_equal(frame, np.rint(frame)))

    def end(self) -> None:
        """Warn where all frames together used but the lowest numbers of their type."""
        if self._done or not self._top or self._kind not in _DIM:
            return
        most = np.iinfo(self._kind).max
        warn(
            f"{self._kind} frames reach {self._top:,.0f}, and {most:,} is white: "
            f"pass white={_white(self._top)} to emulate (white={most} where they are meant to be "
            "so dark)",
            ScaleWarning,
        )


def look_at_scale(picture: Callable[[int], NDArray[Any]], count: int) -> None:
    """Give a ScaleWarning where a clip of `count` frames, had by their numbers, is out of scale.

    A few frames are looked at, and all of them ahead of calling the clip too dark.
    """
    check = ScaleCheck()
    for number in range(0, count, -(-count // _LOOKED_AT) or 1):
        check.see(picture(number))
    for number in range(count):
        if check.is_sure:
            return
        check.see(picture(number))
    check.end()


def _white(top: float) -> int:
    """Return the white of frames that reach `top`: a little beyond it is from resampling."""
    return next((white for white in _WHITES if top <= 1.1 * white), round(top))
