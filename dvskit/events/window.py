"""Sensor sizes, times and time windows as users write them, with checks and warnings."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import NamedTuple, SupportsFloat, SupportsIndex, TypeGuard

from dvskit.errors import EventsError, GeometryError, UnitWarning, warn

TIME_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000}
_MANY_SECONDS = 1000  # a smaller float may be seconds; this many microseconds are a millisecond
_GOES_ON = 1000  # times the window: for such long events it was probably meant in seconds
_FIX = "times are microseconds: 1.5 s is 1_500_000"


class Size(NamedTuple):
    """A sensor's size in pixels: width first, as in (x, y).

    A plain (width, height) tuple does wherever a size is expected. The shape of an image is the
    reverse, (height, width).

        events = dvskit.load_events("events.raw")
        width, height = events.sensor_size
        counts = np.zeros((height, width), np.int64)
        np.add.at(counts, (events.y, events.x), 1)    # events per pixel
    """

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def as_size(size: tuple[int, int]) -> Size:
    """Return (width, height) as a checked Size.

    Raises GeometryError unless 1 <= width, height <= 32767.

        size = dvskit.events.as_size((640, 480))
        str(size), size.width    # ('640x480', 640)
    """
    try:
        if isinstance(size, str):  # "64" would be (6, 4)
            raise ValueError
        width, height = (int(n) for n in size)
    except (TypeError, ValueError):
        raise GeometryError(f"size {size!r} is not (width, height)") from None
    if not (1 <= width <= 32767 and 1 <= height <= 32767):
        raise GeometryError(f"size {width}x{height} is outside 1..32767: give (width, height)")
    return Size(width, height)


def parse_size(text: str) -> Size:
    """Return the Size in a text such as "640x480".

    The width comes first. Raises GeometryError for other texts.

        dvskit.events.parse_size("640x480")    # Size(width=640, height=480)
    """
    width, cross, height = text.lower().partition("x")
    if not cross or not width.strip().isdecimal() or not height.strip().isdecimal():
        raise GeometryError(f"size {text!r} is not WIDTHxHEIGHT, such as 640x480")
    return as_size((int(width), int(height)))


def parse_us(text: str) -> Fraction | None:
    """Return the microseconds of a time with its unit, such as 1.5s or 200ms; None for no time."""
    found = re.fullmatch(r"\s*([-+]?\d+(?:\.\d+)?)\s*(us|ms|s|min)\s*", text)
    return Fraction(found[1]) * TIME_UNITS_US[found[2]] if found else None


def check_window(start_us: object, stop_us: object) -> tuple[int | None, int | None]:
    """Return both ends of a window as whole microseconds. None leaves a side open.

    Gives a UnitWarning for floats below 1000, which look like seconds. Raises EventsError for
    values that are not numbers, and for a window that ends before its start.
    """
    ends = start, stop = _end("start_us", start_us), _end("stop_us", stop_us)
    if start is not None and stop is not None and stop < start:
        raise EventsError(
            f"the window {_said(start_us)}..{_said(stop_us)} us ends before its start; "
            "give the earlier time first"
        )
    floats = [abs(float(end)) for end in (start_us, stop_us) if _is_float(end)]
    if floats and 0 < max(floats) < _MANY_SECONDS:
        warn(f"the window {_said(start_us)}..{_said(stop_us)} us looks like seconds; {_FIX}",
             UnitWarning)  # fmt: skip
    return ends


def early_end_us(start_us: int | None, stop_us: int | None) -> int | None:
    """Return the end of a window, or the start of an open one, if it is in the first millisecond.

    Such a window looks like seconds if the events last much longer.
    """
    end_us = start_us if stop_us is None else stop_us
    return end_us if end_us is not None and 0 < end_us < _MANY_SECONDS else None


def warn_of_seconds(start_us: int | None, stop_us: int | None, latest_us: int) -> None:
    """Give a UnitWarning for a window within the first millisecond of much longer events.

    `latest_us` is a time that the events are known to reach. A window with an open end is judged
    by its start.
    """
    end_us = early_end_us(start_us, stop_us)
    if end_us is None or latest_us < _GOES_ON * end_us:
        return
    if stop_us is None or start_us is None or 0 <= start_us < stop_us:
        side = "starts" if stop_us is None else "ends"
        warn(
            f"the window {_said(start_us)}..{_said(stop_us)} us {side} within the first "
            f"millisecond, and the events last until {latest_us:,} us at least; {_FIX}",
            UnitWarning,
        )


def _is_float(end: object) -> TypeGuard[SupportsFloat]:
    return isinstance(end, SupportsFloat) and not isinstance(end, SupportsIndex)


def _end(name: str, value: object) -> int | None:
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, SupportsFloat | SupportsIndex):  # also NumPy's numbers
        number = value.__index__() if isinstance(value, SupportsIndex) else float(value)
        if math.isfinite(number):
            return math.ceil(number)  # t >= 1.5 equals t >= 2, and t < 1.5 equals t < 2
    raise EventsError(
        f"{name}={value!r} is not a time; give microseconds, or None to leave that side open"
    )


def _said(end: object) -> str:
    return "" if end is None else str(end)
