"""AEDAT 3.1 files as Recordings: the header lines, packets read in compiled walks, other data.

Layouts of other data: libcaer's special.h, imu6.h, imu9.h and frame.h.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.errors import FormatError
from dvskit.events import Events, Size, as_size
from dvskit.formats.aedat2.chips import named_chip
from dvskit.formats.aedat31 import packet_kernels as k
from dvskit.formats.aedat31.packet_kernels import WORD_BYTES
from dvskit.formats.file_bytes import FileMap
from dvskit.formats.index_cache import NEVER, Index, find_index, index_of
from dvskit.formats.losses import Damage, Lose
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.storage import Storage
from dvskit.formats.validate import DecodedBlock, Validator
from dvskit.streams import Frame, Imu, Triggers

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
    walk: Walk, table: NDArray[np.int64], size: Size, storage: Storage
) -> DecodedBlock:
    """Return the events of recorded packets that are marked as valid."""
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
    held = rows[rows[:, k.D_EVENTS] > 0]
    ordered = bool((held[1:, k.D_FIRST] >= held[:-1, k.D_LAST]).all())
    count = 0
    for begin, events in zip(begins, rows[:, k.D_EVENTS].tolist(), strict=True):
        if count < begin:  # earlier invalid events have left room
            for column in columns:
                column[count : count + events] = column[begin : begin + events].copy()
        count += events
    is_valid = bool(rows[:, k.D_GOOD].all()) and ordered
    packets = table.copy()  # the walk writes the next ones over them
    return DecodedBlock(
        columns.part(slice(0, count)), lambda: _places(walk.data, packets), (), is_valid
    )


def _places(
    data: NDArray[np.uint8], table: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the byte offsets of the valid events of recorded packets, and their lengths."""
    offsets = np.concatenate(
        [
            start + k.WORD_BYTES * np.arange(number)
            for start, number in table[:, [k.P_START, k.P_NUMBER]].tolist()
        ]
    )
    offsets = offsets[data[offsets] & 1 == 1]
    return offsets, np.full(len(offsets), k.WORD_BYTES)


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


# Special events on external inputs: type -> input, rising (a pulse counts as its rising edge).
_INPUTS = {
    first + edge: (number, edge != 1) for number, first in enumerate((2, 6, 9)) for edge in range(3)
}
_IMU = [("info", "<u4"), ("t", "<i4"), ("a", "<f4", 3), ("g", "<f4", 3), ("temperature", "<f4")]
_IMU6, _IMU9 = np.dtype(_IMU), np.dtype([*_IMU, ("m", "<f4", 3)])
_SIDES = ("start_frame", "end_frame", "start", "stop", "width", "height", "x", "y")
_FRAME = np.dtype([("info", "<u4"), *((name, "<i4") for name in _SIDES)])
_CHANNELS = (1, 3, 4)  # gray, RGB, RGBA
_EARLIEST_US = 0
_KINDS = {FRAME: "frames", IMU6: "IMU samples", IMU9: "IMU samples", 5: "ADC samples", 12: "spikes"}


