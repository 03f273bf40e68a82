"""The header lines and the packets of an AEDAT 3.1 file, read one by one or in compiled walks."""

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
from dvskit.formats.file_bytes import FileMap
from dvskit.formats.index_cache import NEVER, Index, index_of
from dvskit.formats.losses import Lose
from dvskit.formats.storage import Storage

SPECIAL, POLARITY, FRAME, IMU6, IMU9 = range(5)
_SIZES = ("size", "ts_offset", "overflow", "capacity", "number", "valid")
_HEAD = np.dtype([("kind", "<i2"), ("source", "<i2"), *((name, "<i4") for name in _SIZES)])
BLOCK_EVENTS = 1 << 18
_MAGIC = b"#!AER-DAT3.1"
_END = b"#!END-HEADER"
_LINE_BYTES = 1 << 16
_ANY_NUMBER = 1 << 62
_MOST_PACKETS = 1 << 12  # per table
_PART_EVENTS = 1 << 15  # fewer are not worth a thread


class Aedat31Header(NamedTuple):
    """The `#key: value` lines of a file, and the byte offset of the first packet.

    source  the one whose events are read; -1 if there are none
    """

    keys: Mapping[str, str]
    end: int
    source: int = -1


class Aedat31Packet(NamedTuple):
    """A packet: the byte offset of its first event, its number of events, other header values."""

    start: int
    kind: int
    source: int
    size: int
    overflow: int
    number: int


def read_head(path: Path) -> Aedat31Header:
    """Read the text lines. Raises FormatError if they do not end or packets are compressed."""
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
            raise FormatError(f"{path}: holds packets in format {keys['Format']}; only RAW is read")
        return Aedat31Header(keys, file.tell())


def _problem(data: NDArray[np.uint8], at: int) -> str:
    """Return the problem of a packet with an impossible header at byte `at`."""
    left = len(data) - at - k.HEAD_BYTES
    if left < 0:
        return f"the last packet header has {left + k.HEAD_BYTES} bytes"
    head = np.frombuffer(data[at : at + k.HEAD_BYTES].tobytes(), _HEAD)[0]
    kind, size = int(head["kind"]), int(head["size"])
    if not 0 <= kind < k.MOST_KINDS:
        return f"packet of type {kind}"
    if not k.size_fits(kind, size):
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
    return f"packet of {int(head['capacity']) * size} bytes, {left} of them in the file"


class Walk:
    """Walks over the packets of `kind` and `source` (-1: any) from byte `at` on.

    `state` is the state of the compiled walk.
    """

    def __init__(self, file: FileMap, at: int, kind: int, source: int = -1) -> None:
        self.file, self.data, self.kind, self.source = file, file.data, kind, source
        self.state = np.zeros(k.WALK_FIELDS, np.int64)
        self.state[k.W_AT] = at
        self._table = np.empty((_MOST_PACKETS, k.PACKET_FIELDS), np.int64)

    def tables(self, lose: Lose | None, room: int = _ANY_NUMBER) -> Iterator[NDArray[np.int64]]:
        """Yield rows of packets or parts, of at most `room` events; see `packet_kernels`.

        Impossible packets are passed to `lose`, and the walk goes on at the next possible one;
        without `lose` it ends there.
        """
        while True:
            at = int(self.state[k.W_AT])
            rows = k.walk(self.data, self.state, self.kind, self.source, room, self._table)
            if rows:
                yield self._table[:rows]
                self.file.forget(int(self._table[0, k.P_START]))
            elif self.state[k.W_AT] != at:
                self.file.forget(int(self.state[k.W_AT]))
            elif at == len(self.data) or lose is None:
                return
            else:
                self._skip(at, lose)

    def packets(self, lose: Lose) -> Iterator[Aedat31Packet]:
        """Yield the packets, or parts of them."""
        for table in self.tables(lose):
            for row in table.tolist():
                yield Aedat31Packet(*row)

    def _skip(self, at: int, lose: Lose) -> None:
        """Go on at the next packet after an impossible or cut one."""
        following = k.next_packet(self.data, at + 1)
        stop = len(self.data) if following < 0 else following
        self.state[k.W_AT] = stop
        lose(at, stop - at, _problem(self.data, at))


def decode_table(
    walk: Walk, table: NDArray[np.int64], size: Size, earliest_us: int, storage: Storage
) -> Events | None:
    """Return the valid events of recorded packets; None if one is off the sensor or out of order.

    No event may be before `earliest_us`.
    """
    stops = np.cumsum(table[:, k.P_NUMBER])
    total = int(stops[-1])
    columns = storage.columns(total).part(slice(0, total))
    parts = max(1, min(thread_count(), total // _PART_EVENTS, len(table)))
    # Parts of whole packets, with about as many events each.
    firsts = np.searchsorted(stops, np.arange(parts) * (total // parts), "right")
    edges = [0, *firsts[1:].tolist(), len(table)]
    rows = np.zeros((parts, k.DECODE_FIELDS), np.int64)
    begins = [0, *(int(stops[edge - 1]) if edge else 0 for edge in edges[1:-1])]

    def work(i: int) -> None:
        if edges[i] < edges[i + 1]:
            room = columns.part(slice(begins[i], int(stops[edges[i + 1] - 1])))
            k.decode(walk.data, table[edges[i] : edges[i + 1]], *size, room, rows[i])
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
        if count < begin:  # earlier invalid events have left room
            for column in columns:
                column[count : count + events] = column[begin : begin + events].copy()
        count += events
    return columns.events(count, size)


def build_index(walk: Walk) -> Index:
    """Return checkpoints, one per block of polarity packets, up to the first impossible header."""
    latest, rows = NEVER, []

    def add() -> None:
        rows.append((latest, int(walk.state[k.W_AT]), *walk.state.tolist()))

    add()
    for table in walk.tables(None, BLOCK_EVENTS):
        latest = max(latest, int(k.latest(walk.data, table)))
        add()
    return index_of(rows)


def extent(walk: Walk) -> tuple[int, int]:
    """Return the smallest width and height that hold the events of all packets."""
    sides = np.zeros(2, np.int64)
    for table in walk.tables(lambda *_: None):
        k.extent(walk.data, table, sides)
    return int(sides[0]), int(sides[1])
