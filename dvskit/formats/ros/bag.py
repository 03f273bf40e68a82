"""Bags of ROS 1, version 2.0.

Layout: wiki.ros.org/Bags/Format/2.0. A record is a header (length, then fields `name=value`, each
behind its length), then data (behind their length). Chunks hold records, compressed or not.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dvskit.events import Size
from dvskit.formats.losses import Losses
from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.container import MOST_BYTES, Channel
from dvskit.formats.ros.messages import PACKET_MD5, PACKET_TYPE, ROS1_PACKET
from dvskit.formats.ros.reading import RosRecording, open_container
from dvskit.formats.ros.records import (
    COMPRESSIONS,
    LONGEST_HEADER,
    SEARCHED_BYTES,
    Chunk,
    Record,
    RecordFile,
    Region,
)
from dvskit.formats.ros.writing import TOPICS, ChunkWriter, RosSink

__all__ = ["open_recording", "open_sink"]

MAGIC = b"#ROSBAG V2.0\n"
MESSAGE, BAG_HEADER, INDEX, CHUNK, CHUNK_INFO, CONNECTION = 2, 3, 4, 5, 6, 7

_U32 = struct.Struct("<I")
_NEEDED = {
    MESSAGE: (b"conn", b"time"),
    BAG_HEADER: (b"index_pos",),
    INDEX: (b"conn", b"count"),
    CHUNK: (b"compression", b"size"),
    CHUNK_INFO: (b"chunk_pos", b"count"),
    CONNECTION: (b"conn", b"topic"),
}
_MARK = b"\x04\x00\x00\x00op="
_MOST_HEADS = 64


class _Head(NamedTuple):
    """What the records of one connection's messages begin with, up to their time and behind it."""

    number: int
    before: bytes
    behind: bytes
    data: int  # the data's place in the record


