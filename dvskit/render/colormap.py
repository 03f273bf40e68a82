"""Colors of events, the same in still pictures and on the page.

Time runs from yellow (early) to purple (late), after the figure of Wang et al., "Space-time event
clouds for gesture recognition" (WACV 2019), with the stops of matplotlib's plasma (CC0) lifted at
the purple end so that it contrasts with a dark ground. Counts run through matplotlib's magma (CC0,
by Nathaniel Smith and Stefan van der Walt), cut so that a count of 1 contrasts with the ground too.
ON and OFF are orange and blue, which differ for any color vision (Okabe and Ito).

Velocities have the direction as hue and the speed as saturation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, run_ranges, thread_count
from dvskit.events import Events
from dvskit.render import cloud_kernels
from dvskit.render._numbers import number_text, time_unit

_EVENTS_A_PART = 1 << 18


@dataclass(frozen=True, slots=True)
class Theme:
    """The colors of a picture, as "#rrggbb": ground, lines, text, and those of the events.

    Stops are colors at even steps: of time from early to late, of counts from 1 to the largest.

        theme = dvskit.render.Theme(
            ground="#ffffff", line="#888888", grid="#dddddd", text="#000000", faint="#666666",
            time_stops=("#ecc010", "#46039f"), count_stops=("#fea571", "#140e36"),
            on="#d55e00", off="#0072b2",
        )
        events = dvskit.load_events("events.raw").between(0, 100_000)
        t_us, picture = next(iter(dvskit.render.frames(events, theme=theme)))  # on white
    """

    ground: str
    line: str
    grid: str
    text: str
    faint: str
    time_stops: tuple[str, ...]
    count_stops: tuple[str, ...]
    on: str
    off: str


DARK = Theme(
    ground="#0d0e14", line="#565b70", grid="#22252f", text="#e8e9ef", faint="#9297a8",
    time_stops=(
        "#f6ef3a", "#fdca26", "#fb9f3a", "#ed7953", "#d8576b", "#bd3f95", "#9f3cbc", "#8146dc",
    ),
    count_stops=(
        "#842681", "#a8327d", "#cc3f71", "#eb5760", "#fa7d5e", "#fea772", "#fed194", "#fcf9bb",
    ),
    on="#ffa62b", off="#4aa8f0",
)  # fmt: skip
LIGHT = Theme(
    ground="#fbfbf9", line="#9a9daa", grid="#e6e6e3", text="#1b1d26", faint="#6a6e7c",
    time_stops=(
        "#ecc010", "#f5a623", "#f0853f", "#dd5d62", "#c33d84", "#9c179e", "#7201a8", "#46039f",
    ),
    count_stops=(
        "#fea571", "#f8745c", "#e04c67", "#b83779", "#8e2a81", "#651a80", "#3b0f70", "#140e36",
    ),
    on="#d55e00", off="#0072b2",
)  # fmt: skip
PAPER = replace(LIGHT, ground="#ffffff")


def rgb(text: str) -> tuple[int, int, int]:
    """Return the three bytes of "#rrggbb"."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def gradient(stops: tuple[str, ...], count: int = 256) -> NDArray[np.uint8]:
    """Return `count` colors, (count, 3) uint8, at even steps through evenly spaced `stops`."""
    table = np.array([rgb(stop) for stop in stops], np.float64)
    at = np.linspace(0, len(stops) - 1, count)
    channels = [np.interp(at, np.arange(len(stops)), table[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def nearest_rows(palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (32, 32, 32) uint8: the palette's nearest row to the center of each cell of RGB."""
    cells = np.indices((32, 32, 32)).reshape(3, -1).T * 8 + 4
    rows = palette.astype(np.float32)
    # |c - p|^2 without |c|^2, which is the same for all p.
    away = (rows**2).sum(axis=1) - 2 * cells.astype(np.float32) @ rows.T
    return np.asarray(away.argmin(axis=1).astype(np.uint8).reshape(32, 32, 32))


@dataclass(frozen=True, slots=True)
class ColorBar:
    """A color bar: its title, and texts at positions from 0 (its first color) to 1.

    It is the key of `Colors` with many colors.

        events = dvskit.load_events("events.raw")
        bar = dvskit.render.by_time(events).key
        bar.title, bar.ticks  # ("early → late", ((0.0, "0"), (1.0, "1,987 ms")))
        dvskit.render.ColorBar("speed", ((0.0, "0"), (0.5, "100 px/s"), (1.0, "200 px/s")))
    """

    title: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Colors:
    """The coloring of n events: (n,) uint8 rows of a (k, 3) uint8 palette, and its key.

    The key is single colors with their names (a legend), or a color bar of the whole palette. A
    custom coloring is a function that returns Colors:

        def by_half(events, theme):  # the left half of the sensor in red, the right one in blue
            palette = np.array([[220, 60, 60], [60, 90, 220]], np.uint8)
            index = (events.x >= events.sensor_size.width // 2).astype(np.uint8)
            key = (("left", "#dc3c3c"), ("right", "#3c5adc"))
            return dvskit.render.Colors(index, palette, key)

        view = dvskit.render.CloudView(color=by_half)
        dvskit.render.cloud(dvskit.load_events("events.raw"), "halves.png", view=view)
    """

    index: NDArray[np.uint8]
    palette: NDArray[np.uint8]
    key: tuple[tuple[str, str], ...] | ColorBar


Coloring = Callable[[Events, Theme], Colors]


def by_time(events: Events, theme: Theme = DARK) -> Colors:
    """Color by time: the first event yellow, the last one purple.

    The steps between are even in time; the palette has 256 colors.

        events = dvskit.load_events("events.raw")
        colors = dvskit.render.by_time(events)
        rgb = colors.palette[colors.index]  # (32477, 3) uint8
    """
    span = max(1, events.duration_us)
    start = int(events.t[0]) if len(events) else 0
    index = np.empty(len(events), np.uint8)

    def work(first: int, stop: int) -> None:
        at = slice(first, stop)
        # In float64: 255 * t may overflow int64 for times in the upper range.
        cloud_kernels.time_levels(events.t[at], start, 255.0 / span, index[at])

    run_ranges(work, len(events), _parts(len(events)))
    unit, length = time_unit(events.duration_us)
    last = f"{number_text(events.duration_us / length)} {unit}"
    return Colors(
        index, gradient(theme.time_stops), ColorBar("early → late", ((0.0, "0"), (1.0, last)))
    )


def by_count(events: Events, theme: Theme = DARK) -> Colors:
    """Color by the total number of events of an event's pixel, on a logarithmic scale.

    index = round(255 log n / log max(n)): one event has the first color.

        view = dvskit.render.CloudView(color=dvskit.render.by_count)
        dvskit.render.cloud(dvskit.load_events("events.raw"), "counts.png", view=view)
    """
    counts = _pixel_counts(events)
    most = int(counts.max(initial=1))
    levels = np.zeros(counts.shape, np.uint8)
    cloud_kernels.count_levels(counts, math.log(max(most, 2)), levels)
    index = np.empty(len(events), np.uint8)

    def pick(first: int, stop: int) -> None:
        at = slice(first, stop)
        cloud_kernels.pick(events.x[at], events.y[at], levels, index[at])

    run_ranges(pick, len(events), _parts(len(events)))
    return Colors(
        index, gradient(theme.count_stops), ColorBar("events in the pixel", _decades(most))
    )


def _parts(count: int) -> int:
    return max(1, min(thread_count(), 8, -(-count // _EVENTS_A_PART)))


def _pixel_counts(events: Events) -> NDArray[np.int64]:
    """Return the events of each pixel, (H, W) int64."""
    parts = _parts(len(events))
    counts = np.zeros((parts, events.sensor_size.height, events.sensor_size.width), np.int64)

    def work(part: int) -> None:
        at = slice(len(events) * part // parts, len(events) * (part + 1) // parts)
        cloud_kernels.count(events.x[at], events.y[at], counts[part])

    run_parts(work, parts)
    total: NDArray[np.int64] = counts.sum(axis=0) if len(counts) > 1 else counts[0]
    return total


def _decades(most: int) -> tuple[tuple[float, str], ...]:
    """Return the ticks of a logarithmic bar from 1 to `most`: the powers of ten, and the end."""
    if most == 1:
        return ((0.0, "1"),)
    powers = [10**k for k in range(len(str(most - 1)))]
    return (*((math.log(n) / math.log(most), f"{n:,}") for n in powers), (1.0, f"{most:,}"))


def by_polarity(events: Events, theme: Theme = DARK) -> Colors:
    """Color by polarity: ON orange, OFF blue.

    The palette has two colors, OFF and ON.

        events = dvskit.load_events("events.raw")
        colors = dvskit.render.by_polarity(events)
        colors.palette.shape, colors.key[0][0]  # ((2, 3), "ON")
        rgb = colors.palette[colors.index]  # (32477, 3) uint8
    """
    palette = np.array([rgb(theme.off), rgb(theme.on)], np.uint8)
    return Colors(events.p.astype(np.uint8), palette, key=(("ON", theme.on), ("OFF", theme.off)))


def diverging(theme: Theme, levels: int) -> NDArray[np.uint8]:
    """Return (2 * levels + 1, 3) colors: full OFF, the ground in the middle, full ON."""
    return gradient((theme.off, theme.ground, theme.on), 2 * levels + 1)


def sequential(theme: Theme, levels: int) -> NDArray[np.uint8]:
    """Return (levels + 1, 3) colors from the ground on through those of time."""
    dark = sum(rgb(theme.ground)) < 384
    stops = theme.time_stops[::-1] if dark else theme.time_stops
    return gradient((theme.ground, *stops), levels + 1)


HUES, STEPS = 21, 6  # 126 colors and the ground: as many as of events


def flow_palette(theme: Theme) -> NDArray[np.uint8]:
    """Return the ground, then the colors of velocities: (127, 3) uint8 RGB.

    On a dark ground slow events are white; on a bright one, gray.
    """
    value = 1.0 if sum(rgb(theme.ground)) < 384 else 0.72
    hue, step = np.divmod(np.arange(HUES * STEPS), STEPS)
    hsv = np.stack([hue * 360 / HUES, step / (STEPS - 1), np.full(len(hue), value)], -1)
    colors = cv2.cvtColor(hsv.astype(np.float32)[None], cv2.COLOR_HSV2RGB)[0]
    return np.concatenate([[rgb(theme.ground)], np.rint(colors * 255)]).astype(np.uint8)


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
    """Return a disc of all velocities as rows of the palette, 0 outside it: the colors' legend."""
    y, x = np.mgrid[:side_px, :side_px] * (2 / (side_px - 1)) - 1
    return np.where(np.hypot(x, y) <= 1, flow_rows(x, y, 1.0), 0).astype(np.uint8)
