"""A walk over the packets of one kind in a file that is not damaged, and blocks of its events."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.events import Events, Size
from dvskit.formats.aedat31 import packet_kernels as k
from dvskit.formats.aedat31.packets import Packet
from dvskit.formats.file_map import FileMap
from dvskit.formats.index_cache import NEVER, Index
from dvskit.formats.storage import EventColumns, Storage

BLOCK_EVENTS = 1 << 18
_MOST_PACKETS = 1 << 12  # in one table
_PART_EVENTS = 1 << 15  # fewer are not worth a thread


class Walk:
    """Goes over the packets of `kind` and `source` (-1: any) from byte `at` on.

    It stops ahead of the first impossible header, at `at`; `state` is what it has to know to go on.
    """

    def __init__(self, file: FileMap, at: int, kind: int, source: int = -1) -> None:
        self.file, self.data, self.kind, self.source = file, file.data, kind, source
        self.state = np.zeros(k.WALK_FIELDS, np.int64)
        self.state[k.W_AT] = at
        self._table = np.empty((_MOST_PACKETS, k.PACKET_FIELDS), np.int64)

    @property
    def at(self) -> int:
        """The byte of the next header."""
        return int(self.state[k.W_AT])

    def tables(self) -> Iterator[NDArray[np.int64]]:
        """Yield rows of packets or parts, of at most BLOCK_EVENTS events; see `packet_kernels`."""
        while True:
            at = self.at
            rows = k.walk(self.data, self.state, self.kind, self.source, BLOCK_EVENTS, self._table)
            if rows:
                yield self._table[:rows]
                self.file.forget(int(self._table[0, k.P_START]))
            elif self.at == at:
                return
            else:
                self.file.forget(self.at)

    def packets(self) -> Iterator[Packet]:
        """Yield the packets, or parts of them."""
        for table in self.tables():
            for row in table.tolist():
                yield Packet(*row)


def decode_table(
    data: NDArray[np.uint8],
    table: NDArray[np.int64],
    size: Size,
    earliest_us: int,
    columns: EventColumns,
) -> Events | None:
    """Return the valid events of noted packets; None where one is off the sensor or out of order.

    `columns` have room for all. No event may be before `earliest_us`.
    """
    t, x, y, p = columns
    stops = np.cumsum(table[:, k.P_NUMBER])
    total = int(stops[-1])
    parts = max(1, min(thread_count(), total // _PART_EVENTS, len(table)))
    # Parts of whole packets, with about as many events each.
    firsts = np.searchsorted(stops, np.arange(parts) * (total // parts), "right")
    edges = [0, *firsts[1:].tolist(), len(table)]
    rows = np.zeros((parts, k.DECODE_FIELDS), np.int64)
    begins = [0, *(int(stops[edge - 1]) if edge else 0 for edge in edges[1:-1])]

    def work(i: int) -> None:
        if edges[i] < edges[i + 1]:
            room = slice(begins[i], int(stops[edges[i + 1] - 1]))
            part = table[edges[i] : edges[i + 1]]
            k.decode(data, part, *size, t[room], x[room], y[room], p[room], rows[i])
        else:
            rows[i, k.D_GOOD] = 1

    run_parts(work, parts)
    if not rows[:, k.D_GOOD].all():
        return None
    held = rows[rows[:, k.D_EVENTS] > 0]
    if len(held):
        ordered = (held[1:, k.D_FIRST] >= held[:-1, k.D_LAST]).all()
        if not ordered or held[0, k.D_FIRST] < earliest_us:
            return None
    count = 0
    for begin, events in zip(begins, rows[:, k.D_EVENTS].tolist(), strict=True):
        if count < begin:  # invalid events ahead have left room
            for column in columns:
                column[count : count + events] = column[begin : begin + events].copy()
        count += events
    return Events.from_checked(t[:count], x[:count], y[:count], p[:count], size)


def clean_block(
    walk: Walk, table: NDArray[np.int64], size: Size, earliest_us: int, storage: Storage
) -> Events | None:
    """Return the events of noted packets, decoded into `storage`; None where one is not good."""
    total = int(table[:, k.P_NUMBER].sum())
    t, x, y, p = storage.columns(total)
    columns = (t[:total], x[:total], y[:total], p[:total])
    return decode_table(walk.data, table, size, earliest_us, columns)


def build_index(walk: Walk) -> Index:
    """Return checkpoints, one a block of polarity packets, up to the first impossible header."""
    latest, rows = NEVER, [(NEVER, walk.at, *walk.state.tolist())]
    for table in walk.tables():
        latest = max(latest, int(k.latest(walk.data, table)))
        rows.append((latest, walk.at, *walk.state.tolist()))
    columns = np.array(rows, np.int64)
    return Index(columns[:, 0].copy(), columns[:, 1].copy(), columns[:, 2:].copy())


def extent(walk: Walk) -> tuple[int, int]:
    """Return the smallest width and height that hold the events of the packets."""
    sides = np.zeros(2, np.int64)
    for table in walk.tables():
        k.extent(walk.data, table, sides)
    return int(sides[0]), int(sides[1])
