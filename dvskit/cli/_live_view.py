"""Events shown while they arrive, and written to a file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from dvskit.errors import count_of, one_line
from dvskit.events import Events
from dvskit.formats import Recording, open_sink
from dvskit.formats.addresses import LiveRecording
from dvskit.formats.keeping_up import KeepingUp

_END_S = 1.5  # for the last block to be written


class ShownArrivals:
    """Live events for a page, read by a thread of its own; the iterator yields them.

    out      a file that all of them are written to, if it is given
    written  their number
    skipped  the number of events that a page too slow for them did not get

    The thread waits neither for the page nor for a decision, so that the file misses nothing.
    """

    def __init__(self, recording: Recording, out: Path | None, *, overwrite: bool = False) -> None:
        self.size, self.out = recording.size, out
        self.written = self.skipped = 0
        self._recording, self._overwrite = recording, overwrite
        self._closed = threading.Event()
        self._keeping = KeepingUp(
            self._blocks() if out is None else self._written(out), self._skip, self._end
        )
        self._keeping.start()

    def __iter__(self) -> Iterator[Events]:
        for block in self._keeping.until_quiet():
            yield Events.empty(self.size) if block is None else block

    @property
    def error(self) -> BaseException | None:
        """The error of reading or writing, which has ended both; None without one."""
        return self._keeping.error

    def close(self) -> None:
        """End reading and complete the file. A reader that waits for a pipe is left waiting."""
        self._end()
        self._keeping.join(_END_S)

    def notes(self) -> list[str]:
        """Return what was skipped, lost and assumed, a line each."""
        found = list(self._recording.assumptions)
        if self._recording.damage:
            found.append(str(self._recording.damage))
        if self.error is not None:
            found.append(one_line(self.error))
        if self.skipped:
            found.append(f"not shown: {count_of(self.skipped, 'event')}, faster than the page"
                         + (f"; {self.out} has them" if self.out else ""))  # fmt: skip
        return found

    def _written(self, out: Path) -> Iterator[Events]:
        with open_sink(out, self.size, overwrite=self._overwrite) as sink:
            sink.keeps = True
            for block in self._blocks():
                sink.write(block)
                self.written = sink.count
                yield block

    def _blocks(self) -> Iterator[Events]:
        for block in self._recording:
            yield block
            if self._closed.is_set():
                return

    def _skip(self, count: int) -> None:
        self.skipped += count

    def _end(self) -> None:
        self._closed.set()
        if isinstance(self._recording, LiveRecording):
            self._recording.close()
