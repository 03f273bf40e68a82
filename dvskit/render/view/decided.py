"""What a model takes a recording for while it passes: decisions that grow as they are made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dvskit.errors import DvskitError, one_line
from dvskit.events import Source


class Decided(NamedTuple):
    """What is said of a time.

    start_us, stop_us  half-open, in the recording's own time
    name               the class; "" where nothing happens
    best, share        the likeliest class, and how sure its model is of it, 0..1
    rate               events per second
    """

    start_us: int
    stop_us: int
    name: str
    best: str
    share: float
    rate: float


class Decisions:
    """Decisions on a recording, in order of time. Other threads add to them, one at a time."""

    def __init__(self) -> None:
        self._rows: list[Decided] = []
        self.done = False
        self.problem = ""

    def add(self, row: Decided) -> None:
        """Add the next one."""
        self._rows.append(row)

    def __len__(self) -> int:
        return len(self._rows)

    def since(self, first: int) -> list[Decided]:
        """Return those from a number on."""
        return self._rows[first:]

    def close(self) -> None:
        """Stop making more."""


class DecidingOn(Decisions):
    """Decisions on a source that are made at once, by a thread of their own.

    decide  yields them
    """

    def __init__(self, source: Source, decide: Callable[[Source], Iterator[Decided]]) -> None:
        super().__init__()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._make, args=(decide, source), daemon=True)
        self._thread.start()

    def _make(self, decide: Callable[[Source], Iterator[Decided]], source: Source) -> None:
        try:
            for row in decide(source):
                self.add(row)
                if self._closed.is_set():
                    return
        except (DvskitError, OSError, MemoryError) as error:
            self.problem = one_line(error)
        self.done = True

    def wait(self, seconds: float) -> None:
        """Wait until all are made, but no longer than that."""
        self._thread.join(seconds)

    def close(self) -> None:
        """Stop making more."""
        self._closed.set()
        self._thread.join()
