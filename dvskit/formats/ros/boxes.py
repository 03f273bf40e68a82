"""Where messages are written to: what the three containers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

TOPICS = ("/event_camera/events", "/event_camera/triggers")
ROS2_TYPE = "event_camera_msgs/msg/EventPacket"
_CHUNK_BYTES = 1 << 20


class Box(ABC):
    """A container that is being written; topics are numbers in TOPICS. Raises OSError."""

    ros1: ClassVar[bool] = False

    @abstractmethod
    def add(self, topic: int, t_ns: int, data: bytes) -> None:
        """Append a message of a topic, recorded at `t_ns`."""

    @abstractmethod
    def close(self) -> None:
        """Write what stands behind the messages, and close the file."""

    @abstractmethod
    def abandon(self) -> None:
        """Close the file, which is going to be removed."""


class ChunkedBox(Box):
    """A container that gathers records in chunks of a megabyte."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._chunk = bytearray()
        self._entries: dict[int, list[tuple[int, int]]] = {}  # topic: time and place in the chunk
        self._known: set[int] = set()
        self._totals: dict[int, int] = {}

    def add(self, topic: int, t_ns: int, data: bytes) -> None:
        """Append a message of a topic, recorded at `t_ns`."""
        if topic not in self._known:
            self._known.add(topic)
            self._chunk += self._declaration(topic)
        self._entries.setdefault(topic, []).append((t_ns, len(self._chunk)))
        self._totals[topic] = self._totals.get(topic, 0) + 1
        self._chunk += self._message(topic, t_ns, len(data))
        self._chunk += data
        if len(self._chunk) >= _CHUNK_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._chunk:
            times = [t_ns for entries in self._entries.values() for t_ns, _ in entries]
            self._write_chunk(min(times, default=0), max(times, default=0))
            self._chunk = bytearray()
            self._entries = {}

    def close(self) -> None:
        """Write the last chunk and the index, and close the file."""
        try:
            if 0 not in self._known:  # a recording without events still has their topic
                self._known.add(0)
                self._chunk += self._declaration(0)
            self._flush()
            self._write_end()
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Close the file, which is going to be removed."""
        with suppress(OSError):
            self._file.close()

    @abstractmethod
    def _declaration(self, topic: int) -> bytes:
        """Return the records that say what a topic is."""

    @abstractmethod
    def _message(self, topic: int, t_ns: int, length: int) -> bytes:
        """Return what stands ahead of a message's `length` bytes."""

    @abstractmethod
    def _write_chunk(self, first_ns: int, last_ns: int) -> None:
        """Write the chunk and its index."""

    @abstractmethod
    def _write_end(self) -> None:
        """Write what stands behind the chunks."""
