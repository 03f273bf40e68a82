"""A stream cut down to what can be shown, in one pass and bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

from dvskit.errors import ConfigError
from dvskit.events import Events, Size, Source, as_source


@dataclass(frozen=True, slots=True)
class Thinned:
    """Events 0, every, 2 * every, ... of a stream of `total`.

    start_us and stop_us are the times of the first and the last event of the whole stream.
    """

    events: Events
    every: int
    total: int
    start_us: int
    stop_us: int

    @property
    def notice(self) -> str:
        """What a picture of the events has to say about those that are missing; often nothing."""
        if self.every == 1:
            return ""
        return f"1 in {self.every:,} events shown: {len(self.events):,} of {self.total:,}"


class Thinner:
    """Keeps at most `max_events` of a stream whose blocks are added one after the other.

    The step doubles whenever more are kept, so that a camera is served like a file, no more than
    `max_events` and a block are in memory, and the outcome depends on the events alone.
    """

    def __init__(self, size: Size, max_events: int) -> None:
        """Raise ConfigError if max_events < 1."""
        if max_events < 1:
            raise ConfigError(f"max_events={max_events} must be at least 1")
        self._size, self._most = size, max_events
        self._parts: list[Events] = []
        self._every, self._total, self._count = 1, 0, 0
        self._start_us = self._stop_us = 0

    @property
    def start_us(self) -> int:
        """The time of the first event, 0 before there is one."""
        return self._start_us

    def add(self, block: Events) -> None:
        """Take the next block of the stream."""
        if not len(block):
            return
        if not self._total:
            self._start_us = int(block.t[0])
        self._stop_us = int(block.t[-1])
        self._parts.append(_every(block[-self._total % self._every :], self._every))
        self._total += len(block)
        self._count += len(self._parts[-1])
        while self._count > self._most:
            self._every *= 2
            # What is kept starts at event 0 and steps evenly: every second of it is the new step.
            self._parts = [_every(Events.concatenate(self._parts, self._size), 2)]
            self._count = len(self._parts[0])

    def kept(self) -> Thinned:
        """Return what is kept so far."""
        events = Events.concatenate(self._parts, self._size)
        return Thinned(events, self._every, self._total, self._start_us, self._stop_us)


def thin(events_or_source: Events | Source, max_events: int) -> Thinned:
    """Keep at most `max_events`: every event, or every 2nd, 4th, 8th, ... as the count demands.

    One pass. Raises ConfigError if max_events < 1.
    """
    source = as_source(events_or_source)
    thinner = Thinner(source.size, max_events)
    for block in source:
        thinner.add(block)
    return thinner.kept()


def _every(events: Events, step: int) -> Events:
    # A strided view would keep its whole block alive.
    return events if step == 1 else events[::step].copy()
