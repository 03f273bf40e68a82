"""What the numbers of a scene may be, and when its frames are."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from dvskit.errors import ConfigError

LARGEST_SEED = 2**62


def in_range(scene: object, name: str, low: float, high: float) -> None:
    """Raise ConfigError if a field is outside low..high, or no number."""
    check_range(name, getattr(scene, name), low, high)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError if a number of some name is outside low..high, or none."""
    if not (isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name} = {value} is outside {low:g} to {high:g}")


def frame_times_us(duration_us: int, fps: int) -> Iterator[int]:
    """Yield the times of frames, from 0 to below duration_us."""
    count = -(-duration_us * fps // 1_000_000)
    return (n * 1_000_000 // fps for n in range(count))
