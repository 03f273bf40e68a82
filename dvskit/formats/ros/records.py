"""The walk over the records of a bag or an MCAP file: messages and chunks, whole or damaged."""

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
from dvskit.formats.ros.container import LEAST_RECORD, MOST_BYTES, Container, Message

COMPRESSIONS = ("none", "", "lz4", "zstd", "bz2")
SEARCHED_BYTES = 1 << 16  # that are searched at once for the head of a record
LONGEST_HEADER = 1 << 12
_LEAST_OVERLAP = 96  # of two searches
_WINDOW = 1 << 18  # bytes of a file that are looked at together for a run of messages


@dataclass(slots=True)
class Region:
    """Bytes that records stand in: the file, or a chunk of it that was read.

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

    @property
    def plain(self) -> bool:
        """Whether it is not compressed, so that its records stand in the file itself."""
        return self.kind in ("", "none") and not self.checksum


class Record(NamedTuple):
    """A record from byte `at` on: `length` bytes of data from `start` on.

    fields   of a bag's record
    channel  of a message, whose own bytes begin at `message`
    chunk    None where it is none
    """

    kind: int
    at: int
    start: int
    length: int
    fields: dict[bytes, bytes]
    channel: int = -1
    message: int = 0
    chunk: Chunk | None = None

    @property
    def stop(self) -> int:
        """Where the next record begins."""
        return self.start + self.length


class RecordFile(Container):
    """A container of records, some of them in chunks, that may end with an index.

    A subclass fills `_counts` and `_cuts` from the index, and says in `_flaws` what is wrong with
    the start and the end of the file, where anything is.
    """

    MAGIC: ClassVar[bytes]
    EXPECTED: ClassVar[str] = ""  # behind the message that a file does not start so
    MESSAGE: ClassVar[int]
    LAST: ClassVar[int] = -1  # the kind of the record that ends the file
    END_BYTES: ClassVar[int] = 0  # behind the last record
    CHANNEL_NAME: ClassVar[str]  # in messages for people
    CHECKED: ClassVar[frozenset[int]]  # kinds of records that are valid if another stands behind

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._counts: dict[int, int] | None = None
        self._cuts: list[int] = []
        self._checked = False
        self._flaws = ["", ""]
        with path.open("rb") as file:
            if file.read(len(self.MAGIC)) != self.MAGIC:
                raise FormatError(f"{path}: does not start with {self.MAGIC!r}{self.EXPECTED}")
            region = self._region(file)
            if not self._read_index(region):
                self._counts, self._cuts = None, []
                losses = Losses(path, strict=False)
                for _ in self._walk(region, len(self.MAGIC), frozenset(), losses):
                    pass

    def _region(self, file: BinaryIO) -> Region:
        return Region(file, self.path.stat().st_size)

    def counts(self) -> dict[int, int]:
        """Return the number of messages of each channel, as the index says if there is one."""
        return self._counts if self._counts is not None else super().counts()

    def cuts(self) -> list[int]:
        """Return where chunks begin, as the index says, if all of them do."""
        if not self._checked:
            self._checked = True
            with self.path.open("rb") as file:
                region = self._region(file)
                records = [self._record(region, cut) for cut in self._cuts]
                if not all(isinstance(each, Record) and each.chunk for each in records):
                    self._cuts = []
        return self._cuts

    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the channels `wanted`, in the order of the file."""
        with self.path.open("rb", buffering=1 << 18) as file:
            region = self._region(file)
            at_start, at_end = self._flaws
            if at_start:
                losses.lose(len(self.MAGIC), 0, at_start)
            yield from self._walk(region, start or len(self.MAGIC), wanted, losses)
            if at_end:
                losses.lose(region.size, 0, at_end)

    def _walk(self, region: Region, at: int, wanted: Set[int], losses: Losses) -> Iterator[Message]:
        stop = region.size - self.END_BYTES * region.whole
        while at < stop:
            record = self._record(region, at)
            following, problem = self._following(region, record, stop)
            if problem is not None:
                found = self._search(region, at + 1)
                if isinstance(record, str) or found - following < LEAST_RECORD:
                    # Its length is damaged, or there are bytes too many or too few in it.
                    if found == region.size and not losses.strict:
                        yield from self._cut_end(region, at, wanted, losses)
                    losses.lose(region.place(at), found - at, problem)
                    at = found
                    continue
            assert isinstance(record, Record)
            at = following
            if record.kind == self.MESSAGE:
                number = record.channel
                if number in wanted:
                    yield _message(region, record, record.stop - record.message)
                elif number not in self.channels:
                    self.undeclared.add(number)
                    problem = f"a message is of {self.CHANNEL_NAME} {number}, which is not declared"
                    losses.lose(region.place(record.start), record.length, problem)
                self._learn_head(region, record)
                at = yield from self._read_run(region, at, wanted)
            elif record.chunk is not None:
                if at != record.chunk.start:
                    yield from self._open_chunk(region, record.chunk, wanted, losses)
            elif record.kind == self.LAST:
                return
            else:
                self._take(region, record, losses)

    def _following(self, region: Region, record: Record | str, stop: int) -> tuple[int, str | None]:
        """Return where the next record begins, and what is wrong with this one or with that."""
        if isinstance(record, str):
            return region.size, record
        following, chunk = record.stop, record.chunk
        if chunk is not None and chunk.plain and region.whole:
            following = chunk.start
        if record.kind not in self.CHECKED or following >= stop:
            return following, None
        return following, self._problem(region, following)

    def _read_run(self, region: Region, at: int, wanted: Set[int]) -> Generator[Message, None, int]:
        """Yield messages from the record at `at` on as long as all is valid; return where not."""
        while True:
            # Of a file, windows of one size: messages larger than that are not worth it.
            window = memoryview(region.read(at, _WINDOW if region.whole else region.size))
            first = at
            for number, start, stop in self._run(window):
                at = first + stop
                if number in wanted:
                    place = region.place(first + start)
                    yield Message(number, window[start:stop], place, region.exact)
            if not region.whole or at - first < _WINDOW // 2:
                return at

    def _open_chunk(
        self, region: Region, chunk: Chunk, wanted: Set[int], losses: Losses
    ) -> Iterator[Message]:
        place = region.place(chunk.start)
        problem: str | None
        if not region.whole:
            problem = "a chunk stands inside a chunk"
        elif chunk.length > MOST_BYTES:
            problem = f"a chunk has {chunk.length} bytes, more than can be"
        else:
            inner, problem = _unpacked(region, chunk, chunk.length)
            if not chunk.kind and chunk.size != chunk.length:
                losses.lose(place, 0, f"a chunk holds {chunk.length} bytes, not {chunk.size}")
            sound = not chunk.checksum or zlib.crc32(inner.read(0, inner.size)) == chunk.checksum
            if problem is None and not sound:
                # What is damaged in it is not known: each message is looked at for itself.
                losses.lose(place, 0, "a chunk does not have the checksum that it names")
            yield from self._walk(inner, 0, wanted, losses)
        if problem is not None:
            losses.lose(place, chunk.length, problem)

    def _cut_end(
        self, region: Region, at: int, wanted: Set[int], losses: Losses
    ) -> Iterator[Message]:
        """Yield what is there of a message or a chunk at `at` that the region ends in."""
        record = self._record(region, at, cut=True)
        if isinstance(record, str):
            return
        chunk = record.chunk
        if record.kind == self.MESSAGE and record.channel in wanted:
            yield _message(region, record, MOST_BYTES)
        elif chunk is not None and chunk.kind and region.whole:
            inner, _ = _unpacked(region, chunk, MOST_BYTES)
            yield from self._walk(inner, 0, wanted, losses)

    def _search(self, region: Region, start: int) -> int:
        """Return where the next valid record begins from `start` on; the end if none does."""
        for at in range(start, region.size, SEARCHED_BYTES - _LEAST_OVERLAP):
            window = bytes(region.read(at, SEARCHED_BYTES + LONGEST_HEADER))
            for place in self._likely(window):
                if self._is_likely(region, at + place):
                    return at + place
        return region.size

    def _problem(self, region: Region, at: int) -> str | None:
        """Say what is wrong with the head of the record at `at`; None where nothing is."""
        record = self._record(region, at)
        return record if isinstance(record, str) else None

    def _learn_head(self, region: Region, record: Record) -> None:
        """Take note of what a message begins with, for those that follow."""

    @abstractmethod
    def _read_index(self, region: Region) -> bool:
        """Learn the channels and their counts from the index; return whether it is whole."""

    @abstractmethod
    def _record(self, region: Region, at: int, *, cut: bool = False) -> Record | str:
        """Return the record at `at`, or what is wrong with it.

        With `cut`, it ends where the region does, whatever it says.
        """

    @abstractmethod
    def _run(self, window: memoryview) -> Iterator[tuple[int, int, int]]:
        """Yield the messages from the start of a window on that are followed by others.

        Of each its channel, and where its data begin and end in the window.
        """

    @abstractmethod
    def _take(self, region: Region, record: Record, losses: Losses) -> None:
        """Take a record that is no message, no chunk and not the last one."""

    @abstractmethod
    def _likely(self, window: bytes) -> Iterator[int]:
        """Yield where in the first SEARCHED_BYTES of a window records may begin."""

    @abstractmethod
    def _is_likely(self, region: Region, at: int) -> bool:
        """Whether a record stands at `at`, by all that can be checked."""


