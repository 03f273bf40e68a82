"""EVT 3.0 files as a Sink."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dvskit.events import Size
from dvskit.formats.evt3 import encode_kernels as k
from dvskit.formats.raw_recording import FAERY_OFFSET_KEY, TIME_OFFSET_KEY
from dvskit.formats.raw_sink import Encoding, RawSink

_WORDS = 1 << 18
_WRAP_US = 1 << 24
_LATEST_START_US = 1 << 32


class Evt3Sink(RawSink):
    """Writes a RAW file in EVT 3.0: all events in their order, vectors where they are smaller.

    Times below 0 and from 2^32 us on are stored less a multiple of 2^24 us, which the header names
    and `notes` says. Raises GeometryError for a sensor of more than 2048 pixels a side, EventsError
    for a gap of more than two years.
    """

    format = "evt3"
    _long_gap_us = k.LONG_GAP << 12

    def __init__(self, path: Path, size: Size, *, overwrite: bool = False) -> None:
        state = np.full(k.ENCODER_FIELDS, -1, np.int64)
        encoding = Encoding(k.encode, size.width, state, np.empty(_WORDS, np.uint16))
        super().__init__(
            path, size, "EVT3", "3.0", encoding, most_id=15, wrap_us=_WRAP_US, overwrite=overwrite
        )
        self._long_gap = False

    def _offset_of(self, first_us: int) -> int:
        return 0 if 0 <= first_us < _LATEST_START_US else super()._offset_of(first_us)

    def _note_offset(self, offset: int, first_us: int) -> None:
        self.notes.append(
            f"times start at {first_us} us: the file holds them less {offset} us, which "
            f"dvskit{' and faery add' if offset > 0 else ' adds'} again (header line "
            f"{TIME_OFFSET_KEY}) and other readers do not"
        )

    def _header_lines(self, offset: int, offset_lines: list[str]) -> list[str]:
        faery = [f"{FAERY_OFFSET_KEY} {offset}"] if offset > 0 else []
        return super()._header_lines(offset, [*offset_lines, *faery])

    def _note_gap(self, start_us: int, stop_us: int) -> None:
        if not self._long_gap:
            self._long_gap = True
            self.notes.append(
                f"a gap from {start_us} to {stop_us} us is stored in large steps of time: "
                "some readers of EVT3 count its length wrong"
            )


open_sink = Evt3Sink
