"""The Sink of bags, databases and MCAP files, written by rosbags, sqlite3 and mcap.

Encodings as in message_kernels and dvskit.formats.prophesee.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import CompressionType, Writer
from numpy.typing import NDArray
from rosbags import rosbag1

from dvskit.errors import EventsError
from dvskit.events import Events, Size
from dvskit.events.even_blocks import EvenBlocks
from dvskit.formats.file_sink import FileSink
from dvskit.formats.ros.messages import (
    PACKET_MD5,
    PACKET_TYPE,
    ROS1_PACKET,
    ROS2_PACKET,
)
from dvskit.formats.ros.packing import EventPackets
from dvskit.streams import Triggers

TOPICS = ("/event_camera/events", "/event_camera/triggers")
CHUNK_BYTES = 1 << 20
BLOCK_EVENTS = 1 << 16
_MOST_ID = 0x7FFF


class _BagWriter:
    """A bag of ROS 1: chunks, not compressed, and an index. Raises OSError."""

    ros1 = True

    def __init__(self, path: Path) -> None:
        try:
            self._bag = rosbag1.Writer(path)
        except rosbag1.WriterError as error:  # a device or a pipe
            raise OSError(str(error)) from error
        self._bag.chunk_threshold = CHUNK_BYTES
        self._bag.open()

    def declare(self, topic: str) -> Any:
        """Declare a topic; return its channel."""
        definition, md5 = ROS1_PACKET, PACKET_MD5
        return self._bag.add_connection(topic, PACKET_TYPE, msgdef=definition, md5sum=md5)

    def write(self, channel: Any, t_ns: int, data: bytes) -> None:
        """Append a message, recorded at `t_ns`."""
        self._bag.write(channel, t_ns, data)

    def close(self) -> None:
        """Write the index, and close the file."""
        self._bag.close()

    def abandon(self) -> None:
        """Close the file, which is going to be removed."""
        if self._bag.bio is not None:
            self._bag.bio.close()


class _McapWriter:
    """MCAP with the profile ros2: chunks with checksums, not compressed, and an index.

    Methods as in _BagWriter.
    """

    ros1 = False

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        plain = CompressionType.NONE
        self._mcap = Writer(self._file, chunk_size=CHUNK_BYTES, compression=plain)
        self._mcap.start("ros2", "dvskit")
        self._schema = self._mcap.register_schema(PACKET_TYPE, "ros2msg", ROS2_PACKET.encode())

    def declare(self, topic: str) -> Any:
        return self._mcap.register_channel(topic, "cdr", self._schema)

    def write(self, channel: Any, t_ns: int, data: bytes) -> None:
        self._mcap.add_message(channel, t_ns, data, t_ns)

    def close(self) -> None:
        self._mcap.finish()  # type: ignore[no-untyped-call]
        self._file.close()

    def abandon(self) -> None:
        self._file.close()


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(str(error)) from error


class _Db3Writer:
    """The database of ROS 2's sqlite3 storage, schema version 4, without a metadata.yaml beside.

    Methods as in _BagWriter.
    """

    ros1 = False
    _SCHEMA = """
    CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
    CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL,
      metadata TEXT NOT NULL);
    CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
      serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL,
      type_description_hash TEXT NOT NULL);
    CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL,
      encoding TEXT NOT NULL, encoded_message_definition TEXT NOT NULL,
      type_description_hash TEXT NOT NULL);
    CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,
      timestamp INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX timestamp_idx ON messages (timestamp ASC);
    INSERT INTO schema(schema_version, ros_distro) VALUES (4, 'dvskit');
    """

    @_as_os_errors()
    def __init__(self, path: Path) -> None:
        path.open("wb").close()  # a plain error if the file cannot be written
        # No journal: an unfinished file is removed.
        self._base = sqlite3.connect(path, isolation_level=None)
        try:
            self._base.execute("PRAGMA journal_mode = OFF")
            self._base.execute("PRAGMA synchronous = OFF")
            self._base.executescript(self._SCHEMA)
            self._base.execute("BEGIN")
            self._base.execute(
                "INSERT INTO message_definitions VALUES (1, ?, 'ros2msg', ?, '')",
                (PACKET_TYPE, ROS2_PACKET),
            )
        except sqlite3.Error:
            self._base.close()
            raise

    @_as_os_errors()
    def declare(self, topic: str) -> Any:
        row = (topic, PACKET_TYPE)
        made = self._base.execute("INSERT INTO topics VALUES (NULL, ?, ?, 'cdr', '', '')", row)
        return made.lastrowid

    @_as_os_errors()
    def write(self, channel: Any, t_ns: int, data: bytes) -> None:
        row = (channel, t_ns, data)
        self._base.execute("INSERT INTO messages VALUES (NULL, ?, ?, ?)", row)

    @_as_os_errors()
    def close(self) -> None:
        with closing(self._base):
            self._base.execute("COMMIT")

    @_as_os_errors()
    def abandon(self) -> None:
        self._base.close()


_WRITERS: dict[str, Callable[[Path], _BagWriter | _McapWriter | _Db3Writer]] = {
    "bag": _BagWriter,
    "mcap": _McapWriter,
    "db3": _Db3Writer,
}


class RosSink(FileSink):
    """Writes event_camera_msgs/EventPacket on /event_camera/events, of 10 ms each at most.

    Encoded as evt3 where that keeps the times: the first one below 2^24 us, addresses below 2048;
    else as libcaer, with triggers on /event_camera/triggers. Raises EventsError for times below 0
    or from 2^31 s on, which ROS does not have.
    """

    def __init__(
        self,
        path: Path,
        size: Size,
        name: str,
        *,
        overwrite: bool = False,
    ) -> None:
        super().__init__(path, size, overwrite=overwrite)
        self.format = name
        self._even = EvenBlocks(BLOCK_EVENTS)
        self._triggers = Triggers.empty()

    def write_triggers(self, triggers: Triggers) -> None:
        """Take all triggers of the recording. Call it once, before the events.

        Raises EventsError for triggers after events, ids outside 15 bits, or decreasing times.
        """
        self._check_triggers(triggers, self._triggers)
        if len(triggers) and triggers.id.min() < 0:
            raise EventsError(f"{self.path}: trigger id {triggers.id.min()}: 0..{_MOST_ID} can be")
        self._triggers = triggers
        self._packets.take(triggers)

    def _open(self, partial: Path) -> None:
        self._writer = _WRITERS[self.format](partial)
        self._channels = {0: self._writer.declare(TOPICS[0])}
        self._packets = EventPackets(
            self.path, self.size, self._add, ros1=self._writer.ros1, notes=self.notes
        )

    def _fitting(self, t: NDArray[np.int64], last: int) -> int:
        self._longest_gap_us, self._longest_us = self._packets.limits(self._first)
        return super()._fitting(t, last)

    def _write(self, events: Events) -> None:
        for block in self._even.push(events):
            self._packets.write(block)

    def _finish(self) -> None:
        try:
            for block in self._even.rest():
                self._packets.write(block)
            self._packets.finish()
            self._writer.close()
        except BaseException:
            with suppress(OSError):
                self._writer.abandon()
            raise

    def _abandon(self) -> None:
        self._writer.abandon()

    def _add(self, topic: int, t_us: int, message: bytes) -> None:
        if topic not in self._channels:
            self._channels[topic] = self._writer.declare(TOPICS[topic])
        self._writer.write(self._channels[topic], t_us * 1000, message)
