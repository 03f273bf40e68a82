"""What the numbers of a scene may be, and when its frames are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from math import isfinite
from typing import Any

from dvskit._arguments import ranges_of
from dvskit.errors import ConfigError

LARGEST_SEED = 2**62


def check_ranges(thing: Any) -> None:
    """Raise ConfigError if a `ranged` field of a dataclass is outside its range.

    One that is None by default may be None.
    """
    optional = {each.name for each in fields(thing) if each.default is None}
    for name, (low, high) in ranges_of(thing).items():
        if name not in optional or getattr(thing, name) is not None:
            check_range(name, getattr(thing, name), low, high)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError if a number of some name is outside low..high, or none."""
    if not (isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name} = {value} is outside {low:g} to {high:g}")


def frame_times_us(duration_us: int, fps: int) -> Iterator[int]:
    """Yield the times of frames, from 0 to below duration_us."""
    count = -(-duration_us * fps // 1_000_000)
    return (n * 1_000_000 // fps for n in range(count))
