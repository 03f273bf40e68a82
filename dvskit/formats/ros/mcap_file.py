"""MCAP, the container of newer ROS 2 recordings.

Layout: mcap.dev/spec. A record is its kind (1 byte), its length (8 bytes), its content; chunks
hold records, compressed or not.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dvskit.errors import FormatError
from dvskit.formats.recording import Damage
from dvskit.formats.ros.compression import KINDS, decompress
from dvskit.formats.ros.container import (
    LEAST_RECORD,
    MOST_BYTES,
    Channel,
    IndexedContainer,
    Losses,
    Message,
    plain_type,
)
from dvskit.formats.ros.region import BufferRegion, FileRegion, Region
from dvskit.formats.ros.runs import Found, read_run

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
STATISTICS, METADATA, SUMMARY_OFFSET, DATA_END = 0xB, 0xC, 0xE, 0xF

RECORD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
CHUNK_HEAD = struct.Struct("<QQQI")
FOOTER_BYTES = RECORD.size + 20 + len(MAGIC)

_WINDOW = 1 << 16
_LEAST = {FOOTER: 20, MESSAGE: MESSAGE_HEAD.size, CHUNK: CHUNK_HEAD.size + 12, MESSAGE_INDEX: 6,
          CHUNK_INDEX: 64, DATA_END: 4, SUMMARY_OFFSET: 17, STATISTICS: 46}  # fmt: skip


class _Chunk(NamedTuple):
    size: int
    checksum: int
    kind: str
    start: int  # of the records
    length: int


def _texts(data: bytes, at: int, count: int) -> tuple[list[str], int]:
    """Return strings, each behind its length, and where they end. Raises ValueError."""
    found = []
    for _ in range(count):
        length = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + length > len(data):
            raise ValueError("a text is longer than its record")
        found.append(data[at + 4 : at + 4 + length].decode("utf-8", "replace"))
        at += 4 + length
    return found, at


class McapFile(IndexedContainer):
    """An MCAP file. Raises FormatError where it does not begin as one."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._schemas: dict[int, tuple[str, str]] = {}
        self._times = (0, 1 << 64)  # of all messages, once the summary says so
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise FormatError(f"{path}: does not start with {MAGIC!r}")
            region = FileRegion(file, path.stat().st_size)
            if not self._read_summary(region):
                self._forget_index()
                silent = Losses(path, strict=False, damage=Damage())
                for _ in self._walk(region, len(MAGIC), frozenset(), silent):
                    pass

    def _read_summary(self, region: Region) -> bool:
        """Learn the channels and their counts from the end of the file; say if they are there."""
        at = region.size - FOOTER_BYTES
        end = region.read(max(0, at), FOOTER_BYTES)
        if len(end) < FOOTER_BYTES or end[-8:] != MAGIC or end[0] != FOOTER:
            return False
        summary, stop = int.from_bytes(end[9:17], "little"), at
        if not len(MAGIC) < summary < stop:
            return False
        at = summary
        counts = None
        while at < stop:
            kind, length, problem = self._head(region, at)
            if problem is not None or kind in (MESSAGE, CHUNK):
                return False
            content = bytes(region.read(at + RECORD.size, length))
            if not self._learn(kind, content):
                return False
            if kind == CHUNK_INDEX:
                self._cuts.append(int.from_bytes(content[16:24], "little"))
            if kind == STATISTICS:
                pairs = struct.iter_unpack("<HQ", content[46 : 46 + (length - 46) // 10 * 10])
                counts = dict(pairs)
                self._times = struct.unpack_from("<QQ", content, 26)
            at += RECORD.size + length
        if counts is not None:
            self._counts = {number: counts.get(number, 0) for number in self.channels}
        self._cuts = sorted(cut for cut in self._cuts if len(MAGIC) <= cut < summary)
        return bool(self.channels)

    def _is_chunk(self, region: Region, at: int) -> bool:
        kind, _, problem = self._head(region, at)
        return kind == CHUNK and problem is None

    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the channels `wanted`, in the order of the file."""
        with self.path.open("rb", buffering=1 << 18) as file:
            region = FileRegion(file, self.path.stat().st_size)
            yield from self._walk(region, start or len(MAGIC), wanted, losses)
            if region.read(max(0, region.size - len(MAGIC)), len(MAGIC)) != MAGIC:
                losses.lose(region.size, 0, "the file ends, ahead of the mark at its end")

    def _walk(self, region: Region, at: int, wanted: Set[int], losses: Losses) -> Iterator[Message]:
        ended = False
        stop = region.size - (len(MAGIC) if region.whole else 0)
        while at < stop and not ended:
            kind, length, problem = self._head(region, at)
            start, following = at + RECORD.size, at + RECORD.size + length
            chunk = self._chunk(region, start, length) if kind == CHUNK and not problem else None
            problem = chunk if isinstance(chunk, str) else problem
            broken = problem is not None
            flat = isinstance(chunk, _Chunk) and region.whole and not chunk.kind
            if isinstance(chunk, _Chunk) and flat and not chunk.checksum:
                following = chunk.start  # its records stand in the file itself
            if not broken and following < stop:
                problem = self._head(region, following)[2]
            if problem is not None:
                found = self._search(region, at + 1)
                if broken or found - following < LEAST_RECORD:
                    # Its length is damaged, or there are bytes too many or too few in it.
                    if found == region.size and not losses.strict:
                        yield from self._cut_end(region, at, wanted, losses)
                    losses.lose(region.place(at), found - at, problem)
                    at = found
                    continue
            if kind == MESSAGE:
                message = self._message(region, start, length, wanted, losses)
                if message is not None:
                    yield message
                at = yield from read_run(
                    region, following, lambda window: self._run(window, wanted)
                )
                continue
            at = following
            if isinstance(chunk, _Chunk) and following != chunk.start:
                yield from self._open_chunk(region, chunk, wanted, losses)
            elif kind in (SCHEMA, CHANNEL) and not self._learn(
                kind, bytes(region.read(start, length))
            ):
                losses.lose(region.place(start), length, "a declaration is damaged")
            ended = kind == FOOTER

    def _run(self, window: memoryview, wanted: Set[int]) -> Iterator[Found]:
        """Yield the messages from the start of a window on that are followed by others."""
        head, size = RECORD.size + MESSAGE_HEAD.size, len(window)
        unpack = struct.Struct("<BQHIQ").unpack_from
        at = 0
        valid: Found | None = None
        while at + head <= size:
            kind, length, number, _, log_ns = unpack(window, at)
            following = at + RECORD.size + length
            if (
                kind != MESSAGE
                or length < MESSAGE_HEAD.size
                or following > size
                or number not in self.channels
            ):
                return
            if valid is not None:
                yield valid
            valid = Found(number, log_ns, at + head, following, number in wanted)
            at = following

    def _message(
        self, region: Region, start: int, length: int, wanted: Set[int], losses: Losses
    ) -> Message | None:
        head = region.read(start, MESSAGE_HEAD.size)
        number, _, log_ns, _ = MESSAGE_HEAD.unpack(head)
        if number not in self.channels:
            self.undeclared.add(number)
            told = f"a message is of channel {number}, which is not declared"
            losses.lose(region.place(start), length, told)
        elif number in wanted:
            at = start + MESSAGE_HEAD.size
            data = region.read(at, length - MESSAGE_HEAD.size)
            return Message(number, log_ns, data, region.place(at), region.exact)
        return None

    def _cut_end(
        self, region: Region, at: int, wanted: Set[int], losses: Losses
    ) -> Iterator[Message]:
        """Yield what is there of a message or a chunk at `at` that the region ends in."""
        start = at + RECORD.size
        head = bytes(region.read(at, RECORD.size + MESSAGE_HEAD.size))
        if len(head) < RECORD.size + MESSAGE_HEAD.size:
            return
        if head[0] == MESSAGE:
            number, _, log_ns, _ = MESSAGE_HEAD.unpack_from(head, RECORD.size)
            at += len(head)
            if number in wanted:
                data = region.read(at, MOST_BYTES)
                yield Message(number, log_ns, data, region.place(at), region.exact)
        elif head[0] == CHUNK and region.whole and region.size - start > CHUNK_HEAD.size + 16:
            chunk = self._chunk(region, start, None)
            if isinstance(chunk, _Chunk) and chunk.kind:
                packed = bytes(region.read(chunk.start, MOST_BYTES))
                data, _ = decompress(packed, chunk.kind, chunk.size)
                inner = BufferRegion(data, region.place(chunk.start), exact=False)
                yield from self._walk(inner, 0, wanted, losses)

    def _chunk(self, region: Region, start: int, length: int | None) -> _Chunk | str:
        head = bytes(region.read(start, CHUNK_HEAD.size + 4))
        _, _, size, checksum = CHUNK_HEAD.unpack_from(head)
        letters = int.from_bytes(head[-4:], "little")
        if letters > 8:
            return f"a chunk's compression has a name of {letters} letters"
        tail = bytes(region.read(start + CHUNK_HEAD.size + 4, letters + 8))
        kind = tail[:letters].decode("latin-1")
        if kind not in KINDS or kind == "none":
            return f"a chunk is compressed as {kind!r}, which is not known"
        first = start + CHUNK_HEAD.size + 4 + letters + 8
        held = int.from_bytes(tail[letters:], "little")
        if length is not None and first + held != start + length:
            return f"a chunk says to hold {held} bytes where {start + length - first} are"
        return _Chunk(size, checksum, kind, first, held)

    def _open_chunk(
        self, region: Region, chunk: _Chunk, wanted: Set[int], losses: Losses
    ) -> Iterator[Message]:
        place = region.place(chunk.start)
        if not region.whole:
            losses.lose(place, chunk.length, "a chunk stands inside a chunk")
            return
        if chunk.length > MOST_BYTES:
            told = f"a chunk has {chunk.length} bytes, more than can be"
            losses.lose(place, chunk.length, told)
            return
        packed = bytes(region.read(chunk.start, chunk.length))
        data, problem = packed, None
        if chunk.kind:
            data, problem = decompress(packed, chunk.kind, chunk.size)
        elif chunk.size != chunk.length:
            losses.lose(place, 0, f"a chunk holds {chunk.length} bytes, not {chunk.size}")
        if problem is None and chunk.checksum and zlib.crc32(data) != chunk.checksum:
            # What is damaged in it is not known: each message is looked at for itself.
            losses.lose(place, 0, "a chunk does not have the checksum that it names")
        inner = BufferRegion(data, place, exact=chunk.kind == "")
        yield from self._walk(inner, 0, wanted, losses)
        if problem is not None:
            losses.lose(place, chunk.length, problem)

    def _learn(self, kind: int, content: bytes) -> bool:
        """Take a schema or a channel; return whether it was valid."""
        number = int.from_bytes(content[:2], "little")
        try:
            if kind == SCHEMA:
                (name, encoding, text), _ = _texts(content, 2, 3)
                self._schemas[number] = (name, text if "msg" in encoding else "")
            elif kind == CHANNEL:
                schema = int.from_bytes(content[2:4], "little")
                (topic, encoding), _ = _texts(content, 4, 2)
                name, text = self._schemas.get(schema, ("", ""))
                self.declare(Channel(number, topic, plain_type(name), text, encoding == "ros1"))
        except ValueError:
            return False
        return True

    def _head(self, region: Region, at: int) -> tuple[int, int, str | None]:
        """Return kind and length of the record at `at`, and what is wrong with it."""
        head = region.read(at, RECORD.size)
        if len(head) < RECORD.size:
            return 0, 0, f"{len(head)} bytes are left where a record begins"
        kind, length = RECORD.unpack(head)
        left = region.size - at - RECORD.size
        problem = None
        if kind == 0 or DATA_END < kind < 0x80:
            problem = f"a record is of the unknown kind {kind:#x}"
        elif length > left:
            problem = f"a record says to hold {length} bytes where {left} are left"
        elif length < _LEAST.get(kind, 0):
            problem = f"a record of kind {kind} has only {length} bytes"
        elif kind == FOOTER and (not region.whole or at != region.size - FOOTER_BYTES):
            problem = "a footer stands ahead of the end"
        elif kind == MESSAGE and length > MOST_BYTES:
            problem = f"a message says to have {length} bytes, more than can be"
        return kind, length, problem

    def _search(self, region: Region, start: int) -> int:
        """Return where the next valid record begins from `start` on; the end if none does."""
        at = start
        while at < region.size:
            window = np.frombuffer(region.read(at, _WINDOW + 8), np.uint8)
            count = len(window) - 8
            if count <= 0:
                break
            # A kind that there is, and a length whose high bytes are 0.
            likely = (window[:count] >= HEADER) & (window[:count] <= DATA_END)
            for high in range(5, 9):
                likely &= window[high : high + count] == 0
            for place in np.flatnonzero(likely).tolist():
                if self._is_valid(region, at + place, 2):
                    return at + place
            at += _WINDOW
        return region.size

    def _is_valid(self, region: Region, at: int, depth: int) -> bool:
        """Whether a record stands at `at`, by all that can be checked, and another behind it."""
        kind, length, problem = self._head(region, at)
        if problem is not None:
            return False
        start = at + RECORD.size
        if kind == CHUNK:
            return not isinstance(self._chunk(region, start, length), str)
        if kind == MESSAGE:
            number, _, log_ns, _ = MESSAGE_HEAD.unpack(region.read(start, MESSAGE_HEAD.size))
            if number not in self.channels or not self._times[0] <= log_ns <= self._times[1]:
                return False
        elif kind == MESSAGE_INDEX:
            head = bytes(region.read(start, 6))
            return int.from_bytes(head[2:], "little") == length - 6 and length % 16 == 6
        elif kind not in (SCHEMA, CHANNEL, CHUNK_INDEX, DATA_END, METADATA):
            return False
        following = start + length
        if following == region.size or depth == 0:
            return True
        if region.whole and region.read(following, len(MAGIC)) == MAGIC:
            return True
        return self._head(region, following)[2] is None
