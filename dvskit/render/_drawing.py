"""The background of the events as a list of shapes; rasterizing them; fonts.

The same list becomes pixels here and vectors in `cloud`. Positions are in pixels from the upper
left corner: pixel (0, 0) extends from 0 to 1.

Text is in DejaVu Sans, which comes with matplotlib and is the same on every machine; system fonts
are used only for letters that it lacks. Letters in no font become boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from dvskit.render import cloud_kernels
from dvskit.render.colormap import rgb

CAP = 0.73  # height of capitals and digits, as a share of the font size
_BOX = "□"


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Straight lines: (n, 4) u, v of their starts and of their ends."""

    ends: NDArray[np.float64]
    color: str
    width_px: float


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of text at the start of its baseline."""

    text: str
    left: float
    baseline: float
    size_px: float
    color: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A disc."""

    u: float
    v: float
    radius_px: float
    color: str


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """A color bar from left to right, of a (k, 3) uint8 palette."""

    left: float
    top: float
    right: float
    bottom: float
    palette: NDArray[np.uint8]


Drawing = list[Segments | TextLine | Dot | Strip]


def moved(drawing: Drawing, right: float, down: float) -> Drawing:
    """Return the drawing moved by this many pixels to the right and down."""
    found: Drawing = []
    for item in drawing:
        match item:
            case TextLine(left=left, baseline=baseline):
                found.append(replace(item, left=left + right, baseline=baseline + down))
            case Dot(u, v):
                found.append(replace(item, u=u + right, v=v + down))
            case Strip(left, top, end, bottom, palette):
                found.append(Strip(left + right, top + down, end + right, bottom + down, palette))
            case Segments(ends):
                found.append(replace(item, ends=ends + np.array((right, down) * 2)))
    return found


def mix(color: str, ground: str, share: float) -> str:
    """Return `share` of a color on a ground."""
    pairs = zip(rgb(color), rgb(ground), strict=True)
    return "#" + "".join(f"{round(b + (a - b) * share):02x}" for a, b in pairs)


def paint(drawing: Drawing, size_px: tuple[int, int], ground: str) -> NDArray[np.uint8]:
    """Return the drawing as (height, width, 3) uint8, RGB."""
    picture = np.empty((size_px[1], size_px[0], 3), np.uint8)
    picture[0] = rgb(ground)
    picture[1:] = picture[0]  # whole rows: four times as fast as pixel by pixel
    for item in drawing:
        match item:
            case Segments(ends, color, width):
                cloud_kernels.stroke(ends, width / 2, _levels(color), picture)
            case Dot(u, v, radius, color):
                cloud_kernels.stroke(np.array([[u, v, u, v]]), radius, _levels(color), picture)
            case TextLine(text, start, baseline, size, color):
                mask, left, top = ink(text, size)
                top, left = round(baseline) + top, round(start) + left
                cloud_kernels.tint(mask, top, left, _levels(color), picture)
            case Strip():
                left, right = round(item.left), round(item.right)
                row = cv2.resize(item.palette[None], (right - left, 1))
                picture[round(item.top) : round(item.bottom), left:right] = row
    return picture


def _levels(color: str) -> NDArray[np.float64]:
    return np.array(rgb(color), np.float64)


@lru_cache(maxsize=1)
def font_file() -> str:
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
    """Return a line of text as (height, width) uint8 ink; its left, its top from the baseline."""
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
    """Return a line of text in parts of one font each, and its file: (part, file)."""
    found: list[tuple[str, str]] = []
    for letter in text:
        file = _file_with(letter) or font_file()
        if found and found[-1][1] == file:
            found[-1] = (found[-1][0] + letter, file)
        else:
            found.append((letter, file))
    return tuple(found) or (("", font_file()),)


def drawable(text: str) -> str:
    """Return a text on one line, with boxes for missing letters."""
    line = "".join(" " if letter.isspace() else letter for letter in text)
    return "".join(letter if _file_with(letter) else _BOX for letter in line)


def missing_letters(text: str) -> str:
    """Return the letters of a text that are in no font here, each once, in order."""
    return "".join(dict.fromkeys(a for a in text if not a.isspace() and not _file_with(a)))


def families(text: str) -> list[str]:
    """Return the names of the fonts of a text in matplotlib: DejaVu Sans first."""
    from matplotlib.font_manager import get_font

    files = dict.fromkeys([font_file(), *(file for _, file in runs(text))])
    return [str(get_font(file).family_name) for file in files]


@lru_cache(maxsize=1)
def other_fonts() -> tuple[str, ...]:
    """Return the files of all fonts known to matplotlib, plain ones first."""
    from matplotlib.font_manager import fontManager

    # It has a box with a code for every letter.
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
    """Return the letters of a font; none if it cannot be used."""
    from matplotlib.font_manager import get_font

    try:
        _font(file, 20.0)  # a bitmap font does not have this size
        return frozenset(get_font(file).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()
