"""Colours of events, the same in still pictures and on the page.

Time runs from yellow (early) to purple (late), after the figure of Wang et al., "Space-time event
clouds for gesture recognition" (WACV 2019), with the stops of matplotlib's plasma (CC0) lifted at
the purple end so that it stands out from a dark ground. ON and OFF are orange and blue, which
people with any colour vision tell apart (Okabe and Ito).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a picture, as "#rrggbb": ground, lines, text, and those of the events."""

    ground: str
    line: str
    grid: str
    text: str
    faint: str
    time_stops: tuple[str, ...]
    on: str
    off: str


DARK = Theme(
    ground="#0d0e14",
    line="#565b70",
    grid="#22252f",
    text="#e8e9ef",
    faint="#9297a8",
    time_stops=(
        "#f6ef3a", "#fdca26", "#fb9f3a", "#ed7953", "#d8576b", "#bd3f95", "#9f3cbc", "#8146dc",
    ),
    on="#ffa62b",
    off="#4aa8f0",
)  # fmt: skip
LIGHT = Theme(
    ground="#fbfbf9",
    line="#9a9daa",
    grid="#e6e6e3",
    text="#1b1d26",
    faint="#6a6e7c",
    time_stops=(
        "#ecc010", "#f5a623", "#f0853f", "#dd5d62", "#c33d84", "#9c179e", "#7201a8", "#46039f",
    ),
    on="#d55e00",
    off="#0072b2",
)  # fmt: skip


def rgb(text: str) -> tuple[int, int, int]:
    """Return the three bytes of "#rrggbb"."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def gradient(stops: tuple[str, ...], count: int = 256) -> NDArray[np.uint8]:
    """Return `count` colours, (count, 3) uint8, at even steps through evenly spaced `stops`."""
    table = np.array([rgb(stop) for stop in stops], np.float64)
    at = np.linspace(0, len(stops) - 1, count)
    channels = [np.interp(at, np.arange(len(stops)), table[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Colours:
    """What a colouring says of n events: (n,) uint8 rows of a (k, 3) uint8 palette, and its key.

    `key` names single colours (a legend); where it is empty the palette is a colour bar of time.
    """

    index: NDArray[np.uint8]
    palette: NDArray[np.uint8]
    key: tuple[tuple[str, str], ...] = ()


Colouring = Callable[[Events, Theme], Colours]


def by_time(events: Events, theme: Theme = DARK) -> Colours:
    """Colour by time: the first event yellow, the last one purple."""
    span = max(1, events.duration_us)
    start = events.t[0] if len(events) else 0
    # In float64: 255 * t may leave int64 for times in the upper range.
    index = ((events.t - start) * (255.0 / span)).astype(np.uint8)
    return Colours(index, gradient(theme.time_stops))


def by_polarity(events: Events, theme: Theme = DARK) -> Colours:
    """Colour by polarity: ON orange, OFF blue."""
    palette = np.array([rgb(theme.off), rgb(theme.on)], np.uint8)
    return Colours(events.p.astype(np.uint8), palette, key=(("ON", theme.on), ("OFF", theme.off)))


def diverging(theme: Theme, levels: int) -> NDArray[np.uint8]:
    """Return (2 * levels + 1, 3) colours: full OFF, the ground in the middle, full ON."""
    return gradient((theme.off, theme.ground, theme.on), 2 * levels + 1)


def sequential(theme: Theme, levels: int) -> NDArray[np.uint8]:
    """Return (levels + 1, 3) colours from the ground through the colours of time.

    Lightness runs one way: from a dark ground to yellow, from a light one to purple.
    """
    dark = sum(rgb(theme.ground)) < 384
    stops = theme.time_stops[::-1] if dark else theme.time_stops
    return gradient((theme.ground, *stops), levels + 1)
