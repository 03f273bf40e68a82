"""Letters of one size as pictures, and text of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

_ALPHABET = " 0123456789.,:/-+()eskMGvpx×µm"


@lru_cache(maxsize=8)
def glyphs(height_px: int) -> dict[str, NDArray[np.uint8]]:
    """Return pictures of characters of one size: (height, width) uint8 of 0..15."""
    width, height = round(height_px * 0.62), round(height_px * 1.25)
    figure = Figure(figsize=(len(_ALPHABET) * width / 100, height / 100), dpi=100)
    canvas: Any = FigureCanvasAgg(figure)
    for number, letter in enumerate(_ALPHABET):
        figure.text(
            (number + 0.5) / len(_ALPHABET), 0.25, letter, family="DejaVu Sans Mono",
            fontsize=height_px * 0.72, ha="center", va="baseline",
        )  # fmt: skip
    canvas.draw()
    ink = 255 - np.asarray(canvas.buffer_rgba())[:, :, 0]
    shades = (ink // 16).astype(np.uint8)[:height]
    return {a: shades[:, n * width : (n + 1) * width] for n, a in enumerate(_ALPHABET)}


def write(picture: NDArray[np.uint8], text: str, x: int, y: int, height_px: int, ramp: int) -> int:
    """Write text with its upper left corner at (x, y); return the x after it."""
    letters = glyphs(height_px)
    line = np.concatenate([letters[each] for each in text], axis=1)
    place = picture[y : y + line.shape[0], x : x + line.shape[1]]
    place[:] = ramp + line[: place.shape[0], : place.shape[1]]
    return int(x + line.shape[1])


def text_width(text: str, height_px: int) -> int:
    """Return the width of a text in pixels."""
    return len(text) * round(height_px * 0.62)
