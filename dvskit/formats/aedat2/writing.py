"""AEDAT 2 files as a Sink."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import EventsError, GeometryError, LeftOutWarning
from dvskit.events import Events, Size
from dvskit.formats.aedat2.chips import CHIPS, DVS128, AddressLayout, Chip
from dvskit.formats.file_sink import FileSink
from dvskit.streams import Triggers

# The classes of jAER for such addresses.
_CLASSES = {
    "DVS128": "ch.unizh.ini.jaer.chip.retina.DVS128",
    "DAVIS208": "eu.seebetter.ini.chips.davis.Davis208PixelParade",
    "DAVIS240": "eu.seebetter.ini.chips.davis.DAVIS240C",
    "DAVIS346": "eu.seebetter.ini.chips.davis.Davis346blue",
    "DAVIS640": "eu.seebetter.ini.chips.davis.Davis640",
}
_HEADER = (
    "#!AER-DAT2.0",
    "# This is a raw AE data file - do not edit",
    "# Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event",
    "# Timestamps tick is 1 us",
    "# AEChip: {}",
    "#End Of ASCII Header",
)
_FIRST_US, _STOP_US = -(1 << 31), 1 << 31
# Readers take a longer step across the end of 32 bits for damage, a still longer one for a wrap.
_LONGEST_WRAP_US, _LONGEST_STEP_US = 1 << 30, 3 << 30


class Aedat2Sink(FileSink):
    """Writes AEDAT 2 as jAER does for the chip of the sensor's size: DVS128, DAVIS240, 346 or 640.

    Rising edges of input 0 are written as external events; AEDAT 2 has no others. Raises
    GeometryError for other sizes, EventsError for a first time outside of 32 bits and for pauses
    that hide a wrap: more than 17.9 minutes across one, 53.7 minutes elsewhere.
    """

    format = "aedat2"

    def __init__(self, path: Path, size: Size, *, overwrite: bool = False) -> None:
        chip = next((chip for chip in CHIPS.values() if chip.size == size), None)
        if chip is None or chip.name not in _CLASSES:
            sizes = ", ".join(map(str, sorted({chip.size for chip in CHIPS.values()})))
            raise GeometryError(
                f"{path}: no AEDAT 2 chip has {size} pixels, only {sizes}; choose another format, "
                "such as .aedat4 or .npz"
            )
        super().__init__(path, size, overwrite=overwrite)
        self._chip: Chip = chip
        self._triggers = Triggers.empty()
        self._trigger_at = 0
        self._latest: int | None = None

    def write_triggers(self, triggers: Triggers) -> None:
        """Take all triggers of the recording; they are merged with the events by time.

        Call it once, before the events. Gives a LeftOutWarning for triggers other than rising edges
        of input 0. Raises EventsError for triggers after events and time that runs back.
        """
        self._check_triggers(triggers, self._triggers)
        kept = triggers.p & (triggers.id == 0)
        left = len(triggers) - int(np.count_nonzero(kept))
        if left:
            text = f"{left:,} triggers are left out: AEDAT 2 has only rising edges of input 0"
            self.notes.append(text)
            warnings.warn(f"{self.path}: {text}", LeftOutWarning, stacklevel=3)
        self._triggers = Triggers(triggers.t[kept], triggers.id[kept], triggers.p[kept])

    def _open(self, partial: Path) -> None:
        self._file = self._create(partial)
        lines = "".join(f"{line}\r\n" for line in _HEADER)
        self._file.write(lines.format(_CLASSES[self._chip.name]).encode())
        self.notes.append(
            f"x is counted from the right and y from the bottom in the file, as in jAER for "
            f"{self._chip.name}"
        )

    def _write(self, events: Events) -> None:
        waiting = self._triggers.t[self._trigger_at :]
        ready = waiting[: np.searchsorted(waiting, events.t[-1], "right")]
        self._trigger_at += len(ready)
        # A trigger comes before the events at its time, however the events were cut.
        places = np.searchsorted(events.t, ready)
        address = _addresses(events, self._chip)
        marks = np.full(len(ready), _external(self._chip.layout), np.uint32)
        self._put(np.insert(address, places, marks), np.insert(events.t, places, ready))

    def _fitting(self, t: NDArray[np.int64], last: int) -> int:
        # Triggers may stand in a gap: `_put` checks both.
        return len(t) if len(self._triggers) else _steady(t, last)

    def _put(self, address: NDArray[np.uint32], t: NDArray[np.int64]) -> None:
        if not len(t):
            return
        self._check_times(t)
        rows = np.empty((len(t), 2), ">u4")
        rows[:, 0] = address
        rows[:, 1] = t.astype(np.uint32)  # the low 32 bits: signed times that wrap
        self._file.write(rows.data)

    def _check_times(self, t: NDArray[np.int64]) -> None:
        if self._latest is None and not _FIRST_US <= t[0] < _STOP_US:
            raise EventsError(
                f"{self.path}: the first time, {t[0]} us, does not fit AEDAT 2: times must begin "
                "within 32 bits (35 minutes); shift the events, or choose another format"
            )
        if (at := _steady(t, self._latest)) < len(t):
            raise EventsError(
                f"{self.path}: a pause before {t[at]} us hides a wrap of AEDAT 2's 32-bit times; "
                "shift the events, or choose another format"
            )
        self._latest = int(t[-1])

    def _finish(self) -> None:
        try:
            rest = self._triggers.t[self._trigger_at :]
            self._put(np.full(len(rest), _external(self._chip.layout), np.uint32), rest)
        finally:
            self._file.close()


def _steady(t: NDArray[np.int64], last: int | None) -> int:
    """Return the number of times before the first pause that hides a wrap."""
    before = np.concatenate([[t[0] if last is None else last], t[:-1]])
    steps = (t - before).view(np.uint64)  # one may exceed int64
    wraps = (t - _FIRST_US) >> 32 != (before - _FIRST_US) >> 32
    bad = (steps >= _LONGEST_STEP_US) | (wraps & (steps > _LONGEST_WRAP_US))
    return int(bad.argmax()) if bad.any() else len(t)


def _external(layout: AddressLayout) -> int:
    return 0x8000 if layout is DVS128 else 1 << 10


def _addresses(events: Events, chip: Chip) -> NDArray[np.uint32]:
    layout = chip.layout
    x = (chip.size.width - 1 - events.x).astype(np.uint32)
    y = (chip.size.height - 1 - events.y).astype(np.uint32)
    polarity = (events.p == bool(layout.on)).astype(np.uint32)
    address: NDArray[np.uint32] = (
        x << layout.x[0] | y << layout.y[0] | polarity << layout.polarity_bit
    )
    return address


open_sink = Aedat2Sink
