"""Handwriting-like digits 0, 1 and 2, as small pictures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_whole

DIGIT_PX = 28  # the side of a picture, as in MNIST
_FINE = 8  # parts of a pixel, for smooth edges
_ARC = np.linspace(0, 2 * np.pi, 41)
# The strokes, from the middle of the picture, x to the right and y down; a digit is 2 high.
_ZERO = np.stack([0.62 * np.sin(_ARC), -np.cos(_ARC)], 1)
_ONE = np.array([(-0.25, -0.7), (0.08, -1.0), (0.0, 0.0), (-0.04, 1.0)])
_HOOK = np.linspace(-0.45 * np.pi, 0.62 * np.pi, 21)
_TWO = np.concatenate([
    np.stack([0.58 * np.sin(_HOOK), -0.45 - 0.55 * np.cos(_HOOK)], 1),
    [(0.1, 0.38), (-0.6, 0.95), (0.0, 0.9), (0.65, 0.97)],
])  # fmt: skip
_STROKES = (_ZERO, _ONE, _TWO)


def draw_digit(digit: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a digit 0, 1 or 2 in white on black, (28, 28).

    Slant, width, height, thickness and the bend of the stroke are drawn from `rng`. As in MNIST,
    the digit is about 20 pixels high, with its centre of mass in the middle. Raises ConfigError.
    """
    check_whole("digit", digit, 0, len(_STROKES) - 1)
    stroke = _STROKES[digit]
    bend = rng.normal(0, 0.06, (2, 2))
    points = stroke + np.sin(np.pi * stroke[:, ::-1] * (0.5, 0.7)) @ bend
    height, width = rng.uniform(8.3, 9.7), rng.uniform(7.2, 9.7)
    slant, turn = rng.normal(0.15, 0.12), rng.normal(0, 0.06)
    points = points @ np.array([(width, 0), (-slant * height, height)])
    points = points @ np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    thick = rng.uniform(2.2, 3.2)
    side = DIGIT_PX * _FINE
    fine = np.zeros((side, side), np.uint8)
    at = np.round((points + DIGIT_PX / 2) * _FINE).astype(np.int32)
    cv2.polylines(fine, [at], False, 255, round(thick * _FINE), cv2.LINE_AA)
    mass = cv2.moments(fine)
    shift = side / 2 - np.array([mass["m10"], mass["m01"]]) / mass["m00"]
    move = np.array([(1, 0, shift[0]), (0, 1, shift[1])])
    middle = cv2.warpAffine(cv2.GaussianBlur(fine, (0, 0), 0.4 * _FINE), move, (side, side))
    return np.asarray(cv2.resize(middle, (DIGIT_PX,) * 2, interpolation=cv2.INTER_AREA), np.uint8)
