"""Event Streams of generic events: bytes that happen at times, and no pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dvskit.errors import DamagedFileError
from dvskit.events import Events, Size
from dvskit.formats.es import byte_kernels as k
from dvskit.formats.es.layouts import Layout, version_of
from dvskit.formats.es.reading import forget, map_file
from dvskit.formats.recording import Damage, ReadOptions, Recording
from dvskit.formats.storage import Storage
from dvskit.streams import Labels

_ROWS = 1 << 16
_NO_SENSOR = Size(1, 1)


class GenericEvent(NamedTuple):
    """Bytes that happened at a time, in microseconds."""

    t_us: int
    data: bytes


class GenericRecording(Recording):
    """An Event Stream of generic events: none of them has a pixel, so there are no Events.

    `generic_events` gives them as bytes, `labels` as text at their times.
    """

    format = "es"

    def __init__(self, path: Path, options: ReadOptions, head: bytes, layout: Layout) -> None:
        size = options.size
        super().__init__(
            path, options, size or _NO_SENSOR, "format" if size is None else "argument"
        )
        self._layout, self._version = layout, version_of(head)
        self.assumptions.append(
            "generic events have no pixels: there are none here, and the size means nothing; "
            ".labels() gives them as text"
        )

    def header(self) -> Mapping[str, str]:
        """Return the version and the type."""
        return {"version": self._version, "type": "generic"}

    def other_streams(self) -> Mapping[str, int]:
        """Count the generic events."""
        count = sum(1 for _ in self._events(Damage(), strict=False))
        return {"generic events": count} if count else {}

    def generic_events(self) -> Iterator[GenericEvent]:
        """Yield the events in time order."""
        return self._events(Damage(), strict=self.strict)

    def labels(self) -> Labels:
        """Return the events as labels of the microsecond that they happened in.

        Bytes that are no UTF-8 are written as \\x and two digits each.
        """
        events = list(self.generic_events())
        start_us = np.array([event.t_us for event in events], np.int64)
        names = tuple(event.data.decode("utf-8", "backslashreplace") for event in events)
        return Labels(start_us, start_us + 1, names)

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        for _ in self._events(damage, strict=self.strict):
            pass
        yield Events.empty(self.size)

    def _events(self, damage: Damage, *, strict: bool) -> Iterator[GenericEvent]:
        content = map_file(self.path)
        data = np.frombuffer(content, np.uint8)
        clock, rows = np.zeros(1, np.int64), np.empty((_ROWS, 3), np.int64)
        at, n = self._layout.start, _ROWS
        while n == _ROWS:
            n, at = k.find_generic(data, at, self._layout.number, clock, rows)
            for t_us, place, length in rows[:n].tolist():
                yield GenericEvent(t_us, bytes(content[place : place + length]))
            forget(content, at)
        if at < len(data):
            cut = len(data) - at
            problem = f"the last event is cut: {cut} bytes of it are there"
            if strict:
                raise DamagedFileError(self.path, at, problem)
            damage.add(at, cut, problem)
