"""Messages of ROS 1 and ROS 2 (CDR): event packets and arrays, images, IMU samples.

Layouts: wiki.ros.org/msg (ROS 1: packed, little-endian); OMG DDS-XTypes 1.3, section 7.4 (CDR: a
header of 4 bytes, then each number at a multiple of its own length).
"""

from __future__ import annotations

import math
import re
import struct
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.events import Size
from dvskit.streams import Frame, Imu

Data = bytes | memoryview

_PACKET_FIELDS = (
    "Header header", "uint32 height", "uint32 width", "uint64 seq", "uint64 time_base",
    "string encoding", "bool is_bigendian", "uint8[] events",
)  # fmt: skip
_ARRAY_FIELDS = ("Header header", "uint32 height", "uint32 width", "Event[] events")
_EVENT_FIELDS = ("uint16 x", "uint16 y", "time ts", "bool polarity")
_PACKET_TYPES = ("event_camera_msgs/EventPacket", "event_array_msgs/EventArray")
_ARRAY_TYPES = ("dvs_msgs/EventArray", "prophesee_event_msgs/EventArray", "dv_ros_msgs/EventArray")

PACKET, ARRAY = "EventPacket", "EventArray"

PACKET_TYPE, PACKET_MD5 = "event_camera_msgs/msg/EventPacket", "8a6101b351a64529ac77bd8b71074e52"
_RULE = "=" * 80
_PACKET_TEXT = "\n".join(("std_msgs/Header header", *_PACKET_FIELDS[1:], _RULE))
_HEADER_TEXT = f"{_PACKET_TEXT}\nMSG: std_msgs/Header\n"
ROS1_PACKET = f"{_HEADER_TEXT}uint32 seq\ntime stamp\nstring frame_id\n"
ROS2_PACKET = (
    f"{_HEADER_TEXT}builtin_interfaces/Time stamp\nstring frame_id\n{_RULE}\n"
    "MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
)
_FRAME_ID = b"event_camera"

_PLAIN_CDR = {0: (">", 8), 1: ("<", 8), 6: (">", 4), 7: ("<", 4)}  # 6, 7: XCDR2
_LONGEST_TEXT = 1 << 16
_MOST_PADDING = 8  # bytes after the last field
_LATEST_NS = 1 << 62

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
    """A message whose content does not fit its type."""


def event_kind(type_name: str, definition: str) -> str | None:
    """Return PACKET or ARRAY for a type that carries events, None for others.

    Decided by the fields of the definition, or by the name if there is no definition.
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


@lru_cache(maxsize=256)
def number_layout(codes: str, order: str, widest: int, at: int) -> struct.Struct:
    """Return the layout of numbers, the first of them at byte `at`, each at a multiple of its size.

    codes   of the struct module
    order   "<" or ">"
    widest  the largest multiple; 1 for numbers without padding
    """
    layout = order
    for code in codes:
        size = struct.calcsize(order + code)
        padding = -at % min(size, widest)
        layout += f"{padding}x{code}"
        at += padding + size
    return struct.Struct(layout)


class Fields:
    """A cursor over one message: each call returns the next fields, or raises MessageError.

    at          the offset of the next field
    big_endian  whether numbers have their high byte first
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
        return len(self.data) - self.at

    def numbers(self, codes: str) -> tuple[Any, ...]:
        """Return numbers, one for each code of the struct module."""
        layout = number_layout(codes, self._order, self._widest, (self.at - self._origin) % 8)
        try:
            values = layout.unpack_from(self.data, self.at)
        except struct.error:
            raise MessageError(f"it ends at its byte {len(self.data)}, inside a field") from None
        self.at += layout.size
        return values

    def text(self, length: int) -> str:
        """Return a string of `length` bytes, without the zero at its end."""
        if length > min(self.left, _LONGEST_TEXT):
            raise MessageError(f"it names a text of {length} bytes where {self.left} are left")
        value = self.data[self.at : self.at + length]
        self.at += length
        return str(value, "utf-8", "replace").rstrip("\0")

    def header_ns(self) -> int:
        """Return the time of a std_msgs/Header."""
        # ROS 1 has a sequence number first.
        numbers = self.numbers("IIII" if self.ros1 else "iII")
        self.at += numbers[-1]
        stamp_ns: int = numbers[-3] * 1_000_000_000 + numbers[-2]
        return stamp_ns


class EventsHead(NamedTuple):
    """An EventPacket or an EventArray, except for its events: bytes start..stop - 1 of the message.

    events  the number of events of an array; -1 of a packet
    Of packets only: the encoding, the packet's number, and the time base in nanoseconds.
    """

    width: int
    height: int
    big_endian: bool
    start: int
    stop: int
    events: int = -1
    encoding: str = ""
    sequence: int = -1
    base_ns: int = 0


