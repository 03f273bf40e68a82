"""Windows at whole multiples of a time, whatever the blocks of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from dvskit.events import Events


class AlignedWindows:
    """Cuts blocks at the multiples of `window_us`. The first window holds the first event.

    stop_us  the end of the latest window; None before the first event
    """

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self.stop_us: int | None = None

    def cut(
        self, events: Events, idle: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Events, int | None]]:
        """Yield parts of a block, each with the end of its window if a later event completes it.

        While `idle()`, windows without events are left out.
        """
        at = 0
        while at < len(events):
            t = int(events.t[at])
            if self.stop_us is None or (t >= self.stop_us and idle()):
                self.stop_us = (t // self._window_us + 1) * self._window_us
            stop = int(np.searchsorted(events.t, self.stop_us))
            part, at = events[at:stop], stop
            if at == len(events):
                yield part, None
            else:
                self.stop_us += self._window_us
                yield part, self.stop_us - self._window_us
