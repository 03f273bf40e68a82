"""Bags of ROS 1, version 2.0.

Layout: wiki.ros.org/Bags/Format/2.0. A record is a header (length, then fields `name=value`, each
behind its length), then data (behind their length). Chunks hold records, compressed or not.
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from pathlib import Path

from dvskit.events import Size
from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.container import MOST_BYTES, Channel
from dvskit.formats.ros.messages import PACKET_MD5, PACKET_TYPE, ROS1_PACKET
from dvskit.formats.ros.reading import RosRecording, open_container
from dvskit.formats.ros.records import Chunk, Record, RecordError, RecordFile, Region
from dvskit.formats.ros.writing import TOPICS, ChunkWriter, RosSink

__all__ = ["open_recording", "open_sink"]

MAGIC = b"#ROSBAG V2.0\n"
MESSAGE, BAG_HEADER, INDEX, CHUNK, CHUNK_INFO, CONNECTION = 2, 3, 4, 5, 6, 7

_U32 = struct.Struct("<I")
_LONGEST_HEADER = 1 << 12
# The header of nearly all messages: three fields in any order.
_USUAL_MESSAGE = re.compile(
    rb"(?:\x04\0\0\0op=(\x02)|\x09\0\0\0conn=(.{4})|\x0d\0\0\0time=(.{8})){3}", re.DOTALL
)
_USUAL_BYTES = 38
_NEEDED = {
    MESSAGE: (b"conn", b"time"),
    BAG_HEADER: (b"index_pos",),
    INDEX: (b"conn", b"count"),
    CHUNK: (b"compression", b"size"),
    CHUNK_INFO: (b"chunk_pos", b"count"),
    CONNECTION: (b"conn", b"topic"),
}


class BagFile(RecordFile):
    """A bag. Raises FormatError where its first line is not that of version 2.0."""

    NAME = "bag"
    MAGIC = MAGIC
    MESSAGE = MESSAGE

    def _index_start(self, region: Region) -> int:
        fields: dict[bytes, bytes] = {}
        with suppress(RecordError):
            fields = self._record(region, len(MAGIC)).fields
        start = _int(fields.get(b"index_pos", b""))
        if len(MAGIC) < start < region.size:
            return start
        self._flaw = "the bag has no whole index: it was not closed, or cut; run rosbag reindex"
        return 0

    def _take(self, region: Region, record: Record) -> None:
        content = bytes(region.read(record.start, record.stop - record.start))
        if record.kind == CONNECTION:
            with suppress(RecordError):
                fields = _parse_fields(content)
                texts = (record.fields[b"topic"], fields.get(b"type", b""),
                         fields.get(b"message_definition", b""))  # fmt: skip
                topic, kind, definition = (text.decode("utf-8", "replace") for text in texts)
                if kind:
                    self.declare(Channel(record.channel, topic, kind, definition, True))
        elif record.kind == CHUNK_INFO and self._opening:
            self._chunks.add(_int(record.fields[b"chunk_pos"]))
            for number, count in struct.iter_unpack("<II", content[: len(content) // 8 * 8]):
                self._counts[number] = self._counts.get(number, 0) + count

    def _record(self, region: Region, at: int) -> Record:
        head = region.read(at, 4)
        (length,) = _U32.unpack(head) if len(head) == 4 else (0,)
        if not 8 <= length <= _LONGEST_HEADER:
            raise RecordError(f"a record's header says to have {length} bytes")
        data = bytes(region.read(at + 4, length + 4))
        if len(data) < length + 4:
            raise RecordError(f"a record's header has {length} bytes where {len(data)} are left")
        start = at + 4 + length + 4
        (held,) = _U32.unpack_from(data, length)
        usual = _USUAL_MESSAGE.match(data) if length == _USUAL_BYTES else None
        if usual is not None and None not in usual.groups() and held <= MOST_BYTES:
            return Record(MESSAGE, start, start + held, _int(usual[2]))
        fields = _parse_fields(data[:length])
        op = _int(fields.get(b"op", b""))
        _check_fields(op, fields)
        chunk = None
        if op == CHUNK:
            kind = fields[b"compression"].decode("latin-1")
            chunk = Chunk(kind, start, held, _int(fields[b"size"]))
        elif held > MOST_BYTES:
            raise RecordError(f"a record says to hold {held} bytes, more than can be")
        return Record(op, start, start + held, _int(fields.get(b"conn", b"")), fields, chunk)


def _parse_fields(data: bytes) -> dict[bytes, bytes]:
    """Return the fields that fill `data` exactly. Raises RecordError where they do not."""
    found = {}
    at = 0
    while at < len(data):
        (length,) = _U32.unpack_from(data, at) if at + 4 <= len(data) else (len(data),)
        at += 4 + length
        name, equals, value = data[at - length : at].partition(b"=")
        if not equals or at > len(data):
            raise RecordError("a record's header does not hold fields as it should")
        found[name] = value
    return found


def _check_fields(op: int, fields: dict[bytes, bytes]) -> None:
    if op not in _NEEDED:
        raise RecordError(f"a record is of the unknown kind {op}")
    for name in _NEEDED[op]:
        if name not in fields:
            raise RecordError(f"a record of kind {op} lacks {name.decode()}")
    if op == MESSAGE and (len(fields[b"conn"]) != 4 or len(fields[b"time"]) != 8):
        raise RecordError("a message's connection or time has the wrong length")
    if op == CHUNK and fields[b"compression"].decode("latin-1") not in ("none", "lz4", "bz2"):
        name = fields[b"compression"][:16]
        raise RecordError(f"a chunk is compressed as {name!r}, which is not known")


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
