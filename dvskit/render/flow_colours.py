"""Colours of velocities: the hue is the direction, the saturation the speed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.render.colormap import Theme, rgb

HUES, STEPS = 21, 6  # 126 colours and the ground: as many as of events


def flow_palette(theme: Theme) -> NDArray[np.uint8]:
    """Return the ground, then the colours of velocities: (127, 3) uint8 RGB.

    On a dark ground slow events are white; on a bright one, gray.
    """
    value = 1.0 if sum(rgb(theme.ground)) < 384 else 0.72
    hue, step = np.divmod(np.arange(HUES * STEPS), STEPS)
    hsv = np.stack([hue * 360 / HUES, step / (STEPS - 1), np.full(len(hue), value)], -1)
    colours = cv2.cvtColor(hsv.astype(np.float32)[None], cv2.COLOR_HSV2RGB)[0]
    return np.concatenate([[rgb(theme.ground)], np.rint(colours * 255)]).astype(np.uint8)


def flow_rows(vx: NDArray[Any], vy: NDArray[Any], full_px_s: float) -> NDArray[np.uint8]:
    """Return the palette rows of known velocities; those of `full_px_s` and more are saturated.

    Motion to the right is red, down yellow-green, left cyan, up violet.
    """
    hue = np.rint(np.arctan2(vy, vx) * (HUES / (2 * np.pi))).astype(np.int64) % HUES
    share = np.hypot(vx, vy) / full_px_s
    step = np.rint(np.minimum(share, 1) * (STEPS - 1)).astype(np.int64)
    rows: NDArray[np.uint8] = (1 + hue * STEPS + step).astype(np.uint8)
    return rows


@lru_cache(maxsize=4)
def wheel_rows(side_px: int) -> NDArray[np.uint8]:
    """Return a disc of all velocities as rows of the palette, 0 outside it: the colours' legend."""
    y, x = np.mgrid[:side_px, :side_px] * (2 / (side_px - 1)) - 1
    return np.where(np.hypot(x, y) <= 1, flow_rows(x, y, 1.0), 0).astype(np.uint8)