def _message(region: Region, record: Record, length: int) -> Message:
    data = region.read(record.message, length)
    return Message(record.channel, data, region.place(record.message), region.exact)


def _unpacked(region: Region, chunk: Chunk, length: int) -> tuple[Region, str | None]:
    """Return what `length` bytes of a chunk hold, and what is wrong with them."""
    data, problem = bytes(region.read(chunk.start, length)), None
    if chunk.kind:
        data, problem = unpack_chunk(data, chunk.kind, chunk.size)
    place = region.place(chunk.start)
    return Region(memoryview(data), len(data), place, exact=not chunk.kind), problem


def unpack_chunk(data: bytes, kind: str, size: int) -> tuple[bytes, str | None]:
    """Return decompressed data of `size` bytes, and None; where it is damaged what comes ahead
    of the damage, and what is wrong.

    `kind` is one of COMPRESSIONS. Never returns more than `size` bytes, or MOST_BYTES.
    """
    if size > MOST_BYTES:
        return b"", f"a chunk says to hold {size} bytes, more than the {MOST_BYTES} that can be"
    if kind == "none":
        return data[:size], None
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
    return unpack_chunk(bytes(data), "zstd", _zstd_size(data))


def _zstd_size(data: bytes | memoryview) -> int:
    """Return how many bytes zstd data say to become; MOST_BYTES where they do not say."""
    try:
        size: int = zstandard.frame_content_size(bytes(data[:32]))
    except zstandard.ZstdError:
        return MOST_BYTES
    return size if size >= 0 else MOST_BYTES
