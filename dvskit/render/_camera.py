"""The box of a cloud and the camera before it; the page has the same in JavaScript.

The box is centred on the origin. Its first axis is time (early at negative values), the second
points up (row 0 is the top), the third is x, so that from the early side a cloud looks as the
sensor saw it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size

TIME_LENGTH = 1.7  # of the box, where the longer side of the sensor is 1
FOCAL = 3.0  # cotangent of half the angle of view: a mild perspective
_FAR_AWAY = 1e6  # where the eye of a parallel projection is, as good as at infinity

Rect = tuple[float, float, float, float]  # left, top, right, bottom in pixels


def box_halves(size: Size) -> NDArray[np.float64]:
    """Return half the box's extent along time, height and width: (3,) float64."""
    longer = max(size.width, size.height)
    return np.array([TIME_LENGTH / 2, size.height / longer / 2, size.width / longer / 2])


def rotation(azimuth_deg: float, elevation_deg: float) -> NDArray[np.float64]:
    """Return the (3, 3) rotation of box coordinates to the camera's: right, up, towards it."""
    az, el = math.radians(azimuth_deg), math.radians(elevation_deg)
    ca, sa, ce, se = math.cos(az), math.sin(az), math.cos(el), math.sin(el)
    return np.array([[ca, 0.0, sa], [se * sa, ce, -se * ca], [-ce * sa, se, ce * ca]])


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A pinhole before the box: where a point of the box falls in a picture, in pixels.

    u = centre_u + scale * right / depth,  v = centre_v - scale * up / depth,
    depth = distance - perspective * towards

    `perspective` is 1, or 0 for a parallel projection: what is as large is drawn as large.
    """

    turn: NDArray[np.float64]
    distance: float
    scale: float
    centre_u: float
    centre_v: float
    perspective: float = 1.0

    @property
    def eye(self) -> NDArray[np.float64]:
        """Where it stands, in box coordinates."""
        away = self.distance / self.perspective if self.perspective else _FAR_AWAY
        return np.asarray(self.turn[2] * away)

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n, 3) u, v (pixels) and depth of (n, 3) box coordinates."""
        seen = points @ self.turn.T
        depth = self.distance - self.perspective * seen[:, 2]
        u = self.centre_u + self.scale * seen[:, 0] / depth
        v = self.centre_v - self.scale * seen[:, 1] / depth
        return np.stack([u, v, depth], axis=1)


def corners(halves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (8, 3) corners of the box."""
    return np.array(list(product((-1.0, 1.0), repeat=3))) * halves


def clearance(camera: Camera, halves: NDArray[np.float64], axis: int) -> float:
    """Return how far the camera is beside the box, seen along an axis, in halves of the box.

    Above 0 an edge along the axis is on the outline; below, the axis is seen end-on: all its edges
    run inwards, and what hangs on them lies over the events.
    """
    eye = np.abs(camera.eye) / halves
    return float(max(eye[i] for i in range(3) if i != axis)) - 1


def looks_along_an_axis(azimuth_deg: float, elevation_deg: float) -> bool:
    """Return whether a view is straight from the front, the back, a side, above or below."""
    return abs(elevation_deg) == 90 or (elevation_deg == 0 and azimuth_deg % 90 == 0)


def fit(
    halves: NDArray[np.float64], turns: NDArray[np.float64], rect: Rect, perspective: float = 1.0
) -> list[Camera]:
    """Return the nearest cameras, for each of (n, 3, 3) `turns`, that see the whole box in `rect`.

    They have one distance, one scale and one centre, so that a box that is turned neither moves
    nor breathes: what all of them see together is centred in `rect`.
    """
    left, top, right, bottom = rect
    scale = FOCAL / 2 * max(bottom - top, (right - left) / 1.6, 1.0)
    near, far = max(1e-3, perspective * float(np.linalg.norm(halves)) * 1.01), 200.0
    seen = np.einsum("nij,kj->nki", turns, corners(halves)).reshape(-1, 3)

    def extent(distance: float) -> NDArray[np.float64]:
        # Right and up of all corners: their least and their most.
        flat = scale * seen[:, :2] / (distance - perspective * seen[:, 2:])
        return np.stack([flat.min(axis=0), flat.max(axis=0)])

    for _ in range(26):
        middle = (near + far) / 2
        width, height = np.ptp(extent(middle), axis=0)
        if width <= right - left and height <= bottom - top:
            far = middle
        else:
            near = middle
    across, up = extent(far).mean(axis=0)
    u, v = float((left + right) / 2 - across), float((top + bottom) / 2 + up)
    return [Camera(turn, far, scale, u, v, perspective) for turn in turns]