def read_packet(data: Data, *, ros1: bool) -> EventsHead:
    """Read the head of an EventPacket. Raises MessageError, also if it does not hold its events."""
    fields = Fields(data, ros1=ros1)
    fields.header_ns()
    height, width, sequence, base, length = fields.numbers("IIQQI")
    encoding = fields.text(length)
    _, size = fields.numbers("BI")  # is_bigendian, and the length
    start = fields.at
    if not 0 <= fields.left - size <= _MOST_PADDING:
        raise MessageError(f"it says to hold {size} bytes of events where {fields.left} are")
    if base > _LATEST_NS and encoding != "evt3":
        raise MessageError(f"its time base is {base} ns, in the far future")
    stop = start + size
    return EventsHead(width, height, fields.big_endian, start, stop, -1, encoding, sequence, base)


def read_array(data: Data, *, ros1: bool) -> EventsHead:
    """Read the head of an EventArray of dvs_msgs and its relatives.

    Raises MessageError, also if it does not hold its events.
    """
    fields = Fields(data, ros1=ros1)
    fields.header_ns()
    height, width, count = fields.numbers("III")
    start = fields.at
    # An event has 13 bytes. CDR adds 3 to all but the first, which has no padding ahead.
    step = 13 if ros1 else 16
    size = max(0, step * (count - 1) + 13)
    if not 0 <= fields.left - size <= _MOST_PADDING:
        held = (fields.left + step - 13) // step
        raise MessageError(f"it says to hold {count} events where {held} are")
    return EventsHead(width, height, fields.big_endian, start, start + size, count)


def packet_bytes(
    t_us: int, size: Size, sequence: int, encoding: str, data: bytes, *, ros1: bool
) -> bytes:
    """Return an EventPacket as ROS 1 packs it, or as CDR, little-endian."""
    body = bytearray()

    def put(codes: str, *values: int) -> None:
        widest = 1 if ros1 else 8
        body.extend(number_layout(codes, "<", widest, len(body) % 8).pack(*values))

    end = b"" if ros1 else b"\0"
    frame, kind = _FRAME_ID + end, encoding.encode() + end
    if ros1:
        put("I", sequence & 0xFFFFFFFF)
    seconds, us = divmod(t_us, 1_000_000)
    put("III", seconds, us * 1000, len(frame))
    body += frame
    put("IIQQI", size.height, size.width, sequence, t_us * 1000, len(kind))
    body += kind
    put("BI", 0, len(data))
    return b"".join((b"" if ros1 else b"\0\1\0\0", body, data))


def read_frame(data: Data, *, ros1: bool, compressed: bool) -> Frame:
    """Return the frame of an Image or a CompressedImage.

    Raises MessageError, also where pixels are missing.
    """
    fields = Fields(data, ros1=ros1)
    stamp_us = fields.header_ns() // 1000
    return Frame(stamp_us, stamp_us, _unpack(fields) if compressed else _pixels(fields))


def _pixels(fields: Fields) -> NDArray[Any]:
    """Return (H, W) or (H, W, 3) RGB, uint8 or uint16. Bayer patterns stay gray."""
    height, width, letters = fields.numbers("III")
    named = encoding = fields.text(letters)
    big, step, length = fields.numbers("BII")
    if length > fields.left or length < step * height:
        raise MessageError(
            f"it names {height} rows of {step} bytes and {length} bytes where {fields.left} are"
        )
    if encoding.startswith("bayer_"):
        encoding = "mono16" if encoding.endswith("16") else "mono8"
    if encoding not in _ENCODINGS:
        known = ", ".join(sorted(_ENCODINGS))
        raise MessageError(f"pixels are encoded as {named!r}; {known} are read")
    size, values, colors = _ENCODINGS[encoding]
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
    return image.reshape(height, width, values)[:, :, list(colors)]


def _unpack(fields: Fields) -> NDArray[Any]:
    """Return the picture of a JPEG or PNG."""
    import cv2

    kind = fields.text(*fields.numbers("I"))
    (length,) = fields.numbers("I")
    if length > fields.left:
        raise MessageError(f"it names {length} bytes of a picture where {fields.left} are left")
    if "compressedDepth" in kind:
        raise MessageError("it is a depth image, which is not read")
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

    NaN if not measured: then the covariance starts with -1. Raises MessageError.
    """
    fields = Fields(data, ros1=ros1)
    stamp = fields.header_ns()
    fields.numbers("d" * (4 + 9))  # orientation and its covariance
    velocity, acceleration = (
        values[:3] if values[3] != -1 else _NOT_MEASURED
        for values in (fields.numbers("d" * (3 + 9)), fields.numbers("d" * (3 + 9)))
    )
    return stamp // 1000, acceleration, velocity


def imu_of(samples: list[ImuSample]) -> Imu:
    """Return IMU samples in g and degrees per second, sorted by time."""
    if not samples:
        return Imu.empty()
    t, acceleration, velocity = (np.array(column) for column in zip(*samples, strict=True))
    return Imu.in_order([Imu.from_si(t.astype(np.int64), acceleration, velocity)])
