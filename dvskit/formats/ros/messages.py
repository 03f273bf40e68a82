"""Messages of events: which types carry them, and packets of events as they are written.

Layouts as in dvskit.formats.ros.wire; of what is packed, as in message_kernels and evt3.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

import numpy as np

from dvskit.events import Events, Size
from dvskit.formats.prophesee import encode_kernels as evt3
from dvskit.formats.prophesee import evt3_kernels as w
from dvskit.formats.storage import EventColumns, TriggerColumns
from dvskit.streams import Triggers

_HEADER_TEXT = "# Standard metadata of a stamped message\n{sequence}{time} stamp\nstring frame_id\n"

_PACKET_FIELDS = (
    "Header header", "uint32 height", "uint32 width", "uint64 seq", "uint64 time_base",
    "string encoding", "bool is_bigendian", "uint8[] events",
)  # fmt: skip
_ARRAY_FIELDS = ("Header header", "uint32 height", "uint32 width", "Event[] events")
_EVENT_FIELDS = ("uint16 x", "uint16 y", "time ts", "bool polarity")
_PACKET_TYPES = ("event_camera_msgs/EventPacket", "event_array_msgs/EventArray")
_ARRAY_TYPES = ("dvs_msgs/EventArray", "prophesee_event_msgs/EventArray", "dv_ros_msgs/EventArray")

PACKET, ARRAY = "EventPacket", "EventArray"
PACKET_TYPE = _PACKET_TYPES[0]
PACKET_MD5 = "8a6101b351a64529ac77bd8b71074e52"
_FRAME_ID = b"event_camera"
_LATEST_SECOND = (1 << 31) - 1
_WORDS = 1 << 16  # of evt3 that are packed at once


def event_kind(type_name: str, definition: str) -> str | None:
    """Return PACKET or ARRAY for a type that carries events, None for others.

    The fields decide where there is a definition, the name where there is none.
    """
    if definition:
        parts = re.split(r"^=+\n", definition, flags=re.MULTILINE)
        top = _fields(parts[0])
        if top == _PACKET_FIELDS:
            return PACKET
        if top == _ARRAY_FIELDS:
            for part in parts[1:]:
                name, _, text = part.partition("\n")
                if name.startswith("MSG:") and name.endswith("/Event"):
                    return ARRAY if _fields(text) == _EVENT_FIELDS else None
        return None
    if type_name in _PACKET_TYPES:
        return PACKET
    return ARRAY if type_name in _ARRAY_TYPES else None


def _fields(text: str) -> tuple[str, ...]:
    """Return the fields of a definition, as `type name`, without the packages of the types."""
    found = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 2 and "=" not in line.partition("#")[0]:
            kind = words[0].rpartition("/")[2]
            found.append(f"{'time' if kind == 'Time' else kind} {words[1]}")
    return tuple(found)


_PACKET_TEXT = """# A packet of events of a camera

std_msgs/Header header
uint32 height             # of the sensor, pixels
uint32 width              # of the sensor, pixels

uint64 seq                # number of the packet
uint64 time_base          # nanoseconds; what it means depends on the encoding
string encoding           # how the events are packed
bool is_bigendian         # how the recording machine stores numbers

uint8[] events
"""
_RULE = "=" * 80
_DEFINITION = f"{_PACKET_TEXT}\n{_RULE}\nMSG: std_msgs/Header\n{_HEADER_TEXT}"
ROS1_PACKET = _DEFINITION.format(sequence="uint32 seq\n", time="time")
ROS2_PACKET = (
    _DEFINITION.format(sequence="", time="builtin_interfaces/Time")
    + f"\n{_RULE}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
)


class Packet(NamedTuple):
    """What an EventPacket says: times in microseconds, `data` packed as `encoding` has it."""

    t_us: int
    width: int
    height: int
    sequence: int
    encoding: str
    data: bytes


def message_bytes(packet: Packet, *, ros1: bool) -> bytes:
    """Return the message as ROS 1 packs it, or as CDR, little-endian.

    Raises OverflowError where ROS cannot hold the time.
    """
    seconds, us = divmod(packet.t_us, 1_000_000)
    if not 0 <= seconds <= _LATEST_SECOND:
        raise OverflowError(packet.t_us)
    body = bytearray()

    def put(code: str, *values: int) -> None:
        if not ros1:  # numbers stand at multiples of their own length
            body.extend(bytes(-len(body) % struct.calcsize(code)))
        body.extend(struct.pack(f"<{len(values)}{code}", *values))

    def put_text(text: bytes) -> None:
        text += b"" if ros1 else b"\0"
        put("I", len(text))
        body.extend(text)

    if ros1:
        put("I", packet.sequence & 0xFFFFFFFF)
    put("I", seconds, us * 1000)
    put_text(_FRAME_ID)
    put("I", packet.height, packet.width)
    put("Q", packet.sequence, packet.t_us * 1000)
    put_text(packet.encoding.encode())
    put("B", 0)
    put("I", len(packet.data))
    return b"".join((b"" if ros1 else b"\0\1\0\0", body, packet.data))


class Evt3Packing:
    """Packs words of EVT 3.0, with the triggers among them; the first time is below 2^24 us."""

    def __init__(self, size: Size) -> None:
        self._width = size.width
        self._state = np.full(evt3.ENCODER_FIELDS, -1, np.int64)
        self._words = np.empty(_WORDS, np.uint16)

    def pack(self, events: Events, triggers: Triggers) -> bytes:
        """Return the words of the next events and triggers, merged by time."""
        parts: list[bytes] = []
        if self._state[evt3.E_HIGH] >= 0:
            # Each packet says the full time and the row anew: it can be read without those before.
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


def pack_libcaer(events: Events) -> bytes:
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


def pack_triggers(triggers: Triggers) -> bytes:
    """Return triggers in encoding trigger: nanoseconds since the first (32 bits), id, edge."""
    words = (triggers.t - triggers.t[0]).astype(np.uint64) * np.uint64(1000)
    words |= triggers.id.astype(np.uint64) << np.uint64(48)
    words |= triggers.p.astype(np.uint64) << np.uint64(63)
    packed: bytes = words.astype("<u8").tobytes()
    return packed
