"""Messages of events: which types carry them, and EventPacket as it is written.

Layouts as in dvskit.formats.ros.wire.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

HEADER_MSG = "# Standard metadata of a stamped message\n{sequence}{time} stamp\nstring frame_id\n"

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
FRAME_ID = b"event_camera"
_LATEST_SECOND = (1 << 31) - 1


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


def names_events(type_name: str) -> bool:
    """Whether a type's name is that of one which carries events."""
    return type_name.rpartition("/")[2] in (PACKET, ARRAY)


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

{header} header
uint32 height             # of the sensor, pixels
uint32 width              # of the sensor, pixels

uint64 seq                # number of the packet
uint64 time_base          # nanoseconds; what it means depends on the encoding
string encoding           # how the events are packed
bool is_bigendian         # how the recording machine stores numbers

uint8[] events
"""
_RULE = "=" * 80
ROS1_PACKET = (
    _PACKET_TEXT.format(header="std_msgs/Header")
    + f"\n{_RULE}\nMSG: std_msgs/Header\n"
    + HEADER_MSG.format(sequence="uint32 seq\n", time="time")
)
ROS2_PACKET = (
    _PACKET_TEXT.format(header="std_msgs/Header")
    + f"\n{_RULE}\nMSG: std_msgs/Header\n"
    + HEADER_MSG.format(sequence="", time="builtin_interfaces/Time")
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


def stamp(t_us: int) -> tuple[int, int]:
    """Return seconds and nanoseconds. Raises OverflowError where ROS cannot hold them."""
    seconds, us = divmod(t_us, 1_000_000)
    if not 0 <= seconds <= _LATEST_SECOND:
        raise OverflowError(t_us)
    return seconds, us * 1000


def ros1_bytes(packet: Packet) -> bytes:
    """Return the message as ROS 1 packs it."""
    name = packet.encoding.encode()
    return b"".join(
        (
            struct.pack("<III", packet.sequence & 0xFFFFFFFF, *stamp(packet.t_us)),
            struct.pack("<I", len(FRAME_ID)) + FRAME_ID,
            struct.pack("<IIQQ", packet.height, packet.width, packet.sequence, packet.t_us * 1000),
            struct.pack("<I", len(name)) + name,
            struct.pack("<BI", 0, len(packet.data)),
            packet.data,
        )
    )


def cdr_bytes(packet: Packet) -> bytes:
    """Return the message as CDR, little-endian."""
    body = bytearray()

    def put(width: int, code: str, *values: int) -> None:
        body.extend(bytes(-len(body) % width))
        body.extend(struct.pack(f"<{code}", *values))

    def put_text(text: bytes) -> None:
        put(4, "I", len(text) + 1)
        body.extend(text + b"\0")

    put(4, "iI", *stamp(packet.t_us))
    put_text(FRAME_ID)
    put(4, "II", packet.height, packet.width)
    put(8, "QQ", packet.sequence, packet.t_us * 1000)
    put_text(packet.encoding.encode())
    put(1, "B", 0)
    put(4, "I", len(packet.data))
    return b"".join((b"\0\1\0\0", body, packet.data))
