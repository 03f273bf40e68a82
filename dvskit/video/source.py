"""A clip: frames with their times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from numpy.typing import NDArray

from dvskit.errors import ConfigError
from dvskit.events import Size
from dvskit.video.losses import FrameLosses


class FrameSource(ABC):
    """Frames in time order: starts anew at each iteration.

    size         of each frame
    frame_count  how many there are, as far as it is known without decoding
    notes        what was done with the pictures, and what to know of them, a line each
    damage       what the latest pass left out; false where it left out nothing
    container_start_us  when the container shows the first frame, where there is one that says
    """

    size: Size
    frame_count: int | None = None
    notes: tuple[str, ...] = ()
    damage: FrameLosses | None = None
    container_start_us: int | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (t_us, frame): int microseconds, and (height, width) gray."""

    def pictures(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (t_us, picture) to be looked at: the same frames, in their colours.

        A picture is (height, width, 3) uint8 RGB, gamma-coded, where the frame has colours, and
        else gray as a frame.
        """
        yield from self


def checked_fps(fps: float | None) -> Fraction | None:
    """Return a rate as a fraction, None for None. Raises ConfigError for one that cannot be."""
    if fps is None:
        return None
    if not 1e-3 <= fps <= 1e6:
        raise ConfigError(f"fps = {fps} is outside 0.001..1000000")
    return Fraction(fps).limit_denominator(1_000_000)


def nth_time_us(number: int, fps: Fraction) -> int:
    """Return the time of frame `number` at a steady rate."""
    return round(number * 1_000_000 / fps)
