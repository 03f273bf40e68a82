"""EVT 2.0, EVT 2.1 and EVT 4.0 files as Sinks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import EventsError, GeometryError
from dvskit.events import Events, Size, Triggers
from dvskit.formats.even_blocks import EvenBlocks
from dvskit.formats.raw_header import TIME_OFFSET_KEY
from dvskit.formats.recording import FileSink
from dvskit.formats.words.decoding import Layout
from dvskit.formats.words.evt.writing import _kernels as k

BLOCK_EVENTS = 1 << 16
_UNITS = 1 << 17
_WRAP_US = 1 << 34
_LONGEST_GAP_US = 1 << 46
_LARGEST_OFFSET_US = 1 << 62


class Types(NamedTuple):
    """The types of words: an OFF event (ON is the next), a vector (None: no vectors), and so on."""

    one: int
    many: int | None
    high: int
    trigger: int


class EvtSink(FileSink):
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
        if max(size) > 2048:
            raise GeometryError(
                f"{path}: {layout.name} addresses hold 2048 pixels a side, not {size}; "
                "choose another format, such as .npz or .aedat4"
            )
        super().__init__(path, size, overwrite=overwrite)
        self.format = layout.name.lower().replace(".", "")
        self._layout, self._version = layout, version
        many = -1 if types.many is None else types.many
        self._types = np.array([types.one, many, types.high, types.trigger], np.int64)
        self._even = EvenBlocks(BLOCK_EVENTS)
        self._triggers = Triggers.empty()
        self._trigger_at = 0
        self._offset_us: int | None = None
        self._latest_us = 0
        self._high = -1
        self._words = np.empty(_UNITS, np.uint32)

    def write_triggers(self, triggers: Triggers) -> None:
        """Take all triggers of the recording; they are merged with the events by time.

        To be called once, ahead of the events. Raises EventsError for triggers behind events, an
        id outside 0..31, time that runs back.
        """
        if self.count or len(self._triggers):
            raise EventsError(f"{self.path}: triggers are written once, ahead of the events")
        if len(triggers):
            if triggers.id.min() < 0 or triggers.id.max() > 31:
                raise EventsError(
                    f"{self.path}: trigger ids {triggers.id.min()}..{triggers.id.max()}: "
                    f"{self._layout.name} has 0..31"
                )
            if (triggers.t[1:] < triggers.t[:-1]).any():
                raise EventsError(f"{self.path}: the triggers' time runs back; sort them first")
        self._triggers = triggers

    def _open(self, partial: Path) -> None:
        self._file = partial.open("wb")

    def _write(self, events: Events) -> None:
        for block in self._even.push(events):
            self._encode(block, last=False)

    def _finish(self) -> None:
        try:
            for block in self._even.rest():
                self._encode(block, last=False)
            self._encode(Events.empty(self.size), last=True)
        finally:
            self._file.close()

    def _abandon(self) -> None:
        self._file.close()

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
        name = self._layout.name.replace(".", "")
        lines = [
            f"evt {self._version}",
            f"format {name};height={self.size.height};width={self.size.width}",
            f"geometry {self.size}",
            *([f"{TIME_OFFSET_KEY} {offset}"] if offset else []),
            "end",
        ]
        self._file.write("".join(f"% {line}\n" for line in lines).encode())
        self._latest_us = first_us
        return offset

    def _encode(self, events: Events, *, last: bool) -> None:
        """Write a block and the triggers up to its end; all that are left if it is the last."""
        waiting = self._triggers.t[self._trigger_at :]
        if self._offset_us is None:
            times = [int(column[0]) for column in (events.t, waiting) if len(column)]
            self._offset_us = self._begin(min(times, default=0))
        ending = waiting if last else waiting[: np.searchsorted(waiting, events.t[-1], "right")]
        self._check_gaps(events.t, ending)
        t, trigger_t = events.t - self._offset_us, self._triggers.t - self._offset_us
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
        if self._latest_us - latest <= _LONGEST_GAP_US:
            return
        for now in sorted([*t.tolist(), *trigger_t.tolist()]):  # a gap may exceed int64
            if now - latest > _LONGEST_GAP_US:
                raise EventsError(
                    f"{self.path}: a gap from {latest} to {now} us is too long for "
                    f"{self._layout.name}; cut the stream there, or choose .npz or .aedat4"
                )
            latest = now
