"""Measures of the contrast of an image of warped events, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import ceil
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.motion import contrast_kernels as kernels

Image = NDArray[np.float32]

# With the spread of the votes, 0.5, a Gaussian of 1.5 cells. Sharper images depend on the grid of
# the pixels: over windows where events move less than 3 pixels, they favour some velocities.
_BLUR = 1.4


class CellGrid(NamedTuple):
    """An image of cells, and where contrast is measured in it.

    corner  the place (x, y) of its upper left corner, in pixels    cell  width of cells in pixels
    mask    (rows, columns) float32, 1 where contrast is measured
    area    over which it is averaged, in cells
    """

    corner: tuple[float, float]
    cell: float
    mask: Image
    area: float


Objective = Callable[[Image, CellGrid], tuple[float, Image]]


def blurred_by(sigma: float, image: Image) -> Image:
    """Return an image blurred by a Gaussian, in cells; outside there is 0."""
    blurred = cv2.GaussianBlur(image, (_taps(sigma),) * 2, sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)


def _taps(sigma: float) -> int:
    return 2 * ceil(3 * sigma) + 1


def variance(image: Image, frame: CellGrid) -> tuple[float, Image]:
    """Return the variance of the blurred image, and its derivative by each cell of `image`."""
    blurred = blurred_by(_BLUR, image)
    blurred *= frame.mask
    mean = cv2.sumElems(blurred)[0] / frame.area
    contrast = cv2.norm(blurred, cv2.NORM_L2SQR) / frame.area - mean * mean
    blurred -= np.float32(mean) * frame.mask
    weights = blurred_by(_BLUR, blurred)
    weights *= 2 / frame.area
    return contrast, weights


def gradient(image: Image, frame: CellGrid) -> tuple[float, Image]:
    """Return the mean squared gradient of the blurred image, and its derivative by each cell."""
    blurred = blurred_by(_BLUR, image)
    total, pulls = 0.0, []
    for kernel in (_ACROSS, _ACROSS.T):
        slope = cv2.filter2D(blurred, -1, kernel, borderType=cv2.BORDER_CONSTANT) * frame.mask
        total += cv2.norm(slope, cv2.NORM_L2SQR)
        pulls.append(cv2.filter2D(slope, -1, -kernel, borderType=cv2.BORDER_CONSTANT))
    weights = blurred_by(_BLUR, np.add(*pulls, dtype=np.float32))
    weights *= 2 / frame.area
    return total / frame.area, weights


_ACROSS = np.array([[-0.5, 0, 0.5]], np.float32)
OBJECTIVES: dict[str, Objective] = {"variance": variance, "gradient": gradient}


@cache
def chance(objective: str) -> tuple[float, float]:
    """Return what chance gives: the contrast of an event a cell, and how far it varies.

    Events at random places have the first as their contrast, times their number, divided by the
    area; over motions it varies by the second, divided by the square root of the area.
    """
    side = 4 * _taps(_BLUR)
    area = 1e9  # the mean does not matter
    frame = CellGrid((0.0, 0.0), 1.0, np.ones((side, side), np.float32), area)
    image = np.zeros_like(frame.mask)
    at, sign = np.full(1, side / 2, np.float32), np.ones(1, np.float32)
    kernels.vote(at, at, sign, image, frame.corner, 1.0)
    contrast, weights = OBJECTIVES[objective](image, frame)
    return contrast * area, float(np.linalg.norm(weights) / 2 / contrast)
