"""Scenes with frames at a steady rate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


class SteadyScene(ABC):
    """Frames at a rate; iterating gives (t_us, frame). Subclasses define the fields and `frame`.

    fps          frames per second
    duration_us  frames lie at 0 <= t < duration_us
    """

    transfer: ClassVar[str] = "linear"  # frames hold light, not codes of it
    fps: int
    duration_us: int

    @abstractmethod
    def frame(self, t_us: float) -> NDArray[np.uint16]:
        """Return the picture at a time, (H, W) uint16."""

    def times_us(self) -> list[int]:
        """Return the times of the frames."""
        count = -(-self.duration_us * self.fps // 1_000_000)
        return [number * 1_000_000 // self.fps for number in range(count)]

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        return ((t_us, self.frame(t_us)) for t_us in self.times_us())

    def __len__(self) -> int:
        return len(self.times_us())
