"""Words as pixels, and how large they are: DejaVu Sans, which comes with matplotlib.

The same on every machine: no font of the system is asked for a letter that it has. Letters that it
lacks are those of another font of the system that has them, or else boxes. Sizes are in pixels of
the picture and may be fractions.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

CAP = 0.73  # the height of capitals and digits, as a share of the size
_BOX = "□"


@lru_cache(maxsize=1)
def font_file() -> str:
    """Return the path of the font."""
    own = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    if own.is_file():
        return str(own)
    from matplotlib.font_manager import findfont

    return str(findfont("DejaVu Sans"))


@lru_cache(maxsize=64)
def _font(file: str, size_px: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size_px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4096)
def text_width(text: str, size_px: float) -> float:
    """Return how wide a line of text is."""
    return sum(float(_font(file, size_px).getlength(part)) for part, file in runs(text))


@lru_cache(maxsize=512)
def ink(text: str, size_px: float) -> tuple[NDArray[np.uint8], int, int]:
    """Return a line of text as (height, width) uint8 ink, 255 full.

    And how far its left side is from the start of the line, and its top from the baseline.
    """
    parts, start = [], 0.0
    for part, file in runs(text):
        font = _font(file, size_px)
        mask, (left, top) = font.getmask2(part, mode="L", anchor="ls")
        drawn = np.frombuffer(bytes(mask), np.uint8).reshape(mask.size[1], mask.size[0])
        parts.append((drawn, round(start) + int(left), int(top)))
        start += font.getlength(part)
    if len(parts) == 1:
        return parts[0]
    lefts, tops = [left for _, left, _ in parts], [top for _, _, top in parts]
    right = max(left + drawn.shape[1] for drawn, left, _ in parts)
    foot = max(top + drawn.shape[0] for drawn, _, top in parts)
    left, top = min(lefts), min(tops)
    joined = np.zeros((foot - top, right - left), np.uint8)
    for drawn, at, over in parts:
        place = joined[over - top :, at - left :][: drawn.shape[0], : drawn.shape[1]]
        np.maximum(place, drawn, out=place)
    return joined, left, top


@lru_cache(maxsize=4096)
def runs(text: str) -> tuple[tuple[str, str], ...]:
    """Return a line of text in parts that have one font each, and its file: (part, file)."""
    found: list[tuple[str, str]] = []
    for letter in text:
        file = _file_with(letter) or font_file()
        if found and found[-1][1] == file:
            found[-1] = (found[-1][0] + letter, file)
        else:
            found.append((letter, file))
    return tuple(found) or (("", font_file()),)


def drawable(text: str) -> str:
    """Return a text with boxes for the letters that no font here has, on one line."""
    line = "".join(" " if letter.isspace() else letter for letter in text)
    return "".join(letter if _file_with(letter) else _BOX for letter in line)


def missing_letters(text: str) -> str:
    """Return the letters of a text that no font here has, each once, in order."""
    return "".join(dict.fromkeys(a for a in text if not a.isspace() and not _file_with(a)))


def families(text: str) -> list[str]:
    """Return the names of the fonts of a text, as matplotlib knows them: DejaVu Sans first."""
    from matplotlib.font_manager import get_font

    files = dict.fromkeys([font_file(), *(file for _, file in runs(text))])
    return [str(get_font(file).family_name) for file in files]


@lru_cache(maxsize=1)
def other_fonts() -> tuple[str, ...]:
    """Return the files of all fonts that matplotlib knows of, plain ones first."""
    from matplotlib.font_manager import fontManager

    # Which has a box with a code for every letter there is.
    fonts = [font for font in fontManager.ttflist if not font.name.startswith("Last Resort")]
    fonts.sort(key=lambda font: (font.style != "normal", str(font.weight) not in ("400", "normal"),
                                 "Sans" not in font.name, font.name, font.fname))  # fmt: skip
    return tuple(dict.fromkeys(font.fname for font in fonts))


@lru_cache(maxsize=4096)
def _file_with(letter: str) -> str | None:
    """Return the file of the first font that has a letter; None where there is none."""
    if ord(letter) in _letters(font_file()):
        return font_file()
    return next((file for file in other_fonts() if ord(letter) in _letters(file)), None)


@lru_cache(maxsize=256)
def _letters(file: str) -> frozenset[int]:
    """Return the letters of a font; none where it cannot be drawn with."""
    from matplotlib.font_manager import get_font

    try:
        _font(file, 20.0)  # a font of pictures has no such size
        return frozenset(get_font(file).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()
