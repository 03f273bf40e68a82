"""Flow of events as a NumPy archive."""

from __future__ import annotations

import numpy as np

from dvskit.events import Events
from dvskit.formats.npz import NpzSink
from dvskit.motion.plane_flow import Flow


class FlowSink(NpzSink):
    """Writes flow as .npz: the arrays t, x, y, p, size of events, and vx, vy float32 in px/s.

    Only a block is in memory. `dvskit.open_events` reads the events.
    """

    columns = NpzSink.columns | {name: np.dtype("<f4") for name in ("vx", "vy")}

    def add(self, flow: Flow) -> None:
        """Append a block."""
        self._flow = flow
        self.write(flow.events)

    def _write(self, events: Events) -> None:
        for column, dtype in self.columns.items():
            part = self._flow if column in ("vx", "vy") else events
            data = np.ascontiguousarray(getattr(part, column), dtype=dtype)
            self._files[column].write(data.data)
