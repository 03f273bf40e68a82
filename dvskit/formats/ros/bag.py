"""ROS 1 bags, version 2.0, read by own code, because rosbags takes twice as long.

It also reads no damaged bag, decompresses without a limit, and orders by time.
Layout: wiki.ros.org/Bags/Format/2.0. A record is a header (length, then fields `name=value`, each
after its length), then data (after their length). Chunks hold records, compressed or not.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dvskit.errors import FormatError
from dvskit.formats.decompression import ERRORS
from dvskit.formats.losses import Losses
from dvskit.formats.ros.container import MOST_BYTES, Channel, Message, RosContainer, unpacked

_MESSAGE, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 5, 6, 7
_NEEDED = {
    _MESSAGE: {b"conn", b"time"},
    3: {b"index_pos"},  # the first record
    4: {b"conn", b"count"},  # the index of a chunk
    _CHUNK: {b"compression", b"size"},
    _CHUNK_INFO: {b"chunk_pos", b"count"},
    _CONNECTION: {b"conn", b"topic"},
}
_Fields = dict[bytes, bytes]


class _RecordError(ValueError):
    """A record that is not whole."""


class _Record(NamedTuple):
    """A record: its data are the bytes start..stop - 1."""

    kind: int
    fields: _Fields
    start: int
    stop: int


class _Region(NamedTuple):
    """Records up to byte `stop` of the file, or of what a chunk of it holds.

    inner   whether it is a chunk
    packed  the place of a chunk that was decompressed; -1 if the bytes are those of the file
    """

    file: BinaryIO
    stop: int
    inner: bool = False
    packed: int = -1

    def place(self, at: int) -> int:
        return at if self.packed < 0 else self.packed

    def read(self, at: int, count: int) -> bytes:
        """Return `count` bytes from `at` on. Raises _RecordError if fewer are left."""
        if count > min(self.stop - at, MOST_BYTES):
            left = self.stop - at
            raise _RecordError(f"a record says to hold {count} bytes where {left} are left")
        self.file.seek(at)
        return self.file.read(count)

    def record(self, at: int) -> _Record:
        """Return the record at `at`; only the data of a chunk may end after the region.

        Raises _RecordError.
        """
        length = _int(self.read(at, 4))
        start = at + 4 + length + 4
        head = self.read(at + 4, length + 4)
        fields = _parse_fields(head[:length])
        kind, length = _int(fields.get(b"op", b"")), _int(head[length:])
        if kind not in _NEEDED or (kind == _CHUNK and self.inner):
            raise _RecordError(f"a record is of kind {kind}, which is not known here")
        if not fields.keys() >= _NEEDED[kind]:
            raise _RecordError(f"a record of kind {kind} lacks fields")
        if start + length > self.stop and kind != _CHUNK:
            left = self.stop - start
            raise _RecordError(f"a record says to hold {length} bytes where {left} are left")
        return _Record(kind, fields, start, start + length)


class BagFile(RosContainer):
    """A bag. Raises FormatError if its first line is not that of version 2.0, or it has no index.

    After a record that is not whole, reading goes on at the next chunk.
    """

    NAME = "bag"
    MAGIC = b"#ROSBAG V2.0\n"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._cuts: set[int] = set()
        with path.open("rb") as file:
            if file.read(len(self.MAGIC)) != self.MAGIC:
                raise FormatError(f"{path}: does not start with {self.MAGIC!r}; choose its format")
            region = _Region(file, self.bytes)
            for at in (self._index_start(region), len(self.MAGIC)):
                if not self.channels:  # a damaged index lists none
                    for _ in self._walk(region, at, frozenset(), Losses(path, strict=False)):
                        pass

    def _index_start(self, region: _Region) -> int:
        """Return where connections and chunks are listed. Raises FormatError without an index."""
        start = 0
        with suppress(_RecordError):
            start = _int(region.record(len(self.MAGIC)).fields.get(b"index_pos", b""))
        if not len(self.MAGIC) < start < region.stop:
            raise FormatError(
                f"{self.path}: the bag ends at byte {region.stop} without an index: it was not "
                f"closed, or cut; run rosbag reindex {self.path}"
            )
        return start

    def cuts(self) -> list[int]:
        """Return where chunks begin; empty if the index names another record."""
        with self.path.open("rb") as file, suppress(_RecordError):
            region = _Region(file, self.bytes)
            if all(at < region.stop and region.record(at).kind == _CHUNK for at in self._cuts):
                return sorted(self._cuts)
        return []

    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the channels `wanted`, in the order of the file."""
        with self.path.open("rb") as file:
            region = _Region(file, self.bytes)
            yield from self._walk(region, start or len(self.MAGIC), wanted, losses)

    def _walk(
        self, region: _Region, at: int, wanted: Set[int], losses: Losses
    ) -> Iterator[Message]:
        """Yield the messages of a region, from the record at `at` on."""
        while at < region.stop:
            try:
                record = region.record(at)
            except _RecordError as error:
                following = self._next_chunk(region, at)
                losses.lose(region.place(at), following - at, str(error))
                at = following
                continue
            stop = record.stop if record.stop <= region.stop else self._next_chunk(region, at)
            if record.kind == _MESSAGE:
                number = _int(record.fields[b"conn"])
                place, length = region.place(record.start), stop - record.start
                if number in wanted:
                    yield Message(
                        number, region.read(record.start, length), place, region.packed < 0
                    )
                elif number not in self.channels:
                    problem = f"a message is of channel {number}, which is not declared"
                    losses.lose(place, length, problem)
            elif record.kind == _CHUNK:
                yield from self._open(region, record, stop, wanted, losses)
            elif record.kind in (_CONNECTION, _CHUNK_INFO):
                self._learn(record, region.read(record.start, stop - record.start))
            at = stop

    def _next_chunk(self, region: _Region, at: int) -> int:
        """Return where the next chunk after byte `at` begins; the end if none is known."""
        after = () if region.inner else (cut for cut in self._cuts if cut > at)
        return min(after, default=region.stop)

    def _open(
        self, region: _Region, chunk: _Record, stop: int, wanted: Set[int], losses: Losses
    ) -> Iterator[Message]:
        """Yield the messages of a chunk, whose bytes end at `stop`.

        A compressed chunk that is not whole is lost; of any other, the whole messages are read.
        """
        held, said = stop - chunk.start, chunk.stop - chunk.start
        kind = chunk.fields[b"compression"].decode("latin-1")
        problem = f"a chunk says to hold {said} bytes where {held} are" if held < said else ""
        lost = 0
        if kind == "none":
            inner = region._replace(stop=stop, inner=True)
            yield from self._walk(inner, chunk.start, wanted, losses)
        else:
            try:
                data = unpacked(region.read(chunk.start, held), kind, _int(chunk.fields[b"size"]))
            except ERRORS as error:
                problem, lost = f"a chunk does not decompress ({error})", held
            else:
                inner = _Region(io.BytesIO(data), len(data), inner=True, packed=chunk.start)
                yield from self._walk(inner, 0, wanted, losses)
        if problem:
            losses.lose(chunk.start, lost, problem)

    def _learn(self, record: _Record, data: bytes) -> None:
        """Take the declaration of a channel, or the index's entry for a chunk."""
        fields = record.fields
        if record.kind == _CONNECTION:
            with suppress(_RecordError):
                own = _parse_fields(data)
                texts = fields[b"topic"], own.get(b"type", b""), own.get(b"message_definition", b"")
                topic, kind, text = (each.decode("utf-8", "replace") for each in texts)
                if kind:
                    self.declare(Channel(_int(fields[b"conn"]), topic, kind, text, True))
        elif (place := _int(fields[b"chunk_pos"])) not in self._cuts:
            self._cuts.add(place)
            for number, count in struct.iter_unpack("<II", data[: len(data) // 8 * 8]):
                self._counts[number] = self._counts.get(number, 0) + count


def _parse_fields(data: bytes) -> _Fields:
    """Return the fields that fill `data` exactly. Raises _RecordError if they do not."""
    found = {}
    at = 0
    while at < len(data):
        length = _int(data[at : at + 4])
        at += 4 + length
        name, equals, value = data[at - length : at].partition(b"=")
        if not equals or at > len(data):
            raise _RecordError("the fields of a record's header are not valid")
        found[name] = value
    return found


def _int(value: bytes) -> int:
    return int.from_bytes(value, "little")
