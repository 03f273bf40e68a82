"""Events shown while they arrive, and written to a file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

from dvskit.errors import DvskitError, count_of, one_line
from dvskit.events import Events
from dvskit.formats import Recording, open_sink
from dvskit.formats.addresses import LiveRecording

_WAITING = 1 << 21  # events that may wait for the page
_PATIENCE_S = 0.1  # between looks at whether the view was closed
_END_S = 1.5  # for the last block to be written


class ShownArrivals:
    """Live events for a page, read by a thread of its own; the iterator yields them.

    out      a file that all of them are written to, if it is given
    written  their number
    skipped  the number of events that a page too slow for them did not get
    error    of reading or writing, which has ended both; None without one

    The thread waits neither for the page nor for a decision, so that the file misses nothing.
    """

    def __init__(self, recording: Recording, out: Path | None, *, overwrite: bool = False) -> None:
        self.size, self.out = recording.size, out
        self.written = self.skipped = 0
        self._recording, self._overwrite = recording, overwrite
        self._waiting: SimpleQueue[Events] = SimpleQueue()
        self._shown = self._taken = 0  # events that were put there, and taken
        self._ended = threading.Event()
        self.error: BaseException | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Events]:
        while not (self._ended.is_set() and self._waiting.empty()):
            try:
                block = self._waiting.get(timeout=_PATIENCE_S)
            except Empty:
                block = Events.empty(self.size)
            self._taken += len(block)
            yield block
        if isinstance(self.error, DvskitError | OSError):
            raise self.error

    def close(self) -> None:
        """End reading and complete the file. A reader that waits for a pipe is left waiting."""
        self._closed.set()
        if isinstance(self._recording, LiveRecording):
            self._recording.close()
        self._thread.join(_END_S)

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

    def _read(self) -> None:
        try:
            if self.out is None:
                for block in self._blocks():
                    self._show(block)
                return
            with open_sink(self.out, self.size, overwrite=self._overwrite) as sink:
                for block in self._blocks():
                    sink.write(block)
                    self.written = sink.count
                    self._show(block)
        except BaseException as error:  # raised in the iterator
            self.error = error
        finally:
            self._ended.set()

    def _blocks(self) -> Iterator[Events]:
        for block in self._recording:
            yield block
            if self._closed.is_set():
                return

    def _show(self, block: Events) -> None:
        if self._shown - self._taken + len(block) > _WAITING:
            self.skipped += len(block)
            return
        self._shown += len(block)
        self._waiting.put(block)
