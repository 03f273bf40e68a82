"""Event Stream files as a Sink."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from dvskit.errors import EventsError
from dvskit.events import Events
from dvskit.formats.es import byte_kernels as k
from dvskit.formats.es.reading import MAGIC
from dvskit.formats.file_sink import FileSink

_VERSION_AND_TYPE = bytes((2, 0, 0, 1))
_BUFFER_BYTES = 1 << 20
_LONGEST_GAP_US = 1 << 35  # 9.5 hours: as time alone 270 MB, a byte per 127 us


class EsSink(FileSink):
    """Writes an Event Stream 2 of type DVS: all events in order.

    Times start at 0 in the file. Raises EventsError for times below 0 and for gaps of more than 9.5
    hours, including the one before the first event, as they would fill the disk.
    """

    format = "es"
    _longest_gap_us = _LONGEST_GAP_US

    def _open(self, partial: Path) -> None:
        self._file = self._create(partial)
        self._clock = np.zeros(1, np.int64)
        self._data = np.empty(_BUFFER_BYTES, np.uint8)
        self._file.write(MAGIC + _VERSION_AND_TYPE + struct.pack("<HH", *self.size))
        self.notes.append("y is counted from the bottom in the file, as Event Stream defines it")

    def _write(self, events: Events) -> None:
        if not self.count and not 0 <= events.t[0] <= _LONGEST_GAP_US:
            raise EventsError(
                f"{self.path}: the first time, {events.t[0]} us, is not within 0 to 9.5 hours, as "
                "in Event Stream; shift the events, or choose .npz or .aedat4"
            )
        at = 0
        while at < len(events):
            at, count = k.encode(
                events.t, events.x, events.y, events.p, at,
                self.size.height, self._clock, self._data,
            )  # fmt: skip
            self._file.write(self._data[:count].data)


open_sink = EsSink
