"""The container of ROS 1: bag files of version 2.0.

Layout: wiki.ros.org/Bags/Format/2.0. A record is a header (length, then fields `name=value`, each
behind its length), then data (behind their length). Chunks hold records, compressed or not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple

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

MAGIC = b"#ROSBAG V2.0\n"
MESSAGE, BAG_HEADER, INDEX, CHUNK, CHUNK_INFO, CONNECTION = 2, 3, 4, 5, 6, 7

_U32 = struct.Struct("<I")
_NEEDED = {
    MESSAGE: (b"conn", b"time"),
    BAG_HEADER: (b"index_pos",),
    INDEX: (b"conn", b"count"),
    CHUNK: (b"compression", b"size"),
    CHUNK_INFO: (b"chunk_pos", b"count"),
    CONNECTION: (b"conn", b"topic"),
}
_LONGEST_HEADER = 1 << 12
_MARK = b"\x04\x00\x00\x00op="
_WINDOW = 1 << 16
_MOST_HEADS = 64


class _Record(NamedTuple):
    op: int
    fields: dict[bytes, bytes]
    at: int
    start: int  # of the data
    length: int


class _Head(NamedTuple):
    """What the records of one connection's messages begin with, up to their time and behind it."""

    number: int
    before: bytes
    behind: bytes
    layout: struct.Struct  # seconds, nanoseconds, length
    data: int  # the data's place in the record


def _parse_fields(data: bytes | memoryview) -> dict[bytes, bytes] | None:
    """Return the fields that fill `data` exactly, None where they do not."""
    found = {}
    data = bytes(data)
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            return None
        (length,) = _U32.unpack_from(data, at)
        name, equals, value = data[at + 4 : at + 4 + length].partition(b"=")
        at += 4 + length
        if not equals or at > len(data):
            return None
        found[name] = value
    return found


def _number(value: bytes) -> int:
    return int.from_bytes(value, "little")


