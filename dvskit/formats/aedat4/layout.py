"""The header of AEDAT 4, its flatbuffers, and its compressions with a limit on packets.

Layout: iniVation, AEDAT 4.0 file format, docs.inivation.com, and
google.github.io/flatbuffers/internals.html. Buffers are size-prefixed: a u32 length, then the
offset of the root table and a four-letter identifier. All offsets are checked here, as they may be
damaged; the package `flatbuffers` does not check them.
"""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import lz4.frame
import numpy as np
import zstandard
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.formats.aedat4 import unpacking_kernels as k
from dvskit.formats.decompression import zstd_decompressor

MOST_BYTES = 1 << 27  # per packet, decompressed: some 8 million events
_LZ4_RATIO = 255  # the largest possible
_own = threading.local()


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


def decompressor(compression: Compression) -> Callable[[memoryview], bytes | memoryview]:
    """Return the function that decompresses a packet. It raises CompressionError."""
    if compression is Compression.NONE:
        return lambda data: data
    return _unpack_lz4 if compression.is_lz4 else _unpack_zstd


def _unpack_lz4(data: memoryview) -> bytes:
    # A limit makes the library reserve all of it, which takes longer than a small frame.
    limit = MOST_BYTES + 1 if len(data) > MOST_BYTES // _LZ4_RATIO else -1
    if not hasattr(_own, "lz4"):  # creating one takes a tenth of the time of a small frame
        _own.lz4 = lz4.frame.create_decompression_context()
    content: bytes
    is_whole = False
    try:
        content, used, is_whole = lz4.frame.decompress_chunk(_own.lz4, data, limit)
    except (RuntimeError, MemoryError) as error:
        raise CompressionError(f"it does not decompress ({error})") from None
    finally:
        if not is_whole:  # the library's reset would keep the size that the frame announced
            del _own.lz4
    if len(content) > MOST_BYTES:
        raise CompressionError(f"it decompresses to more than {MOST_BYTES} bytes")
    if not is_whole:
        raise CompressionError("its compressed data ends early")
    if used < len(data):
        raise CompressionError("bytes follow its compressed data")
    return content


def _unpack_zstd(data: memoryview) -> bytes:
    try:
        if zstandard.frame_content_size(data) > MOST_BYTES:
            raise CompressionError(f"it decompresses to more than {MOST_BYTES} bytes")
        content: bytes = zstd_decompressor().decompress(
            data, max_output_size=MOST_BYTES, allow_extra_data=False
        )
    except (MemoryError, zstandard.ZstdError) as error:
        raise CompressionError(f"it does not decompress ({error})") from None
    return content


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


Buffer = bytes | bytearray | memoryview


class FlatbufferError(ValueError):
    """An offset or a size that points outside the buffer."""


def _unpack(form: str, buffer: Buffer, at: int) -> int:
    if at < 0 or at + struct.calcsize(form) > len(buffer):
        raise FlatbufferError(f"an offset points to byte {at} of {len(buffer)}")
    value: int = struct.unpack_from(form, buffer, at)[0]
    return value


class FlatTable:
    """A table in a buffer, at the byte `at`."""

    def __init__(self, buffer: Buffer, at: int) -> None:
        self.buffer = buffer
        self.at = at
        self._vtable = at - _unpack("<i", buffer, at)
        self._length = _unpack("<H", buffer, self._vtable)
        self._bytes = _unpack("<H", buffer, self._vtable + 2)
        if self._length < 4 or self._length % 2 or self._bytes < 4:
            raise FlatbufferError(f"its table at byte {at} is invalid")
        if self._vtable + self._length > len(buffer) or at + self._bytes > len(buffer):
            raise FlatbufferError(f"its table at byte {at} exceeds it")

    def place(self, field: int) -> int | None:
        """Return the position of a field by its number; None if it is absent."""
        slot = 4 + 2 * field
        if slot + 2 > self._length:
            return None
        offset = _unpack("<H", self.buffer, self._vtable + slot)
        if offset >= self._bytes:
            raise FlatbufferError(f"field {field} lies {offset} bytes into {self._bytes}")
        return self.at + offset if offset else None

    def number(self, field: int, form: str, default: int) -> int:
        """Return a scalar field; `form` is its struct format, such as "<q"."""
        place = self.place(field)
        return default if place is None else _unpack(form, self.buffer, place)

    def vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        """Return the offset of the first item of a vector field, and the number of items."""
        place = self.place(field)
        if place is None:
            return 0, 0
        start = place + _unpack("<I", self.buffer, place)
        count = _unpack("<I", self.buffer, start)
        if start + 4 + count * item_bytes > len(self.buffer):
            raise FlatbufferError(f"{count} items of {item_bytes} bytes exceed the buffer")
        return start + 4, count

    def text(self, field: int) -> str:
        """Return a string field. Raises FlatbufferError unless it is UTF-8."""
        start, count = self.vector(field, 1)
        try:
            return bytes(self.buffer[start : start + count]).decode()
        except UnicodeDecodeError as error:
            raise FlatbufferError(f"a text is not UTF-8: {error}") from None


