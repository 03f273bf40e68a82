"""The compressions of AEDAT 4, with a limit on the decompressed size of a packet."""

from __future__ import annotations

from enum import IntEnum

import lz4.frame
import numpy as np
import zstandard
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.events import Size
from dvskit.formats.aedat4 import lz4_kernels as lz4_frames
from dvskit.formats.aedat4 import unpacking_kernels as k
from dvskit.formats.decompression import zstd_decompressor
from dvskit.formats.storage import EventColumns

MOST_BYTES = 1 << 27  # per packet, decompressed: some 8 million events
_FIRST_BYTES = 1 << 16
_SCRATCH = 1 << 19  # bytes that stay in a core's own cache
_HEAD_BYTES = 64  # before the events of a packet, at most, in all known files
_SMALL_EVENTS = 1 << 11  # for fewer, a stream takes longer to make than to read
_SHORT_BYTES = 1 << 14  # not worth a second thread
_LZ4_PROBLEMS = {
    lz4_frames.ENDS_EARLY: "its compressed data ends early",
    lz4_frames.MALFORMED: "it does not decompress",
    lz4_frames.BAD_CHECKSUM: "a checksum of its compressed data is wrong",
    lz4_frames.BYTES_BEHIND: "bytes follow its compressed data",
}


class Compression(IntEnum):
    """Compressions by their numbers in the file header."""

    NONE = 0
    LZ4 = 1
    LZ4_HIGH = 2
    ZSTD = 3
    ZSTD_HIGH = 4

    @property
    def is_lz4(self) -> bool:
        """Whether it is one of the two LZ4 compressions."""
        return self in (Compression.LZ4, Compression.LZ4_HIGH)

    @property
    def magic(self) -> bytes:
        """The first bytes of compressed data; empty without compression."""
        if self is Compression.NONE:
            return b""
        return b"\x04\x22\x4d\x18" if self.is_lz4 else b"\x28\xb5\x2f\xfd"


class CompressionError(ValueError):
    """Data that does not decompress, or exceeds MOST_BYTES."""


_LIBRARY_ERRORS = (RuntimeError, EOFError, MemoryError, zstandard.ZstdError)


def decompress(data: bytes | memoryview, compression: Compression) -> bytes:
    """Return the decompressed data. Raises CompressionError."""
    return unpacked(data, compression).tobytes()


def unpacked(data: bytes | memoryview, compression: Compression) -> NDArray[np.uint8]:
    """Decompress like `decompress`, into an array of its own."""
    if compression is Compression.NONE:
        return np.frombuffer(bytearray(data), np.uint8)
    source = np.frombuffer(bytes(data) + bytes(lz4_frames.SPARE), np.uint8)
    # Memory grows with the data: a small packet that claims to be huge costs only its real size.
    room = max(_FIRST_BYTES, 8 * len(data))
    try:
        while True:
            room = min(room, MOST_BYTES)
            target = np.empty(room + lz4_frames.SPARE, np.uint8)
            if compression.is_lz4:
                size = lz4_frames.decompress(source, 0, len(data), target, 0, room)
            else:
                size = _stream_zstd(source.data[: len(data)], target.data[: room + 1])
                size = lz4_frames.NO_ROOM if size > room else size
            if size >= 0:
                return target[:size]
            if size != lz4_frames.NO_ROOM:
                raise CompressionError(_LZ4_PROBLEMS[size])
            if room == MOST_BYTES:
                raise CompressionError(f"it decompresses to more than {MOST_BYTES} bytes")
            del target
            room *= 4
    except _LIBRARY_ERRORS as error:
        raise CompressionError(f"it does not decompress ({error})") from None


def _stream_zstd(data: memoryview, target: memoryview) -> int:
    """Decompress until the frame ends or the target is full; return the number of bytes."""
    with zstd_decompressor().stream_reader(data) as reader:
        size: int = reader.readinto(target)
        return size


def decompress_begun(data: bytes, compression: Compression) -> bytes:
    """Return the readable part of cut data, at most MOST_BYTES; empty for none."""
    try:
        if compression.is_lz4:
            begun: bytes = lz4.frame.LZ4FrameDecompressor().decompress(data, MOST_BYTES)
            return begun
        return decompress(data, compression)
    except (*_LIBRARY_ERRORS, CompressionError):
        return b""


class Compressor:
    """Compresses packets, equally on any machine with the same libraries; for one thread."""

    def __init__(self, compression: Compression) -> None:
        self._compression = compression
        self._zstd: zstandard.ZstdCompressor | None = None
        if compression in (Compression.ZSTD, Compression.ZSTD_HIGH):
            level = 12 if compression is Compression.ZSTD_HIGH else 3
            self._zstd = zstandard.ZstdCompressor(level=level)

    def compress(self, data: bytes | memoryview) -> bytes:
        """Return the compressed data."""
        if self._zstd is not None:
            return self._zstd.compress(data)
        if self._compression is Compression.NONE:
            return bytes(data)
        level = 9 if self._compression is Compression.LZ4_HIGH else 0
        packed: bytes = lz4.frame.compress(data, compression_level=level, store_size=False)
        return packed


