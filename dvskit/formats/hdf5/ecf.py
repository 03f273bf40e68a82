"""Prophesee's Event Compression Format: one chunk of events to and from bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.hdf5 import ecf_kernels as k
from dvskit.formats.storage import EventColumns, new_columns

FILTER = 0x8ECF
MOST_EVENTS = 65535  # of a chunk, by Prophesee's codec

PROBLEMS = {
    k.ENDS_EARLY: "its codes end early",
    k.LONG_RUN: "a run goes beyond its events",
    k.EMPTY_RUN: "a run of no events",
    k.LONG_STEP: "a time step of more than 16 digits",
}


class EcfError(ValueError):
    """Bytes that no encoder writes."""


def claimed_count(data: bytes | memoryview) -> int:
    """Return the number of events that a chunk says it holds. Raises EcfError."""
    if len(data) < 4:
        raise EcfError(f"{len(data)} bytes are no ECF chunk")
    return int.from_bytes(data[:4], "little") >> 2


def decode(data: bytes | memoryview, rows: int, out: EventColumns) -> None:
    """Decode the first `rows` events of a chunk into the columns t, x, y, p of that length.

    Raises EcfError for a chunk of fewer, and for one whose codes do not end where it ends.
    """
    count = claimed_count(data)
    if count > MOST_EVENTS:
        raise EcfError(f"it claims {count} events, more than {MOST_EVENTS}")
    if count < rows:
        raise EcfError(f"it holds {count} events where {rows} stand")
    columns = out if count == rows else new_columns(count)
    used = k.ecf_decode(np.frombuffer(data, np.uint8), count, *columns)
    if used < 0:
        raise EcfError(PROBLEMS[used])
    if used != len(data):
        raise EcfError(f"{len(data) - used} bytes stand behind its events")
    if count > rows:
        out.fill(columns.part(slice(0, rows)))


def encode(
    t: NDArray[np.int64], x: NDArray[np.int16], y: NDArray[np.int16], p: NDArray[np.bool_]
) -> bytes:
    """Encode 1 to 65535 events, in order of time, in the smallest of the three ways.

    x and y must be below 2048.
    """
    y_bytes, x_bytes, p_bytes = k.ecf_size(x, y, p)
    groups = (len(t) + 3) // 4
    loose = min(x_bytes + p_bytes, 6 * groups)
    flags = 1 if 6 * groups <= x_bytes + p_bytes else 0
    if 12 * groups <= y_bytes + loose:
        flags = 2
    out = np.empty(32 + 24 * len(t), np.uint8)
    used = k.ecf_encode(t, x, y, p, flags, out)
    return out[:used].tobytes()
