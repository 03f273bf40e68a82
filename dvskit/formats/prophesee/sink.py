"""Sinks of Prophesee files: header, offset of the times, events and triggers merged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import EventsError, GeometryError
from dvskit.events import Events, Size
from dvskit.events.even_blocks import EvenBlocks
from dvskit.formats.file_sink import FileSink
from dvskit.formats.prophesee import encode_kernels as encoding
from dvskit.formats.prophesee import evt_kernels as e
from dvskit.formats.prophesee.header import FAERY_OFFSET_KEY, TIME_OFFSET_KEY
from dvskit.formats.prophesee.layout import WordLayout
from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.streams import Triggers

_BLOCK_EVENTS = 1 << 16
_LONGEST_GAP_US = 1 << 46
_LARGEST_OFFSET_US = 1 << 62
_LARGEST_SIDE = 2048  # 11 bits of an address
_UNITS = 1 << 17  # that are encoded at once
_LATEST_START_US = 1 << 32  # of EVT 3.0


class HeaderSink(FileSink):
    """Writes a file with a header of `% key value` lines, and a clock that wraps every `wrap_us`.

    If the first time is negative or at least `wrap_us`, a multiple of it is subtracted from all
    times; a header line and `notes` hold it. `name` is the format's, for messages. Raises
    GeometryError for a sensor of more than `largest_side` pixels a side, EventsError for a gap of
    more than `_longest_gap_us`.
    """

    _longest_gap_us = _long_gap_us = _LONGEST_GAP_US

    def __init__(
        self,
        path: Path,
        size: Size,
        name: str,
        *,
        wrap_us: int,
        largest_side: int,
        overwrite: bool = False,
    ) -> None:
        if max(size) > largest_side:
            raise GeometryError(
                f"{path}: {name} addresses hold {largest_side} pixels a side, not {size}; "
                "choose another format, such as .npz or .aedat4"
            )
        super().__init__(path, size, overwrite=overwrite)
        self._name, self._wrap_us = name, wrap_us
        self._offset_us: int | None = None
        self._latest_us = 0

    def _open(self, partial: Path) -> None:
        self._file = self._create(partial)

    def _begin(self, first_us: int) -> int:
        """Write the header; store and return the offset that is subtracted from the times."""
        offset = self._offset_of(first_us)
        if abs(offset) > _LARGEST_OFFSET_US:
            raise EventsError(f"{self.path}: a time of {first_us} us does not fit; shift it")
        if offset:
            self._note_offset(offset, first_us)
        lines = self._header_lines(offset, [f"{TIME_OFFSET_KEY} {offset}"] if offset else [])
        self._file.write("".join(f"% {line}\n" for line in lines).encode())
        self._latest_us = first_us
        self._offset_us = offset
        return offset

    def _offset_of(self, first_us: int) -> int:
        return first_us // self._wrap_us * self._wrap_us

    def _note_offset(self, offset: int, first_us: int) -> None:
        self.notes.append(
            f"times start at {first_us} us: the file holds them less {offset} us, which only "
            f"dvskit adds again (header line {TIME_OFFSET_KEY})"
        )

    @abstractmethod
    def _header_lines(self, offset: int, offset_lines: list[str]) -> list[str]:
        """Return the lines of the header, `offset_lines` among them."""

    def _check_gaps(self, events_t: NDArray[np.int64], triggers_t: NDArray[np.int64]) -> None:
        """Refuse gaps that cannot be stored; pass long ones to `_note_gap`."""
        latest, start = self._latest_us, self._latest_us
        self._latest_us = max(int(t[-1]) for t in (events_t, triggers_t, [latest]) if len(t))
        if self._latest_us - latest <= self._long_gap_us:
            return
        for stop in np.sort(np.concatenate([events_t, triggers_t])).tolist():
            if stop - start > self._longest_gap_us:  # it may exceed int64
                raise EventsError(
                    f"{self.path}: a gap from {start} to {stop} us is too long for "
                    f"{self._name}; cut the stream there, or choose .npz or .aedat4"
                )
            if stop - start > self._long_gap_us:
                self._note_gap(start, stop)
            start = stop

    def _note_gap(self, start_us: int, stop_us: int) -> None:
        """Note a gap that can be stored, but is long."""


class _Encoding(NamedTuple):
    """The loop that encodes events, its settings, its state, and space for its words."""

    encode: Callable[..., tuple[int, int, int]]
    settings: Any
    state: NDArray[np.int64]
    words: NDArray[Any]


class RawSink(HeaderSink):
    """Writes events and triggers, merged by time; the result does not depend on the blocks.

    Trigger ids are 0..most_id. Raises GeometryError for a sensor of more than 2048 pixels a side,
    EventsError for a gap of more than two years.
    """

    interleaves = True

    def __init__(
        self,
        path: Path,
        size: Size,
        name: str,
        version: str,
        encoding: _Encoding,
        *,
        most_id: int,
        wrap_us: int,
        overwrite: bool = False,
    ) -> None:
        super().__init__(
            path, size, name, wrap_us=wrap_us, largest_side=_LARGEST_SIDE, overwrite=overwrite
        )
        self._version, self._encoding, self._most_id = version, encoding, most_id
        self._even = EvenBlocks(_BLOCK_EVENTS)
        self._triggers = Triggers.empty()
        self._trigger_at = 0
        self.late_triggers = 0

    def write_triggers(self, triggers: Triggers) -> None:
        """Take triggers, which are merged with the events by time.

        Those of a file are taken ahead of its events, those of a stream between blocks. A trigger
        ahead of events already written is dropped and counted in `late_triggers`. Raises
        EventsError for an id that the format does not have, or time that runs back.
        """
        self._check_forward(triggers)
        if len(triggers) and (triggers.id.min() < 0 or triggers.id.max() > self._most_id):
            raise EventsError(
                f"{self.path}: trigger ids {triggers.id.min()}..{triggers.id.max()}: "
                f"{self._name} has 0..{self._most_id}"
            )
        waiting = self._triggers.part(slice(self._trigger_at, None))
        if self._offset_us is not None:
            whole = len(triggers)
            triggers = triggers.between(self._latest_us, None)
            self.late_triggers += whole - len(triggers)
        self._triggers = Triggers.in_order([waiting, triggers])
        self._trigger_at = 0

    def _write(self, events: Events) -> None:
        # A receiver gets events as they come; the words depend on the blocks, the events do not.
        for block in self._even.push(events) if self.serves is None else (events,):
            self._merge(block, last=False)

    def _finish(self) -> None:
        try:
            for block in self._even.rest():
                self._merge(block, last=False)
            self._merge(Events.empty(self.size), last=True)
        finally:
            self._file.close()

    def _merge(self, events: Events, *, last: bool) -> None:
        """Write a block and the triggers up to its end; all remaining ones if it is the last."""
        waiting = self._triggers.t[self._trigger_at :]
        offset = self._offset_us
        if offset is None:
            times = [int(column[0]) for column in (events.t, waiting) if len(column)]
            offset = self._begin(min(times, default=0))
        ending = waiting if last else waiting[: np.searchsorted(waiting, events.t[-1], "right")]
        self._check_gaps(events.t, ending)
        columns = EventColumns(events.t - offset, events.x, events.y, events.p)
        triggers = self._triggers
        timed = TriggerColumns(triggers.t - offset, triggers.id, triggers.p)
        encode, settings, state, words = self._encoding
        at, count = 0, 1
        while count:
            at, self._trigger_at, count = encode(
                columns, at, timed, self._trigger_at, last, settings, state, words
            )
            made = words[:count]
            self._file.write(made.astype(words.dtype.newbyteorder("<"), copy=False).data)

    def _header_lines(self, offset: int, offset_lines: list[str]) -> list[str]:
        name = self._name.replace(".", "")
        return [
            f"evt {self._version}",
            f"format {name};height={self.size.height};width={self.size.width}",
            f"geometry {self.size}",
            *offset_lines,
            "end",
        ]


class EvtSink(RawSink):
    """Writes a RAW file in EVT 2.0, EVT 2.1 or EVT 4.0, all events in order."""

    def __init__(
        self, path: Path, size: Size, *, layout: WordLayout, version: str, overwrite: bool = False
    ) -> None:
        kinds = {int(layout.table[kind]): kind for kind in range(16)}
        types = np.zeros(encoding.TYPE_FIELDS, np.int64)
        for field, meaning in enumerate((e.ONE_OFF, e.MANY_OFF, e.HIGH, e.TRIGGER)):
            types[field] = kinds.get(meaning, -1)
        types[[encoding.T_STRIDE, encoding.T_HEAD]] = layout.table[[e.T_STRIDE, e.T_HEAD]]
        state, words = np.full(1, -1, np.int64), np.empty(_UNITS, np.uint32)
        loop = _Encoding(encoding.encode_evt, types, state, words)
        super().__init__(
            path, size, layout.name, version, loop, most_id=31, wrap_us=1 << 34,
            overwrite=overwrite,
        )  # fmt: skip
        self.format = layout.name.lower().replace(".", "")


class Evt3Sink(RawSink):
    """Writes a RAW file in EVT 3.0, all events in order, as vectors where those are smaller.

    An offset is subtracted from the times only if the first is negative or at least 2^32 us.
    """

    format = "evt3"
    _long_gap_us = encoding.LONG_GAP << 12

    def __init__(self, path: Path, size: Size, *, overwrite: bool = False) -> None:
        state, words = np.full(encoding.ENCODER_FIELDS, -1, np.int64), np.empty(_UNITS, np.uint16)
        loop = _Encoding(encoding.encode_evt3, size.width, state, words)
        super().__init__(
            path, size, "EVT3", "3.0", loop, most_id=15, wrap_us=1 << 24, overwrite=overwrite
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
