"""Where things are in a picture of a cloud: the words above, and the box as large as fits below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size
from dvskit.render._axes import Style, bounds, draw_box
from dvskit.render._camera import Camera, Rect, box_halves, corners, fit_all, rotation
from dvskit.render._drawing import Dot, Drawing, Lines, Strip, Words
from dvskit.render._text import CAP, text_width
from dvskit.render.colormap import Bar, Colours

_LEAST_KEY_UNITS = 100
_SAFE_UNITS = 4.0  # for labels at angles between those that are tried
_TRIED = 36
_TRIES = 6


@dataclass(frozen=True, slots=True)
class Page:
    """A picture to fill: its style, the sensor and the time that the box holds."""

    style: Style
    sensor: Size
    span_us: int


@dataclass(frozen=True, slots=True)
class Header:
    """What stands above the box: its drawing, and where it ends."""

    drawing: Drawing
    bottom_px: float


def lay_out_header(style: Style, lines: list[tuple[str, str, float]], colours: Colours) -> Header:
    """Return lines of words (text, colour, units high) at the left and the key at the right.

    Where they have no room beside each other the key stands below.
    """
    unit, pad, width = style.unit_px, style.pad_px, style.size_px[0]
    if not style.worded:
        return Header([], pad)
    drawing: Drawing = []
    down, right = pad, 0.0
    for text, colour, units in lines:
        # A line too long for the picture is written smaller.
        size = units * unit * min(1.0, (width - 2 * pad) / text_width(text, units * unit))
        down += CAP * units * unit
        drawing.append(Words(text, pad, down, size, colour))
        right = max(right, pad + text_width(text, size))
        down += 0.6 * units * unit
    room = width - pad - right - 20 * unit
    beside = room >= _LEAST_KEY_UNITS * unit
    key, key_width, key_height = _key(
        colours, style, min(220 * unit, room if beside else width - 2 * pad)
    )
    if beside and key_width <= room:
        drawing += _moved(key, width - pad - key_width, pad)
        return Header(drawing, max(down, pad + key_height))
    drawing += _moved(key, pad, down + 2 * unit)
    return Header(drawing, down + 2 * unit + key_height)


def _moved(drawing: Drawing, right: float, down: float) -> Drawing:
    moved: Drawing = []
    for item in drawing:
        match item:
            case Words(text, left, baseline, size, colour):
                moved.append(Words(text, left + right, baseline + down, size, colour))
            case Dot(u, v, radius, colour):
                moved.append(Dot(u + right, v + down, radius, colour))
            case Strip(left, top, end, bottom, palette):
                moved.append(Strip(left + right, top + down, end + right, bottom + down, palette))
            case Lines():
                moved.append(
                    Lines(item.ends + np.array((right, down) * 2), item.colour, item.width_px)
                )
    return moved


def _key(colours: Colours, style: Style, most_px: float) -> tuple[Drawing, float, float]:
    """Return the legend or the colour bar with its upper left corner at (0, 0), and its size."""
    unit, theme = style.unit_px, style.theme
    if not isinstance(colours.key, Bar):
        return _legend(colours.key, style)
    title, size, small = colours.key.title, 12.5 * unit, 11.5 * unit
    drawing: Drawing = [
        Words(title, 0.0, CAP * size, size, theme.text),
        Strip(0.0, 16 * unit, most_px, 25 * unit, colours.palette),
    ]
    taken: list[Words] = []
    marks = []
    # The ends first: what lies between them is left out where it would touch.
    ticks = sorted(colours.key.ticks, key=lambda tick: (tick[0] not in (0, 1), tick[0]))
    for place, text in ticks:
        wide = text_width(text, small)
        left = min(max(place * most_px - wide / 2, 0.0), most_px - wide)
        words = Words(text, left, 30 * unit + CAP * small, small, theme.faint)
        if all(abs(left + wide / 2 - (b[0] + b[2]) / 2) >= (wide + b[2] - b[0]) / 2 + 5 * unit
               for b in map(bounds, taken)):  # fmt: skip
            taken.append(words)
            if 0 < place < 1:
                at = place * most_px
                marks.append([at, 25 * unit, at, 28 * unit])
    if marks:
        drawing.append(Lines(np.array(marks), theme.line, unit))
    return [*drawing, *taken], most_px, max(bounds(words)[3] for words in taken)


def _legend(key: tuple[tuple[str, str], ...], style: Style) -> tuple[Drawing, float, float]:
    unit = style.unit_px
    drawing: Drawing = []
    left, size = 0.0, 14 * unit
    middle = CAP * size / 2
    for name, colour in key:
        drawing.append(Dot(left + 5 * unit, middle, 4.5 * unit, colour))
        drawing.append(Words(name, left + 16 * unit, CAP * size, size, style.theme.text))
        left += 16 * unit + text_width(name, size) + 20 * unit
    return drawing, left - 20 * unit, CAP * size


def cameras(
    page: Page, top_px: float, angles: list[tuple[float, float]], perspective: float
) -> list[Camera]:
    """Return a camera for each azimuth and elevation, all at one distance and with one centre.

    From none of them a corner of the box or a label is outside of the picture or above `top_px`;
    the box is as large as that allows.
    """
    halves = box_halves(page.sensor)
    turns = np.stack([rotation(*angle) for angle in angles])
    if not page.style.worded:
        return fit_all(halves, turns, _inner(page, top_px, np.zeros(4)), perspective)
    # Left, top, right, bottom: how far labels reach over the box, at first as a guess. A smaller
    # box has other labels, so that it is asked again until they fit.
    around = np.full(4, 46 * page.style.unit_px)
    for number in range(_TRIES):
        found = fit_all(halves, turns, _inner(page, top_px, around), perspective)
        needed = _overhang(page, found)
        if number and (needed <= around + 0.25).all():
            break
        around = np.maximum(needed, around) if number else needed
    return found


def _inner(page: Page, top_px: float, around: NDArray[np.float64]) -> Rect:
    """Return the place for the box itself: at least a quarter of the picture's sides."""
    width, height = page.style.size_px
    left, top, right, bottom = around + page.style.pad_px
    top += top_px - page.style.pad_px
    across = min(1.0, 0.75 * width / (left + right))
    down = min(1.0, 0.75 * height / (top + bottom))
    return (left * across, top * down, width - right * across, height - bottom * down)


def _overhang(page: Page, found: list[Camera]) -> NDArray[np.float64]:
    box = np.concatenate([camera.project(corners(box_halves(page.sensor))) for camera in found])
    low, high = box[:, :2].min(axis=0), box[:, :2].max(axis=0)
    sides = np.array(
        [
            bounds(item)
            for camera in found[:: max(1, len(found) // _TRIED)]
            for item in draw_box(camera, page.sensor, page.span_us, page.style)
            if isinstance(item, Words)
        ]
    ).reshape(-1, 4)
    if not len(sides):
        return np.zeros(4)
    ends = np.concatenate([low - sides[:, :2].min(axis=0), sides[:, 2:].max(axis=0) - high])
    safe = _SAFE_UNITS * page.style.unit_px if len(found) > _TRIED else 0.0
    return np.asarray(np.maximum(ends + safe, 0.0))
