"""What AEDAT 3.1 files hold beside events: edges on inputs, samples of motion, frames.

Layouts: libcaer's special.h, imu6.h, imu9.h and frame.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.aedat31.packets import Packet
from dvskit.formats.losses import Lose
from dvskit.streams import Frame, Imu, Triggers

# Special events on external inputs: type -> input, rising (a pulse counts as its rising edge).
INPUTS = {
    first + edge: (number, edge != 1) for number, first in enumerate((2, 6, 9)) for edge in range(3)
}
_IMU = [("info", "<u4"), ("t", "<i4"), ("a", "<f4", 3), ("g", "<f4", 3), ("temperature", "<f4")]
_IMU6, _IMU9 = np.dtype(_IMU), np.dtype([*_IMU, ("m", "<f4", 3)])
_FRAME = np.dtype(
    [
        ("info", "<u4"),
        ("start_frame", "<i4"),
        ("end_frame", "<i4"),
        ("start_exposure", "<i4"),
        ("end_exposure", "<i4"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("x", "<i4"),
        ("y", "<i4"),
    ]
)
_CHANNELS = (1, 3, 4)  # gray, RGB, RGBA


def special_words(
    data: NDArray[np.uint8], packet: Packet
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the types and the times of the valid special events of a packet."""
    part = data[packet.start : packet.start + 8 * packet.number].tobytes()
    words = np.frombuffer(part, "<u4").reshape(-1, 2)
    words = words[words[:, 0] & 1 == 1]
    return (words[:, 0] >> 1 & 0x7F).astype(np.int64), _times(words[:, 1].view("<i4"), packet)


def _times(stamps: NDArray[np.int32], packet: Packet) -> NDArray[np.int64]:
    # A negative stamp is impossible; it stays negative, whatever the wraps are.
    t = stamps.astype(np.int64)
    return np.where(t < 0, t, t + (packet.overflow << 31))


def read_triggers(data: NDArray[np.uint8], packets: Iterable[Packet]) -> Triggers:
    """Return the edges on external inputs in order of time; a pulse is given as a rising edge."""
    parts = []
    for packet in packets:
        kind, t = special_words(data, packet)
        good = np.isin(kind, list(INPUTS)) & (t >= 0)
        found = [INPUTS[value] for value in kind[good].tolist()]
        parts.append(
            Triggers(
                t[good],
                np.array([number for number, _ in found], np.int16),
                np.array([rising for _, rising in found], np.bool_),
            )
        )
    return Triggers.in_order(parts)


def read_imu(data: NDArray[np.uint8], packets: Iterable[Packet], lose: Lose) -> Imu:
    """Return the valid samples in order of time; those of a negative time are given to `lose`."""
    parts = []
    for packet in packets:
        layout = _IMU6 if packet.size == _IMU6.itemsize else _IMU9
        stop = packet.start + packet.size * packet.number
        rows = np.frombuffer(data[packet.start : stop].tobytes(), layout)
        t = _times(rows["t"], packet)
        valid = rows["info"] & 1 == 1
        for place in np.flatnonzero(valid & (t < 0)).tolist():
            problem = f"an IMU sample at {t[place]} us"
            lose(packet.start + packet.size * place, packet.size, problem)
        rows, t = rows[valid & (t >= 0)], t[valid & (t >= 0)]
        magnet = rows["m"] if layout is _IMU9 else np.full((len(rows), 3), np.nan)
        parts.append(
            Imu(
                t=t,
                accelerometer=rows["a"].astype(np.float32),
                gyroscope=rows["g"].astype(np.float32),
                temperature=rows["temperature"].astype(np.float32),
                magnetometer=magnet.astype(np.float32),
            )
        )
    return Imu.in_order(parts)


def read_frames(data: NDArray[np.uint8], packets: Iterable[Packet], lose: Lose) -> Iterator[Frame]:
    """Yield the valid frames, one at a time: uint16, gray or RGB, exposed from t_us to stop_us.

    Those that are impossible are given to `lose`.
    """
    for packet in packets:
        for place in range(packet.number):
            at = packet.start + place * packet.size
            head = np.frombuffer(data[at : at + _FRAME.itemsize].tobytes(), _FRAME)[0]
            info, width, height = int(head["info"]), int(head["width"]), int(head["height"])
            if info & 1 == 0:
                continue
            channels = info >> 1 & 7
            start, stop = int(head["start_exposure"]), int(head["end_exposure"])
            room = packet.size - _FRAME.itemsize
            x, y = int(head["x"]), int(head["y"])
            problem = _frame_problem(width, height, channels, room, start, stop)
            if x < 0 or y < 0:
                problem = f"a frame at ({x}, {y})"
            if problem:
                lose(at, packet.size, problem)
                continue
            pixels = data[at + _FRAME.itemsize :][: 2 * width * height * channels].tobytes()
            image = np.frombuffer(pixels, "<u2").reshape(height, width, channels)
            wraps = packet.overflow << 31
            gray = channels == 1
            yield Frame(
                start + wraps,
                stop + wraps,
                (image[:, :, 0] if gray else image[:, :, :3]).astype(np.uint16),
                x,
                y,
            )


def _frame_problem(
    width: int, height: int, channels: int, room: int, start: int, stop: int
) -> str | None:
    if width < 1 or height < 1 or channels not in _CHANNELS:
        return f"a frame of {width}x{height} pixels and {channels} channels"
    if 2 * width * height * channels > room:
        return f"a frame of {width}x{height}x{channels} in {room} bytes"
    if not 0 <= start <= stop:
        return f"a frame exposed from {start} to {stop} us"
    return None
