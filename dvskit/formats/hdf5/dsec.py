"""The HDF5 layout of DSEC: columns events/x, y, t, p, packed by Blosc with zstd.

`t_offset` is added to t; `ms_to_idx[k]` is the first event with t >= 1000 k us. `events/width` and
`events/height` are those of RVT: DSEC itself stores no size.
"""

from __future__ import annotations

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import EventsError
from dvskit.events import Events
from dvskit.formats.hdf5.reading import open_recording
from dvskit.formats.hdf5.writing import Growing, Hdf5Sink

__all__ = ["DsecSink", "open_recording", "open_sink"]

_CHUNK = 1 << 14
_COLUMNS = {"x": "<u2", "y": "<u2", "t": "<i8", "p": "u1"}
_LATE_US = 60_000_000  # later first times are stored from 0 on
_MOST_MS = 1 << 28
_PART = 1 << 20


class DsecSink(Hdf5Sink):
    """Writes columns, with `ms_to_idx`. h5py with hdf5plugin reads the files."""

    format = "dsec"
    group_events = _CHUNK  # the columns of a chunk are adjacent

    def _begin(self, file: h5py.File) -> None:
        packed = dict(hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE))
        group = file.create_group("events")
        settings = {"chunks": (_CHUNK,), "maxshape": (None,), "track_times": False, **packed}
        settings["fletcher32"] = True  # zstd alone does not detect damage
        self._columns = {
            name: Growing(group.create_dataset(name, (0,), dtype, **settings))
            for name, dtype in _COLUMNS.items()
        }
        group["width"], group["height"] = self.size
        self._index = Growing(file.create_dataset("ms_to_idx", (0,), "<u8", **settings))
        self._t_offset = file.create_dataset("t_offset", (), "<i8", track_times=False)
        self._offset_us: int | None = None

    def _append(self, events: Events) -> None:
        if self._offset_us is None:
            first = int(events.t[0])
            # The index begins at 0, so late times would make it long.
            self._offset_us = 0 if 0 <= first < _LATE_US else first
        t = events.t - self._offset_us
        self._append_index(t)
        self._columns["x"].append(events.x.astype("<u2"))
        self._columns["y"].append(events.y.astype("<u2"))
        self._columns["t"].append(t)
        self._columns["p"].append(events.p.astype("u1"))

    def _append_index(self, t: NDArray[np.int64]) -> None:
        """Extend the index up to the millisecond of the last event, in parts."""
        last = int(t[-1]) // 1000
        if last >= _MOST_MS:
            raise EventsError(
                f"{self.path}: the events last {last / 3.6e6:.1f} hours; the index of DSEC's "
                f"layout holds {_MOST_MS / 3.6e6:.0f}; cut them, or write .npz"
            )
        before = self._columns["t"].count
        for start in range(self._index.count, last + 1, _PART):
            wanted = np.arange(start, min(start + _PART, last + 1), dtype=np.int64) * 1000
            self._index.append((before + np.searchsorted(t, wanted)).astype("<u8"))

    def _end(self) -> None:
        # Readers look up the end of a window too: one entry follows the last event.
        self._index.append(np.array([self._columns["t"].count], "<u8"))
        for each in (*self._columns.values(), self._index):
            each.finish()
        self._t_offset[()] = self._offset_us or 0


open_sink = DsecSink
