"""What the numbers of a scene may be."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from dvskit.errors import ConfigError

LARGEST_SEED = 2**62


def check_ranges(thing: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raise ConfigError if a field of some thing is outside its range (least, most)."""
    for name, (low, high) in ranges.items():
        check_range(name, getattr(thing, name), low, high)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError if a number of some name is outside low..high, or none."""
    if not (isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name} = {value} is outside {low:g} to {high:g}")
