"""EVT 3.0 files as a Sink."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import EventsError
from dvskit.events import Events, Size
from dvskit.formats.evt3 import encode_kernels as k
from dvskit.formats.raw_header import FAERY_OFFSET_KEY, TIME_OFFSET_KEY
from dvskit.formats.raw_sink import LONGEST_GAP_US, RawSink

_WORDS = 1 << 18
_WRAP_US = 1 << 24
_LATEST_START_US = 1 << 32
_LONG_GAP_US = k.LONG_GAP << 12


class Evt3Sink(RawSink):
    """Writes a RAW file in EVT 3.0: all events in their order, vectors where they are smaller.

    Times below 0 and from 2^32 us on are stored less a multiple of 2^24 us, which the header names
    and `notes` says. Raises GeometryError for a sensor of more than 2048 pixels a side, EventsError
    for a gap of more than two years.
    """

    format = "evt3"

    def __init__(self, path: Path, size: Size, *, overwrite: bool = False) -> None:
        super().__init__(path, size, "EVT3", 15, overwrite=overwrite)
        self._long_gap = False
        self._state = np.full(k.ENCODER_FIELDS, -1, np.int64)
        self._words = np.empty(_WORDS, np.uint16)

    def _begin(self, first_us: int) -> int:
        """Write the header; return what is taken off the times."""
        offset = 0
        if not 0 <= first_us < _LATEST_START_US:
            offset = first_us // _WRAP_US * _WRAP_US
            self._check_offset(offset, first_us)
            self.notes.append(
                f"times start at {first_us} us: the file holds them less {offset} us, which "
                f"dvskit{' and faery add' if offset > 0 else ' adds'} again (header line "
                f"{TIME_OFFSET_KEY}) and other readers do not"
            )
        lines = [
            "evt 3.0",
            f"format EVT3;height={self.size.height};width={self.size.width}",
            f"geometry {self.size}",
            *([f"{TIME_OFFSET_KEY} {offset}"] if offset else []),
            *([f"{FAERY_OFFSET_KEY} {offset}"] if offset > 0 else []),
            "end",
        ]
        self._write_header(lines, first_us)
        return offset

    def _encode(
        self,
        events: Events,
        t: NDArray[np.int64],
        trigger_t: NDArray[np.int64],
        *,
        last: bool,
    ) -> None:
        at = 0
        while True:
            at, self._trigger_at, count = k.encode(
                t, events.x, events.y, events.p, at,
                trigger_t, self._triggers.id, self._triggers.p, self._trigger_at,
                last, self.size.width, self._state, self._words,
            )  # fmt: skip
            if not count:
                break
            self._file.write(self._words[:count].astype("<u2", copy=False).data)

    def _check_gaps(self, events_t: NDArray[np.int64], triggers_t: NDArray[np.int64]) -> None:
        """Refuse gaps that cannot be stored, and note the first that some readers get wrong."""
        latest = max((int(t[-1]) for t in (events_t, triggers_t) if len(t)), default=None)
        if latest is None:
            return
        if latest - self._latest_us > _LONG_GAP_US:
            times = np.sort(np.concatenate([events_t, triggers_t])).tolist()
            for start, stop in pairwise([self._latest_us, *times]):  # a gap may exceed int64
                if stop - start > LONGEST_GAP_US:
                    raise EventsError(
                        f"{self.path}: a gap from {start} to {stop} us is too long for EVT3; "
                        "cut the stream there, or choose .npz or .aedat4"
                    )
                if stop - start > _LONG_GAP_US and not self._long_gap:
                    self._long_gap = True
                    self.notes.append(
                        f"a gap from {start} to {stop} us is stored in large steps of time: "
                        "some readers of EVT3 count its length wrong"
                    )
        self._latest_us = latest


def open_sink(path: Path, size: Size, *, overwrite: bool) -> Evt3Sink:
    """Return a Sink that writes a RAW file in EVT 3.0."""
    return Evt3Sink(path, size, overwrite=overwrite)
