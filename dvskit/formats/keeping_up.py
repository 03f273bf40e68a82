"""Events of a live source for a slow consumer: the source never waits, and losses are counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue

from dvskit.events import Events
from dvskit.formats.addresses import LiveRecording
from dvskit.streams import Triggers

_WAITING_EVENTS = 1 << 21  # 30 MB
_PATIENCE_S = 0.1  # between looks for a signal, which may have reached another thread


class KeepingUp:
    """The blocks of a live recording, read by a thread of its own.

    Blocks that would exceed `most` waiting events are dropped whole, and counted in the recording's
    `damage`. Errors of reading are raised in the iterator.
    """

    def __init__(self, recording: LiveRecording, most: int = _WAITING_EVENTS) -> None:
        self._recording, self._most = recording, most
        self._queue: SimpleQueue[tuple[Events | None, Triggers]] = SimpleQueue()
        self._put = self._taken = 0  # events
        self._triggers: list[Triggers] = []
        self._error: BaseException | None = None
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Events]:
        threading.Thread(target=self._read, daemon=True).start()
        try:
            while True:
                try:
                    block, triggers = self._queue.get(timeout=_PATIENCE_S)
                except Empty:
                    continue
                self._triggers.append(triggers)
                if block is None:
                    break
                self._taken += len(block)
                yield block
        finally:
            self._closed.set()
            self._recording.close()
        if self._error is not None:
            raise self._error

    @property
    def waiting(self) -> int:
        """The number of events that were read, and are not taken yet."""
        return self._put - self._taken

    def new_triggers(self) -> Triggers:
        """Return the triggers up to the latest block since the last call."""
        found, self._triggers = self._triggers, []
        return Triggers.in_order(found)

    def _read(self) -> None:
        try:
            for block in self._recording:
                if self.waiting + len(block) > self._most:
                    why = "dropped, as the receiver was too slow"
                    self._recording.damage.tally(len(block), "event", why)
                else:
                    self._put += len(block)
                    self._queue.put((block, self._recording.new_triggers()))
                if self._closed.is_set():
                    return
        except BaseException as error:
            self._error = error
        finally:
            self._queue.put((None, self._recording.new_triggers()))
