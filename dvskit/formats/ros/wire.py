"""Reading messages as ROS 1 and ROS 2 (CDR) put them into bytes: of events, images and an IMU.

Layouts: wiki.ros.org/msg (ROS 1: packed, little-endian); OMG DDS-XTypes 1.3, section 7.4 (CDR: a
header of 4 bytes, then each number at a multiple of its own length).
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.streams import Frame, Imu

Data = bytes | memoryview

_PLAIN_CDR = {0: (">", 8), 1: ("<", 8), 6: (">", 4), 7: ("<", 4)}  # 6, 7: XCDR2
_LONGEST_TEXT = 1 << 16
MOST_PADDING = 8  # bytes behind the last field
_TWO, _ONE = struct.Struct("<QQ"), struct.Struct("<I")
_STAMP_END = 12  # of a header, in both serialisations
_ROS1_EVENT = 13  # bytes of an event
_CDR_FIRST, _CDR_EVENT = 13, 16  # of the first one, and of the others with their padding

# Encoding of sensor_msgs: bytes of a value, values a pixel, and which of them are red, green, blue.
_ENCODINGS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "mono8": (1, 1, ()), "8UC1": (1, 1, ()), "mono16": (2, 1, ()), "16UC1": (2, 1, ()),
    "rgb8": (1, 3, (0, 1, 2)), "8UC3": (1, 3, (2, 1, 0)), "bgr8": (1, 3, (2, 1, 0)),
    "rgba8": (1, 4, (0, 1, 2)), "bgra8": (1, 4, (2, 1, 0)), "8UC4": (1, 4, (2, 1, 0)),
    "rgb16": (2, 3, (0, 1, 2)), "bgr16": (2, 3, (2, 1, 0)), "16UC3": (2, 3, (2, 1, 0)),
    "rgba16": (2, 4, (0, 1, 2)), "bgra16": (2, 4, (2, 1, 0)),
}  # fmt: skip
_NOT_MEASURED = (math.nan,) * 3


class MessageError(ValueError):
    """A message that does not hold what its kind says."""


class Fields:
    """A cursor over one message: each call returns the next field, and MessageError if none is.

    at          where it stands
    big_endian  whether numbers stand with their high byte first
    """

    def __init__(self, data: Data, *, ros1: bool) -> None:
        self.data, self.ros1 = data, ros1
        self._order, self._widest, self._origin = "<", 1, 0
        if not ros1:
            kind = int.from_bytes(data[:2], "big")
            if len(data) < 4 or kind not in _PLAIN_CDR:
                raise MessageError(f"it starts with {bytes(data[:4]).hex()}, not as CDR does")
            self._order, self._widest = _PLAIN_CDR[kind]
            self._origin = 4
        self.at = self._origin
        self.big_endian = self._order == ">"

    @property
    def left(self) -> int:
        """The number of bytes from the cursor to the end."""
        return max(0, len(self.data) - self.at)

    def numbers(self, code: str, count: int) -> tuple[Any, ...]:
        """Return `count` numbers of the struct module's `code`."""
        size = struct.calcsize(code)
        self.at += -(self.at - self._origin) % min(size, self._widest)
        try:
            values = struct.unpack_from(f"{self._order}{count}{code}", self.data, self.at)
        except struct.error:
            raise MessageError(f"it ends at its byte {len(self.data)}, inside a field") from None
        self.at += count * size
        return values

    def number(self, code: str) -> int:
        """Return a whole number of the struct module's `code`."""
        return int(self.numbers(code, 1)[0])

    def text(self) -> str:
        """Return a string, without the zero at its end."""
        length = self.number("I")
        if length > _LONGEST_TEXT or self.at + length > len(self.data):
            raise MessageError(f"it names a text of {length} bytes where {self.left} are left")
        value = bytes(self.data[self.at : self.at + length])
        self.at += length
        return value.rstrip(b"\0").decode("utf-8", "replace")

    def header_ns(self) -> int:
        """Return the time of a std_msgs/Header."""
        if self.ros1:
            self.number("I")  # a sequence number
        seconds, ns = self.number("I" if self.ros1 else "i"), self.number("I")
        self.text()
        return seconds * 1_000_000_000 + ns


class EventsHead(NamedTuple):
    """An EventPacket or an EventArray, up to its events.

    start, stop  where the events begin and end in the message
    said         the number of bytes of events in a packet, of events in an array, as the message
                 says; `held` are there

    What only packets have: where the sequence `stands` in the message; the time base in nanoseconds
    """

    width: int
    height: int
    big_endian: bool
    start: int
    stop: int
    said: int
    held: int
    encoding: str = ""
    sequence: int = -1
    base_ns: int = 0
    stands: int = 0


def read_packet(data: Data, *, ros1: bool) -> EventsHead:
    """Read the head of an EventPacket. Raises MessageError."""
    fields = Fields(data, ros1=ros1)
    fields.header_ns()
    height, width = fields.numbers("I", 2)
    sequence, base = fields.numbers("Q", 2)
    stands = fields.at - 16
    encoding = fields.text()
    fields.number("B")  # is_bigendian
    said, start = fields.number("I"), fields.at
    held = fields.left if fields.left > said + MOST_PADDING else min(said, fields.left)
    return EventsHead(width, height, fields.big_endian, start, start + held, said, held,
                      encoding, sequence, base, stands)  # fmt: skip


