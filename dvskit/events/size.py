"""The size of a sensor, and text and tuples that say one."""

from __future__ import annotations

from typing import NamedTuple

from dvskit.errors import GeometryError


class Size(NamedTuple):
    """A sensor's size in pixels: width first, as in (x, y)."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def as_size(size: tuple[int, int]) -> Size:
    """Return `size` as a checked Size. Raises GeometryError unless 1 <= width, height <= 32767."""
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
    """Return the Size that a text such as "640x480" says. Raises GeometryError."""
    width, cross, height = text.lower().partition("x")
    if not cross or not width.strip().isdecimal() or not height.strip().isdecimal():
        raise GeometryError(f"size {text!r} is not WIDTHxHEIGHT, such as 640x480")
    return as_size((int(width), int(height)))
