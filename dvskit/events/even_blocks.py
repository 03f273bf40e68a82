"""Cut a stream into blocks that do not depend on how the events arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from dvskit._checks import check_whole
from dvskit.errors import ConfigError

if TYPE_CHECKING:
    from dvskit.events.columns import Events

_LATEST_US = (1 << 63) - 1


class EvenBlocks:
    """Regroups blocks into blocks of `count` events, and a remainder at the end."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._waiting: list[Events] = []
        self._held = 0

    def push(self, events: Events) -> Iterator[Events]:
        """Take a block; yield the blocks that it completes."""
        start = 0
        while self._held + len(events) - start >= self.count:
            stop = start + self.count - self._held
            parts = [*self._waiting, events[start:stop]]
            self._waiting, self._held, start = [], 0, stop  # before the caller may raise an error
            yield events.concatenate(parts)
        if start < len(events):
            self._waiting.append(events[start:].copy())  # the caller may change its arrays
            self._held += len(events) - start

    def rest(self) -> Iterator[Events]:
        """Yield the remainder, if any."""
        if self._waiting:
            yield self._waiting[0].concatenate(self._waiting)
            self._waiting, self._held = [], 0


class EvenTimes:
    """Regroups blocks into time spans of `duration_us` that hold events.

    The first span begins at the first event.
    """

    def __init__(self, duration_us: int) -> None:
        self.duration_us = duration_us
        self._waiting: list[Events] = []
        self._stop_us: int | None = None

    def push(self, events: Events) -> Iterator[Events]:
        """Take a block; yield the spans that it completes."""
        at = 0
        while at < len(events):
            t = int(events.t[at])
            if self._stop_us is None or t >= self._stop_us:
                yield from self.rest()
                begin = t if self._stop_us is None else self._stop_us
                self._stop_us = begin + ((t - begin) // self.duration_us + 1) * self.duration_us
            stop = len(events)
            if self._stop_us <= _LATEST_US:  # no event lies beyond it
                stop = at + int(np.searchsorted(events.t[at:], self._stop_us))
            if stop < len(events):
                yield events.concatenate([*self._waiting, events[at:stop]])
                self._waiting = []
            else:
                self._waiting.append(events[at:].copy())  # the caller may change its arrays
            at = stop

    def rest(self) -> Iterator[Events]:
        """Yield the events of the last span, if any."""
        if self._waiting:
            yield self._waiting[0].concatenate(self._waiting)
            self._waiting = []


def even_blocks(
    blocks: Iterable[Events], *, count: int | None = None, duration_us: int | None = None
) -> Iterator[Events]:
    """Return the blocks regrouped by `count` or by `duration_us`, or unchanged with neither.

    Raises ConfigError for both at once and for less than 1.
    """
    if count is not None and duration_us is not None:
        raise ConfigError("blocks are cut by count or by duration_us, not by both")
    for name, value in (("count", count), ("duration_us", duration_us)):
        if value is not None:
            check_whole(name, value, 1)
    if count is not None:
        return _cut(blocks, EvenBlocks(int(count)))
    if duration_us is not None:
        return _cut(blocks, EvenTimes(int(duration_us)))
    return iter(blocks)


def _cut(blocks: Iterable[Events], cutter: EvenBlocks | EvenTimes) -> Iterator[Events]:
    for block in blocks:
        yield from cutter.push(block)
    yield from cutter.rest()
