"""Live events for a slow consumer, without waiting, and recorded ones as fast as the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Self

from dvskit.events import Events
from dvskit.formats.addresses import LiveRecording
from dvskit.streams import Triggers

Clock = Callable[[], float]

_WAITING_EVENTS = 1 << 21  # 30 MB
_WAITING_BLOCKS = 1 << 13  # 10 MB besides their events
_PATIENCE_S = 0.1  # between looks for a signal, which may have reached another thread


class Pace:
    """Waits so that time stamps pass as fast as the clock, from the first one on.

    A late caller does not wait, and nothing is dropped.
    """

    def __init__(
        self, now: Clock = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.now, self._sleep = now, sleep
        self._began: float | None = None
        self._first_us = 0

    def wait(self, t_us: int) -> float:
        """Wait until it is `t_us`; return the delay past that time, in seconds."""
        if self._began is None:
            self._began, self._first_us = self.now(), t_us
        due = self._began + (t_us - self._first_us) / 1e6
        left = due - self.now()
        if left > 0:
            self._sleep(left)
        return max(0.0, self.now() - due)


class KeepingUp:
    """Blocks that are read by a thread of their own, once.

    A block that would exceed 2 million waiting events, or 8192 blocks, is dropped whole, and `drop`
    gets its number of events. An error of reading is raised in the iterator, after what was read.

    source   the blocks
    close    called when the iterator ends; it ends reading
    arrived  when the latest block was read, in time.perf_counter() seconds
    """

    def __init__(
        self, source: Iterable[Events], drop: Callable[[int], None], close: Callable[[], None]
    ) -> None:
        self._source, self._drop, self._close = source, drop, close
        self._new_triggers = getattr(source, "new_triggers", Triggers.empty)
        self._queue: SimpleQueue[tuple[Events | None, Triggers, float]] = SimpleQueue()
        self._put = self._taken = 0  # events
        self._triggers: list[Triggers] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.arrived = 0.0
        self.error: BaseException | None = None

    @classmethod
    def of(cls, recording: LiveRecording, slow: str) -> Self:
        """Read a recording; its `damage` counts dropped events, as `slow` could not keep up."""
        why = f"dropped, as the {slow} too slow"
        return cls(recording, lambda n: recording.damage.tally(n, "event", why), recording.close)

    def start(self) -> None:
        """Begin reading; otherwise the iterator does."""
        self._thread.start()

    def __iter__(self) -> Iterator[Events]:
        return (block for block in self.until_quiet() if block is not None)

    def until_quiet(self, quiet_s: float = _PATIENCE_S) -> Iterator[Events | None]:
        """Yield the blocks, and None after every `quiet_s` seconds without one."""
        if self._thread.ident is None:
            self.start()
        try:
            came = time.perf_counter()
            while True:
                wait_s = min(_PATIENCE_S, came + quiet_s - time.perf_counter())
                try:
                    block, triggers, arrived = self._queue.get(timeout=max(wait_s, 0.0))
                except Empty:
                    if time.perf_counter() >= came + quiet_s:
                        yield None
                        came = time.perf_counter()
                    continue
                if len(triggers):
                    self._triggers.append(triggers)
                if block is None:
                    break
                self._taken += len(block)
                self.arrived = arrived
                yield block
                came = time.perf_counter()
        finally:
            self._close()
        if self.error is not None:
            raise self.error

    @property
    def waiting(self) -> int:
        """The number of events that were read, and are not taken yet."""
        return self._put - self._taken

    def new_triggers(self) -> Triggers:
        """Return the triggers up to the latest block since the last call."""
        found, self._triggers = self._triggers, []
        return Triggers.in_order(found)

    def join(self, wait_s: float | None = None) -> bool:
        """Wait until reading has ended; return whether it has."""
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _read(self) -> None:
        try:
            for block in self._source:
                full = self._queue.qsize() >= _WAITING_BLOCKS
                if full or self.waiting + len(block) > _WAITING_EVENTS:
                    self._drop(len(block))
                else:
                    self._put += len(block)
                    self._queue.put((block, self._new_triggers(), time.perf_counter()))
        except BaseException as error:
            self.error = error
        finally:
            self._queue.put((None, self._new_triggers(), time.perf_counter()))
