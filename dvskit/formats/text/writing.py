"""Lines of text as Sinks: what CSV and rpg share."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import numpy as np

from dvskit.events import Events
from dvskit.formats.recording import FileSink
from dvskit.formats.text import _kernels as k

_BUFFER_BYTES = 1 << 20


class TextSink(FileSink):
    """Writes an event a line: t, x, y, p, ON = 1."""

    separator: bytes
    seconds: bool

    @abstractmethod
    def head(self) -> str:
        """Return what stands ahead of the events."""

    def _open(self, partial: Path) -> None:
        self._file = partial.open("wb")
        self._data = np.empty(_BUFFER_BYTES, np.uint8)
        self._file.write(self.head().encode())

    def _write(self, events: Events) -> None:
        at = 0
        while at < len(events):
            at, count = k.write(
                events.t, events.x, events.y, events.p, at,
                self.seconds, ord(self.separator), self._data,
            )  # fmt: skip
            self._file.write(self._data[:count].data)

    def _finish(self) -> None:
        self._file.close()

    def _abandon(self) -> None:
        self._file.close()
