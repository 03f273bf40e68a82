"""The walk over the records of a bag or an MCAP file, in the order of the file.

Own code because rosbags reads only files that were closed, of MCAP only those of ROS 2, without the
places of messages, and bags at half the speed. Nothing is searched for: where a record is not
whole, the walk goes on at the next chunk that the index names.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Generator, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple

import zstandard

from dvskit.errors import FormatError
from dvskit.formats.decompression import ERRORS, pieces
from dvskit.formats.losses import Losses
from dvskit.formats.ros.container import MOST_BYTES, Container, Message


class RecordError(ValueError):
    """A record that is not whole."""


@dataclass(slots=True)
class Region:
    """Bytes that records stand in: the file, or what a chunk of it holds.

    base   the place of its first byte
    exact  whether byte n of the region is byte base + n of the file; false if it was compressed
    """

    source: BinaryIO | memoryview
    size: int
    base: int = 0
    exact: bool = True

    @property
    def whole(self) -> bool:
        """Whether it is the file itself."""
        return not isinstance(self.source, memoryview)

    def read(self, at: int, count: int) -> bytes | memoryview:
        """Return `count` bytes from `at` on; fewer at the end."""
        if isinstance(self.source, memoryview):
            return self.source[at : at + count]
        self.source.seek(at)
        return self.source.read(count)

    def place(self, at: int) -> int:
        """Return where byte `at` stands in the file, or the compressed chunk that holds it."""
        return self.base + at if self.exact else self.base


class Chunk(NamedTuple):
    """Records that stand together, compressed or not: `length` bytes from `start` on.

    size      of them decompressed
    checksum  CRC-32 of the decompressed bytes; 0 where none is given
    """

    kind: str
    start: int
    length: int
    size: int
    checksum: int = 0


class Record(NamedTuple):
    """A record: its content begins at `start`, the next record at `stop`.

    channel  of a message
    fields   of a bag's record
    chunk    None where it is none
    """

    kind: int
    start: int
    stop: int
    channel: int = -1
    fields: dict[bytes, bytes] = {}  # noqa: RUF012
    chunk: Chunk | None = None


class RecordFile(Container):
    """A container of records, most of them in chunks, that may end with an index.

    A subclass fills `_counts` and `_chunks` (where they begin) from the index, and `_flaw` where
    the file was not closed.
    """

    MAGIC: ClassVar[bytes]
    MESSAGE: ClassVar[int]
    LAST: ClassVar[int] = -1  # the kind of the record that ends the file

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._counts: dict[int, int] = {}
        self._chunks: set[int] = set()
        self._flaw = ""
        self._opening = True
        with path.open("rb") as file:
            if file.read(len(self.MAGIC)) != self.MAGIC:
                raise FormatError(f"{path}: does not start with {self.MAGIC!r}; choose its format")
            region, losses = self._region(file), Losses(path, strict=False)
            start = self._index_start(region)
            for _ in self._walk(region, start or len(self.MAGIC), frozenset(), losses):
                pass
            if start and (losses.damage or not self.channels):
                self._counts, self._chunks = {}, set()
                for _ in self._walk(region, len(self.MAGIC), frozenset(), losses):
                    pass
        self._opening = False

    def _region(self, file: BinaryIO) -> Region:
        return Region(file, self.path.stat().st_size)

    def counts(self) -> dict[int, int]:
        """Return the number of messages of each channel, as the index says if there is one."""
        if not self._counts:
            return super().counts()
        return {number: self._counts.get(number, 0) for number in self.channels}

    def cuts(self) -> list[int]:
        """Return where chunks begin, as the index says, if all of them do."""
        with self.path.open("rb") as file:
            region = self._region(file)
            try:
                whole = all(self._record(region, at).chunk is not None for at in self._chunks)
            except RecordError:
                whole = False
        return sorted(self._chunks) if whole else []

    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the channels `wanted`, in the order of the file."""
        with self.path.open("rb") as file:
            region = self._region(file)
            yield from self._walk(region, start or len(self.MAGIC), wanted, losses)
            if self._flaw:
                losses.lose(region.size, 0, self._flaw)

    def _walk(self, region: Region, at: int, wanted: Set[int], losses: Losses) -> Iterator[Message]:
        while at < region.size:
            try:
                record = self._record(region, at)
                if record.stop > region.size and record.chunk is None:
                    left = region.size - record.start
                    raise RecordError(
                        f"a record says to hold {record.stop - record.start} bytes where {left} "
                        "are left"
                    )
            except RecordError as error:
                following = self._next_chunk(region, at)
                losses.lose(region.place(at), following - at, str(error))
                at = following
                continue
            if record.kind == self.MESSAGE:
                if record.channel in wanted:
                    data = region.read(record.start, record.stop - record.start)
                    yield Message(record.channel, data, region.place(record.start), region.exact)
                elif record.channel not in self.channels:
                    problem = f"a message is of channel {record.channel}, which is not declared"
                    losses.lose(region.place(at), record.stop - at, problem)
            elif record.chunk is not None:
                at = yield from self._open_chunk(region, record.chunk, wanted, losses)
                continue
            elif record.kind == self.LAST:
                return
            else:
                self._take(region, record)
            at = record.stop

    def _next_chunk(self, region: Region, at: int) -> int:
        """Return where the next chunk behind byte `at` begins; the end if none is known."""
        behind = (chunk for chunk in self._chunks if chunk > at) if region.whole else ()
        return min(behind, default=region.size)

    def _open_chunk(
        self, region: Region, chunk: Chunk, wanted: Set[int], losses: Losses
    ) -> Generator[Message, None, int]:
        """Yield the messages of a chunk, where it is cut those ahead of the cut.

        Returns where the record behind it begins.
        """
        stop, problem = chunk.start + chunk.length, None
        plain = chunk.kind in ("", "none")
        if stop > region.size:
            stop = self._next_chunk(region, chunk.start)
            held = stop - chunk.start
            problem = f"a chunk says to hold {chunk.length} bytes where {held} are left"
        if plain and chunk.length > MOST_BYTES and problem is None:
            return chunk.start  # its records are read as those of the file
        if chunk.length <= MOST_BYTES or problem is not None:
            data = bytes(region.read(chunk.start, min(stop - chunk.start, MOST_BYTES)))
            if not plain:
                data, damage = unpack_chunk(data, chunk.kind, chunk.size)
                problem = problem or damage
            if problem is None and chunk.checksum and zlib.crc32(data) != chunk.checksum:
                # What is damaged in it is not known: each message is looked at for itself.
                losses.lose(chunk.start, 0, "a chunk does not have the checksum that it names")
            inner = Region(memoryview(data), len(data), chunk.start, exact=plain)
            yield from self._walk(inner, 0, wanted, losses)
        else:
            problem = f"a chunk has {chunk.length} bytes, more than can be"
        if problem is not None:
            losses.lose(chunk.start, chunk.length, problem)
        return stop

    @abstractmethod
    def _index_start(self, region: Region) -> int:
        """Return where the index begins; 0 where none is known."""

    @abstractmethod
    def _record(self, region: Region, at: int) -> Record:
        """Return the record at `at`. Raises RecordError for a head that is not whole."""

    @abstractmethod
    def _take(self, region: Region, record: Record) -> None:
        """Take a record that is no message, no chunk and not the last one."""


