"""Report numba's first compilation to the user, and pause garbage collection during it."""

from __future__ import annotations

import gc
from collections.abc import Callable

from numba.core import event

_COMPILE = "numba:compile"  # of a loop that is not cached on disk


class _Watch(event.Listener):
    """Reports the first compiled loop; pauses cyclic garbage collection while loops are compiled.

    Collecting among numba's objects can take a tenth of the time.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self._say: Callable[[], None] | None = say
        self._depth, self._collects = 0, True  # a loop may be compiled within its caller

    def on_start(self, event: event.Event) -> None:
        """Take the beginning of a loop."""
        if self._say is not None:
            self._say()
            self._say = None
        if self._depth == 0:
            self._collects = gc.isenabled()
            gc.disable()
        self._depth += 1

    def on_end(self, event: event.Event) -> None:
        """Take its end."""
        self._depth -= 1
        if self._depth == 0 and self._collects:
            gc.enable()


_watches: list[_Watch] = []


def watch_compiling(say: Callable[[], None] = lambda: None) -> None:
    """Call `say` once, when this process compiles its first loop from now on."""
    if not _watches:
        _watches.append(_Watch(say))
        event.register(_COMPILE, _watches[0])  # type: ignore[no-untyped-call]
