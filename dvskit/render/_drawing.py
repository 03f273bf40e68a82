"""What stands behind the events, as a list of things to draw; and drawing them into pixels.

The same list becomes pixels here and vectors in `cloud`. Places are in pixels from the upper left
corner: pixel (0, 0) reaches from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.render import cloud_kernels
from dvskit.render._text import ink
from dvskit.render.colormap import rgb


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Straight lines: (n, 4) u, v of their starts and of their ends."""

    ends: NDArray[np.float64]
    colour: str
    width_px: float


@dataclass(frozen=True, slots=True)
class Words:
    """A line of text: where it starts on its baseline."""

    text: str
    left: float
    baseline: float
    size_px: float
    colour: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A disc."""

    u: float
    v: float
    radius_px: float
    colour: str


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """A colour bar from left to right, of a (k, 3) uint8 palette."""

    left: float
    top: float
    right: float
    bottom: float
    palette: NDArray[np.uint8]


Drawing = list[Lines | Words | Dot | Strip]


def mix(colour: str, ground: str, share: float) -> str:
    """Return `share` of a colour on a ground."""
    pairs = zip(rgb(colour), rgb(ground), strict=True)
    return "#" + "".join(f"{round(b + (a - b) * share):02x}" for a, b in pairs)


def paint(drawing: Drawing, size_px: tuple[int, int], ground: str) -> NDArray[np.uint8]:
    """Return the drawing as (height, width, 3) uint8, RGB."""
    picture = np.empty((size_px[1], size_px[0], 3), np.uint8)
    picture[0] = rgb(ground)
    picture[1:] = picture[0]  # whole rows: four times as fast as pixel by pixel
    for item in drawing:
        match item:
            case Lines():
                _stroke(picture, item.ends, item.width_px / 2, item.colour)
            case Dot():
                at = np.array([[item.u, item.v, item.u, item.v]])
                _stroke(picture, at, item.radius_px, item.colour)
            case Words():
                _write(picture, item)
            case Strip():
                _fill(picture, item)
    return picture


def _stroke(
    picture: NDArray[np.uint8], ends: NDArray[np.float64], half_px: float, colour: str
) -> None:
    cloud_kernels.stroke(ends, half_px, np.array(rgb(colour), np.float64), picture)


def _write(picture: NDArray[np.uint8], words: Words) -> None:
    mask, left, top = ink(words.text, words.size_px)
    left, top = round(words.left) + left, round(words.baseline) + top
    cloud_kernels.tint(mask, top, left, np.array(rgb(words.colour), np.float64), picture)


def _fill(picture: NDArray[np.uint8], strip: Strip) -> None:
    left, right, top, bottom = (
        round(side) for side in (strip.left, strip.right, strip.top, strip.bottom)
    )
    row = cv2.resize(strip.palette[None], (right - left, 1), interpolation=cv2.INTER_LINEAR)
    picture[top:bottom, left:right] = row
