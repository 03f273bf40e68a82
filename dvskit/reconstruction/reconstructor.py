"""The protocol of what turns events into images."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size


class ReconstructionPass(Protocol):
    """One pass over a stream; it holds the state of that pass."""

    def add(self, events: Events) -> None:
        """Take in events. They come in time order; the borders of blocks have no meaning."""

    def see(self, t_us: int, frame: NDArray[Any]) -> None:
        """Take in a frame of the same sensor, (height, width) uint8, taken at `t_us`.

        A pass that uses events only ignores it.
        """

    def image(self, t_us: int) -> NDArray[np.float32]:
        """Return the brightness at `t_us`, (height, width), 0 black to 1 white.

        All events up to `t_us` were added before, and no later ones.
        """


class Reconstructor(Protocol):
    """Frozen parameters of a way from events to images."""

    def start(self, size: Size) -> ReconstructionPass:
        """Return one pass over a stream of a sensor's size."""
