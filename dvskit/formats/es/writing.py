"""Event Stream files as a Sink."""

from __future__ import annotations

import struct
from itertools import pairwise
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

    def _open(self, partial: Path) -> None:
        self._file = self._create(partial)
        self._clock = np.zeros(1, np.int64)
        self._data = np.empty(_BUFFER_BYTES, np.uint8)
        self._file.write(MAGIC + _VERSION_AND_TYPE + struct.pack("<HH", *self.size))
        self.notes.append("y is counted from the bottom in the file, as Event Stream defines it")

    def _write(self, events: Events) -> None:
        self._check_times(events)
        at = 0
        while at < len(events):
            at, count = k.encode(
                events.t, events.x, events.y, events.p, at,
                self.size.height, self._clock, self._data,
            )  # fmt: skip
            self._file.write(self._data[:count].data)

    def _check_times(self, events: Events) -> None:
        last = int(self._clock[0])
        if events.t[0] < last:
            raise EventsError(
                f"{self.path}: a time of {events.t[0]} us is below 0, which Event Stream lacks; "
                "shift the events, or choose another format, such as .npz or .aedat4"
            )
        if int(events.t[-1]) - last > _LONGEST_GAP_US:
            for start, stop in pairwise([last, *events.t.tolist()]):
                if stop - start > _LONGEST_GAP_US:
                    raise EventsError(
                        f"{self.path}: a gap from {start} to {stop} us is too long for Event "
                        "Stream; shift the events, or choose another format, such as .npz"
                    )


open_sink = EsSink
