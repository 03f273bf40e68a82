"""DAT files as Sinks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import EventsError, GeometryError
from dvskit.events import Events, Size
from dvskit.formats.raw_header import TIME_OFFSET_KEY
from dvskit.formats.recording import FileSink

_X_BITS, _Y_BITS = 14, 14
_WRAP_US = 1 << 32
_LONGEST_GAP_US = 1 << 31
_LARGEST_OFFSET_US = 1 << 62
_CD = b"\x0c\x08"  # type, bytes an event
_PART = 1 << 18


class DatSink(FileSink):
    """Writes a DAT file of CD events, version 2: all events in their order.

    Times below 0 and from 2^32 us on are stored less a multiple of 2^32 us, which the header names
    and `notes` says. Raises GeometryError for a sensor of more than 16384 pixels a side,
    EventsError for a gap of more than 35 minutes, half the range of the 32-bit clock.
    """

    format = "dat"

    def __init__(self, path: Path, size: Size, *, overwrite: bool = False) -> None:
        if max(size) > 1 << _X_BITS:
            raise GeometryError(
                f"{path}: DAT addresses hold 16384 pixels a side, not {size}; "
                "choose another format, such as .npz or .aedat4"
            )
        super().__init__(path, size, overwrite=overwrite)
        self._offset_us: int | None = None
        self._latest_us = 0
        self._wraps = False

    def _open(self, partial: Path) -> None:
        self._file = self._create(partial)

    def _begin(self, first_us: int) -> int:
        """Write the header; return what is taken off the times."""
        offset = first_us // _WRAP_US * _WRAP_US
        if abs(offset) > _LARGEST_OFFSET_US:
            raise EventsError(f"{self.path}: a time of {first_us} us does not fit; shift it")
        if offset:
            self.notes.append(
                f"times start at {first_us} us: the file holds them less {offset} us, which only "
                f"dvskit adds again (header line {TIME_OFFSET_KEY})"
            )
        lines = [
            "Data file containing CD events.",
            "Version 2",
            *([f"{TIME_OFFSET_KEY} {offset}"] if offset else []),
            f"Height {self.size.height}",
            f"Width {self.size.width}",
        ]
        self._file.write("".join(f"% {line}\n" for line in lines).encode() + _CD)
        self._latest_us = first_us - offset
        return offset

    def _write(self, events: Events) -> None:
        for start in range(0, len(events), _PART):
            self._write_part(events[start : start + _PART])

    def _write_part(self, events: Events) -> None:
        if self._offset_us is None:
            self._offset_us = self._begin(int(events.t[0]))
        if int(events.t[-1]) - self._offset_us >= 1 << 63:
            raise EventsError(f"{self.path}: times span too much for DAT; cut the stream")
        t = events.t - self._offset_us
        self._check_gaps(t)
        rows = np.empty((len(t), 2), "<u4")
        rows[:, 0] = t & (_WRAP_US - 1)
        rows[:, 1] = events.y
        rows[:, 1] <<= _X_BITS
        rows[:, 1] |= events.x.view(np.uint16)
        rows[:, 1] |= events.p.astype(np.uint32) << (_X_BITS + _Y_BITS)
        self._file.write(rows.data)

    def _check_gaps(self, t: NDArray[np.int64]) -> None:
        """Refuse a gap that may be read as another one, and note the first wrap."""
        times = np.concatenate([[self._latest_us], t])
        self._latest_us = int(t[-1])
        long = np.flatnonzero(np.diff(times) >= _LONGEST_GAP_US)
        if long.size:
            start, stop = (int(times[long[0] + i]) + (self._offset_us or 0) for i in (0, 1))
            raise EventsError(
                f"{self.path}: a gap from {start} to {stop} us is too long for the 32-bit clock of "
                "DAT; cut the stream there, or choose .npz or .aedat4"
            )
        if t[-1] >= _WRAP_US and not self._wraps:
            self._wraps = True
            self.notes.append(
                "times go on over 71.6 minutes, where the clock of DAT wraps: some readers of DAT "
                "do not count wraps"
            )

    def _finish(self) -> None:
        try:
            if self._offset_us is None:
                self._begin(0)
        finally:
            self._file.close()

    def _abandon(self) -> None:
        self._file.close()
