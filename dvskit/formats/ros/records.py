"""The walk over the records of a bag or an MCAP file: messages and chunks, whole or damaged."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Set
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple

from dvskit.errors import FormatError
from dvskit.formats.decompression import ERRORS, pieces
from dvskit.formats.losses import Losses
from dvskit.formats.ros.container import LEAST_RECORD, MOST_BYTES, Container, Message

COMPRESSIONS = ("none", "", "lz4", "zstd", "bz2")
_WINDOW = 1 << 18  # bytes of a file that are looked at together for a run of messages


class Region(ABC):
    """Bytes that records stand in: a file, or a chunk of it that was decompressed.

    exact  whether byte n of the region is byte base + n of the file; false if it was compressed
    whole  whether it is the file itself
    """

    def __init__(self, size: int, base: int, *, exact: bool, whole: bool = False) -> None:
        self.size, self.base, self.exact, self.whole = size, base, exact, whole

    @abstractmethod
    def read(self, at: int, count: int) -> bytes | memoryview:
        """Return `count` bytes from `at` on; fewer at the end."""

    def place(self, at: int) -> int:
        """Return where byte `at` stands in the file, or the compressed chunk that holds it."""
        return self.base + at if self.exact else self.base


class FileRegion(Region):
    """A whole file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__(size, 0, exact=True, whole=True)
        self._file = file
        self._at = -1

    def read(self, at: int, count: int) -> bytes:
        """Return `count` bytes from `at` on; fewer at the end."""
        if at != self._at:
            self._file.seek(at)
        data = self._file.read(count)
        self._at = at + len(data)
        return data


