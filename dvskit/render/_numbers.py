"""Numbers with units as text, positions of ticks, and the check of suffixes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from dvskit.errors import ConfigError


class Unit(NamedTuple):
    """A unit, and its number of base units (microseconds, events per second)."""

    name: str
    scale: float


_US, _MS, _S = Unit("µs", 1.0), Unit("ms", 1e3), Unit("s", 1e6)
# Each with the largest number of base units it is used for.
_TIMES = ((2_000, _US), (2_000_000, _MS), (math.inf, _S))
_SPANS = (
    (1e3, _US), (1e6, _MS), (6e8, _S), (7.2e9, Unit("min", 6e7)), (math.inf, Unit("h", 3.6e9)),
)  # fmt: skip
_RATES = (
    (1e3, Unit("ev/s", 1.0)), (1e6, Unit("kev/s", 1e3)), (1e9, Unit("Mev/s", 1e6)),
    (math.inf, Unit("Gev/s", 1e9)),
)  # fmt: skip
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def check_suffix(
    path: str | PathLike[str], suffixes: Sequence[str], what: str, hint: str = ""
) -> Path:
    """Return `path` as a Path. Raises ConfigError, with a hint, for a suffix that `what` lacks."""
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        written = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise ConfigError(
            f"{target}: {what} is written as {written}, not {target.suffix or 'nothing'}{hint}"
        )
    return target


def _unit(value: float, units: Sequence[tuple[float, Unit]]) -> Unit:
    return next((unit for below, unit in units if value < below), units[-1][1])


def time_unit(span_us: float) -> Unit:
    """Return the unit for an axis of time, or a figure with digits."""
    return _unit(span_us, _TIMES)


def span_unit(span_us: float) -> Unit:
    """Return the unit to show a time span in."""
    return _unit(span_us, _SPANS)


def rate_unit(rate_hz: float) -> Unit:
    """Return the unit to show rates of up to `rate_hz` events per second in."""
    return _unit(rate_hz, _RATES)


def nice_step(span: float, count: float, *, whole: bool = False) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that fits about `count` times in `span`."""
    raw = span / max(count, 1.0)
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next((m * power for m in (1.0, 2.0, 5.0) if m * power >= raw * 0.999), 10.0 * power)
    return max(step, 1.0) if whole else step


def tick_text(value: float, step: float) -> str:
    """Return a tick's label with as many decimals as the step needs."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}"


def number_text(value: float, digits: int = 4) -> str:
    """Return a number rounded to significant digits, such as 36,000 and 0.0125."""
    if not value:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    text = f"{round(value, decimals):,.{max(0, decimals)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def span_text(time_us: float) -> str:
    """Return a time span as text, such as 10 ms."""
    unit = span_unit(time_us)
    return f"{time_us / unit.scale:.3g} {unit.name}"


def scientific_text(value: float, digits: int) -> str:
    """Return a number rounded to digits with a true minus, such as −0.0035 or 1.2·10⁻⁷."""
    text, _, power = f"{value:.{digits}g}".partition("e")
    if power:
        text += "·10" + str(int(power)).translate(_RAISED)
    return text.replace("-", "−")


def small_hz_text(frequency_hz: float) -> str:
    """Return a rate that may be far below 1 Hz, or unknown, such as 0.16 Hz or 77 µHz."""
    if not math.isfinite(frequency_hz):
        return "–"
    size = abs(frequency_hz)
    if size >= 100 or not size:
        return f"{frequency_hz:,.0f} Hz".replace("-", "−")
    for name, scale in (("Hz", 1.0), ("mHz", 1e3)):
        if size * scale >= 0.01:
            return f"{scientific_text(frequency_hz * scale, 2)} {name}"
    return f"{scientific_text(frequency_hz * 1e6, 2)} µHz"


def hz_text(frequency_hz: float) -> str:
    """Return a frequency with its significant digits, such as 99.8 Hz."""
    digits = 0 if frequency_hz >= 1000 else 1 if frequency_hz >= 10 else 2
    return f"{frequency_hz:,.{digits}f} Hz"
