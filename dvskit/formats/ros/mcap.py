"""MCAP, the container of newer ROS 2 recordings.

Layout: mcap.dev/spec. A record is its kind (1 byte), its length (8 bytes), its content; chunks
hold records, compressed or not.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dvskit.events import Size
from dvskit.formats.losses import Losses
from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.container import MOST_BYTES, Channel
from dvskit.formats.ros.messages import ROS2_PACKET
from dvskit.formats.ros.reading import RosRecording, open_container
from dvskit.formats.ros.records import (
    COMPRESSIONS,
    SEARCHED_BYTES,
    Chunk,
    Record,
    RecordFile,
    Region,
)
from dvskit.formats.ros.writing import ROS2_TYPE, TOPICS, ChunkWriter, RosSink

__all__ = ["open_recording", "open_sink"]

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
STATISTICS, METADATA, SUMMARY_OFFSET, DATA_END = 0xB, 0xC, 0xE, 0xF

RECORD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
CHUNK_HEAD = struct.Struct("<QQQI")
FOOTER_BYTES = RECORD.size + 20 + len(MAGIC)

_LEAST = {FOOTER: 20, MESSAGE: MESSAGE_HEAD.size, CHUNK: CHUNK_HEAD.size + 12, MESSAGE_INDEX: 6,
          CHUNK_INDEX: 64, DATA_END: 4, SUMMARY_OFFSET: 17, STATISTICS: 46}  # fmt: skip


class McapFile(RecordFile):
    """An MCAP file. Raises FormatError where it does not begin as one."""

    NAME = "mcap"
    MAGIC = MAGIC
    MESSAGE = MESSAGE
    LAST = FOOTER
    END_BYTES = len(MAGIC)
    CHANNEL_NAME = "channel"
    CHECKED = frozenset(range(256))

    def __init__(self, path: Path) -> None:
        self._schemas: dict[int, tuple[str, str]] = {}
        self._times = (0, 1 << 64)  # of all messages, once the summary says so
        super().__init__(path)

    def _read_index(self, region: Region) -> bool:
        at = stop = region.size - FOOTER_BYTES
        end = bytes(region.read(max(0, at), FOOTER_BYTES))
        if end[-len(MAGIC) :] != MAGIC:
            self._flaws[1] = "the file ends, ahead of the mark at its end"
            return False
        at = int.from_bytes(end[9:17], "little")
        if end[0] != FOOTER or not len(MAGIC) < at < stop:
            return False
        summary = at
        counts = None
        while at < stop:
            kind, length, problem = self._head(region, at)
            if problem is not None or kind in (MESSAGE, CHUNK):
                return False
            content = bytes(region.read(at + RECORD.size, length))
            if not self._learn(kind, content):
                return False
            if kind == CHUNK_INDEX:
                self._cuts.append(int.from_bytes(content[16:24], "little"))
            if kind == STATISTICS:
                pairs = struct.iter_unpack("<HQ", content[46 : 46 + (length - 46) // 10 * 10])
                counts = dict(pairs)
                self._times = struct.unpack_from("<QQ", content, 26)
            at += RECORD.size + length
        if counts is not None:
            self._counts = {number: counts.get(number, 0) for number in self.channels}
        self._cuts = sorted(cut for cut in self._cuts if len(MAGIC) <= cut < summary)
        return bool(self.channels)

    def _take(self, region: Region, record: Record, losses: Losses) -> None:
        if record.kind in (SCHEMA, CHANNEL) and not self._learn(
            record.kind, bytes(region.read(record.start, record.length))
        ):
            losses.lose(region.place(record.start), record.length, "a declaration is damaged")

    def _learn(self, kind: int, content: bytes) -> bool:
        """Take a schema or a channel; return whether it was valid."""
        number = int.from_bytes(content[:2], "little")
        try:
            if kind == SCHEMA:
                name, encoding, text = _texts(content, 2, 3)
                self._schemas[number] = (name, text if "msg" in encoding else "")
            elif kind == CHANNEL:
                schema = int.from_bytes(content[2:4], "little")
                topic, encoding = _texts(content, 4, 2)
                name, text = self._schemas.get(schema, ("", ""))
                self.declare(Channel(number, topic, name, text, encoding == "ros1"))
        except ValueError:
            return False
        return True

    def _run(self, window: memoryview) -> Iterator[tuple[int, int, int]]:
        head, size = RECORD.size + MESSAGE_HEAD.size, len(window)
        unpack = struct.Struct("<BQH").unpack_from
        at = 0
        valid: tuple[int, int, int] | None = None
        while at + head <= size:
            kind, length, number = unpack(window, at)
            following = at + RECORD.size + length
            if (
                kind != MESSAGE
                or length < MESSAGE_HEAD.size
                or following > size
                or number not in self.channels
            ):
                return
            if valid is not None:
                yield valid
            valid = (number, at + head, following)
            at = following

    def _record(self, region: Region, at: int, *, cut: bool = False) -> Record | str:
        kind, length, problem = self._head(region, at, cut=cut)
        if problem is not None:
            return problem
        start = at + RECORD.size
        if kind == MESSAGE:
            number = int.from_bytes(region.read(start, 2), "little")
            return Record(kind, at, start, length, {}, number, start + MESSAGE_HEAD.size)
        chunk = self._chunk(region, start, None if cut else length) if kind == CHUNK else None
        if isinstance(chunk, str):
            return chunk
        return Record(kind, at, start, length, {}, chunk=chunk)

    def _problem(self, region: Region, at: int) -> str | None:
        return self._head(region, at)[2]

    def _chunk(self, region: Region, start: int, length: int | None) -> Chunk | str:
        """Return the chunk from byte `start` on, of `length` bytes where that is known."""
        head = bytes(region.read(start, CHUNK_HEAD.size + 4))
        _, _, size, checksum = CHUNK_HEAD.unpack_from(head)
        letters = int.from_bytes(head[-4:], "little")
        if letters > 8:
            return f"a chunk's compression has a name of {letters} letters"
        tail = bytes(region.read(start + CHUNK_HEAD.size + 4, letters + 8))
        kind = tail[:letters].decode("latin-1")
        if kind not in COMPRESSIONS or kind == "none":
            return f"a chunk is compressed as {kind!r}, which is not known"
        first = start + CHUNK_HEAD.size + 4 + letters + 8
        held = int.from_bytes(tail[letters:], "little")
        if length is not None and first + held != start + length:
            return f"a chunk says to hold {held} bytes where {start + length - first} are"
        return Chunk(kind, first, held, size, checksum)

    def _head(self, region: Region, at: int, *, cut: bool = False) -> tuple[int, int, str | None]:
        """Return kind and length of the record at `at`, and what is wrong with it."""
        head = region.read(at, RECORD.size)
        if len(head) < RECORD.size:
            return 0, 0, f"{len(head)} bytes are left where a record begins"
        kind, length = RECORD.unpack(head)
        left = region.size - at - RECORD.size
        if cut:
            length = min(left, MOST_BYTES)
        problem = None
        if kind == 0 or DATA_END < kind < 0x80:
            problem = f"a record is of the unknown kind {kind:#x}"
        elif length > left:
            problem = f"a record says to hold {length} bytes where {left} are left"
        elif length < _LEAST.get(kind, 0):
            problem = f"a record of kind {kind} has only {length} bytes"
        elif kind == FOOTER and (not region.whole or at != region.size - FOOTER_BYTES):
            problem = "a footer stands ahead of the end"
        elif kind == MESSAGE and length > MOST_BYTES:
            problem = f"a message says to have {length} bytes, more than can be"
        return kind, length, problem

    def _likely(self, window: bytes) -> Iterator[int]:
        # A kind that there is, and a length whose high bytes are 0.
        values = np.frombuffer(window, np.uint8)
        count = max(0, min(len(values) - 8, SEARCHED_BYTES))
        likely = (values[:count] >= HEADER) & (values[:count] <= DATA_END)
        for high in range(5, 9):
            likely &= values[high : high + count] == 0
        yield from np.flatnonzero(likely).tolist()

    def _is_likely(self, region: Region, at: int) -> bool:
        """Whether a record stands at `at`, by all that can be checked, and another behind it."""
        kind, length, problem = self._head(region, at)
        if problem is not None:
            return False
        start = at + RECORD.size
        if kind == CHUNK:
            return not isinstance(self._chunk(region, start, length), str)
        if kind == MESSAGE:
            number, _, log_ns, _ = MESSAGE_HEAD.unpack(region.read(start, MESSAGE_HEAD.size))
            if number not in self.channels or not self._times[0] <= log_ns <= self._times[1]:
                return False
        elif kind == MESSAGE_INDEX:
            head = bytes(region.read(start, 6))
            return int.from_bytes(head[2:], "little") == length - 6 and length % 16 == 6
        elif kind not in (SCHEMA, CHANNEL, CHUNK_INDEX, DATA_END, METADATA):
            return False
        following = start + length
        if following == region.size:
            return True
        if region.whole and region.read(following, len(MAGIC)) == MAGIC:
            return True
        return self._head(region, following)[2] is None


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