class PacketHeads:
    """Reads heads of packets that differ from one seen before in their numbers alone.

    start  where the events begin in such a message
    """

    def __init__(self, *, ros1: bool) -> None:
        self._ros1 = ros1
        self._order = self._names = self._tail = b""
        self.start = self._numbers = 0

    def learn(self, data: Data, head: EventsHead) -> None:
        """Take a message's head as the pattern, if it is little-endian."""
        if not head.big_endian:
            self.start, self._numbers = head.start, head.stands
            self._order = bytes(data[:2])
            self._names = bytes(data[_STAMP_END : head.stands])
            self._tail = bytes(data[head.stands + 16 : head.start - 4])

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
        return *_TWO.unpack_from(data, numbers), *_ONE.unpack_from(data, start - 4)


def read_array(data: Data, *, ros1: bool) -> EventsHead:
    """Read the head of an EventArray of dvs_msgs and its relatives. Raises MessageError."""
    fields = Fields(data, ros1=ros1)
    fields.header_ns()
    height, width = fields.numbers("I", 2)
    said, start = fields.number("I"), fields.at
    if ros1:
        held = fields.left // _ROS1_EVENT
        stop = start + _ROS1_EVENT * held
    else:  # an event's last byte stands 12 bytes behind a multiple of 16
        held = max(0, fields.left - _CDR_FIRST + _CDR_EVENT) // _CDR_EVENT
        stop = start + (_CDR_FIRST + _CDR_EVENT * (held - 1) if held else 0)
    return EventsHead(width, height, fields.big_endian, start, stop, said, held)


def read_frame(data: Data, *, ros1: bool, compressed: bool) -> Frame:
    """Return the frame of an Image or a CompressedImage.

    Raises MessageError, also where pixels are missing.
    """
    fields = Fields(data, ros1=ros1)
    stamp_us = fields.header_ns() // 1000
    return Frame(stamp_us, stamp_us, _unpack(fields) if compressed else _pixels(fields))


def _pixels(fields: Fields) -> NDArray[Any]:
    """Return (H, W) or (H, W, 3) RGB, uint8 or uint16. Bayer patterns stay gray."""
    height, width = fields.numbers("I", 2)
    named = encoding = fields.text()
    big = fields.number("B") != 0
    step, length = fields.number("I"), fields.number("I")
    if length > fields.left or length < step * height:
        raise MessageError(
            f"it names {height} rows of {step} bytes and {length} bytes where {fields.left} are"
        )
    if encoding.startswith("bayer_"):
        encoding = "mono16" if encoding.endswith("16") else "mono8"
    if encoding not in _ENCODINGS:
        known = ", ".join(sorted(_ENCODINGS))
        raise MessageError(f"pixels are encoded as {named!r}; {known} are read")
    size, values, colours = _ENCODINGS[encoding]
    used = size * values * width
    if not width or not height or used > step:
        raise MessageError(f"rows of {step} bytes do not hold {width} {encoding} pixels")
    rows = np.frombuffer(fields.data, np.uint8, step * height, fields.at)
    rows = rows.reshape(height, step)[:, :used]
    image: NDArray[Any] = rows
    if size == 2:
        image = np.ascontiguousarray(rows).view(">u2" if big else "<u2").astype(np.uint16)
    if values == 1:
        return image.copy()
    return image.reshape(height, width, values)[:, :, list(colours)]


def _unpack(fields: Fields) -> NDArray[Any]:
    """Return the picture of a JPEG or PNG."""
    import cv2

    kind, length = fields.text(), fields.number("I")
    if length > fields.left:
        raise MessageError(f"it names {length} bytes of a picture where {fields.left} are left")
    if "compressedDepth" in kind:
        raise MessageError("it holds a depth image, which is no picture")
    packed = np.frombuffer(fields.data, np.uint8, length, fields.at)
    try:
        image = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED) if length else None
    except cv2.error:
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise MessageError(f"its picture ({kind!r}) cannot be decoded")
    if image.ndim == 2:
        return np.asarray(image)
    # OpenCV gives blue, green, red (and alpha).
    return np.ascontiguousarray(image[:, :, 2::-1])


ImuSample = tuple[int, tuple[float, ...], tuple[float, ...]]


def read_imu(data: Data, *, ros1: bool) -> ImuSample:
    """Return an Imu's time (us), acceleration (m/s^2) and angular velocity (rad/s).

    Raises MessageError. NaN where it was not measured, as a covariance says that starts with -1.
    """
    fields = Fields(data, ros1=ros1)
    stamp = fields.header_ns()
    fields.numbers("d", 4 + 9)  # orientation and its covariance
    velocity, acceleration = (
        values[:3] if values[3] != -1 else _NOT_MEASURED
        for values in (fields.numbers("d", 3 + 9), fields.numbers("d", 3 + 9))
    )
    return stamp // 1000, acceleration, velocity


def imu_of(samples: list[ImuSample]) -> Imu:
    """Return IMU samples in g and degrees a second, sorted by time."""
    if not samples:
        return Imu.empty()
    t, acceleration, velocity = (np.array(column) for column in zip(*samples, strict=True))
    return Imu.in_order([Imu.from_si(t.astype(np.int64), acceleration, velocity)])
