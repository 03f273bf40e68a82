"""Frames and IMU samples from sensor_msgs/Image, CompressedImage and Imu."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.ros.wire import Data, Fields, MessageError
from dvskit.streams import Frame, Imu

# Encoding of sensor_msgs: bytes of a value, values a pixel, and which of them are red, green, blue.
_ENCODINGS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "mono8": (1, 1, ()), "8UC1": (1, 1, ()), "mono16": (2, 1, ()), "16UC1": (2, 1, ()),
    "rgb8": (1, 3, (0, 1, 2)), "8UC3": (1, 3, (2, 1, 0)), "bgr8": (1, 3, (2, 1, 0)),
    "rgba8": (1, 4, (0, 1, 2)), "bgra8": (1, 4, (2, 1, 0)), "8UC4": (1, 4, (2, 1, 0)),
    "rgb16": (2, 3, (0, 1, 2)), "bgr16": (2, 3, (2, 1, 0)), "16UC3": (2, 3, (2, 1, 0)),
    "rgba16": (2, 4, (0, 1, 2)), "bgra16": (2, 4, (2, 1, 0)),
}  # fmt: skip
_NOT_MEASURED = (math.nan,) * 3


def read_frame(data: Data, *, ros1: bool, compressed: bool) -> Frame:
    """Return the frame of an Image or a CompressedImage.

    Raises MessageError, also where pixels are missing.
    """
    fields = Fields(data, ros1=ros1)
    stamp_us = fields.header_ns() // 1000
    return Frame(stamp_us, stamp_us, _unpack(fields) if compressed else _pixels(fields))


def _pixels(fields: Fields) -> NDArray[Any]:
    """Return (H, W) or (H, W, 3) RGB, uint8 or uint16. Bayer patterns stay gray."""
    height, width = fields.number("I"), fields.number("I")
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


class ImuSample(NamedTuple):
    """Acceleration in m/s^2, angular velocity in rad/s; NaN where it was not measured."""

    t_us: int
    acceleration: tuple[float, ...]
    velocity: tuple[float, ...]


def read_imu(data: Data, *, ros1: bool) -> ImuSample:
    """Read an Imu. Raises MessageError. A covariance that starts with -1 says: not measured."""
    fields = Fields(data, ros1=ros1)
    stamp = fields.header_ns()
    fields.floats(4 + 9)  # orientation and its covariance
    velocity, acceleration = (
        values[:3] if values[3] != -1 else _NOT_MEASURED
        for values in (fields.floats(3 + 9), fields.floats(3 + 9))
    )
    return ImuSample(stamp // 1000, acceleration, velocity)


def imu_of(samples: list[ImuSample]) -> Imu:
    """Return IMU samples in g and degrees a second, sorted by time."""
    if not samples:
        return Imu.empty()
    t, acceleration, velocity = (np.array(column) for column in zip(*samples, strict=True))
    return Imu.in_order([Imu.from_si(t.astype(np.int64), acceleration, velocity)])