def unpack_chunk(data: bytes, kind: str, size: int) -> tuple[bytes, str | None]:
    """Return decompressed data of `size` bytes, and None; where it is damaged what comes ahead
    of the damage, and what is wrong.

    `kind` is lz4, zstd or bz2. Never returns more than `size` bytes, or MOST_BYTES.
    """
    if size > MOST_BYTES:
        return b"", f"a chunk says to hold {size} bytes, more than the {MOST_BYTES} that can be"
    parts: list[bytes] = []
    total = 0
    problem = None
    try:
        for part in pieces(data, kind, size + 1):
            parts.append(part)
            total += len(part)
            if total > size:
                break
    except ERRORS as error:
        problem = f"a chunk does not decompress ({error})"
    if problem is None and size < MOST_BYTES:
        if total > size:
            problem = f"a chunk decompresses to more than {size} bytes"
        elif total < size:
            problem = f"a chunk decompresses to {total} bytes, not {size}"
    return b"".join(parts)[:size], problem


def unpacked_message(data: bytes | memoryview) -> tuple[bytes | memoryview, str | None]:
    """Return a message without the compression that rosbag2 puts around single ones.

    And what is wrong with it, as `unpack_chunk` does. A message without compression is returned as
    it is: none begins as zstd data do.
    """
    if data[:4] != zstandard.MAGIC_NUMBER.to_bytes(4, "little"):
        return data, None
    try:
        size = zstandard.frame_content_size(bytes(data[:32]))
    except zstandard.ZstdError:
        size = -1
    return unpack_chunk(bytes(data), "zstd", size if size >= 0 else MOST_BYTES)
