"""Words as pixels, and how large they are: DejaVu Sans, which comes with matplotlib.

The same on every machine: no font of the system is asked unless matplotlib was packaged without
its own. Sizes are in pixels of the picture and may be fractions.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from dvskit.errors import ConfigError

CAP = 0.73  # the height of capitals and digits, as a share of the size


@lru_cache(maxsize=1)
def font_file() -> str:
    """Return the path of the font."""
    own = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    if own.is_file():
        return str(own)
    from matplotlib.font_manager import findfont

    return str(findfont("DejaVu Sans"))


@lru_cache(maxsize=64)
def _font(size_px: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_file(), size_px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4096)
def text_width(text: str, size_px: float) -> float:
    """Return how wide a line of text is."""
    return float(_font(size_px).getlength(text))


@lru_cache(maxsize=512)
def ink(text: str, size_px: float) -> tuple[NDArray[np.uint8], int, int]:
    """Return a line of text as (height, width) uint8 ink, 255 full.

    And how far its left side is from the start of the line, and its top from the baseline.
    """
    mask, (left, top) = _font(size_px).getmask2(text, mode="L", anchor="ls")
    shape = (mask.size[1], mask.size[0])
    return np.frombuffer(bytes(mask), np.uint8).reshape(shape), int(left), int(top)


@lru_cache(maxsize=1)
def _known() -> frozenset[int]:
    from matplotlib.font_manager import get_font

    return frozenset(get_font(font_file()).get_charmap())


def check_letters(text: str) -> None:
    """Raise ConfigError where the font has no letter for a part of the text."""
    missing = sorted({letter for letter in text if ord(letter) not in _known()})
    if missing:
        raise ConfigError(
            f"title={text!r}: pictures have no letter {missing[0]!r}; write it in Latin, Greek, "
            "Cyrillic or Arabic letters, on one line"
        )
