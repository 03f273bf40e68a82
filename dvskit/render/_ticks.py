"""Where ticks stand and what they say."""

from __future__ import annotations

import math

_UNITS = (("µs", 1.0, 2_000), ("ms", 1e3, 2_000_000), ("s", 1e6, math.inf))


def time_unit(span_us: float) -> tuple[str, float]:
    """Return the unit for a span of time, and its length in microseconds."""
    return next((name, length) for name, length, below in _UNITS if span_us < below)


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
    """Return a number with so many digits that matter, as people write it: 36,000 and 0.0125."""
    if not value:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    text = f"{round(value, decimals):,.{max(0, decimals)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
