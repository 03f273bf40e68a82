"""EVT 2.0, EVT 2.1 and EVT 4.0 files as Sinks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size
from dvskit.formats.raw_sink import RawSink
from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.formats.words import evt_encode_kernels as k
from dvskit.formats.words import layout as w

_UNITS = 1 << 17
_WRAP_US = 1 << 34


class EvtSink(RawSink):
    """Writes a RAW file of EVT words: all events in their order.

    Times below 0 and from 2^34 us on are stored less a multiple of 2^34 us, which the header names
    and `notes` says. Raises GeometryError for a sensor of more than 2048 pixels a side, EventsError
    for a gap of more than two years.
    """

    def __init__(
        self, path: Path, size: Size, layout: w.Layout, version: str, *, overwrite: bool = False
    ) -> None:
        super().__init__(
            path, size, layout.name, version, most_id=31, wrap_us=_WRAP_US, overwrite=overwrite
        )
        self.format = layout.name.lower().replace(".", "")
        self._table = layout.table
        types = {int(layout.table[kind]): kind for kind in range(16)}
        wanted = (w.ONE_OFF, w.MANY_OFF, w.HIGH, w.TRIGGER)
        self._types = np.array([types.get(meaning, -1) for meaning in wanted], np.int64)
        self._high = -1
        self._words = np.empty(_UNITS, np.uint32)

    def _encode_some(
        self,
        columns: EventColumns,
        at: int,
        triggers: TriggerColumns,
        trigger_at: int,
        *,
        last: bool,
    ) -> tuple[int, int, NDArray[np.uint32]]:
        at, trigger_at, self._high, count = k.encode(
            columns, at, triggers, trigger_at, last, self._table, self._types, self._high,
            self._words,
        )  # fmt: skip
        return at, trigger_at, self._words[:count].astype("<u4", copy=False)