class BufferRegion(Region):
    """Bytes in memory."""

    def __init__(self, data: bytes, base: int, *, exact: bool) -> None:
        super().__init__(len(data), base, exact=exact)
        self._data = memoryview(data)

    def read(self, at: int, count: int) -> memoryview:
        """Return `count` bytes from `at` on; fewer at the end."""
        return self._data[at : at + count]


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

    fields  of a bag's record
    chunk   None where it is none
    """

    kind: int
    at: int
    start: int
    length: int
    fields: dict[bytes, bytes]
    chunk: Chunk | None = None

    @property
    def stop(self) -> int:
        """Where the next record begins."""
        return self.start + self.length


class Found(NamedTuple):
    """A message of a channel in a window: where its data are, and if it is wanted."""

    channel: int
    start: int
    stop: int
    wanted: bool


class RecordFile(Container):
    """A container of records, some of them in chunks, that may end with an index.

    A subclass fills `_counts` and `_cuts` from the index.
    """

    MAGIC: ClassVar[bytes]
    EXPECTED: ClassVar[str] = ""  # behind the message that a file does not start so
    MESSAGE: ClassVar[int]
    CHUNK: ClassVar[int]
    CHANNEL_NAME: ClassVar[str]  # in messages for people
    CHECKED: ClassVar[frozenset[int]]  # kinds of records that are valid if another stands behind

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._counts: dict[int, int] | None = None
        self._cuts: list[int] = []
        self._checked = False
        with path.open("rb") as file:
            if file.read(len(self.MAGIC)) != self.MAGIC:
                raise FormatError(f"{path}: does not start with {self.MAGIC!r}{self.EXPECTED}")
            region = self._region(file)
            if not self._read_index(region):
                self._counts, self._cuts = None, []
                losses = Losses(path, strict=False)
                for _ in self._walk(region, len(self.MAGIC), frozenset(), losses):
                    pass

    def _region(self, file: BinaryIO) -> FileRegion:
        return FileRegion(file, self.path.stat().st_size)

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
            self._check_index(region, losses)
            yield from self._walk(region, start or len(self.MAGIC), wanted, losses)
            self._check_end(region, losses)

    def _walk(self, region: Region, at: int, wanted: Set[int], losses: Losses) -> Iterator[Message]:
        stop = self._stop(region)
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
                message = self._message(region, record, wanted, losses)
                if message is not None:
                    yield message
                self._learn_head(region, record)
                at = yield from self._read_run(region, at, wanted)
            elif record.chunk is not None:
                if at != record.chunk.start:
                    yield from self._open_chunk(region, record.chunk, wanted, losses)
            elif self._take(region, record, losses):
                return

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

    def _message(
        self, region: Region, record: Record, wanted: Set[int], losses: Losses
    ) -> Message | None:
        number, start = self._message_head(region, record)
        if number not in self.channels:
            self.undeclared.add(number)
            problem = f"a message is of {self.CHANNEL_NAME} {number}, which is not declared"
            losses.lose(region.place(record.start), record.length, problem)
        elif number in wanted:
            data = region.read(start, record.stop - start)
            return Message(number, data, region.place(start), region.exact)
        return None

    def _read_run(self, region: Region, at: int, wanted: Set[int]) -> Generator[Message, None, int]:
        """Yield messages from the record at `at` on as long as all is valid; return where not."""
        while True:
            # Of a file, windows of one size: messages larger than that are not worth it.
            window = memoryview(region.read(at, _WINDOW if region.whole else region.size))
            first = at
            for number, start, stop, is_wanted in self._run(window, wanted):
                at = first + stop
                if is_wanted:
                    place = region.place(first + start)
                    yield Message(number, window[start:stop], place, region.exact)
            if not region.whole or at - first < _WINDOW // 2:
                return at

    def _open_chunk(
        self, region: Region, chunk: Chunk, wanted: Set[int], losses: Losses
    ) -> Iterator[Message]:
        place = region.place(chunk.start)
        if not region.whole:
            losses.lose(place, chunk.length, "a chunk stands inside a chunk")
            return
        if chunk.length > MOST_BYTES:
            problem = f"a chunk has {chunk.length} bytes, more than can be"
            losses.lose(place, chunk.length, problem)
            return
        data, broken = bytes(region.read(chunk.start, chunk.length)), None
        if chunk.kind:
            data, broken = unpack_chunk(data, chunk.kind, chunk.size)
        elif chunk.size != chunk.length:
            losses.lose(place, 0, f"a chunk holds {chunk.length} bytes, not {chunk.size}")
        if broken is None and chunk.checksum and zlib.crc32(data) != chunk.checksum:
            # What is damaged in it is not known: each message is looked at for itself.
            losses.lose(place, 0, "a chunk does not have the checksum that it names")
        inner = BufferRegion(data, place, exact=not chunk.kind)
        yield from self._walk(inner, 0, wanted, losses)
        if broken is not None:
            losses.lose(place, chunk.length, broken)

    def _cut_end(
        self, region: Region, at: int, wanted: Set[int], losses: Losses
    ) -> Iterator[Message]:
        """Yield what is there of a message or a chunk at `at` that the region ends in."""
        record = self._begun(region, at)
        if record is None:
            return
        if record.kind == self.MESSAGE:
            number, start = self._message_head(region, record)
            if number in wanted:
                data = region.read(start, MOST_BYTES)
                yield Message(number, data, region.place(start), region.exact)
        elif record.chunk is not None and record.chunk.kind and region.whole:
            chunk = record.chunk
            packed = bytes(region.read(chunk.start, MOST_BYTES))
            inner, _ = unpack_chunk(packed, chunk.kind, chunk.size)
            place = region.place(chunk.start)
            yield from self._walk(BufferRegion(inner, place, exact=False), 0, wanted, losses)

    def _stop(self, region: Region) -> int:
        """Return where records end."""
        return region.size

    def _check_index(self, region: Region, losses: Losses) -> None:
        """Count what is wrong with the index as a loss."""

    def _check_end(self, region: Region, losses: Losses) -> None:
        """Count what is wrong with the end of the file as a loss."""

    def _learn_head(self, region: Region, record: Record) -> None:
        """Take note of what a message begins with, for those that follow."""

    @abstractmethod
    def _read_index(self, region: Region) -> bool:
        """Learn the channels and their counts from the index; return whether it is whole."""

    @abstractmethod
    def _record(self, region: Region, at: int) -> Record | str:
        """Return the record at `at`, or what is wrong with it."""

    @abstractmethod
    def _problem(self, region: Region, at: int) -> str | None:
        """Say what is wrong with the head of the record at `at`; None where nothing is."""

    @abstractmethod
    def _begun(self, region: Region, at: int) -> Record | None:
        """Return the message or chunk at `at` which the region ends in; None if it is neither."""

    @abstractmethod
    def _message_head(self, region: Region, record: Record) -> tuple[int, int]:
        """Return the number of a message's channel, and where its bytes begin."""

    @abstractmethod
    def _run(self, window: memoryview, wanted: Set[int]) -> Iterator[Found]:
        """Yield the messages from the start of a window on that are followed by others."""

    @abstractmethod
    def _take(self, region: Region, record: Record, losses: Losses) -> bool:
        """Take a record of another kind; return whether it is the last one."""

    @abstractmethod
    def _search(self, region: Region, start: int) -> int:
        """Return where the next valid record begins from `start` on; the end if none does."""


def unpack_chunk(data: bytes, kind: str, size: int) -> tuple[bytes, str | None]:
    """Return decompressed data of `size` bytes, and None; where it is damaged what comes ahead
    of the damage, and what is wrong.

    `kind` is one of COMPRESSIONS. Never returns more than `size` bytes, or MOST_BYTES.
    """
    if size > MOST_BYTES:
        return b"", f"a chunk says to hold {size} bytes, more than the {MOST_BYTES} that can be"
    if kind in ("none", ""):
        whole = data[:size]
        problem = None if len(data) == size else f"a chunk holds {len(data)} bytes, not {size}"
        return whole, problem
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
    if problem is None and total != size and size < MOST_BYTES:
        problem = f"a chunk decompresses to {'more' if total > size else total} than {size} bytes"
        if total < size:
            problem = f"a chunk decompresses to {total} bytes, not {size}"
    whole = parts[0] if len(parts) == 1 else b"".join(parts)
    return whole[:size], problem
