"""How a video is to be turned and mirrored when it is shown: its display matrix."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size

_ONE = 1 << 16  # the matrix holds fixed-point numbers with 16 binary places
_DISPLAY_MATRIX = "DISPLAYMATRIX"


@dataclass(frozen=True, slots=True)
class Orientation:
    """Turns and mirrors pictures: transposed first, then mirrored left-right and up-down.

    A picture (height, width, ...) comes back contiguous, (width, height, ...) where it is
    transposed.
    """

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the picture as it is meant to be seen."""
        if self.transposed:
            image = cv2.transpose(image)
        if self.mirrored or self.upside_down:
            code = -1 if self.mirrored and self.upside_down else int(self.mirrored)
            image = cv2.flip(image, code)
        return np.asarray(image)

    def size(self, coded: Size) -> Size:
        """Return the size of pictures that are stored in size `coded`."""
        return Size(coded.height, coded.width) if self.transposed else coded

    def __str__(self) -> str:
        return _NAMES[self.transposed, self.mirrored, self.upside_down]


_NAMES = {
    (False, False, False): "upright",
    (False, True, False): "mirrored left to right",
    (False, False, True): "mirrored top to bottom",
    (False, True, True): "turned by 180 degrees",
    (True, False, False): "transposed",
    (True, True, False): "turned clockwise by 90 degrees",
    (True, False, True): "turned counter-clockwise by 90 degrees",
    (True, True, True): "transposed along the other diagonal",
}


def orientation_of(frame: Any) -> tuple[Orientation, str | None]:
    """Return how a PyAV frame is to be turned, and what to say of it; None where it is upright.

    The matrix (a b u; c d v; x y w) takes a stored pixel (p, q) to (a p + c q, b p + d q) on the
    screen (ISO/IEC 14496-12, 8.2.2.3). Angles other than quarter turns are left as they are stored.
    """
    matrix = next(
        (bytes(data) for data in frame.side_data if data.type.name == _DISPLAY_MATRIX), b""
    )
    if len(matrix) < 20:
        return Orientation(), None
    a, b, _, c, d = struct.unpack_from("<5i", matrix)
    if abs(a) == abs(d) == _ONE and b == c == 0:
        turn = Orientation(False, a < 0, d < 0)
    elif abs(b) == abs(c) == _ONE and a == d == 0:
        turn = Orientation(True, c < 0, b < 0)
    else:
        return Orientation(), "is to be shown at another angle than a quarter turn: left as stored"
    return turn, None if turn == Orientation() else f"{turn}, as the file says it is shown"
