"""Rows that are found in a recording while a view shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from dvskit.errors import DvskitError, one_line
from dvskit.events import Source

Row = TypeVar("Row")


class FoundRows(Generic[Row]):
    """Rows found in a recording, in order of time; one thread at a time may add to them.

    find  yields them from a source, in a thread of its own; None if they are added by others
    """

    def __init__(
        self, source: Source | None = None, find: Callable[[Source], Iterable[Row]] | None = None
    ) -> None:
        self._rows: list[Row] = []
        self.done = False
        self.problem = ""
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if source is not None and find is not None:
            self._thread = threading.Thread(target=self._make, args=(find, source), daemon=True)
            self._thread.start()

    def add(self, row: Row) -> None:
        """Add the next one."""
        self._rows.append(row)

    def __len__(self) -> int:
        return len(self._rows)

    def since(self, first: int) -> list[Row]:
        """Return those from an index on."""
        return self._rows[first:]

    def _make(self, find: Callable[[Source], Iterable[Row]], source: Source) -> None:
        try:
            for row in find(source):
                self.add(row)
                if self._closed.is_set():
                    return
        except (DvskitError, OSError, MemoryError) as error:
            self.problem = one_line(error)
        self.done = True

    def close(self) -> None:
        """Stop producing more."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
