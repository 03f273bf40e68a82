"""The Sink of bags, databases and MCAP files, written by rosbags, sqlite3 and mcap.

Encodings as in message_kernels and dvskit.formats.prophesee.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import CompressionType, Writer
from rosbags import rosbag1

from dvskit.errors import EventsError
from dvskit.events import Events, Size
from dvskit.events.even_blocks import EvenBlocks
from dvskit.formats.prophesee import encode_kernels as evt3
from dvskit.formats.prophesee import evt3_kernels as w
from dvskit.formats.recording import FileSink
from dvskit.formats.ros.messages import (
    PACKET_MD5,
    PACKET_TYPE,
    ROS1_PACKET,
    ROS2_PACKET,
    packet_bytes,
)
from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.streams import Triggers

TOPICS = ("/event_camera/events", "/event_camera/triggers")
CHUNK_BYTES = 1 << 20
BLOCK_EVENTS = 1 << 16
PACKET_EVENTS, PACKET_US = 1 << 14, 10_000  # a packet holds no more of both
_EVT3_SIDE, _EVT3_FIRST_US, _EVT3_IDS = 2048, 1 << 24, 16
_EVT3_LONG_GAP_US, _EVT3_LONGEST_GAP_US = evt3.LONG_GAP << 12, 1 << 40  # 71 minutes, 12 days
_TRIGGER_SPAN_US = 4_000_000  # 32 bits of nanoseconds
_MOST_ID = 0x7FFF
_LATEST_US = (1 << 31) * 1_000_000 - 1
_WORDS = 1 << 16  # of evt3 that are packed at once


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
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.execute("PRAGMA synchronous = OFF")
        self._base.executescript(self._SCHEMA)
        self._base.execute("BEGIN")
        self._base.execute(
            "INSERT INTO message_definitions VALUES (1, ?, 'ros2msg', ?, '')",
            (PACKET_TYPE, ROS2_PACKET),
        )

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
        self._base.execute("COMMIT")
        self._base.close()

    @_as_os_errors()
    def abandon(self) -> None:
        self._base.close()


_WRITERS: dict[str, Callable[[Path], _BagWriter | _McapWriter | _Db3Writer]] = {
    "bag": _BagWriter,
    "mcap": _McapWriter,
    "db3": _Db3Writer,
}


class _Evt3Packing:
    """Packs words of EVT 3.0, with the triggers among them; the first time is below 2^24 us."""

    def __init__(self, size: Size) -> None:
        self._width = size.width
        self._state = np.full(evt3.ENCODER_FIELDS, -1, np.int64)
        self._words = np.empty(_WORDS, np.uint16)

    def pack(self, events: Events, triggers: Triggers) -> bytes:
        """Return the words of the next events and triggers, merged by time."""
        parts: list[bytes] = []
        if self._state[evt3.E_HIGH] >= 0:
            # Each packet repeats the full time and the row, so it can be decoded alone.
            word = w.TIME_HIGH << 12 | int(self._state[evt3.E_HIGH]) & 0xFFF
            parts.append(word.to_bytes(2, "little"))
            self._state[[evt3.E_LOW, evt3.E_ROW, evt3.E_BASE]] = -1
        columns = EventColumns(events.t, events.x, events.y, events.p)
        edges = TriggerColumns(triggers.t, triggers.id, triggers.p)
        at = trigger_at = 0
        while True:
            at, trigger_at, count = evt3.encode_evt3(
                columns, at, edges, trigger_at, True, self._width, self._state, self._words
            )
            if not count:
                return b"".join(parts)
            parts.append(self._words[:count].astype("<u2").tobytes())


def _pack_libcaer(events: Events) -> bytes:
    """Return events in encoding libcaer: 8 bytes each, microseconds since the first one."""
    words = np.empty((len(events), 2), "<u4")
    words[:, 0] = (
        np.uint32(1)
        | events.p.astype(np.uint32) << 1
        | events.y.astype(np.uint32) << 2
        | events.x.astype(np.uint32) << 17
    )
    words[:, 1] = events.t - events.t[0]
    return words.tobytes()


def _pack_triggers(triggers: Triggers) -> bytes:
    """Return triggers in encoding trigger: nanoseconds since the first (32 bits), id, edge."""
    words = (triggers.t - triggers.t[0]).astype(np.uint64) * np.uint64(1000)
    words |= triggers.id.astype(np.uint64) << np.uint64(48)
    words |= triggers.p.astype(np.uint64) << np.uint64(63)
    packed: bytes = words.astype("<u8").tobytes()
    return packed


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
        self._encoding = ""  # evt3 or libcaer, once the first packet has chosen
        self._evt3 = _Evt3Packing(size)
        self._sequences = [0, 0]
        self._latest_us = 0

    def write_triggers(self, triggers: Triggers) -> None:
        """Take all triggers of the recording. Call it once, before the events.

        Raises EventsError for triggers after events, ids outside 15 bits, or decreasing times.
        """
        self._check_triggers(triggers, self._triggers)
        if len(triggers) and triggers.id.min() < 0:
            raise EventsError(f"{self.path}: trigger id {triggers.id.min()}: 0..{_MOST_ID} can be")
        self._triggers = triggers

    def _open(self, partial: Path) -> None:
        self._writer = _WRITERS[self.format](partial)
        self._channels = {0: self._writer.declare(TOPICS[0])}

    def _write(self, events: Events) -> None:
        for block in self._even.push(events):
            self._write_block(block)

    def _finish(self) -> None:
        try:
            for block in self._even.rest():
                self._write_block(block)
            self._write_packet(Events.empty(self.size), self._triggers)
            if not any(self._sequences):
                self._add(0, 0, self._encoding, b"")  # it says the size
            self._writer.close()
        except BaseException:
            with suppress(OSError):
                self._writer.abandon()
            raise

    def _abandon(self) -> None:
        self._writer.abandon()

    def _write_block(self, events: Events) -> None:
        spans = np.flatnonzero(np.diff(events.t // PACKET_US)) + 1
        cuts = np.union1d(spans, np.arange(PACKET_EVENTS, len(events), PACKET_EVENTS))
        for start, stop in pairwise([0, *cuts.tolist(), len(events)]):
            packet = events[start:stop]
            border_us = int(packet.t[-1]) + 1
            self._write_packet(packet, self._triggers.between(None, border_us))
            self._triggers = self._triggers.between(border_us, None)

    def _write_packet(self, events: Events, triggers: Triggers) -> None:
        """Write events and the triggers before and among them."""
        first = min((int(t[0]) for t in (events.t, triggers.t) if len(t)), default=0)
        if not self._encoding:
            self._encoding = self._choose(first)
        if self._encoding == "evt3" and (len(events) or len(triggers)):
            self._check_gaps(events, triggers)
            self._add(0, first, "evt3", self._evt3.pack(events, triggers))
        elif self._encoding == "libcaer":
            self._write_trigger_packets(triggers)
            if len(events):
                self._add(0, int(events.t[0]), "libcaer", _pack_libcaer(events))

    def _check_gaps(self, events: Events, triggers: Triggers) -> None:
        """Refuse gaps too long for EVT3, and note the first that some readers miscount."""
        times = np.concatenate([[self._latest_us], events.t, triggers.t])
        latest = int(times.max())
        if latest - self._latest_us > _EVT3_LONG_GAP_US:
            times.sort()
            longest = int(np.diff(times).max())
            if longest > _EVT3_LONGEST_GAP_US:
                raise EventsError(
                    f"{self.path}: a gap of {longest} us is too long for packets in evt3; cut the "
                    "stream there, or choose .npz or .aedat4"
                )
            note = "a gap of more than an hour is stored in large steps: some readers miscount it"
            if longest > _EVT3_LONG_GAP_US and note not in self.notes:
                self.notes.append(note)
        self._latest_us = latest

    def _choose(self, first_us: int) -> str:
        ids = self._triggers.id
        if (
            max(self.size) <= _EVT3_SIDE
            and 0 <= first_us < _EVT3_FIRST_US
            and (not len(ids) or int(ids.max()) < _EVT3_IDS)
        ):
            return "evt3"
        self.notes.append(
            "events are encoded as libcaer, 8 bytes each, which holds their times and addresses; "
            "evt3 does not"
        )
        return "libcaer"

    def _write_trigger_packets(self, triggers: Triggers) -> None:
        while len(triggers):
            first_us = int(triggers.t[0])
            border_us = first_us + _TRIGGER_SPAN_US
            self._add(1, first_us, "trigger", _pack_triggers(triggers.between(None, border_us)))
            triggers = triggers.between(border_us, None)

    def _add(self, topic: int, t_us: int, encoding: str, data: bytes) -> None:
        if not 0 <= t_us <= _LATEST_US:
            raise EventsError(
                f"{self.path}: a time of {t_us} us is no time of ROS (0 to 2^31 s); shift it"
            )
        number = self._sequences[topic]
        message = packet_bytes(t_us, self.size, number, encoding, data, ros1=self._writer.ros1)
        self._sequences[topic] += 1
        if topic not in self._channels:
            self._channels[topic] = self._writer.declare(TOPICS[topic])
        self._writer.write(self._channels[topic], t_us * 1000, message)
