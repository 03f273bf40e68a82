"""The table of packets at the end of a file, and the search for a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.aedat4.compression import CompressionError, decompress
from dvskit.formats.aedat4.container import PACKET_HEADER, Container
from dvskit.formats.aedat4.flatbuffer import FlatbufferError, root, scalar_tables
from dvskit.formats.aedat4.packets import MOST_PACKED, Packets
from dvskit.formats.recording import Damage

TABLE_WIDTHS = (8, 8, 8, 8, 8)  # offset; stream and length; items; first and last time
_EVENT_BYTES = 16


def read_table(container: Container, stream: int) -> NDArray[np.int64] | None:
    """Return the packets of a stream that the table names: int64 (n, 2), header's offset, length.

    None where the file has no table, or one that cannot be right.
    """
    file_bytes = container.path.stat().st_size
    if not container.start <= container.table < file_bytes:
        return None
    if file_bytes - container.table > MOST_PACKED:
        return None
    with container.path.open("rb") as file:
        file.seek(container.table)
        content = file.read()
    try:
        values = scalar_tables(decompress(content, container.compression), b"FTAB", TABLE_WIDTHS)
    except (CompressionError, FlatbufferError):
        return None
    values = values[(values[:, 1] & 0xFFFFFFFF) == stream]
    offsets, lengths = values[:, 0] - PACKET_HEADER.size, values[:, 1] >> 32
    ends = offsets + PACKET_HEADER.size + lengths
    valid = (
        (lengths > 0).all()
        and (offsets >= container.start).all()
        and (ends <= container.table).all()
        and (offsets[1:] >= ends[:-1]).all()
    )
    return np.stack([offsets, lengths], axis=1) if valid and len(values) else None


def walk_packets(container: Container, stream: int) -> NDArray[np.int64]:
    """Return the packets of a stream as `read_table` does, from the packets themselves."""
    packets = Packets(container, stream, strict=False, damage=Damage())
    return np.concatenate([np.empty((0, 2), np.int64), *(window.rows for window in packets)])


class TimeSearch:
    """Finds the packet of a stream to start with for a time. It is right for a file in order.

    Only the places of packets are taken from the file's table: times are those of the events.
    """

    def __init__(self, container: Container, stream: int) -> None:
        self._container, self._stream = container, stream
        self._rows = read_table(container, stream)

    def start(self, time_us: int) -> int:
        """Return the byte of a packet ahead of which all events are earlier than `time_us`."""
        if self._rows is not None:
            try:
                return self._bisect(self._rows, time_us)
            except LookupError:
                pass  # the table is wrong
        self._rows = walk_packets(self._container, self._stream)
        return self._bisect(self._rows, time_us)

    def _bisect(self, rows: NDArray[np.int64], time_us: int) -> int:
        low, high = 0, len(rows)  # the packet ahead of `low` begins ahead of the time
        while low < high:
            middle = (low + high) // 2
            offset, length = rows[middle].tolist()
            first = self._first_time(offset, length)
            if first is not None and first < time_us:
                low = middle + 1
            else:
                high = middle
        return int(rows[low - 1, 0]) if low > 0 else self._container.start

    def _first_time(self, offset: int, length: int) -> int | None:
        """Return the time of a packet's first event; None where it has none or is damaged.

        Raises LookupError where no packet of that length begins there.
        """
        with self._container.path.open("rb") as file:
            file.seek(offset)
            header, content = file.read(PACKET_HEADER.size), file.read(length)
        if header != PACKET_HEADER.pack(self._stream, length):
            raise LookupError(offset)
        try:
            table = root(decompress(content, self._container.compression), b"EVTS")
            start, count = table.vector(0, _EVENT_BYTES)
        except (CompressionError, FlatbufferError):
            return None
        first = bytes(table.buffer[start : start + 8])
        return int.from_bytes(first, "little", signed=True) if count else None
