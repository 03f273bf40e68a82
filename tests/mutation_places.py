"""Where the events of a small sound file are: which bytes each is made of, format by format."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import h5py
import lz4.frame
import numpy as np
import zstandard
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Places(NamedTuple):
    """Where the events of a file are, in the order of the file; byte ranges are half-open.

    head     bytes of the file's own header: nothing of events is judged where it is damaged
    own      (n, k, 2) what an event is made of: its own bytes, the words that it takes its time,
             row or column from, and all between where any damaged word could be such a word
    wide     (n, 2) own, and back to the oldest word that it takes anything from: a damaged word
             that happens to turn into a clock word may change all of these and none can know
    framed   (n, j, 2) what must not become longer or shorter: behind a missing byte in a packet,
             nothing but the next packet header tells where events begin again
    most     events that one damaged byte may make of itself and of the sound ones around it
    relative times are steps from event to event: those behind a loss lack the lost steps
    """

    head: int
    own: Ints
    wide: Ints
    framed: Ints
    most: float
    relative: bool = False


def places(
    head: int,
    own: list[Ints],
    most: float,
    *,
    wide: Ints | None = None,
    framed: Ints | None = None,
    relative: bool = False,
) -> Places:
    """Return Places of k arrays of (n, 2) ranges."""
    ranges = np.stack(own, axis=1)
    hull = np.stack([ranges[..., 0].min(1), ranges[..., 1].max(1)], axis=1)
    return Places(
        head,
        ranges,
        hull if wide is None else wide,
        ranges[:, :1] if framed is None else framed.reshape(len(ranges), -1, 2),
        most,
        relative,
    )


def rows_of(starts: Ints | list[int], width: int) -> Ints:
    """Return (n, 2) ranges of `width` bytes each."""
    first = np.asarray(starts, np.int64)
    return np.stack([first, first + width], axis=1)


Where = Callable[[bytes], Places]


def raw_head(data: bytes) -> int:
    """The bytes of a Prophesee header."""
    at = 0
    while data[at : at + 1] == b"%" and data[at + 1 : at + 2] in (b" ", b"\n", b"\r"):
        stop = data.index(b"\n", at) + 1
        ended = data[at:stop].strip() == b"% end"
        at = stop
        if ended:
            break
    return at


def evt(
    data: bytes, *, high: int, one: tuple[int, ...], many: tuple[int, ...], units: int
) -> Places:
    """EVT 2, 2.1 and 4: an event is made of its words and of the latest TIME_HIGH ahead of it."""
    head = raw_head(data)
    words = np.frombuffer(data[head:], "<u4", (len(data) - head) // 4).tolist()
    starts, widths, clocks = [], [], []
    clock, i = -1, 0
    while i < len(words):
        kind, here, step, count = words[i] >> 28, i, units, 0
        if kind == high:
            clock = i
        elif kind in one:
            count = 1
        elif kind in many:
            step = 2
            count = words[i + 1].bit_count() if i + 1 < len(words) else 0
        i += step
        if clock >= 0:
            starts += [here] * count
            widths += [step] * count
            clocks += [clock] * count
    first = head + 4 * np.array(starts, np.int64)
    stop = first + 4 * np.array(widths, np.int64)
    heard = head + 4 * np.array(clocks, np.int64)
    own = np.stack([first, stop], axis=1)
    wide = np.stack([heard, stop], axis=1)
    return places(head, [own, rows_of(heard, 4 * units)], 32.0 if many else 1.0, wide=wide)


def evt3(data: bytes) -> Places:
    """EVT 3: the words of row, low time and vector base reach to the event; TIME_HIGH is one word.

    A word that damage turns into one of row, low time or base spoils what follows, and none can
    know; one that turns into a TIME_HIGH can be known by the next.
    """
    head = raw_head(data)
    words = np.frombuffer(data[head:], "<u2", (len(data) - head) // 2).tolist()
    row = low = high = base = -1
    value = None
    found: list[tuple[int, int, int]] = []
    for i, word in enumerate(words):
        kind = word >> 12
        if kind == 0x0:
            row = i
        elif kind == 0x6:
            low = i
        elif kind == 0x8:
            high = i
            if word & 0xFFF != value:
                low, value = i, word & 0xFFF
        elif kind == 0x3:
            base = i
        elif kind in (0x2, 0x4, 0x5):
            vector = kind != 0x2
            count = (word & (0xFFF if kind == 0x4 else 0xFF)).bit_count() if vector else 1
            if min(row, high, base if vector else 0) >= 0:
                start = min(row, low, base) if vector else min(row, low)
                found += [(start, i + 1, high)] * count
    start, stop, clock = head + 2 * np.array(found, np.int64).reshape(-1, 3).T
    own = np.stack([start, stop], axis=1)
    wide = np.stack([np.minimum(start, clock), stop], axis=1)
    return places(head, [own, rows_of(clock, 2)], 12.0, wide=wide)


def fixed_rows(data: bytes, *, head: int, width: int) -> Places:
    """Rows of `width` bytes that stand alone."""
    starts = np.arange(head, len(data) - width + 1, width)
    return places(head, [rows_of(starts, width)], 1 / width)


def dat_rows(data: bytes) -> Places:
    return fixed_rows(data, head=raw_head(data) + 2, width=8)


def nmnist_rows(data: bytes) -> Places:
    """5 bytes each; a row of overflow is context for all that follow, so such rows are not own."""
    rows = np.frombuffer(data, np.uint8, len(data) // 5 * 5).reshape(-1, 5)
    return places(0, [rows_of(5 * np.flatnonzero(rows[:, 1] != 240), 5)], 1 / 5)


def nmnist_marked_rows(data: bytes) -> Places:
    """As nmnist_rows, with times from event to event: a lost overflow shifts all that follow.

    An event is made of its own row, the one ahead of it, and the overflows between.
    """
    alone = nmnist_rows(data)
    starts, stops = alone.own[:, 0].T
    ahead = np.concatenate([[0], starts[:-1]])
    return places(0, [np.stack([ahead, stops], axis=1)], 1 / 5, relative=True)


def aedat4_packets(data: bytes) -> Places:
    """Events of whole packets where they are compressed; else packet head and own bytes."""
    head = 18 + struct.unpack_from("<I", data, 14)[0]
    own, packets, at = [], [], head
    compressed = True
    while at + 8 <= len(data):
        number, length = struct.unpack_from("<ii", data, at)
        content = data[at + 8 : at + 8 + length]
        if not 0 <= number < 16 or length < 1:
            break  # the table of packets
        if number != 0:
            at += 8 + length
            continue
        if content[:4] == b"\x04\x22\x4d\x18":
            buffer = lz4.frame.decompress(content)
        elif content[:4] == b"\x28\xb5\x2f\xfd":
            buffer = zstandard.ZstdDecompressor().decompressobj().decompress(content)
        else:
            buffer, compressed = content, False
        if buffer[8:12] != b"EVTS":
            break
        table = 4 + struct.unpack_from("<I", buffer, 4)[0]
        fields = table - struct.unpack_from("<i", buffer, table)[0]
        vector = table + struct.unpack_from("<H", buffer, fields + 4)[0]
        vector += struct.unpack_from("<I", buffer, vector)[0]
        count, start = struct.unpack_from("<I", buffer, vector)[0], vector + 4
        stop = at + 8 + length
        for i in range(count):
            if compressed:
                own.append([(at, stop), (at, stop)])
                packets.append((at, stop))
            else:
                begin = at + 8 + start + 16 * i
                own.append([(at, at + 8 + start), (begin, begin + 16)])
                packets.append((at, begin + 16))
        at = stop
    ranges = np.array(own, np.int64)
    frames = np.array(packets, np.int64)
    most = 4.0 if compressed else 1 / 16
    return places(head, [ranges[:, 0], ranges[:, 1]], most, framed=frames)


def comment_head(data: bytes) -> int:
    """The bytes of the lines that begin with a '#'."""
    head = 0
    while data[head : head + 1] == b"#":
        head = data.index(b"\n", head) + 1
    return head


def aedat2_words(data: bytes, *, is_event: Callable[[Ints], NDArray[np.bool_]]) -> Places:
    """8 bytes each, big-endian."""
    head = comment_head(data)
    words = np.frombuffer(data[head:], ">u4", (len(data) - head) // 8 * 2).reshape(-1, 2)
    starts = head + 8 * np.flatnonzero(is_event(words[:, 0].astype(np.int64)))
    return places(head, [rows_of(starts, 8)], 1 / 8)


def dvs128_event(address: Ints) -> NDArray[np.bool_]:
    return address >> 15 & 1 == 0


def davis_event(address: Ints) -> NDArray[np.bool_]:
    return (address >> 31 & 1 == 0) & (address >> 10 & 1 == 0)


def aedat31_head(data: bytes) -> int:
    return data.index(b"#!END-HEADER\r\n") + 14


def aedat31_packets(data: bytes) -> Places:
    """8 bytes each, and the head of the packet."""
    head = at = aedat31_head(data)
    own, heads = [], []
    while at + 28 <= len(data):
        kind, _, size, _, _, capacity, number, _ = struct.unpack_from("<hhiiiiii", data, at)
        if kind == 1:
            for i in range(number):
                start = at + 28 + i * size
                if data[start] & 1:
                    own.append((start, start + size))
                    heads.append((at, at + 28))
        at += 28 + capacity * size
    ranges, tops = np.array(own, np.int64), np.array(heads, np.int64)
    framed = np.stack([tops[:, 0], ranges[:, 1]], axis=1)
    return places(head, [tops, ranges], 1 / 8, framed=framed)


def es_dvs(data: bytes) -> Places:
    """A step of time and 5 bytes each; an event's step reaches back to the event ahead of it."""
    at, ahead, own = 20, 20, []
    while at < len(data):
        if data[at] >> 1 == 127:
            at += 1
            continue
        own.append((ahead, at + 5))
        ahead = at
        at += 5
    return places(20, [np.array(own, np.int64)], 1 / 5, relative=True)


