"""Events of which some are kept: one pass over the columns, in as many threads as there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts
from dvskit.events import Events

PART = 1 << 17  # events to a part of the work

Columns = tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int16], NDArray[np.bool_]]


def columns(events: Events) -> Columns:
    """Return the four columns as kernels take them: contiguous, copied only where they are not."""
    return (
        np.ascontiguousarray(events.t),
        np.ascontiguousarray(events.x),
        np.ascontiguousarray(events.y),
        np.ascontiguousarray(events.p),
    )


def room(count: int) -> Columns:
    """Return columns for `count` events, to be filled."""
    return (
        np.empty(count, np.int64),
        np.empty(count, np.int16),
        np.empty(count, np.int16),
        np.empty(count, np.bool_),
    )


def parts_of(count: int) -> list[tuple[int, int]]:
    """Return where the parts of the work on `count` events begin and stop."""
    return [(start, min(count, start + PART)) for start in range(0, count, PART)]


def select(events: Events, keep: NDArray[np.bool_]) -> Events:
    """Return the events that `keep`, one boolean an event, says: as `events[keep]`, and sooner."""
    from dvskit.filters.select_kernels import select_events

    parts = parts_of(len(keep))
    counts = [int(np.count_nonzero(keep[start:stop])) for start, stop in parts]
    total = sum(counts)
    if total == len(keep):
        return events
    begins = np.cumsum([0, *counts])
    given, out = columns(events), room(total)

    def work(part: int) -> None:
        start, stop = parts[part]
        select_events(keep[start:stop], *(each[start:stop] for each in given),
                      *(each[begins[part] : begins[part + 1]] for each in out))  # fmt: skip

    run_parts(work, len(parts))
    return Events.from_checked(*out, events.size)