class Aedat31Recording(Recording):
    """Events of an AEDAT 3.1 file, with its triggers, IMU samples and frames."""

    format = "aedat31"

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, head: Aedat31Header
    ) -> None:
        super().__init__(path, options, size, origin)
        self._note_map()
        self._head = head

    def header(self) -> Mapping[str, str]:
        """Return the header's keys and values."""
        return self._head.keys

    def _walk(self, kind: int, source: int = -1) -> Walk:
        return Walk(FileMap(self.path), self._head.end, kind, source)

    def triggers(self) -> Triggers:
        """Return the edges on external inputs in time order; a pulse becomes a rising edge."""
        return _read_triggers(self._walk(SPECIAL), self._losses().lose)

    def imu(self) -> Imu:
        """Return the IMU samples, with those of a compass if there is one, in time order."""
        lose = self._losses().lose
        return Imu.in_order([_read_imu(self._walk(kind), lose) for kind in (IMU6, IMU9)])

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, uint16 and gray or RGB, in the order of the file."""
        yield from _read_frames(self._walk(FRAME), self._losses().lose)

    def other_streams(self) -> Mapping[str, int]:
        """Count frames, samples, special events other than triggers, and invalid events."""
        counts: Counter[str] = Counter()
        walk = self._walk(-1)
        for packet in walk.packets(self._losses().lose):
            if packet.kind == SPECIAL:
                kinds = _valid_words(walk.data, packet).address >> 1 & 0x7F
                counts["special events"] += int(np.count_nonzero(~np.isin(kinds, list(_INPUTS))))
            elif packet.kind != POLARITY:
                name = _KINDS.get(packet.kind, f"events of type {packet.kind}")
                counts[name] += packet.number
            elif packet.source != self._head.source:
                counts[f"events of source {packet.source}"] += packet.number
            else:
                valid = len(_valid_words(walk.data, packet).address)
                counts["events marked invalid"] += packet.number - valid
        return {name: number for name, number in counts.items() if number}

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._decoded(self._walk(POLARITY, self._head.source), damage, storage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        walk = self._walk(POLARITY, self._head.source)
        if self.strict:  # damaged times cannot be searched
            index = find_index(self.path, f"aedat31 {self._head.source}", lambda: build_index(walk))
            walk.state[:] = index.state[index.at(start_us)]
        return self._decoded(walk, damage, storage)

    def _decoded(self, walk: Walk, damage: Damage, storage: Storage) -> Iterator[Events]:
        losses = self._losses(damage)
        tables = walk.tables(losses.lose, BLOCK_EVENTS)
        blocks = (decode_table(walk, table, self.size, storage) for table in tables)
        return Validator(losses, self.size, earliest_us=_EARLIEST_US).blocks(blocks)


def open_recording(path: Path, options: ReadOptions) -> Aedat31Recording:
    """Open an AEDAT 3.1 file.

    Its events are those of the first source that sent any. The size is the argument, that of the
    camera named in the header, or the smallest that holds the events. Raises FormatError.
    """
    head = read_head(path)
    walk = Walk(FileMap(path), head.end, POLARITY)
    source = next((packet.source for packet in walk.packets(lambda *_: None)), -1)
    head = head._replace(source=source)
    chip = named_chip(head.keys.get(f"Source {source}", ""))
    if chip is None and source < 0:
        sources = [value for key, value in head.keys.items() if key.startswith("Source ")]
        chip = next((found for found in map(named_chip, sources) if found), None)
    origin: SizeOrigin
    if options.size is not None:
        size, origin = options.size, "argument"
    elif chip is not None:
        size, origin = chip.size, "camera"
    else:
        width, height = extent(Walk(FileMap(path), head.end, POLARITY, source))
        if not width:
            raise FormatError(f"{path}: holds no event and names no known camera")
        size, origin = as_size((min(width, 32767), min(height, 32767))), "data"
    return Aedat31Recording(path, options, size, origin, head)


class _Words(NamedTuple):
    """The valid words of a polarity or special packet, and their times."""

    address: NDArray[np.uint32]
    t: NDArray[np.int64]


def _valid_words(data: NDArray[np.uint8], packet: Aedat31Packet) -> _Words:
    """Return the valid events of a packet in which an event is an address and a time."""
    part = data[packet.start : packet.start + WORD_BYTES * packet.number].tobytes()
    words = np.frombuffer(part, "<u4").reshape(-1, 2)
    words = words[words[:, 0] & 1 == 1]
    return _Words(words[:, 0], _times(words[:, 1].view("<i4"), packet))


def _times(stamps: NDArray[np.int32], packet: Aedat31Packet) -> NDArray[np.int64]:
    # A negative stamp is impossible; it stays negative with any number of wraps.
    t = stamps.astype(np.int64)
    return np.where(t < 0, t, t + (packet.overflow << 31))


def _read_triggers(walk: Walk, lose: Lose) -> Triggers:
    """Return the edges on external inputs in order of time; a pulse becomes a rising edge."""
    parts = []
    for packet in walk.packets(lose):
        words = _valid_words(walk.data, packet)
        kind = words.address >> 1 & 0x7F
        good = np.isin(kind, list(_INPUTS)) & (words.t >= 0)
        found = [_INPUTS[value] for value in kind[good].tolist()]
        number = np.array([number for number, _ in found], np.int16)
        rising = np.array([rising for _, rising in found], np.bool_)
        parts.append(Triggers(words.t[good], number, rising))
    return Triggers.in_order(parts)


def _read_imu(walk: Walk, lose: Lose) -> Imu:
    """Return the valid samples in order of time; those with a negative time go to `lose`."""
    parts = []
    for packet in walk.packets(lose):
        layout = _IMU6 if packet.size == _IMU6.itemsize else _IMU9
        stop = packet.start + packet.size * packet.number
        rows = np.frombuffer(walk.data[packet.start : stop].tobytes(), layout)
        t = _times(rows["t"], packet)
        valid = rows["info"] & 1 == 1
        for place in np.flatnonzero(valid & (t < 0)).tolist():
            problem = f"an IMU sample at {t[place]} us"
            lose(packet.start + packet.size * place, packet.size, problem)
        rows, t = rows[valid & (t >= 0)], t[valid & (t >= 0)]
        magnet = rows["m"] if layout is _IMU9 else np.full((len(rows), 3), np.nan)
        values = (rows["a"], rows["g"], rows["temperature"], magnet)
        parts.append(Imu(t, *(value.astype(np.float32) for value in values)))
    return Imu.in_order(parts)


def _read_frames(walk: Walk, lose: Lose) -> Iterator[Frame]:
    """Yield the valid frames, one at a time: uint16, gray or RGB, exposed from t_us to stop_us.

    Impossible ones are passed to `lose`.
    """
    for packet in walk.packets(lose):
        for at in range(packet.start, packet.start + packet.number * packet.size, packet.size):
            frame = _frame(walk.data[at : at + packet.size].tobytes(), packet.overflow << 31)
            if isinstance(frame, str):
                lose(at, packet.size, frame)
            elif frame is not None:
                yield frame


def _frame(data: bytes, wraps: int) -> Frame | str | None:
    """Return the frame in the bytes, a text on an impossible value, or None if marked invalid."""
    row = np.frombuffer(data, _FRAME, 1)[0]
    info, _, _, start, stop, width, height, x, y = (int(value) for value in row.tolist())
    if info & 1 == 0:
        return None
    channels = info >> 1 & 7
    pixels = width * height * channels
    if x < 0 or y < 0:
        return f"a frame at ({x}, {y})"
    if width < 1 or height < 1 or channels not in _CHANNELS:
        return f"a frame of {width}x{height} pixels and {channels} channels"
    if 2 * pixels > len(data) - _FRAME.itemsize:
        return f"a frame of {width}x{height}x{channels} in {len(data) - _FRAME.itemsize} bytes"
    if not 0 <= start <= stop:
        return f"a frame exposed from {start} to {stop} us"
    image = np.frombuffer(data, "<u2", pixels, _FRAME.itemsize).reshape(height, width, channels)
    image = image[:, :, 0] if channels == 1 else image[:, :, :3]
    return Frame(start + wraps, stop + wraps, image.astype(np.uint16), x, y)
