"""The header lines and the packets of an AEDAT 3.1 file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.formats.aedat31.packet_kernels import size_fits

SPECIAL, POLARITY, FRAME, IMU6, IMU9 = range(5)
_HEAD = np.dtype(
    [
        ("kind", "<i2"),
        ("source", "<i2"),
        ("size", "<i4"),
        ("ts_offset", "<i4"),
        ("overflow", "<i4"),
        ("capacity", "<i4"),
        ("number", "<i4"),
        ("valid", "<i4"),
    ]
)
HEAD_BYTES = _HEAD.itemsize
_MOST_KINDS = 128
_MAGIC = b"#!AER-DAT3.1"
_END = b"#!END-HEADER"
_LINE_BYTES = 1 << 16
_WINDOW = 1 << 16  # bytes to search at once for the next packet

Lose = Callable[[int, int, str], None]


class Head(NamedTuple):
    """The `#key: value` lines of a file, and the byte offset where the packets begin."""

    keys: Mapping[str, str]
    end: int


class Packet(NamedTuple):
    """A packet: the byte offset of its first event and what its header says.

    number  events that it holds; fewer than its header says where the file ends in it
    """

    start: int
    kind: int
    source: int
    size: int
    overflow: int
    number: int


def read_head(path: Path) -> Head:
    """Read the text lines. Raises FormatError where they do not end or packets are compressed."""
    keys: dict[str, str] = {}
    with path.open("rb") as file:
        if not file.readline(_LINE_BYTES).startswith(_MAGIC):
            raise FormatError(f"{path}: does not start with {_MAGIC.decode()}")
        while True:
            line = file.readline(_LINE_BYTES)
            if not line.startswith(b"#"):
                raise FormatError(f"{path}: the header does not end with {_END.decode()}")
            if line.startswith(_END):
                break
            key, _, value = line[1:].decode("latin-1").strip().partition(":")
            keys[key.strip()] = value.strip()
        if keys.get("Format", "RAW").upper() != "RAW":
            raise FormatError(f"{path}: holds packets in format {keys['Format']}; RAW is read")
        return Head(keys, file.tell())


def _problem(head: np.void, left: int) -> str | None:
    """Return what is impossible in a packet header that has `left` bytes behind it, if anything."""
    kind, size = int(head["kind"]), int(head["size"])
    if not 0 <= kind < _MOST_KINDS:
        return f"packet of type {kind}"
    if not size_fits(kind, size):
        return f"packet of type {kind} with events of {size} bytes"
    if not 0 <= head["ts_offset"] <= max(0, size - 4) or (kind < 2 and head["ts_offset"] != 4):
        return f"packet with times at byte {head['ts_offset']} of {size}"
    if head["overflow"] < 0 or head["source"] < 0:
        return f"packet of source {head['source']} with {head['overflow']} wraps of time"
    if not 0 <= head["valid"] <= head["number"] <= head["capacity"]:
        return (
            f"packet of {head['capacity']} places with {head['number']} events, "
            f"{head['valid']} of them valid"
        )
    if int(head["capacity"]) * size > left:
        return f"packet of {int(head['capacity']) * size} bytes, {left} of them in the file"
    return None


def _head_at(data: NDArray[np.uint8], at: int) -> np.void:
    return np.frombuffer(data[at : at + HEAD_BYTES].tobytes(), _HEAD)[0]  # type: ignore[no-any-return]


def _starts_packets(data: NDArray[np.uint8], at: int) -> bool:
    """Judge whether a possible packet starts at `at`, and another behind it, or the file ends."""
    for _ in range(2):
        if at == len(data):
            return True
        if at + HEAD_BYTES > len(data):
            return False
        head = _head_at(data, at)
        if _problem(head, len(data) - at - HEAD_BYTES) is not None:
            return False
        at += HEAD_BYTES + int(head["capacity"]) * int(head["size"])
    return True


def _next_packet(data: NDArray[np.uint8], at: int) -> int | None:
    """Return the first place from `at` on where packets start, None where there is none."""
    while at + HEAD_BYTES <= len(data):
        window = np.asarray(data[at : at + _WINDOW + HEAD_BYTES])
        count = len(window) - HEAD_BYTES + 1
        # Small numbers: the high bytes of type, source and sizes are 0, or nearly.
        likely = (window[:count] < _MOST_KINDS) & (window[1 : count + 1] == 0)
        likely &= (window[7 : count + 7] == 0) & (window[11 : count + 11] == 0)
        likely &= (window[19 : count + 19] < 8) & (window[23 : count + 23] < 8)
        for place in np.flatnonzero(likely).tolist():
            if _starts_packets(data, at + place):
                return at + int(place)
        at += count
    return None


def read_packets(data: NDArray[np.uint8], start: int, lose: Lose) -> Iterator[Packet]:
    """Yield the packets from byte `start` on; tell `lose` what is impossible and go on behind it.

    A packet that the end of the file cuts is told, and yielded with its whole events.
    """
    at = start
    while at < len(data):
        left = len(data) - at - HEAD_BYTES
        if left < 0:
            lose(at, len(data) - at, f"the last packet header has {left + HEAD_BYTES} bytes")
            return
        head = _head_at(data, at)
        problem = _problem(head, left)
        size, number = int(head["size"]), int(head["number"])
        following: int | None = at + HEAD_BYTES + int(head["capacity"]) * size
        if problem is not None:
            following = _next_packet(data, at + 1)
            cut = following is None and "in the file" in problem
            number = min(number, left // size) if cut else 0
            kept = HEAD_BYTES + number * size if cut else 0
            stop = len(data) if following is None else following
            lose(at + kept, stop - at - kept, problem)
        if number:
            yield Packet(
                at + HEAD_BYTES,
                int(head["kind"]),
                int(head["source"]),
                size,
                int(head["overflow"]),
                number,
            )
        if following is None:
            return
        at = following
