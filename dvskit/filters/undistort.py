"""Events where a lens without distortion would have put them."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError
from dvskit.events import Size
from dvskit.filters.parameters import check_number
from dvskit.filters.pixel_map import PixelMap, Places, place
from dvskit.streams import Intrinsics

_STEPS = 20  # of Newton's method; five of OpenCV's iteration are not enough at wide angles
_NEAR = 1e-9  # in units of the focal length


@dataclass(frozen=True, slots=True)
class Undistort(PixelMap):
    """Undo the distortion of a lens, with the same camera matrix (Brown 1971, as OpenCV has it).

    Each pixel goes to the pixel in which its middle comes to lie (OpenCV's undistortPoints);
    what comes to lie off the sensor is left out and counted, and so are pixels that no direction is
    distorted to. `recording.intrinsics()` gives `Intrinsics`; `Undistort(*intrinsics)` takes them.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0

    def __post_init__(self) -> None:
        for name in Intrinsics._fields:
            check_number(self, name, 1e-6 if name in ("fx", "fy") else -1e6, 1e6)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Undistort:
        """Return what a text file with fx fy cx cy k1 k2 p1 p2 k3 says, such as rpg's calib.txt.

        The last five may be missing from the end. Raises ConfigError, OSError.
        """
        words = Path(path).read_text(encoding="utf-8", errors="replace").split()
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            numbers = []
        if not 4 <= len(numbers) <= 9:
            raise ConfigError(f"{path}: is not four to nine numbers fx fy cx cy k1 k2 p1 p2 k3")
        return cls(*numbers)

    def places(self, size: Size) -> Places:
        """Return where pixels go."""
        camera = Intrinsics(*(getattr(self, name) for name in Intrinsics._fields))
        y, x = np.mgrid[: size.height, : size.width].astype(np.float64)
        with np.errstate(all="ignore"):  # where there is no such direction
            ideal_x, ideal_y, found = _ideal(
                (x - self.cx) / self.fx, (y - self.cy) / self.fy, camera
            )
            new_x = np.floor(ideal_x * self.fx + self.cx + 0.5)
            new_y = np.floor(ideal_y * self.fy + self.cy + 0.5)
        on = found & (new_x >= 0) & (new_x < size.width) & (new_y >= 0) & (new_y < size.height)
        return np.where(on, place(np.where(on, new_x, 0), np.where(on, new_y, 0)), np.int32(-1))


def _ideal(
    seen_x: NDArray[np.float64], seen_y: NDArray[np.float64], camera: Intrinsics
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return the directions (x / z, y / z) that a lens distorts to those seen, and where they are.

    By Newton's method from those seen. Directions beyond those at which the distortion turns back
    on itself do not count.
    """
    x, y = seen_x.copy(), seen_y.copy()
    for _ in range(_STEPS):
        off_x, off_y, xx, xy, yy = _distorted(x, y, camera)
        off_x -= seen_x
        off_y -= seen_y
        area = xx * yy - xy * xy
        found = (np.hypot(off_x, off_y) < _NEAR) & (area > 0) & (xx > 0)
        if found.all():
            break
        x -= (yy * off_x - xy * off_y) / area
        y -= (xx * off_y - xy * off_x) / area
    return x, y, found


def _distorted(
    x: NDArray[np.float64], y: NDArray[np.float64], camera: Intrinsics
) -> tuple[NDArray[np.float64], ...]:
    """Return what the lens makes of directions x, y, and its derivatives: xx, xy = yx, yy."""
    k1, k2, k3, p1, p2 = camera.k1, camera.k2, camera.k3, camera.p1, camera.p2
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        radial + slope * x * x + 2 * p1 * y + 6 * p2 * x,
        slope * x * y + 2 * p1 * x + 2 * p2 * y,
        radial + slope * y * y + 6 * p1 * y + 2 * p2 * x,
    )
