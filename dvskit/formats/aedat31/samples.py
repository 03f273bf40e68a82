"""What AEDAT 3.1 files hold beside events: edges on inputs, samples of motion, frames.

Layouts: libcaer's special.h, imu6.h, imu9.h and frame.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.aedat31.packets import Packet, Walk
from dvskit.formats.losses import Lose
from dvskit.streams import Frame, Imu, Triggers

# Special events on external inputs: type -> input, rising (a pulse counts as its rising edge).
INPUTS = {
    first + edge: (number, edge != 1) for number, first in enumerate((2, 6, 9)) for edge in range(3)
}
_IMU = [("info", "<u4"), ("t", "<i4"), ("a", "<f4", 3), ("g", "<f4", 3), ("temperature", "<f4")]
_IMU6, _IMU9 = np.dtype(_IMU), np.dtype([*_IMU, ("m", "<f4", 3)])
_SIDES = ("start_frame", "end_frame", "start", "stop", "width", "height", "x", "y")
_FRAME = np.dtype([("info", "<u4"), *((name, "<i4") for name in _SIDES)])
_CHANNELS = (1, 3, 4)  # gray, RGB, RGBA
WORD_BYTES = 8


class Words(NamedTuple):
    """The valid words of a polarity or special packet: their times, and the byte of each."""

    address: NDArray[np.uint32]
    t: NDArray[np.int64]
    offsets: NDArray[np.int64]


def valid_words(data: NDArray[np.uint8], packet: Packet) -> Words:
    """Return the valid events of a packet whose events are an address and a time."""
    part = data[packet.start : packet.start + WORD_BYTES * packet.number].tobytes()
    words = np.frombuffer(part, "<u4").reshape(-1, 2)
    offsets = packet.start + np.arange(len(words)) * WORD_BYTES
    valid = words[:, 0] & 1 == 1
    t = _times(words[valid, 1].view("<i4"), packet)
    return Words(words[valid, 0], t, offsets[valid])


def _times(stamps: NDArray[np.int32], packet: Packet) -> NDArray[np.int64]:
    # A negative stamp is impossible; it stays negative, whatever the wraps are.
    t = stamps.astype(np.int64)
    return np.where(t < 0, t, t + (packet.overflow << 31))


def read_triggers(walk: Walk, lose: Lose) -> Triggers:
    """Return the edges on external inputs in order of time; a pulse is given as a rising edge."""
    parts = []
    for packet in walk.packets(lose):
        words = valid_words(walk.data, packet)
        kind = words.address >> 1 & 0x7F
        good = np.isin(kind, list(INPUTS)) & (words.t >= 0)
        found = [INPUTS[value] for value in kind[good].tolist()]
        number = np.array([number for number, _ in found], np.int16)
        rising = np.array([rising for _, rising in found], np.bool_)
        parts.append(Triggers(words.t[good], number, rising))
    return Triggers.in_order(parts)


def read_imu(walk: Walk, lose: Lose) -> Imu:
    """Return the valid samples in order of time; those of a negative time are given to `lose`."""
    parts = []
    for packet in walk.packets(lose):
        layout = _IMU6 if packet.size == _IMU6.itemsize else _IMU9
        stop = packet.start + packet.size * packet.number
        rows = np.frombuffer(walk.data[packet.start : stop].tobytes(), layout)
        t = _times(rows["t"], packet)
        valid = rows["info"] & 1 == 1
        for place in np.flatnonzero(valid & (t < 0)).tolist():
            problem = f"an IMU sample at {t[place]} us"
            lose(packet.start + packet.size * place, packet.size, problem)
        rows, t = rows[valid & (t >= 0)], t[valid & (t >= 0)]
        magnet = rows["m"] if layout is _IMU9 else np.full((len(rows), 3), np.nan)
        values = (rows["a"], rows["g"], rows["temperature"], magnet)
        parts.append(Imu(t, *(value.astype(np.float32) for value in values)))
    return Imu.in_order(parts)


def read_frames(walk: Walk, lose: Lose) -> Iterator[Frame]:
    """Yield the valid frames, one at a time: uint16, gray or RGB, exposed from t_us to stop_us.

    Those that are impossible are given to `lose`.
    """
    for packet in walk.packets(lose):
        for at in range(packet.start, packet.start + packet.number * packet.size, packet.size):
            frame = _frame(walk.data[at : at + packet.size].tobytes(), packet.overflow << 31)
            if isinstance(frame, str):
                lose(at, packet.size, frame)
            elif frame is not None:
                yield frame


def _frame(data: bytes, wraps: int) -> Frame | str | None:
    """Return a frame of its bytes, what is impossible in it, or None where it is not valid."""
    row = np.frombuffer(data, _FRAME, 1)[0]
    info, _, _, start, stop, width, height, x, y = (int(value) for value in row.tolist())
    if info & 1 == 0:
        return None
    channels = info >> 1 & 7
    pixels = width * height * channels
    if x < 0 or y < 0:
        return f"a frame at ({x}, {y})"
    if width < 1 or height < 1 or channels not in _CHANNELS:
        return f"a frame of {width}x{height} pixels and {channels} channels"
    if 2 * pixels > len(data) - _FRAME.itemsize:
        return f"a frame of {width}x{height}x{channels} in {len(data) - _FRAME.itemsize} bytes"
    if not 0 <= start <= stop:
        return f"a frame exposed from {start} to {stop} us"
    image = np.frombuffer(data, "<u2", pixels, _FRAME.itemsize).reshape(height, width, channels)
    image = image[:, :, 0] if channels == 1 else image[:, :, :3]
    return Frame(start + wraps, stop + wraps, image.astype(np.uint16), x, y)