class BagFile(RecordFile):
    """A bag. Raises FormatError where its first line is not that of version 2.0."""

    NAME = "bag"
    ros1 = True
    MAGIC = MAGIC
    EXPECTED = ", as bags of 2.0 do"
    MESSAGE = MESSAGE
    CHANNEL_NAME = "connection"
    CHECKED = frozenset((MESSAGE, CHUNK))

    def __init__(self, path: Path) -> None:
        self._heads: dict[bytes, _Head] = {}
        super().__init__(path)

    def _read_index(self, region: Region) -> bool:
        head = self._record(region, len(MAGIC))
        fields = {} if isinstance(head, str) or head.kind != BAG_HEADER else head.fields
        at, left = _int(fields.get(b"index_pos", b"")), _int(fields.get(b"conn_count", b""))
        if not at:
            self._flaws[0] = "the bag has no whole index: it was not closed, or cut"
        if not 0 < at < region.size:
            return False
        counts: Counter[int] = Counter()
        while at < region.size:
            record = self._record(region, at)
            if isinstance(record, str) or record.kind not in (CONNECTION, CHUNK_INFO):
                return False
            if record.kind == CONNECTION:
                self._take_connection(region, record)
                left -= 1
            else:
                data = region.read(record.start, record.length // 8 * 8)
                self._cuts.append(_int(record.fields[b"chunk_pos"]))
                for number, count in struct.iter_unpack("<II", data):
                    counts[number] += count
            at = record.stop
        self._counts = {number: counts[number] for number in self.channels}
        self._cuts = sorted(cut for cut in self._cuts if len(MAGIC) <= cut < region.size)
        return left == 0

    def _take(self, region: Region, record: Record, losses: Losses) -> None:
        if record.kind == CONNECTION:
            self._take_connection(region, record)

    def _take_connection(self, region: Region, record: Record) -> None:
        fields = _parse_fields(region.read(record.start, record.length))
        if fields is not None and b"type" in fields:
            texts = (
                record.fields[b"topic"],
                fields[b"type"],
                fields.get(b"message_definition", b""),
            )
            topic, kind, definition = (text.decode("utf-8", "replace") for text in texts)
            self.declare(Channel(record.channel, topic, kind, definition, True))

    def _learn_head(self, region: Region, record: Record) -> None:
        """Take the head of a message's record, up to its data, as what others begin with."""
        head = bytes(region.read(record.at, record.start - record.at))
        time = head.find(b"time=")
        if record.channel not in self.channels or head.count(b"time=") > 1:
            return
        if len(self._heads) <= _MOST_HEADS:
            before, behind = head[: time + 5], head[time + 13 : -4]
            self._heads[before] = _Head(record.channel, before, behind, len(head))

    def _run(self, window: memoryview) -> Iterator[tuple[int, int, int]]:
        size, at = len(window), 0
        valid: tuple[int, int, int] | None = None
        heads = list(self._heads.values())
        while True:
            for head in heads:
                start = at + head.data
                if (
                    window[at : at + len(head.before)] == head.before
                    and window[start - 4 - len(head.behind) : start - 4] == head.behind
                ):
                    break
            else:
                return
            if start > size:
                return
            (length,) = _U32.unpack_from(window, start - 4)
            if start + length > size:
                return
            if valid is not None:
                yield valid
            at = start + length
            valid = (head.number, start, at)

    def _record(self, region: Region, at: int, *, cut: bool = False) -> Record | str:
        head = region.read(at, 4)
        if len(head) < 4:
            return f"{len(head)} bytes are left where a record begins"
        (length,) = _U32.unpack(head)
        if not 8 <= length <= LONGEST_HEADER:
            return f"a record's header says to have {length} bytes"
        data = region.read(at + 4, length + 4)
        if len(data) < length + 4:
            return f"a record's header has {length} bytes where {len(data)} are left"
        fields = _parse_fields(data[:length])
        if fields is None:
            return "a record's header does not hold fields as it should"
        op = _int(fields.get(b"op", b""))
        problem = _fields_problem(op, fields)
        if problem is not None:
            return problem
        start = at + 4 + length + 4
        left = region.size - start
        (held,) = (left,) if cut and left else _U32.unpack(data[length:])
        if held > MOST_BYTES and op != CHUNK and not cut:
            return f"a record says to hold {held} bytes, more than can be"
        if held > left:
            return f"a record says to hold {held} bytes where {left} are left"
        chunk = None
        if op == CHUNK:
            chunk = Chunk(
                fields[b"compression"].decode("latin-1"), start, held, _int(fields[b"size"])
            )
        channel = _int(fields.get(b"conn", b""))
        return Record(op, at, start, held, fields, channel, start, chunk)

    def _likely(self, window: bytes) -> Iterator[int]:
        # The field `op` need not come first: records with it are tried from far to near.
        found = window.find(_MARK)
        while 0 <= found < SEARCHED_BYTES:
            for first in range(max(0, found - 96), found - 3):
                (length,) = _U32.unpack_from(window, first)
                if found - first < length <= LONGEST_HEADER:
                    yield first
            found = window.find(_MARK, found + 1)

    def _is_likely(self, region: Region, at: int) -> bool:
        return self._problem(region, at) is None


def _parse_fields(data: bytes | memoryview) -> dict[bytes, bytes] | None:
    """Return the fields that fill `data` exactly, None where they do not."""
    found = {}
    data = bytes(data)
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            return None
        (length,) = _U32.unpack_from(data, at)
        name, equals, value = data[at + 4 : at + 4 + length].partition(b"=")
        at += 4 + length
        if not equals or at > len(data):
            return None
        found[name] = value
    return found


def _fields_problem(op: int, fields: dict[bytes, bytes]) -> str | None:
    if op not in _NEEDED or len(fields[b"op"]) != 1:
        return f"a record is of the unknown kind {op}"
    missing = [name.decode() for name in _NEEDED[op] if name not in fields]
    if missing:
        return f"a record of kind {op} lacks {', '.join(missing)}"
    if op == MESSAGE and (len(fields[b"conn"]) != 4 or len(fields[b"time"]) != 8):
        return "a message's connection or time has the wrong length"
    if op == CHUNK and fields[b"compression"].decode("latin-1") not in COMPRESSIONS:
        return f"a chunk is compressed as {fields[b'compression'][:16]!r}, which is not known"
    return None


def _int(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _fields(**fields: bytes) -> bytes:
    """Return a header of a ROS 1 bag."""
    data = b""
    for name, value in fields.items():
        field = name.encode() + b"=" + value
        data += struct.pack("<I", len(field)) + field
    return struct.pack("<I", len(data)) + data


def _number(value: int, width: int = 4) -> bytes:
    return value.to_bytes(width, "little")


def _time(t_ns: int) -> bytes:
    return struct.pack("<II", *divmod(t_ns, 1_000_000_000))


class BagWriter(ChunkWriter):
    """A bag of ROS 1: chunks, not compressed, and an index."""

    ros1 = True
    _HEAD_BYTES = 4096  # of the first record, which is written again at the end

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._infos: list[bytes] = []
        self._file.write(MAGIC + self._head(0))

    def _head(self, index: int) -> bytes:
        head = _fields(
            op=_number(BAG_HEADER, 1),
            index_pos=_number(index, 8),
            conn_count=_number(len(self._counts)),
            chunk_count=_number(len(self._infos)),
        )
        room = self._HEAD_BYTES - len(head) - 4
        return head + _number(room) + b" " * room

    def _declaration(self, topic: int) -> bytes:
        name = TOPICS[topic].encode()
        head = _fields(op=_number(CONNECTION, 1), topic=name, conn=_number(topic))
        return head + _fields(  # the length of the data is that of its fields
            topic=name,
            type=PACKET_TYPE.encode(),
            md5sum=PACKET_MD5.encode(),
            message_definition=ROS1_PACKET.encode(),
        )

    def _message(self, topic: int, t_ns: int, length: int) -> bytes:
        head = _fields(op=_number(MESSAGE, 1), conn=_number(topic), time=_time(t_ns))
        return head + _number(length)

    def _write_chunk(self, first_ns: int, last_ns: int) -> None:
        start, size = self._file.tell(), _number(len(self._chunk))
        head = _fields(op=_number(CHUNK, 1), compression=b"none", size=size)
        self._file.write(head + size)
        self._file.write(self._chunk)
        counts = b""
        for topic, entries in self._entries.items():
            number, count = _number(topic), _number(len(entries))
            counts += number + count
            head = _fields(op=_number(INDEX, 1), ver=_number(1), conn=number, count=count)
            pairs = b"".join(_time(t_ns) + _number(place) for t_ns, place in entries)
            self._file.write(head + _number(len(pairs)) + pairs)
        head = _fields(
            op=_number(CHUNK_INFO, 1), ver=_number(1), chunk_pos=_number(start, 8),
            start_time=_time(first_ns), end_time=_time(last_ns),
            count=_number(len(self._entries)),
        )  # fmt: skip
        self._infos.append(head + _number(len(counts)) + counts)

    def _write_end(self) -> None:
        """Write connections and chunks once more, and say in the first record where they are."""
        index = self._file.tell()
        self._file.write(b"".join(map(self._declaration, sorted(self._counts))))
        self._file.write(b"".join(self._infos))
        self._file.seek(len(MAGIC))
        self._file.write(self._head(index))


def open_recording(path: Path, options: ReadOptions) -> RosRecording:
    """Open a ROS 1 bag. Raises FormatError, GeometryError."""
    return open_container(BagFile(path), options)


def open_sink(path: Path, size: Size, *, overwrite: bool) -> RosSink:
    """Return a Sink that writes a ROS 1 bag."""
    return RosSink(path, size, "bag", BagWriter, overwrite=overwrite)
