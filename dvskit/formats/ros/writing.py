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
from dvskit.formats.evt3 import encode_kernels as evt3
from dvskit.formats.recording import FileSink
from dvskit.formats.ros.messages import Packet, cdr_bytes, ros1_bytes
from dvskit.formats.ros.packing import Evt3Packing, LibcaerPacking, Packing, pack_triggers
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

    @abstractmethod
    def add(self, topic: int, t_ns: int, data: bytes) -> None:
        """Append a message of a topic, recorded at `t_ns`."""

    @abstractmethod
    def close(self) -> None:
        """Write what stands behind the messages, and close the file."""

    @abstractmethod
    def abandon(self) -> None:
        """Close the file, which is going to be removed."""


class ChunkWriter(ContainerWriter):
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
        self._packing: Packing | None = None
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
            self._write_packet(Events.empty(self.size), last=True)
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
            self._write_packet(events[start:stop], last=False)

    def _write_packet(self, events: Events, *, last: bool) -> None:
        """Write events and the triggers that are not behind them; all that are left if last."""
        triggers = self._triggers
        count = len(triggers) if last else int(np.searchsorted(triggers.t, events.t[-1], "right"))
        among = Triggers(triggers.t[:count], triggers.id[:count], triggers.p[:count])
        self._triggers = Triggers(triggers.t[count:], triggers.id[count:], triggers.p[count:])
        if self._packing is None:
            self._packing = self._choose(events, triggers)
        if self._packing.encoding != "evt3":
            self._write_trigger_packets(among)
            among = Triggers.empty()
        times = [int(column[0]) for column in (events.t, among.t) if len(column)]
        if times:
            if self._packing.encoding == "evt3":
                self._check_gaps(events, among)
            data = self._packing.pack(events, among, last=last)
            self._add(0, min(times), self._packing.encoding, data)
        elif last and not any(self._sequences):
            self._add(0, 0, self._packing.encoding, b"")  # it says the size

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

    def _choose(self, events: Events, triggers: Triggers) -> Packing:
        first = min((int(t[0]) for t in (events.t, triggers.t) if len(t)), default=0)
        fits = (
            max(self.size) <= _EVT3_SIDE
            and 0 <= first < _EVT3_FIRST_US
            and (not len(triggers) or int(triggers.id.max()) < _EVT3_IDS)
        )
        if fits:
            return Evt3Packing(self.size)
        self.notes.append(
            "events are encoded as libcaer, 8 bytes each, which holds their times and addresses; "
            "evt3 does not"
        )
        return LibcaerPacking()

    def _write_trigger_packets(self, triggers: Triggers) -> None:
        start = 0
        while start < len(triggers):
            end_us = int(triggers.t[start]) + _TRIGGER_SPAN_US
            stop = int(np.searchsorted(triggers.t, end_us))
            part = Triggers(triggers.t[start:stop], triggers.id[start:stop], triggers.p[start:stop])
            self._add(1, int(part.t[0]), "trigger", pack_triggers(part))
            start = stop

    def _add(self, topic: int, t_us: int, encoding: str, data: bytes) -> None:
        packet = Packet(t_us, *self.size, self._sequences[topic], encoding, data)
        self._sequences[topic] += 1
        try:
            message = ros1_bytes(packet) if self._writer.ros1 else cdr_bytes(packet)
        except OverflowError:
            raise EventsError(
                f"{self.path}: a time of {t_us} us is no time of ROS (0 to 2^31 s); shift it"
            ) from None
        self._writer.add(topic, t_us * 1000, message)