class Unpacker:
    """Decompresses packets of events on all threads, and splits the events into columns.

    Packets are rows of an int64 (n, 2) array: offset of the content in the data, and its length.
    """

    def __init__(self, compression: Compression) -> None:
        self._compression = compression
        self._scratch: dict[int, NDArray[np.uint8]] = {}

    def expected_counts(
        self, data: NDArray[np.uint8], packets: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the likely number of events of each packet; -1 if unknown."""
        if self._compression is Compression.NONE:
            events = k.locate_all(data, packets)
            return np.where(events[:, 0] < 0, -1, events[:, 1])
        is_lz4 = self._compression.is_lz4
        count = k.expected_counts_lz4 if is_lz4 else k.expected_counts_zstd
        counts: NDArray[np.int64] = count(data, packets)
        counts[counts > MOST_BYTES // k.EVENT_BYTES] = -1
        return counts

    def split(
        self,
        data: NDArray[np.uint8],
        packets: NDArray[np.int64],
        counts: NDArray[np.int64],
        size: Size,
        columns: EventColumns,
    ) -> int:
        """Decompress packets of `counts` events and split them into columns.

        Returns the result of each: GOOD, BAD_EVENTS or OTHERWISE of the kernels.
        """
        ends = np.cumsum(packets[:, 1])
        parts = thread_count() if len(ends) > 1 and ends[-1] >= _SHORT_BYTES else 1
        shares = [ends[-1] * part / parts for part in range(1, parts)]
        inner = np.searchsorted(ends - packets[:, 1] / 2, shares).tolist()
        cuts = [0, *inner, len(ends)]  # about equal numbers of bytes per thread
        places = np.concatenate([[0], np.cumsum(counts)])
        results = [k.GOOD] * parts

        def work(part: int) -> None:
            own = slice(cuts[part], cuts[part + 1])
            room = columns.part(slice(places[own.start], places[own.stop]))
            results[part] = self._split_part(part, data, packets[own], counts[own], size, room)

        run_parts(work, parts)
        t = columns.t
        borders = [int(places[cut]) for cut in inner]
        if any(0 < at < len(t) and t[at] < t[at - 1] for at in borders):
            results.append(k.BAD_EVENTS)
        return max(results)

    def _split_part(
        self,
        part: int,
        data: NDArray[np.uint8],
        packets: NDArray[np.int64],
        counts: NDArray[np.int64],
        size: Size,
        columns: EventColumns,
    ) -> int:
        if self._compression is Compression.NONE:
            bad = k.split_events(data, k.locate_all(data, packets), *size, columns)
            return k.BAD_EVENTS if bad else k.GOOD
        largest = _HEAD_BYTES + k.EVENT_BYTES * int(counts.max(initial=0))
        scratch = self._scratch.get(part)
        if scratch is None or len(scratch) < largest + lz4_frames.SPARE:
            scratch = np.empty(max(largest, _SCRATCH) + lz4_frames.SPARE, np.uint8)
            self._scratch[part] = scratch
        if self._compression.is_lz4:
            result: int = k.split_lz4(data, packets, counts, scratch, *size, columns)
            return result
        ends = np.cumsum(_HEAD_BYTES + k.EVENT_BYTES * counts)
        room = len(scratch) - lz4_frames.SPARE
        bad, done, place = False, 0, 0
        while done < len(packets):
            reach = room + (ends[done - 1] if done else 0)
            some = slice(done, int(np.searchsorted(ends, reach, "right")))
            events = _unpack_zstd(data, packets[some], scratch)
            if (events[:, 0] < 0).any() or not np.array_equal(events[:, 1], counts[some]):
                return k.OTHERWISE
            done, stop = some.stop, place + int(events[:, 1].sum())
            bad |= k.split_events(scratch, events, *size, columns.part(slice(place, stop)))
            bad |= 0 < place < stop and bool(columns.t[place] < columns.t[place - 1])
            place = stop
        return k.BAD_EVENTS if bad else k.GOOD


def _unpack_zstd(
    data: NDArray[np.uint8], packets: NDArray[np.int64], out: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Decompress packets in succession; return the places of their events like `locate_all`."""
    decompressor, place, room = zstd_decompressor(), 0, len(out) - lz4_frames.SPARE
    places = np.zeros_like(packets)
    expected = k.expected_counts_zstd(data, packets).tolist()
    for row, ((begin, length), count) in enumerate(zip(packets.tolist(), expected, strict=True)):
        content = data.data[begin : begin + length]
        try:
            if 0 <= count < _SMALL_EVENTS:
                whole = decompressor.decompress(content)
                size = len(whole)
                out.data[place : place + size] = whole
            else:
                size = _stream_zstd(content, out.data[place:room])
        except (zstandard.ZstdError, MemoryError):
            return np.full_like(packets, -1)
        places[row] = place, size
        place = min((place + size + 15) & ~15, room)
    return k.locate_all(out, places)
