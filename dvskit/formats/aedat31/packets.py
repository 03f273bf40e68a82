"""The header lines and the packets of an AEDAT 3.1 file, found one by one or in walks by a loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.errors import FormatError
from dvskit.events import Events, Size
from dvskit.formats.aedat31 import packet_kernels as k
from dvskit.formats.aedat31.packet_kernels import size_fits
from dvskit.formats.file_bytes import FileMap
from dvskit.formats.index_cache import NEVER, Index, index_of
from dvskit.formats.losses import Lose
from dvskit.formats.storage import EventColumns, Storage

SPECIAL, POLARITY, FRAME, IMU6, IMU9 = range(5)
_HEAD = np.dtype(
    [
        ("kind", "<i2"),
        ("source", "<i2"),
        ("size", "<i4"),
        ("ts_offset", "<i4"),
        ("overflow", "<i4"),
        ("capacity", "<i4"),
        ("number", "<i4"),
        ("valid", "<i4"),
    ]
)
HEAD_BYTES = _HEAD.itemsize
_MOST_KINDS = 128
_MAGIC = b"#!AER-DAT3.1"
_END = b"#!END-HEADER"
_LINE_BYTES = 1 << 16
_WINDOW = 1 << 16  # bytes to search at once for the next packet


class Head(NamedTuple):
    """The `#key: value` lines of a file, and the byte offset where the packets begin."""

    keys: Mapping[str, str]
    end: int


class Packet(NamedTuple):
    """A packet: the byte offset of its first event and what its header says.

    number  events that it holds; fewer than its header says where the file ends in it
    """

    start: int
    kind: int
    source: int
    size: int
    overflow: int
    number: int


def read_head(path: Path) -> Head:
    """Read the text lines. Raises FormatError where they do not end or packets are compressed."""
    keys: dict[str, str] = {}
    with path.open("rb") as file:
        if not file.readline(_LINE_BYTES).startswith(_MAGIC):
            raise FormatError(f"{path}: does not start with {_MAGIC.decode()}")
        while True:
            line = file.readline(_LINE_BYTES)
            if not line.startswith(b"#"):
                raise FormatError(f"{path}: the header does not end with {_END.decode()}")
            if line.startswith(_END):
                break
            key, _, value = line[1:].decode("latin-1").strip().partition(":")
            keys[key.strip()] = value.strip()
        if keys.get("Format", "RAW").upper() != "RAW":
            raise FormatError(f"{path}: holds packets in format {keys['Format']}; RAW is read")
        return Head(keys, file.tell())


def _problem(head: np.void, left: int) -> str | None:
    """Return what is impossible in a packet header that has `left` bytes behind it, if anything."""
    kind, size = int(head["kind"]), int(head["size"])
    if not 0 <= kind < _MOST_KINDS:
        return f"packet of type {kind}"
    if not size_fits(kind, size):
        return f"packet of type {kind} with events of {size} bytes"
    if not 0 <= head["ts_offset"] <= max(0, size - 4) or (kind < 2 and head["ts_offset"] != 4):
        return f"packet with times at byte {head['ts_offset']} of {size}"
    if head["overflow"] < 0 or head["source"] < 0:
        return f"packet of source {head['source']} with {head['overflow']} wraps of time"
    if not 0 <= head["valid"] <= head["number"] <= head["capacity"]:
        return (
            f"packet of {head['capacity']} places with {head['number']} events, "
            f"{head['valid']} of them valid"
        )
    if int(head["capacity"]) * size > left:
        return f"packet of {int(head['capacity']) * size} bytes, {left} of them in the file"
    return None


def _head_at(data: NDArray[np.uint8], at: int) -> np.void:
    return np.frombuffer(data[at : at + HEAD_BYTES].tobytes(), _HEAD)[0]  # type: ignore[no-any-return]


def _starts_packets(data: NDArray[np.uint8], at: int) -> bool:
    """Judge whether a possible packet starts at `at`, and another behind it, or the file ends."""
    for _ in range(2):
        if at == len(data):
            return True
        if at + HEAD_BYTES > len(data):
            return False
        head = _head_at(data, at)
        if _problem(head, len(data) - at - HEAD_BYTES) is not None:
            return False
        at += HEAD_BYTES + int(head["capacity"]) * int(head["size"])
    return True


def _next_packet(data: NDArray[np.uint8], at: int) -> int | None:
    """Return the first place from `at` on where packets start, None where there is none."""
    while at + HEAD_BYTES <= len(data):
        window = np.asarray(data[at : at + _WINDOW + HEAD_BYTES])
        count = len(window) - HEAD_BYTES + 1
        # Small numbers: the high bytes of type, source and sizes are 0, or nearly.
        likely = (window[:count] < _MOST_KINDS) & (window[1 : count + 1] == 0)
        likely &= (window[7 : count + 7] == 0) & (window[11 : count + 11] == 0)
        likely &= (window[19 : count + 19] < 8) & (window[23 : count + 23] < 8)
        for place in np.flatnonzero(likely).tolist():
            if _starts_packets(data, at + place):
                return at + int(place)
        at += count
    return None


def read_packets(data: NDArray[np.uint8], start: int, lose: Lose) -> Iterator[Packet]:
    """Yield the packets from byte `start` on; tell `lose` what is impossible and go on behind it.

    A packet that the end of the file cuts is reported, and yielded with its whole events.
    """
    at = start
    while at < len(data):
        left = len(data) - at - HEAD_BYTES
        if left < 0:
            lose(at, len(data) - at, f"the last packet header has {left + HEAD_BYTES} bytes")
            return
        head = _head_at(data, at)
        problem = _problem(head, left)
        size, number = int(head["size"]), int(head["number"])
        following: int | None = at + HEAD_BYTES + int(head["capacity"]) * size
        if problem is not None:
            following = _next_packet(data, at + 1)
            cut = following is None and "in the file" in problem
            number = min(number, left // size) if cut else 0
            kept = HEAD_BYTES + number * size if cut else 0
            stop = len(data) if following is None else following
            lose(at + kept, stop - at - kept, problem)
        if number:
            yield Packet(
                at + HEAD_BYTES,
                int(head["kind"]),
                int(head["source"]),
                size,
                int(head["overflow"]),
                number,
            )
        if following is None:
            return
        at = following


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
            room = columns.part(slice(begins[i], int(stops[edges[i + 1] - 1])))
            k.decode(data, table[edges[i] : edges[i + 1]], *size, room, rows[i])
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
    return columns.events(count, size)


def clean_block(
    walk: Walk, table: NDArray[np.int64], size: Size, earliest_us: int, storage: Storage
) -> Events | None:
    """Return the events of noted packets, decoded into `storage`; None where one is not good."""
    total = int(table[:, k.P_NUMBER].sum())
    columns = storage.columns(total).part(slice(0, total))
    return decode_table(walk.data, table, size, earliest_us, columns)


def build_index(walk: Walk) -> Index:
    """Return checkpoints, one a block of polarity packets, up to the first impossible header."""
    latest, rows = NEVER, [(NEVER, walk.at, *walk.state.tolist())]
    for table in walk.tables():
        latest = max(latest, int(k.latest(walk.data, table)))
        rows.append((latest, walk.at, *walk.state.tolist()))
    return index_of(rows)


def extent(walk: Walk) -> tuple[int, int]:
    """Return the smallest width and height that hold the events of the packets."""
    sides = np.zeros(2, np.int64)
    for table in walk.tables():
        k.extent(walk.data, table, sides)
    return int(sides[0]), int(sides[1])
