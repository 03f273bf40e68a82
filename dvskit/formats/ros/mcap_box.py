"""Messages into an MCAP file. Layout as in dvskit.formats.ros.mcap_file."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from dvskit.formats.ros import mcap_file as mcap
from dvskit.formats.ros.boxes import ROS2_TYPE, TOPICS, ChunkedBox
from dvskit.formats.ros.definitions import ROS2_PACKET


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<I", len(data)) + data


def _record(kind: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return mcap.RECORD.pack(kind, len(content)) + content


class McapBox(ChunkedBox):
    """MCAP with the profile ros2: chunks with checksums, not compressed, and an index."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._indexes: list[bytes] = []
        self._times: list[tuple[int, int]] = []
        self._file.write(mcap.MAGIC + _record(mcap.HEADER, _text("ros2"), _text("dvskit")))

    def _schema(self) -> bytes:
        number = struct.pack("<H", 1)
        return _record(mcap.SCHEMA, number, _text(ROS2_TYPE), _text("ros2msg"), _text(ROS2_PACKET))

    def _declaration(self, topic: int) -> bytes:
        """Return the channel of a topic, and ahead of the first one the schema of both."""
        channel = _record(
            mcap.CHANNEL,
            struct.pack("<HH", topic + 1, 1),
            _text(TOPICS[topic]),
            _text("cdr"),
            struct.pack("<I", 0),
        )
        return channel if len(self._known) > 1 else self._schema() + channel

    def _message(self, topic: int, t_ns: int, length: int) -> bytes:
        """Return what stands ahead of a message's `length` bytes."""
        record = mcap.RECORD.pack(mcap.MESSAGE, mcap.MESSAGE_HEAD.size + length)
        return record + mcap.MESSAGE_HEAD.pack(topic + 1, self._totals[topic] - 1, t_ns, t_ns)

    def _write_chunk(self, first_ns: int, last_ns: int) -> None:
        """Write the chunk and its index."""
        start = self._file.tell()
        size = len(self._chunk)
        head = mcap.CHUNK_HEAD.pack(first_ns, last_ns, size, zlib.crc32(self._chunk))
        chunk = _record(mcap.CHUNK, head, _text(""), struct.pack("<Q", size), bytes(self._chunk))
        self._file.write(chunk)
        places = b""
        written = 0
        for topic, entries in self._entries.items():
            places += struct.pack("<HQ", topic + 1, self._file.tell())
            pairs = b"".join(struct.pack("<QQ", *entry) for entry in entries)
            number = struct.pack("<HI", topic + 1, len(pairs))
            written += self._file.write(_record(mcap.MESSAGE_INDEX, number, pairs))
        self._times.append((first_ns, last_ns))
        self._indexes.append(
            _record(
                mcap.CHUNK_INDEX,
                struct.pack("<QQQQ", first_ns, last_ns, start, len(chunk)),
                struct.pack("<I", len(places)) + places,
                struct.pack("<Q", written) + _text("") + struct.pack("<QQ", size, size),
            )
        )

    def _write_end(self) -> None:
        """Write the summary: schema, channels, the index of chunks, counts."""
        self._file.write(_record(mcap.DATA_END, struct.pack("<I", 0)))
        start = self._file.tell()
        known = sorted(self._known)
        self._known = {0}
        parts = [self._declaration(known[0])]
        for topic in known[1:]:
            self._known.add(topic)
            parts.append(self._declaration(topic))
        counts = b"".join(
            struct.pack("<HQ", topic + 1, count) for topic, count in sorted(self._totals.items())
        )
        statistics = struct.pack(
            "<QHIIIIQQ",
            sum(self._totals.values()), 1, len(known), 0, 0, len(self._indexes),
            min((first for first, _ in self._times), default=0),
            max((last for _, last in self._times), default=0),
        )  # fmt: skip
        parts += self._indexes
        parts.append(_record(mcap.STATISTICS, statistics, struct.pack("<I", len(counts)), counts))
        self._file.write(b"".join(parts))
        self._file.write(_record(mcap.FOOTER, struct.pack("<QQI", start, 0, 0)) + mcap.MAGIC)
