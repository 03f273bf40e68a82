"""EVT 2.0, EVT 2.1 and EVT 4.0 files as Sinks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import EventsError
from dvskit.events import Events, Size
from dvskit.formats.raw_header import TIME_OFFSET_KEY
from dvskit.formats.raw_sink import LONGEST_GAP_US, RawSink
from dvskit.formats.words import evt_encode_kernels as k
from dvskit.formats.words.layout import Layout

_UNITS = 1 << 17
_WRAP_US = 1 << 34


class Types(NamedTuple):
    """The types of words: an OFF event (ON is the next), a vector (None: no vectors), and so on."""

    one: int
    many: int | None
    high: int
    trigger: int


class EvtSink(RawSink):
    """Writes a RAW file of EVT words: all events in their order.

    Times below 0 and from 2^34 us on are stored less a multiple of 2^34 us, which the header names
    and `notes` says. Raises GeometryError for a sensor of more than 2048 pixels a side, EventsError
    for a gap of more than two years.
    """

    def __init__(
        self,
        path: Path,
        size: Size,
        layout: Layout,
        types: Types,
        version: str,
        *,
        overwrite: bool = False,
    ) -> None:
        super().__init__(path, size, layout.name, 31, overwrite=overwrite)
        self.format = layout.name.lower().replace(".", "")
        self._layout, self._version = layout, version
        many = -1 if types.many is None else types.many
        self._types = np.array([types.one, many, types.high, types.trigger], np.int64)
        self._high = -1
        self._words = np.empty(_UNITS, np.uint32)

    def _begin(self, first_us: int) -> int:
        """Write the header; return what is taken off the times."""
        offset = first_us // _WRAP_US * _WRAP_US
        self._check_offset(offset, first_us)
        if offset:
            self.notes.append(
                f"times start at {first_us} us: the file holds them less {offset} us, which only "
                f"dvskit adds again (header line {TIME_OFFSET_KEY})"
            )
        name = self._layout.name.replace(".", "")
        lines = [
            f"evt {self._version}",
            f"format {name};height={self.size.height};width={self.size.width}",
            f"geometry {self.size}",
            *([f"{TIME_OFFSET_KEY} {offset}"] if offset else []),
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
            at, self._trigger_at, self._high, count = k.encode(
                t, events.x, events.y, events.p, at,
                trigger_t, self._triggers.id, self._triggers.p, self._trigger_at,
                last, self._layout.table, self._types, self._high, self._words,
            )  # fmt: skip
            if not count:
                break
            self._file.write(self._words[:count].astype("<u4", copy=False).data)

    def _check_gaps(self, t: NDArray[np.int64], trigger_t: NDArray[np.int64]) -> None:
        """Refuse gaps that cannot be stored."""
        latest = self._latest_us
        self._latest_us = max(int(column[-1]) for column in (t, trigger_t, [latest]) if len(column))
        if self._latest_us - latest <= LONGEST_GAP_US:
            return
        for now in sorted([*t.tolist(), *trigger_t.tolist()]):  # a gap may exceed int64
            if now - latest > LONGEST_GAP_US:
                raise EventsError(
                    f"{self.path}: a gap from {latest} to {now} us is too long for "
                    f"{self._layout.name}; cut the stream there, or choose .npz or .aedat4"
                )
            latest = now
