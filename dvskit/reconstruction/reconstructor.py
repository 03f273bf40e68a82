"""The protocol of what turns events into images."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Events, Size


class ReconstructionPass(Protocol):
    """One pass over a stream; it holds the state of that pass.

    A custom pass has three methods:

        class SumPass:  # each event changes the brightness of its pixel by 0.1
            def __init__(self, size):
                self.sums = np.full((size.height, size.width), 0.5, np.float32)

            def add(self, events):
                np.add.at(self.sums, (events.y, events.x), np.where(events.p, 0.1, -0.1))

            def see(self, t_us, frame):
                self.sums[:] = frame / 255

            def image(self, t_us):
                return self.sums.clip(0, 1)

        events = dvskit.load_events("events.raw").between(0, 500_000)
        run = SumPass(events.size)
        run.add(events)
        run.image(500_000)  # (128, 128) float32
    """

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
    """Frozen parameters of a way from events to images.

    Its passes receive frames only if it has an attribute `uses_frames` that is true. A custom
    reconstructor returns a new pass for each stream. This one chooses a parameter by the size of
    the sensor:

        class FilterBySize:
            uses_frames = True

            def start(self, size):
                smooth_px = 1.0 if size.width < 640 else 2.0
                return dvskit.reconstruction.ComplementaryFilter(smooth_px=smooth_px).start(size)

        recording = dvskit.open_events("davis")
        images = dvskit.reconstruction.reconstruct(recording, FilterBySize(), [100_000, 200_000])
    """

    def start(self, size: Size) -> ReconstructionPass:
        """Return one pass over a stream of a sensor's size."""
