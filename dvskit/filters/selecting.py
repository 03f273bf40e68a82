"""Selection of events: one multi-threaded pass over the columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts
from dvskit.events import Events
from dvskit.filters.base import Columns

PART = 1 << 17  # events per part of the work


def columns(events: Events) -> Columns:
    """Return the four columns for kernels: contiguous, copied only if necessary."""
    return _whole(events.t), _whole(events.x), _whole(events.y), _whole(events.p)


def _whole(column: NDArray[Any]) -> NDArray[Any]:
    whole = np.ascontiguousarray(column)
    if whole is not column:
        whole.flags.writeable = (
            False  # the same type as the others, so that one compiled loop serves all
        )
    return whole


def room(count: int) -> Columns:
    """Return uninitialised columns for `count` events."""
    return (
        np.empty(count, np.int64),
        np.empty(count, np.int16),
        np.empty(count, np.int16),
        np.empty(count, np.bool_),
    )


def parts_of(count: int) -> list[slice]:
    """Return the parts of the work on `count` events."""
    return [slice(start, min(count, start + PART)) for start in range(0, count, PART)]


def part_of(given: Columns, at: slice) -> Columns:
    """Return a part of the columns, as views."""
    t, x, y, p = given
    return t[at], x[at], y[at], p[at]


def in_parts(work: Callable[[slice], object], count: int) -> None:
    """Do the work on `count` events, part by part, on all threads."""
    parts = parts_of(count)
    run_parts(lambda k: work(parts[k]), len(parts))


def select(events: Events, keep: NDArray[np.bool_]) -> Events:
    """Return the events marked by `keep`, one boolean per event: a faster `events[keep]`."""
    given = columns(events)
    out = columns_kept(given, keep)
    return events if out is given else Events.from_checked(*out, events.size)


def columns_kept(given: Columns, keep: NDArray[np.bool_]) -> Columns:
    """Return the columns of the events marked by `keep`; the given ones if all are kept."""
    from dvskit.filters.event_kernels import select_events

    parts = parts_of(len(keep))
    counts = [int(np.count_nonzero(keep[part])) for part in parts]
    total = sum(counts)
    if total == len(keep):
        return given
    ends, out = np.cumsum(counts), room(total)

    def work(k: int) -> None:
        at = slice(ends[k] - counts[k], ends[k])
        select_events(keep[parts[k]], part_of(given, parts[k]), part_of(out, at))

    run_parts(work, len(parts))
    return out
