"""Frames and IMU samples from sensor messages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.ros.wire import (
    CompressedHead,
    Data,
    ImageHead,
    ImuSample,
    MessageError,
    read_compressed,
    read_image,
)
from dvskit.streams import Frame, Imu

# Encoding of sensor_msgs: bytes of a value, values a pixel, and which of them are red, green, blue.
_ENCODINGS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "mono8": (1, 1, ()), "8UC1": (1, 1, ()), "mono16": (2, 1, ()), "16UC1": (2, 1, ()),
    "rgb8": (1, 3, (0, 1, 2)), "8UC3": (1, 3, (2, 1, 0)), "bgr8": (1, 3, (2, 1, 0)),
    "rgba8": (1, 4, (0, 1, 2)), "bgra8": (1, 4, (2, 1, 0)), "8UC4": (1, 4, (2, 1, 0)),
    "rgb16": (2, 3, (0, 1, 2)), "bgr16": (2, 3, (2, 1, 0)), "16UC3": (2, 3, (2, 1, 0)),
    "rgba16": (2, 4, (0, 1, 2)), "bgra16": (2, 4, (2, 1, 0)),
}  # fmt: skip


def read_frame(data: Data, *, ros1: bool, compressed: bool) -> Frame:
    """Return the frame of an Image or a CompressedImage. Raises MessageError."""
    if compressed:
        head = read_compressed(data, ros1=ros1)
        return _frame(head.stamp_ns, _unpack(data, head))
    image = read_image(data, ros1=ros1)
    return _frame(image.stamp_ns, _pixels(data, image))


def _frame(stamp_ns: int, image: NDArray[Any]) -> Frame:
    return Frame(stamp_ns // 1000, stamp_ns // 1000, image)


def _pixels(data: Data, head: ImageHead) -> NDArray[Any]:
    """Return (H, W) or (H, W, 3) RGB, uint8 or uint16. Bayer patterns stay gray."""
    encoding = head.encoding
    if encoding.startswith("bayer_"):
        encoding = "mono16" if encoding.endswith("16") else "mono8"
    if encoding not in _ENCODINGS:
        known = ", ".join(sorted(_ENCODINGS))
        raise MessageError(f"pixels are encoded as {head.encoding!r}; {known} are read")
    size, values, colours = _ENCODINGS[encoding]
    used = size * values * head.width
    if not head.width or not head.height or used > head.step:
        raise MessageError(f"rows of {head.step} bytes do not hold {head.width} {encoding} pixels")
    rows = np.frombuffer(data, np.uint8, head.step * head.height, head.start)
    rows = rows.reshape(head.height, head.step)[:, :used]
    image: NDArray[Any] = rows
    if size == 2:
        order = ">u2" if head.big_endian else "<u2"
        image = np.ascontiguousarray(rows).view(order).astype(np.uint16)
    if values == 1:
        return image.copy()
    return image.reshape(head.height, head.width, values)[:, :, list(colours)]


def _unpack(data: Data, head: CompressedHead) -> NDArray[Any]:
    """Return the picture of a JPEG or PNG."""
    import cv2

    if "compressedDepth" in head.format:
        raise MessageError("it holds a depth image, which is no picture")
    packed = np.frombuffer(data, np.uint8, head.length, head.start)
    try:
        image = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED) if head.length else None
    except cv2.error:
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise MessageError(f"its picture ({head.format!r}) cannot be decoded")
    if image.ndim == 2:
        return np.asarray(image)
    # OpenCV gives blue, green, red (and alpha).
    return np.ascontiguousarray(image[:, :, 2::-1])


def imu_of(samples: list[ImuSample]) -> Imu:
    """Return IMU samples in g and degrees a second, sorted by time."""
    if not samples:
        return Imu.empty()
    nothing = (math.nan,) * 3
    t = np.array([sample.stamp_ns // 1000 for sample in samples], np.int64)
    acceleration = np.array([sample.acceleration or nothing for sample in samples], np.float64)
    velocity = np.array([sample.velocity or nothing for sample in samples], np.float64)
    return Imu.in_order([Imu.from_si(t, acceleration, velocity)])