def text_lines(data: bytes, *, head: int) -> Places:
    """Lines behind the first `head` ones."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10) + 1
    edges = np.concatenate([[0], ends])[head:]
    return places(int(edges[0]), [np.stack([edges[:-1], edges[1:]], axis=1)], 1 / 8)


def npy_head(data: bytes) -> int:
    return 10 + struct.unpack_from("<H", data, 8)[0]


def npy_rows(data: bytes, *, width: int) -> Places:
    return fixed_rows(data, head=npy_head(data), width=width)


def npy_columns(data: bytes) -> Places:
    """A plain array by columns of int64."""
    head = npy_head(data)
    count = (len(data) - head) // 32
    rows = np.arange(count)
    own = [rows_of(head + 8 * (count * i + rows), 8) for i in range(4)]
    framed = np.stack([np.full(count, head), own[3][:, 1]], axis=1)
    return places(head, own, 1 / 8, framed=framed)


def npz_members(data: bytes) -> Places:
    """The elements of four members, and what stands ahead of each of them.

    Bytes that come or go in a column move all elements behind them, and nothing tells where.
    Compressed members stand or fall as one.
    """
    own, framed, most = [], [], 1.0
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
            start = info.header_offset + 30 + name + extra
            array = np.load(io.BytesIO(archive.read(info)), allow_pickle=False)
            top = start + info.compress_size
            if info.compress_type == zipfile.ZIP_STORED:
                top -= array.nbytes
            rows = np.zeros(len(array), np.int64)
            if info.filename == "size.npy":
                continue
            own.append(rows_of(rows + info.header_offset, top - info.header_offset))
            stops = top + (1 + np.arange(len(array))) * array.dtype.itemsize
            stops = np.minimum(stops, start + info.compress_size)
            framed.append(np.stack([rows + info.header_offset, stops], axis=1))
            if info.compress_type == zipfile.ZIP_STORED:
                width = array.dtype.itemsize
                own.append(rows_of(top + width * np.arange(len(array)), width))
            else:
                most = 64.0
    return places(0, own, most, framed=np.stack(framed, axis=1))


def hdf5_chunks(data: bytes) -> Places:
    """Each event hangs on the chunks that hold its row, and on all that is no chunk of events.

    Addresses count from the start of the file: nothing is found behind a byte too many or too few.
    """
    columns = []
    with h5py.File(io.BytesIO(data)) as file:
        names = ["CD/events"] if "CD" in file else [f"events/{name}" for name in "xytp"]
        for name in names:
            chunks: list[h5py.h5d.StoreInfo] = []
            file[name].id.chunk_iter(chunks.append)
            ranges = np.array([(each.byte_offset, each.byte_offset + each.size) for each in chunks])
            columns.append(ranges[np.arange(len(file[name])) // file[name].chunks[0]])
    taken = np.unique(np.concatenate(columns), axis=0)
    starts, stops = [0, *taken[:, 1].tolist()], [*taken[:, 0].tolist(), len(data)]
    count = len(columns[0])
    for start, stop in zip(starts, stops, strict=True):
        if start < stop:
            columns.append(np.tile([start, stop], (count, 1)))
    whole = np.tile([0, len(data)], (count, 1))
    return places(0, columns, 1, wide=whole, framed=whole)
