"""Numbers with units that people read."""

from __future__ import annotations

import math
from typing import NamedTuple

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Unit(NamedTuple):
    """A unit, and how many base units (microseconds, events a second) it is."""

    name: str
    scale: float


def time_unit(span_us: float) -> Unit:
    """Return the unit to show a span of time in."""
    if span_us < 1e3:
        return Unit("µs", 1.0)
    if span_us < 6e8:
        return Unit("ms", 1e3) if span_us < 1e6 else Unit("s", 1e6)
    return Unit("min", 6e7) if span_us < 7.2e9 else Unit("h", 3.6e9)


def rate_unit(rate_hz: float) -> Unit:
    """Return the unit to show rates of up to `rate_hz` events a second in."""
    if rate_hz < 1e3:
        return Unit("ev/s", 1.0)
    if rate_hz < 1e6:
        return Unit("kev/s", 1e3)
    return Unit("Mev/s", 1e6) if rate_hz < 1e9 else Unit("Gev/s", 1e9)


def span_text(time_us: float) -> str:
    """Return a span as text, such as 10 ms."""
    unit = time_unit(time_us)
    return f"{time_us / unit.scale:.3g} {unit.name}"


def number_text(value: float, digits: int) -> str:
    """Return a number with so many digits that matter and a true minus, such as −0.0035.

    Beyond what is read at a glance it has a power of ten: 1.2·10⁻⁷.
    """
    text, _, power = f"{value:.{digits}g}".partition("e")
    if power:
        text += "·10" + str(int(power)).translate(_RAISED)
    return text.replace("-", "−")


def small_hz_text(frequency_hz: float) -> str:
    """Return a rate that may be far below 1 Hz, or not known, such as 0.16 Hz or 77 µHz."""
    if not math.isfinite(frequency_hz):
        return "–"
    size = abs(frequency_hz)
    if size >= 100 or not size:
        return f"{frequency_hz:,.0f} Hz".replace("-", "−")
    for name, scale in (("Hz", 1.0), ("mHz", 1e3)):
        if size * scale >= 0.01:
            return f"{number_text(frequency_hz * scale, 2)} {name}"
    return f"{number_text(frequency_hz * 1e6, 2)} µHz"


def hz_text(frequency_hz: float) -> str:
    """Return a frequency with as many digits as matter, such as 99.8 Hz."""
    digits = 0 if frequency_hz >= 1000 else 1 if frequency_hz >= 10 else 2
    return f"{frequency_hz:,.{digits}f} Hz"
