"""Lines of text as Sinks: what CSV and rpg share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dvskit.events import Events
from dvskit.formats.recording import FileSink
from dvskit.formats.text import writing_kernels as k

_BUFFER_BYTES = 1 << 20


class TextSink(FileSink):
    """Writes an event a line: t, x, y, p, ON = 1."""

    head: bytes
    separator: bytes
    seconds: bool

    def _open(self, partial: Path) -> None:
        self._file = self._create(partial)
        self._data = np.empty(_BUFFER_BYTES, np.uint8)
        self._file.write(self.head)
        self.notes.append(
            f"a {self.format} file has no place for the sensor's size: "
            f"pass size={tuple(self.size)} (--size {self.size}) to read it back as it was"
        )

    def _write(self, events: Events) -> None:
        at = 0
        while at < len(events):
            at, count = k.write(
                events.t, events.x, events.y, events.p, at,
                self.seconds, ord(self.separator), self._data,
            )  # fmt: skip
            self._file.write(self._data[:count].data)
