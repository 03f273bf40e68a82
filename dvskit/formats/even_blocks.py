"""Cut a stream anew, so that what a sink writes does not depend on how the events came."""

from __future__ import annotations

from collections.abc import Iterator

from dvskit.events import Events


class EvenBlocks:
    """Collects blocks and hands out blocks of `count` events each, and the rest at the end."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._waiting: list[Events] = []
        self._held = 0

    def push(self, events: Events) -> Iterator[Events]:
        """Take a block; yield the blocks that are full with it."""
        start = 0
        while self._held + len(events) - start >= self.count:
            stop = start + self.count - self._held
            yield Events.concatenate([*self._waiting, events[start:stop]])
            self._waiting, self._held, start = [], 0, stop
        if start < len(events):
            self._waiting.append(_copy(events[start:]))  # the caller's arrays may change
            self._held += len(events) - start

    def rest(self) -> Iterator[Events]:
        """Yield what has not filled a block, if anything."""
        if self._waiting:
            yield Events.concatenate(self._waiting)
            self._waiting, self._held = [], 0


def _copy(events: Events) -> Events:
    return Events.from_checked(
        events.t.copy(), events.x.copy(), events.y.copy(), events.p.copy(), events.size
    )
