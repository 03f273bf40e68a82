"""EventPacket messages as bytes. Layouts as in dvskit.formats.ros.wire."""

from __future__ import annotations

import struct
from typing import NamedTuple

FRAME_ID = b"event_camera"
_LATEST_SECOND = (1 << 31) - 1


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