def root(buffer: Buffer, identifier: bytes) -> FlatTable:
    """Return the root table of a size-prefixed buffer.

    Raises FlatbufferError for another identifier or a length other than the buffer's.
    """
    length = _unpack("<I", buffer, 0)
    if length != len(buffer) - 4:
        raise FlatbufferError(f"its length is {length} bytes, but it has {len(buffer) - 4}")
    found = bytes(buffer[8:12])
    if found != identifier:
        raise FlatbufferError(f"it is {found!r}, not {identifier!r}")
    return FlatTable(buffer, 4 + _unpack("<I", buffer, 4))


def scalar_tables(buffer: bytes, identifier: bytes, widths: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the scalar fields of the tables in the only vector of a buffer: int64 (n, fields).

    `widths` are the fields' bytes: 1 and 8 give numbers, 4 give bits; absent fields give 0.
    Raises FlatbufferError.
    """
    start, count = root(buffer, identifier).vector(0, 4)
    values = np.empty((count, len(widths)), np.int64)
    data = np.frombuffer(buffer, np.uint8)
    if not k.read_tables(data, start, np.array(widths, np.int64), values):
        raise FlatbufferError("an offset in its tables points out of it")
    return values


MAGIC = b"#!AER-DAT4.0\r\n"
PACKET_HEADER = struct.Struct("<ii")  # stream id, bytes that follow

_MAX_HEADER = 1 << 24
_MAX_ATTRIBUTES = 10_000


class StreamInfo(NamedTuple):
    """A stream in the header: its kind (EVTS, FRME, IMUS, TRIG) and its attributes."""

    number: int
    kind: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Aedat4Header:
    """The header of a file; `start` is the byte after it, `table` the end of the packets."""

    path: Path
    compression: Compression
    start: int
    table: int
    streams: Mapping[int, StreamInfo]


def _attributes(node: ElementTree.Element) -> dict[str, str]:
    found: dict[str, str] = {}
    for attribute in node.iter("attr"):
        if len(found) < _MAX_ATTRIBUTES:
            found[attribute.get("key", "")] = (attribute.text or "").strip()
    return found


def _read_streams(path: Path, text: str) -> dict[int, StreamInfo]:
    if "<!" in text:
        raise FormatError(f"{path}: the header's XML declares entities, which are not read")
    try:
        document = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise FormatError(f"{path}: the header's XML is damaged: {error}") from None
    streams = {}
    for group in document.iter("node"):
        if group.get("name") != "outInfo":
            continue
        for node in group.findall("node"):
            name = node.get("name", "")
            if re.fullmatch(r"[0-9]{1,9}", name):
                attributes = _attributes(node)
                kind = attributes.get("typeIdentifier", "")
                streams[int(name)] = StreamInfo(int(name), kind, attributes)
    if not streams:
        raise FormatError(f"{path}: the header names no streams")
    return dict(sorted(streams.items()))


def read_container(path: Path) -> Aedat4Header:
    """Read the header of a file. Raises FormatError if it is unusable."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise FormatError(f"{path}: does not start with {MAGIC!r}")
        prefix = file.read(4)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 4 or length > _MAX_HEADER:
            raise FormatError(f"{path}: the header has {length} bytes, which is impossible")
        header = prefix + file.read(length)
    try:
        table = root(header, b"IOHE")
        number = table.number(0, "<i", 0)
        position = table.number(1, "<q", -1)
        text = table.text(2)
    except FlatbufferError as error:
        raise FormatError(f"{path}: the header is damaged: {error}") from None
    try:
        compression = Compression(number)
    except ValueError:
        raise FormatError(f"{path}: compression {number} is unknown; it must be 0..4") from None
    return Aedat4Header(
        path, compression, len(MAGIC) + len(header), position, _read_streams(path, text)
    )
