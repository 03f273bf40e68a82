"""MCAP, the container of newer ROS 2 recordings.

Layout: mcap.dev/spec. A record is its kind (1 byte), its length (8 bytes), its content; chunks
hold records, compressed or not.
"""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from pathlib import Path

from dvskit.events import Size
from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.container import MOST_BYTES, Channel
from dvskit.formats.ros.messages import ROS2_PACKET
from dvskit.formats.ros.reading import RosRecording, open_container
from dvskit.formats.ros.records import Chunk, Record, RecordError, RecordFile, Region
from dvskit.formats.ros.writing import ROS2_TYPE, TOPICS, ChunkWriter, RosSink

__all__ = ["open_recording", "open_sink"]

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
STATISTICS, METADATA, SUMMARY_OFFSET, DATA_END = 0xB, 0xC, 0xE, 0xF

RECORD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
CHUNK_HEAD = struct.Struct("<QQQI")
_MESSAGE_START = struct.Struct("<BQH")
FOOTER_BYTES = RECORD.size + 20 + len(MAGIC)

_LEAST = {FOOTER: 20, MESSAGE: MESSAGE_HEAD.size, CHUNK: CHUNK_HEAD.size + 12, MESSAGE_INDEX: 6,
          CHUNK_INDEX: 64, DATA_END: 4, SUMMARY_OFFSET: 17, STATISTICS: 46}  # fmt: skip


