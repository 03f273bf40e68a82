"""Events and triggers packed into messages event_camera_msgs/EventPacket.

Encodings as in message_kernels and dvskit.formats.prophesee.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from dvskit.errors import EventsError
from dvskit.events import Events, Size
from dvskit.formats.prophesee import encode_kernels as evt3
from dvskit.formats.prophesee import evt3_kernels as w
from dvskit.formats.ros.messages import packet_bytes
from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.streams import Triggers

PACKET_EVENTS, PACKET_US = 1 << 14, 10_000  # a packet holds no more of both
_EVT3_SIDE, _EVT3_FIRST_US, _EVT3_IDS = 2048, 1 << 24, 16
_EVT3_LONG_GAP_US, _EVT3_LONGEST_GAP_US = evt3.LONG_GAP << 12, 1 << 40  # 71 minutes, 12 days
_TRIGGER_SPAN_US = 4_000_000  # 32 bits of nanoseconds
_LATEST_US = (1 << 31) * 1_000_000 - 1
_WORDS = 1 << 16  # of evt3 that are packed at once


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


class EventPackets:
    """Packs events into messages of 10 ms each at most, and sends them: `send(topic, t_us, bytes)`.

    topic  0 for events, 1 for triggers

    Encoded as evt3 where that keeps the times: the first one below 2^24 us, addresses below 2048;
    else as libcaer, with triggers in messages of their own. Raises EventsError, which names `path`,
    for times below 0 or from 2^31 s on, which ROS does not have.
    """

    def __init__(
        self, path: object, size: Size, send: Callable[[int, int, bytes], None], *, ros1: bool,
        notes: list[str],
    ) -> None:  # fmt: skip
        self._path, self._size, self._send, self._ros1 = path, size, send, ros1
        self._notes = notes
        self._triggers = Triggers.empty()
        self._encoding = ""  # evt3 or libcaer, once the first packet has chosen
        self._evt3 = _Evt3Packing(size)
        self._sequences = [0, 0]
        self._latest_us = 0

    def take(self, triggers: Triggers) -> None:
        """Take all triggers, before the events."""
        self._triggers = triggers

    def limits(self, first_us: int) -> tuple[float, float]:
        """Return the longest gap and duration after a first event, which chooses the encoding."""
        if not self._encoding:
            self._encoding = self._choose(min([first_us, *self._triggers.t[:1].tolist()]))
        longest_gap_us = _EVT3_LONGEST_GAP_US if self._encoding == "evt3" else math.inf
        return longest_gap_us, _LATEST_US - first_us if first_us >= 0 else -1

    def finish(self) -> None:
        """Send the remaining triggers, or a packet with the size if none was sent."""
        self._write_packet(Events.empty(self._size), self._triggers)
        if not any(self._sequences):
            self._add(0, 0, self._encoding, b"")

    def write(self, events: Events) -> None:
        """Send events in packets."""
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
                    f"{self._path}: a gap of {longest} us is too long for packets in evt3; cut the "
                    "stream there, or choose .npz or .aedat4"
                )
            note = "a gap of more than an hour is stored in large steps: some readers miscount it"
            if longest > _EVT3_LONG_GAP_US and note not in self._notes:
                self._notes.append(note)
        self._latest_us = latest

    def _choose(self, first_us: int) -> str:
        ids = self._triggers.id
        if (
            max(self._size) <= _EVT3_SIDE
            and 0 <= first_us < _EVT3_FIRST_US
            and (not len(ids) or int(ids.max()) < _EVT3_IDS)
        ):
            return "evt3"
        self._notes.append(
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
                f"{self._path}: a time of {t_us} us is no time of ROS (0 to 2^31 s); shift it"
            )
        number = self._sequences[topic]
        message = packet_bytes(t_us, self._size, number, encoding, data, ros1=self._ros1)
        self._sequences[topic] += 1
        self._send(topic, t_us, message)
