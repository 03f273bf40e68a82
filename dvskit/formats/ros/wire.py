"""Messages as ROS 1 and ROS 2 (CDR) put them into bytes, and those of events.

Layouts: wiki.ros.org/msg (ROS 1: packed, little-endian); OMG DDS-XTypes 1.3, section 7.4 (CDR: a
header of 4 bytes, then each number at a multiple of its own length).
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

Data = bytes | memoryview

_SIZES = {"B": 1, "?": 1, "H": 2, "i": 4, "I": 4, "q": 8, "Q": 8, "d": 8}
_PLAIN_CDR = {0: (">", 8), 1: ("<", 8), 6: (">", 4), 7: ("<", 4)}  # 6, 7: XCDR2
_LONGEST_TEXT = 1 << 16
MOST_PADDING = 8  # bytes behind the last field
_STAMP_END = 12  # of a header, in both serialisations


class MessageError(ValueError):
    """A message that does not hold what its kind says."""


class Fields:
    """A cursor over one message: each call returns the next field, and MessageError if none is."""

    def __init__(self, data: Data, *, ros1: bool) -> None:
        self.data = data
        self.ros1 = ros1
        self._order, self._widest = "<", 1
        self.at = self._origin = 0
        if not ros1:
            kind = int.from_bytes(data[:2], "big")
            if len(data) < 4 or kind not in _PLAIN_CDR:
                raise MessageError(f"it starts with {bytes(data[:4]).hex()}, not as CDR does")
            self._order, self._widest = _PLAIN_CDR[kind]
            self.at = self._origin = 4

    @property
    def big_endian(self) -> bool:
        """Whether numbers stand with their high byte first."""
        return self._order == ">"

    def align(self, width: int) -> None:
        """Move on to where a number of `width` bytes may stand."""
        step = min(width, self._widest)
        self.at += -(self.at - self._origin) % step

    def number(self, code: str) -> int:
        """Return a whole number of the struct module's `code`."""
        return int(self._unpack(code, 1)[0])

    def floats(self, count: int) -> tuple[float, ...]:
        """Return `count` numbers of 64 bits."""
        return self._unpack("d", count)

    def _unpack(self, code: str, count: int) -> tuple[Any, ...]:
        self.align(_SIZES[code])
        try:
            values = struct.unpack_from(f"{self._order}{count}{code}", self.data, self.at)
        except struct.error:
            raise MessageError(f"it ends at its byte {len(self.data)}, inside a field") from None
        self.at += count * _SIZES[code]
        return values

    def text(self) -> str:
        """Return a string, without the zero at its end."""
        length = self.number("I")
        if length > _LONGEST_TEXT or self.at + length > len(self.data):
            raise MessageError(f"it names a text of {length} bytes where {self.left} are left")
        value = bytes(self.data[self.at : self.at + length])
        self.at += length
        return value.rstrip(b"\0").decode("utf-8", "replace")

    @property
    def left(self) -> int:
        """The number of bytes from the cursor to the end."""
        return max(0, len(self.data) - self.at)

    def stamp_ns(self) -> int:
        """Return a time in nanoseconds."""
        seconds = self.number("I" if self.ros1 else "i")
        return seconds * 1_000_000_000 + self.number("I")

    def header_ns(self) -> int:
        """Return the time of a std_msgs/Header."""
        if self.ros1:
            self.number("I")  # a sequence number
        stamp = self.stamp_ns()
        self.text()
        return stamp


class PacketHead(NamedTuple):
    """An event_camera_msgs/EventPacket, up to its bytes of events.

    start   where the events begin in the message
    length  the number of their bytes, as the message says; `held` are there, up to its end
    """

    stamp_ns: int
    width: int
    height: int
    sequence: int
    time_base_ns: int
    encoding: str
    big_endian: bool
    start: int
    length: int
    held: int


def read_packet(data: Data, *, ros1: bool) -> PacketHead:
    """Read the head of an EventPacket. Raises MessageError."""
    fields = Fields(data, ros1=ros1)
    stamp = fields.header_ns()
    height, width = fields.number("I"), fields.number("I")
    sequence, base = fields.number("Q"), fields.number("Q")
    encoding = fields.text()
    big = fields.number("B") != 0
    length = fields.number("I")
    return PacketHead(
        stamp, width, height, sequence, base, encoding, big, fields.at, length,
        fields.left if fields.left > length + MOST_PADDING else min(length, fields.left),
    )  # fmt: skip


class PacketHeads:
    """Reads heads of packets that differ from one seen before in their numbers alone.

    start  where the events begin in such a message
    """

    def __init__(self, *, ros1: bool) -> None:
        self._ros1 = ros1
        self._names = self._tail = b""
        self.start = self._numbers = 0
        self._two, self._one = struct.Struct("<QQ"), struct.Struct("<I")

    def learn(self, data: Data) -> None:
        """Take a message's head as the pattern. Raises MessageError."""
        fields = Fields(data, ros1=self._ros1)
        fields.header_ns()
        fields.number("I")
        fields.number("I")
        fields.align(8)
        self._numbers = fields.at
        fields.floats(2)
        fields.text()
        fields.number("B")
        fields.number("I")
        self.start = fields.at
        order = ">" if fields.big_endian else "<"
        self._two, self._one = struct.Struct(order + "QQ"), struct.Struct(order + "I")
        self._order = bytes(data[:2])
        self._names = bytes(data[_STAMP_END : self._numbers])
        self._tail = bytes(data[self._numbers + 16 : self.start - 4])

    def read(self, data: Data) -> tuple[int, int, int] | None:
        """Return sequence, time base and length; None where the head is not like the pattern."""
        start, numbers = self.start, self._numbers
        if (
            not start
            or len(data) < start
            or data[_STAMP_END:numbers] != self._names
            or data[numbers + 16 : start - 4] != self._tail
            or not (self._ros1 or data[:2] == self._order)
        ):
            return None
        sequence, base = self._two.unpack_from(data, numbers)
        return sequence, base, self._one.unpack_from(data, start - 4)[0]


class ArrayHead(NamedTuple):
    """An EventArray of dvs_msgs and its relatives, up to its events.

    start   where the first event begins
    events  their number, as the message says; `held` are there
    """

    stamp_ns: int
    width: int
    height: int
    start: int
    events: int
    held: int
    big_endian: bool


ROS1_EVENT_BYTES = 13
CDR_EVENT_BYTES = 16  # of each but the first, which has no 2 bytes of padding behind its y
CDR_FIRST_BYTES = 13


def array_place(index: int, *, ros1: bool) -> int:
    """Return where event `index` begins, from the first event on."""
    if ros1:
        return ROS1_EVENT_BYTES * index
    return CDR_EVENT_BYTES * index - 2 if index else 0


def read_array(data: Data, *, ros1: bool) -> ArrayHead:
    """Read the head of an EventArray. Raises MessageError."""
    fields = Fields(data, ros1=ros1)
    stamp = fields.header_ns()
    height, width = fields.number("I"), fields.number("I")
    count = fields.number("I")
    if ros1:
        room = fields.left // ROS1_EVENT_BYTES
    else:  # an event's last byte stands 12 bytes behind a multiple of 16
        room = max(0, fields.left - CDR_FIRST_BYTES + CDR_EVENT_BYTES) // CDR_EVENT_BYTES
    return ArrayHead(stamp, width, height, fields.at, count, room, fields.big_endian)