class McapFile(RecordFile):
    """An MCAP file. Raises FormatError where it does not begin as one."""

    NAME = "mcap"
    MAGIC = MAGIC
    MESSAGE = MESSAGE
    LAST = FOOTER

    def __init__(self, path: Path) -> None:
        self._schemas: dict[int, tuple[str, str]] = {}
        super().__init__(path)

    def _index_start(self, region: Region) -> int:
        end = bytes(region.read(max(0, region.size - FOOTER_BYTES), FOOTER_BYTES))
        if end[-len(MAGIC) :] != MAGIC:
            self._flaw = "the file ends, ahead of the mark at its end"
            return 0
        start = int.from_bytes(end[9:17], "little")
        return start if len(MAGIC) < start < region.size - FOOTER_BYTES else 0

    def _take(self, region: Region, record: Record) -> None:
        if record.kind in (SCHEMA, CHANNEL, CHUNK_INDEX, STATISTICS):
            content = bytes(region.read(record.start, record.stop - record.start))
            with suppress(ValueError):
                self._learn(record.kind, content)

    def _learn(self, kind: int, content: bytes) -> None:
        number = int.from_bytes(content[:2], "little")
        if kind == SCHEMA:
            name, encoding, text = _texts(content, 2, 3)
            self._schemas[number] = (name, text if "msg" in encoding else "")
        elif kind == CHANNEL:
            schema = int.from_bytes(content[2:4], "little")
            topic, encoding = _texts(content, 4, 2)
            name, text = self._schemas.get(schema, ("", ""))
            self.declare(Channel(number, topic, name, text, encoding == "ros1"))
        elif kind == CHUNK_INDEX and self._opening:
            self._chunks.add(int.from_bytes(content[16:24], "little"))
        elif kind == STATISTICS and self._opening:
            pairs = content[46:]
            self._counts = dict(struct.iter_unpack("<HQ", pairs[: len(pairs) // 10 * 10]))

    def _record(self, region: Region, at: int) -> Record:
        head = region.read(at, _MESSAGE_START.size)
        if len(head) < RECORD.size:
            raise RecordError(f"{len(head)} bytes are left where a record begins")
        kind, length = RECORD.unpack_from(head)
        start = at + RECORD.size
        if kind == 0 or DATA_END < kind < 0x80:
            raise RecordError(f"a record is of the unknown kind {kind:#x}")
        if length < _LEAST.get(kind, 0):
            raise RecordError(f"a record of kind {kind} has only {length} bytes")
        if kind == FOOTER and (not region.whole or at != region.size - FOOTER_BYTES):
            raise RecordError("a footer stands ahead of the end")
        if kind == CHUNK:
            chunk = self._chunk(region, start, length)
            return Record(kind, start, start + length, chunk=chunk)
        if length > MOST_BYTES and kind == MESSAGE:
            raise RecordError(f"a message says to have {length} bytes, more than can be")
        if kind == MESSAGE and len(head) == _MESSAGE_START.size:
            channel = _MESSAGE_START.unpack(head)[2]
            return Record(kind, start + MESSAGE_HEAD.size, start + length, channel)
        return Record(kind, start, start + length)

    def _chunk(self, region: Region, start: int, length: int) -> Chunk:
        """Return the chunk whose content of `length` bytes begins at `start`."""
        if not region.whole:
            raise RecordError("a chunk stands inside a chunk")
        head = bytes(region.read(start, CHUNK_HEAD.size + 4 + 8 + 8)).ljust(CHUNK_HEAD.size + 20)
        _, _, size, checksum, letters = struct.unpack_from("<QQQII", head)
        first = CHUNK_HEAD.size + 4 + letters + 8
        kind = head[CHUNK_HEAD.size + 4 : first - 8].decode("latin-1")
        if letters > 8 or kind not in ("", "lz4", "zstd"):
            raise RecordError(f"a chunk is compressed as {kind[:8]!r}, which is not known")
        held = int.from_bytes(head[first - 8 : first], "little")
        if first + held != length:
            raise RecordError(f"a chunk says to hold {held} bytes where {length - first} are")
        if not kind and size != held:
            raise RecordError(f"a chunk holds {held} bytes, not {size}")
        return Chunk(kind, start + first, held, size, checksum)


def _texts(data: bytes, at: int, count: int) -> list[str]:
    """Return strings, each behind its length. Raises ValueError."""
    found = []
    for _ in range(count):
        length = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + length > len(data):
            raise ValueError("a text is longer than its record")
        found.append(data[at + 4 : at + 4 + length].decode("utf-8", "replace"))
        at += 4 + length
    return found


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<I", len(data)) + data


def _record(kind: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return RECORD.pack(kind, len(content)) + content


class McapWriter(ChunkWriter):
    """MCAP with the profile ros2: chunks with checksums, not compressed, and an index."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._indexes: list[bytes] = []
        self._times: list[int] = []  # the first and the last of each chunk
        self._file.write(MAGIC + _record(HEADER, _text("ros2"), _text("dvskit")))

    def _declaration(self, topic: int) -> bytes:
        """Return the channel of a topic, and ahead of the first one the schema of both."""
        return self._channel(topic) if self._counts else _schema() + self._channel(topic)

    def _channel(self, topic: int) -> bytes:
        numbers = struct.pack("<HH", topic + 1, 1)
        metadata = struct.pack("<I", 0)
        return _record(CHANNEL, numbers, _text(TOPICS[topic]), _text("cdr"), metadata)

    def _message(self, topic: int, t_ns: int, length: int) -> bytes:
        record = RECORD.pack(MESSAGE, MESSAGE_HEAD.size + length)
        return record + MESSAGE_HEAD.pack(topic + 1, self._counts[topic], t_ns, t_ns)

    def _write_chunk(self, first_ns: int, last_ns: int) -> None:
        start = self._file.tell()
        size = len(self._chunk)
        head = CHUNK_HEAD.pack(first_ns, last_ns, size, zlib.crc32(self._chunk))
        chunk = _record(CHUNK, head, _text(""), struct.pack("<Q", size), bytes(self._chunk))
        self._file.write(chunk)
        places = b""
        written = 0
        for topic, entries in self._entries.items():
            places += struct.pack("<HQ", topic + 1, self._file.tell())
            pairs = b"".join(struct.pack("<QQ", *entry) for entry in entries)
            number = struct.pack("<HI", topic + 1, len(pairs))
            written += self._file.write(_record(MESSAGE_INDEX, number, pairs))
        self._times += [first_ns, last_ns]
        self._indexes.append(
            _record(
                CHUNK_INDEX,
                struct.pack("<QQQQ", first_ns, last_ns, start, len(chunk)),
                struct.pack("<I", len(places)) + places,
                struct.pack("<Q", written) + _text("") + struct.pack("<QQ", size, size),
            )
        )

    def _write_end(self) -> None:
        """Write the summary: schema, channels, the index of chunks, counts."""
        self._file.write(_record(DATA_END, struct.pack("<I", 0)))
        start = self._file.tell()
        counts = sorted(self._counts.items())
        pairs = b"".join(struct.pack("<HQ", topic + 1, count) for topic, count in counts if count)
        statistics = struct.pack(
            "<QHIIIIQQ",
            sum(self._counts.values()), 1, len(counts), 0, 0, len(self._indexes),
            min(self._times, default=0), max(self._times, default=0),
        )  # fmt: skip
        parts = [_schema(), *(self._channel(topic) for topic, _ in counts), *self._indexes]
        parts.append(_record(STATISTICS, statistics, struct.pack("<I", len(pairs)), pairs))
        self._file.write(b"".join(parts))
        self._file.write(_record(FOOTER, struct.pack("<QQI", start, 0, 0)) + MAGIC)


def _schema() -> bytes:
    number = struct.pack("<H", 1)
    return _record(SCHEMA, number, _text(ROS2_TYPE), _text("ros2msg"), _text(ROS2_PACKET))


def open_recording(path: Path, options: ReadOptions) -> RosRecording:
    """Open an MCAP file. Raises FormatError, GeometryError."""
    return open_container(McapFile(path), options)


def open_sink(path: Path, size: Size, *, overwrite: bool) -> RosSink:
    """Return a Sink that writes an MCAP file."""
    return RosSink(path, size, "mcap", McapWriter, overwrite=overwrite)
