"""A stream cut down to what can be shown, in one pass and bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

from dvskit.errors import ConfigError
from dvskit.events import Events, Source, as_source


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


def thin(events_or_source: Events | Source, max_events: int) -> Thinned:
    """Keep at most `max_events`: every event, or every 2nd, 4th, 8th, ... as the count demands.

    One pass: the step doubles whenever more are kept, so that a camera is served like a file, no
    more than `max_events` and a block are in memory, and the outcome depends on the events alone.
    Raises ConfigError if max_events < 1.
    """
    if max_events < 1:
        raise ConfigError(f"max_events={max_events} must be at least 1")
    source = as_source(events_or_source)
    parts: list[Events] = []
    every, total, kept = 1, 0, 0
    start_us = stop_us = 0
    for block in source:
        if not len(block):
            continue
        if not total:
            start_us = int(block.t[0])
        stop_us = int(block.t[-1])
        parts.append(_copy(block[-total % every :: every], every))
        total += len(block)
        kept += len(parts[-1])
        while kept > max_events:
            every *= 2
            # What is kept starts at event 0 and steps evenly: every second of it is the new step.
            joined = Events.concatenate(parts, source.size)
            parts = [_copy(joined[::2], 2)]
            kept = len(parts[0])
    return Thinned(Events.concatenate(parts, source.size), every, total, start_us, stop_us)


def _copy(events: Events, every: int) -> Events:
    # A strided view would keep its whole block alive.
    if every == 1:
        return events
    return Events.from_checked(
        events.t.copy(), events.x.copy(), events.y.copy(), events.p.copy(), events.size
    )