class BagFile(IndexedContainer):
    """A bag. Raises FormatError where its first line is not that of version 2.0."""

    ros1 = True

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._heads: dict[bytes, _Head] = {}
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise FormatError(f"{path}: does not start with {MAGIC!r}, as bags of 2.0 do")
            region = FileRegion(file, path.stat().st_size)
            if not self._read_index(region):
                self._forget_index()
                silent = Losses(path, strict=False, damage=Damage())
                for _ in self._walk(region, len(MAGIC), frozenset(), silent):
                    pass

    def _read_index(self, region: Region) -> bool:
        """Learn the channels and their counts from the index; return whether it is whole."""
        head = self._record(region, len(MAGIC))
        if isinstance(head, str) or head.op != BAG_HEADER:
            return False
        at, left = _number(head.fields[b"index_pos"]), _number(head.fields.get(b"conn_count", b""))
        if not 0 < at < region.size:
            return False
        counts: dict[int, int] = {}
        while at < region.size:
            record = self._record(region, at)
            if isinstance(record, str) or record.op not in (CONNECTION, CHUNK_INFO):
                return False
            data = region.read(record.start, record.length)
            if record.op == CONNECTION:
                self._take_connection(record, data)
                left -= 1
            else:
                self._cuts.append(_number(record.fields[b"chunk_pos"]))
                for number, count in struct.iter_unpack("<II", data[: len(data) // 8 * 8]):
                    counts[number] = counts.get(number, 0) + count
            at = record.start + record.length
        self._counts = {number: counts.get(number, 0) for number in self.channels}
        self._cuts = sorted(cut for cut in self._cuts if len(MAGIC) <= cut < region.size)
        return left == 0

    def _is_chunk(self, region: Region, at: int) -> bool:
        record = self._record(region, at)
        return not isinstance(record, str) and record.op == CHUNK

    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the channels `wanted`, in the order of the file."""
        with self.path.open("rb", buffering=1 << 18) as file:
            region = FileRegion(file, self.path.stat().st_size)
            head = self._record(region, len(MAGIC))
            if self._counts is None and (isinstance(head, str) or not self._has_index(head)):
                losses.lose(len(MAGIC), 0, "the bag has no whole index: it was not closed, or cut")
            yield from self._walk(region, start or len(MAGIC), wanted, losses)

    def _has_index(self, head: _Record) -> bool:
        return _number(head.fields.get(b"index_pos", b"")) > 0

    def _walk(self, region: Region, at: int, wanted: Set[int], losses: Losses) -> Iterator[Message]:
        while at < region.size:
            record = self._record(region, at)
            following = region.size
            if not isinstance(record, str):
                following = record.start + record.length
                if record.op == CHUNK and region.whole and record.fields[b"compression"] == b"none":
                    following = record.start  # its records stand in the file itself
            problem = record if isinstance(record, str) else None
            if not isinstance(record, str) and record.op in (MESSAGE, CHUNK):
                problem = self._problem(region, following)
            if problem is not None or isinstance(record, str):
                found = self._search(region, at + 1)
                if found - following < LEAST_RECORD or isinstance(record, str):
                    # Its length is damaged, or there are bytes too many or too few in it.
                    if found == region.size and not losses.strict:
                        yield from self._cut_end(region, at, wanted, losses)
                    losses.lose(region.place(at), found - at, str(problem))
                    at = found
                    continue
            at = following
            if record.op == CHUNK:
                kind = record.fields[b"compression"].decode("latin-1")
                if following == record.start:
                    continue
                yield from self._open_chunk(region, record, kind, wanted, losses)
            elif record.op == CONNECTION:
                self._take_connection(record, region.read(record.start, record.length))
            elif record.op == MESSAGE:
                message = self._message(region, record, wanted, losses)
                if message is not None:
                    yield message
                if _number(record.fields[b"conn"]) in self.channels:
                    self._learn_head(bytes(region.read(record.at, record.start - record.at)))
                    at = yield from read_run(
                        region, following, lambda window: self._run(window, wanted)
                    )

    def _learn_head(self, record: bytes) -> None:
        """Take the head of a message's record, up to its data, as what others begin with."""
        fields = _parse_fields(record[4:-4]) or {}
        time = record.find(b"time=")
        if time < 0 or record.count(b"time=") > 1 or len(self._heads) > _MOST_HEADS:
            return
        before, behind = record[: time + 5], record[time + 13 : -4]
        layout = struct.Struct(f"<{len(before)}xII{len(behind)}xI")
        self._heads[before] = _Head(_number(fields[b"conn"]), before, behind, layout, len(record))

    def _run(self, window: memoryview, wanted: Set[int]) -> Iterator[Found]:
        """Yield the messages from the start of a window on that are followed by others."""
        size, at = len(window), 0
        valid: Found | None = None
        heads = list(self._heads.values())
        while True:
            for head in heads:
                start = at + head.data
                if (
                    window[at : at + len(head.before)] == head.before
                    and window[start - 4 - len(head.behind) : start - 4] == head.behind
                ):
                    break
            else:
                return
            if start > size:
                return
            seconds, nanoseconds, length = head.layout.unpack_from(window, at)
            if start + length > size:
                return
            if valid is not None:
                yield valid
            at = start + length
            log_ns = seconds * 1_000_000_000 + nanoseconds
            valid = Found(head.number, log_ns, start, at, head.number in wanted)

    def _message(
        self, region: Region, record: _Record, wanted: Set[int], losses: Losses
    ) -> Message | None:
        number = _number(record.fields[b"conn"])
        if number not in self.channels:
            self.undeclared.add(number)
            problem = f"a message is of connection {number}, which is not declared"
            losses.lose(region.place(record.start), record.length, problem)
        elif number in wanted:
            seconds, nanoseconds = struct.unpack("<II", record.fields[b"time"])
            return Message(
                number,
                seconds * 1_000_000_000 + nanoseconds,
                region.read(record.start, record.length),
                region.place(record.start),
                region.exact,
            )
        return None

    def _open_chunk(
        self, region: Region, record: _Record, kind: str, wanted: Set[int], losses: Losses
    ) -> Iterator[Message]:
        place = region.place(record.start)
        if not region.whole:
            losses.lose(place, record.length, "a chunk stands inside a chunk")
            return
        packed = bytes(region.read(record.start, record.length))
        data, problem = decompress(packed, kind, _number(record.fields[b"size"]))
        yield from self._walk(BufferRegion(data, place, exact=False), 0, wanted, losses)
        if problem is not None:
            losses.lose(place, record.length, problem)

    def _take_connection(self, record: _Record, data: bytes | memoryview) -> None:
        number = _number(record.fields[b"conn"])
        fields = _parse_fields(data)
        if fields is None or b"type" not in fields:
            return
        self.declare(
            Channel(
                number,
                record.fields[b"topic"].decode("utf-8", "replace"),
                plain_type(fields[b"type"].decode("utf-8", "replace")),
                fields.get(b"message_definition", b"").decode("utf-8", "replace"),
                True,
            )
        )

    def _record(self, region: Region, at: int) -> _Record | str:
        """Return the record at `at`, or what is wrong with it."""
        head = region.read(at, 4)
        if len(head) < 4:
            return f"{len(head)} bytes are left where a record begins"
        (length,) = _U32.unpack(head)
        if not 8 <= length <= _LONGEST_HEADER:
            return f"a record's header says to have {length} bytes"
        data = region.read(at + 4, length + 4)
        if len(data) < length + 4:
            return f"a record's header has {length} bytes where {len(data)} are left"
        fields = _parse_fields(data[:length])
        if fields is None:
            return "a record's header does not hold fields as it should"
        op = _number(fields.get(b"op", b""))
        problem = _fields_problem(op, fields)
        if problem is not None:
            return problem
        (length_of_data,) = _U32.unpack(data[length:])
        start = at + 4 + length + 4
        if length_of_data > MOST_BYTES and op != CHUNK:
            return f"a record says to hold {length_of_data} bytes, more than can be"
        if start + length_of_data > region.size:
            left = region.size - start
            return f"a record says to hold {length_of_data} bytes where {left} are left"
        return _Record(op, fields, at, start, length_of_data)

    def _cut_end(
        self, region: Region, at: int, wanted: Set[int], losses: Losses
    ) -> Iterator[Message]:
        """Yield what is there of a message or a chunk at `at` that the region ends in."""
        head = bytes(region.read(at, _LONGEST_HEADER + 8))
        length = int.from_bytes(head[:4], "little")
        fields = _parse_fields(head[4 : 4 + length]) if 8 <= length < len(head) - 8 else None
        op = _number(fields.get(b"op", b"")) if fields else 0
        if not fields or op not in (MESSAGE, CHUNK) or _fields_problem(op, fields) is not None:
            return
        start = at + 8 + length
        data = region.read(start, MOST_BYTES)
        if op == MESSAGE:
            number = _number(fields[b"conn"])
            if number in wanted:
                yield Message(number, 0, data, region.place(start), region.exact)
        elif region.whole:
            kind = fields[b"compression"].decode("latin-1")
            inner, _ = decompress(bytes(data), kind, _number(fields[b"size"]))
            place = region.place(start)
            yield from self._walk(BufferRegion(inner, place, exact=False), 0, wanted, losses)

    def _problem(self, region: Region, at: int) -> str | None:
        """Say what is wrong with the record at `at`; None where nothing is, or at the end."""
        record = self._record(region, at) if at < region.size else None
        return record if isinstance(record, str) else None

    def _search(self, region: Region, start: int) -> int:
        """Return where the next valid record begins from `start` on; the end if none does."""
        at = start
        while at < region.size:
            window = bytes(region.read(at, _WINDOW + _LONGEST_HEADER))
            # The field `op` need not come first: records with it are tried from far to near.
            found = window.find(_MARK)
            while 0 <= found < _WINDOW:
                for first in range(max(0, found - 96), found - 3):
                    (length,) = _U32.unpack_from(window, first)
                    if found - first < length <= _LONGEST_HEADER and not isinstance(
                        self._record(region, at + first), str
                    ):
                        return at + first
                found = window.find(_MARK, found + 1)
            at += _WINDOW - 96
        return region.size


def _fields_problem(op: int, fields: dict[bytes, bytes]) -> str | None:
    if op not in _NEEDED or len(fields[b"op"]) != 1:
        return f"a record is of the unknown kind {op}"
    missing = [name.decode() for name in _NEEDED[op] if name not in fields]
    if missing:
        return f"a record of kind {op} lacks {', '.join(missing)}"
    if op == MESSAGE and (len(fields[b"conn"]) != 4 or len(fields[b"time"]) != 8):
        return "a message's connection or time has the wrong length"
    if op == CHUNK and fields[b"compression"].decode("latin-1") not in KINDS:
        return f"a chunk is compressed as {fields[b'compression'][:16]!r}, which is not known"
    return None
