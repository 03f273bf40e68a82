"""The Sink of all three containers, and what their writers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np

from dvskit.errors import EventsError
from dvskit.events import Events, Size
from dvskit.events.even_blocks import EvenBlocks
from dvskit.formats.prophesee import encode_kernels as evt3
from dvskit.formats.recording import FileSink
from dvskit.formats.ros.messages import (
    Evt3Packing,
    Packet,
    message_bytes,
    pack_libcaer,
    pack_triggers,
)
from dvskit.streams import Triggers

TOPICS = ("/event_camera/events", "/event_camera/triggers")
ROS2_TYPE = "event_camera_msgs/msg/EventPacket"
_CHUNK_BYTES = 1 << 20

BLOCK_EVENTS = 1 << 16
PACKET_EVENTS, PACKET_US = 1 << 14, 10_000  # a packet holds no more of both
_EVT3_SIDE, _EVT3_FIRST_US, _EVT3_IDS = 2048, 1 << 24, 16
_EVT3_LONG_GAP_US, _EVT3_LONGEST_GAP_US = evt3.LONG_GAP << 12, 1 << 40  # 71 minutes, 12 days
_TRIGGER_SPAN_US = 4_000_000  # 32 bits of nanoseconds
_MOST_ID = 0x7FFF


class ContainerWriter(ABC):
    """A container that is being written; topics are numbers in TOPICS. Raises OSError."""

    ros1: ClassVar[bool] = False

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}  # of messages, for each topic that is declared

    def add(self, topic: int, t_ns: int, data: bytes) -> None:
        """Append a message of a topic, recorded at `t_ns`."""
        self._need(topic)
        self._append(topic, t_ns, data)
        self._counts[topic] += 1

    def close(self) -> None:
        """Write what stands behind the messages, and close the file."""
        try:
            self._need(0)  # a recording without events still has their topic
            self._finish()
        finally:
            self.abandon()

    def _need(self, topic: int) -> None:
        if topic not in self._counts:
            self._declare(topic)
            self._counts[topic] = 0

    @abstractmethod
    def _declare(self, topic: int) -> None:
        """Say what a topic is, ahead of its first message."""

    @abstractmethod
    def _append(self, topic: int, t_ns: int, data: bytes) -> None:
        """Append a message of a topic that is declared."""

    @abstractmethod
    def _finish(self) -> None:
        """Write what stands behind the messages."""

    @abstractmethod
    def abandon(self) -> None:
        """Close the file, which is going to be removed."""


class ChunkWriter(ContainerWriter):
    """A container that gathers records in chunks of a megabyte."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("wb")
        self._chunk = bytearray()
        self._entries: dict[int, list[tuple[int, int]]] = {}  # topic: time and place in the chunk

    def _declare(self, topic: int) -> None:
        self._chunk += self._declaration(topic)

    def _append(self, topic: int, t_ns: int, data: bytes) -> None:
        self._entries.setdefault(topic, []).append((t_ns, len(self._chunk)))
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

    def _finish(self) -> None:
        self._flush()
        self._write_end()
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
        open_writer: Callable[[Path], ContainerWriter],
        *,
        overwrite: bool = False,
    ) -> None:
        super().__init__(path, size, overwrite=overwrite)
        self.format = name
        self._open_writer = open_writer
        self._even = EvenBlocks(BLOCK_EVENTS)
        self._triggers = Triggers.empty()
        self._encoding = ""  # evt3 or libcaer, once the first packet has chosen
        self._evt3 = Evt3Packing(size)
        self._sequences = [0, 0]
        self._latest_us = 0

    def write_triggers(self, triggers: Triggers) -> None:
        """Take all triggers of the recording. To be called once, ahead of the events.

        Raises EventsError for triggers behind events, ids that are no 15 bits, time that runs back.
        """
        self._check_triggers(triggers, self._triggers)
        if len(triggers) and triggers.id.min() < 0:
            raise EventsError(f"{self.path}: trigger id {triggers.id.min()}: 0..{_MOST_ID} can be")
        self._triggers = triggers

    def _open(self, partial: Path) -> None:
        self._writer = self._open_writer(partial)

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
        except BaseException:
            self._writer.abandon()
            raise
        self._writer.close()

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
        """Write events and the triggers among and ahead of them."""
        first = min((int(t[0]) for t in (events.t, triggers.t) if len(t)), default=0)
        if not self._encoding:
            self._encoding = self._choose(first)
        if self._encoding == "evt3" and (len(events) or len(triggers)):
            self._check_gaps(events, triggers)
            self._add(0, first, "evt3", self._evt3.pack(events, triggers))
        elif self._encoding == "libcaer":
            self._write_trigger_packets(triggers)
            if len(events):
                self._add(0, int(events.t[0]), "libcaer", pack_libcaer(events))

    def _check_gaps(self, events: Events, triggers: Triggers) -> None:
        """Refuse gaps that EVT3 cannot hold, and note the first that some readers get wrong."""
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
            self._add(1, first_us, "trigger", pack_triggers(triggers.between(None, border_us)))
            triggers = triggers.between(border_us, None)

    def _add(self, topic: int, t_us: int, encoding: str, data: bytes) -> None:
        packet = Packet(t_us, *self.size, self._sequences[topic], encoding, data)
        self._sequences[topic] += 1
        try:
            message = message_bytes(packet, ros1=self._writer.ros1)
        except OverflowError:
            raise EventsError(
                f"{self.path}: a time of {t_us} us is no time of ROS (0 to 2^31 s); shift it"
            ) from None
        self._writer.add(topic, t_us * 1000, message)
