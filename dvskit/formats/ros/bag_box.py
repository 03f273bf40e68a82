"""Messages into a bag of ROS 1. Layout as in dvskit.formats.ros.bag_file."""

from __future__ import annotations

import struct
from pathlib import Path

from dvskit.formats.ros import bag_file as bag
from dvskit.formats.ros.boxes import TOPICS, ChunkedBox
from dvskit.formats.ros.definitions import PACKET_MD5, PACKET_TYPE, ROS1_PACKET


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


class BagBox(ChunkedBox):
    """A bag of ROS 1: chunks, not compressed, and an index."""

    ros1 = True
    _HEAD_BYTES = 4096  # of the first record, which is written again at the end

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._infos: list[bytes] = []
        self._file.write(bag.MAGIC + self._head(0))

    def _head(self, index: int) -> bytes:
        head = _fields(
            op=_number(bag.BAG_HEADER, 1),
            index_pos=_number(index, 8),
            conn_count=_number(len(self._known)),
            chunk_count=_number(len(self._infos)),
        )
        room = self._HEAD_BYTES - len(head) - 4
        return head + _number(room) + b" " * room

    def _declaration(self, topic: int) -> bytes:
        """Return the connection of a topic."""
        name = TOPICS[topic].encode()
        data = _fields(
            topic=name,
            type=PACKET_TYPE.encode(),
            md5sum=PACKET_MD5.encode(),
            message_definition=ROS1_PACKET.encode(),
        )
        head = _fields(op=_number(bag.CONNECTION, 1), topic=name, conn=_number(topic))
        return head + data  # the length of the data is that of its fields

    def _message(self, topic: int, t_ns: int, length: int) -> bytes:
        """Return what stands ahead of a message's `length` bytes."""
        head = _fields(op=_number(bag.MESSAGE, 1), conn=_number(topic), time=_time(t_ns))
        return head + _number(length)

    def _write_chunk(self, first_ns: int, last_ns: int) -> None:
        """Write the chunk and its index."""
        start, size = self._file.tell(), len(self._chunk)
        head = _fields(op=_number(bag.CHUNK, 1), compression=b"none", size=_number(size))
        self._file.write(head + _number(size))
        self._file.write(self._chunk)
        counts = b""
        for topic, entries in self._entries.items():
            count = len(entries)
            counts += _number(topic) + _number(count)
            head = _fields(
                op=_number(bag.INDEX, 1), ver=_number(1), conn=_number(topic), count=_number(count)
            )
            pairs = b"".join(_time(t_ns) + _number(place) for t_ns, place in entries)
            self._file.write(head + _number(len(pairs)) + pairs)
        head = _fields(
            op=_number(bag.CHUNK_INFO, 1), ver=_number(1), chunk_pos=_number(start, 8),
            start_time=_time(first_ns), end_time=_time(last_ns),
            count=_number(len(self._entries)),
        )  # fmt: skip
        self._infos.append(head + _number(len(counts)) + counts)

    def _write_end(self) -> None:
        """Write connections and chunks once more, and say in the first record where they are."""
        index = self._file.tell()
        self._file.write(b"".join(self._declaration(topic) for topic in sorted(self._known)))
        self._file.write(b"".join(self._infos))
        self._file.seek(len(bag.MAGIC))
        self._file.write(self._head(index))
