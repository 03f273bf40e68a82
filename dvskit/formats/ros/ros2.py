"""The containers of ROS 2: MCAP, read by the mcap package, and databases, read by sqlite3.

Layouts: mcap.dev/spec; github.com/ros2/rosbag2, rosbag2_storage_sqlite3 (schema versions 1 to 4).
"""

from __future__ import annotations

import io
import sqlite3
import struct
import zlib
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, cast

from mcap import records
from mcap.exceptions import EndOfFile, McapError
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.stream_reader import StreamReader

from dvskit.errors import FormatError
from dvskit.formats.decompression import ERRORS
from dvskit.formats.losses import Losses, Place
from dvskit.formats.ros.container import (
    MOST_BYTES,
    Channel,
    Message,
    RosContainer,
    unpack_messages,
    unpacked,
)

# What the package raises for damaged files.
_MCAP_ERRORS = (McapError, EOFError, ValueError, struct.error, OverflowError)
_CHUNK_BYTES = 49  # of a chunk, without its data and the name of its compression
_FOOTER = struct.Struct("<BQQQI8s")  # kind, length, summary, its offsets, its CRC, the file's end

_FIRST_ROW = 1 << 47  # places from here on are numbers of rows, smaller ones bytes of the file
_ROWS_BETWEEN_CUTS = 8
_STEPS_A_BYTE, _STEPS_AT_ONCE = 32, 1_000_000  # of SQLite's machine: a row takes some 20
_MOST_SKIPPED = 1 << 12  # rows at once, after one that cannot be read


class _Source:
    """A file or a chunk for the mcap package: reading more bytes than are left raises EOFError.

    size    the number of its bytes
    at      the offset of the next byte
    base    the place of a chunk's first byte; None for the file
    packed  whether the chunk was decompressed
    """

    def __init__(
        self, file: BinaryIO, size: int, base: int | None = None, *, packed: bool = False
    ) -> None:
        self._file, self.size, self.at = file, size, file.tell()
        self.base, self.packed = base, packed

    def read(self, count: int) -> bytes:
        left = self.size - self.at
        if left and not 0 <= count <= left:
            raise EOFError(f"{count} bytes are expected where {left} are left")
        data = self._file.read(count)
        self.at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> None:
        self.at = self._file.seek(offset, whence)

    def place(self, at: int) -> int:
        return (self.base or 0) + (0 if self.packed else at)


class McapFile(RosContainer):
    """An MCAP file. Raises FormatError if it does not begin as one.

    A chunk with a wrong checksum is lost. After an invalid record, reading goes on at the next
    chunk.
    """

    NAME = "mcap"
    MAGIC = b"\x89MCAP0\r\n"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._schemas: dict[int, records.Schema] = {}
        self._cuts: set[int] = set()
        with path.open("rb") as file:
            if file.read(len(self.MAGIC)) != self.MAGIC:
                raise FormatError(f"{path}: does not start with {self.MAGIC!r}; choose its format")
            self._flaw = self._read_summary(file)
        if self._flaw or not self.channels:
            for _ in self.messages(frozenset(), Losses(path, strict=False)):
                pass
        if self._flaw and not self.channels:
            raise FormatError(f"{path}: {self._flaw}; it holds no whole chunk with messages")

    def _read_summary(self, file: BinaryIO) -> str:
        """Read channels, counts and chunks at the end of the file; return what is wrong there."""
        size = self.bytes
        file.seek(max(0, size - _FOOTER.size))
        end = file.read()
        if len(end) < _FOOTER.size or not end.endswith(self.MAGIC):
            return "the file ends without its footer: it was not closed, or cut"
        _, _, start, _, checksum, _ = _FOOTER.unpack(end)
        if not start:
            return ""
        file.seek(min(start, size))
        if checksum and zlib.crc32(file.read()[:-12]) != checksum:
            return "the summary at the end does not have its checksum"
        file.seek(0)
        try:
            source = cast(IO[bytes], _Source(file, size))
            summary = SeekingReader(source, record_size_limit=size).get_summary()
        except _MCAP_ERRORS as error:
            return f"the summary at the end cannot be read ({error})"
        if summary is not None:
            self._schemas.update(summary.schemas)
            for channel in summary.channels.values():
                self._declare(channel)
            self._cuts = {index.chunk_start_offset for index in summary.chunk_indexes}
            if summary.statistics is not None:
                self._counts = dict(summary.statistics.channel_message_counts)
        return ""

    def _declare(self, channel: records.Channel) -> None:
        schema = self._schemas.get(channel.schema_id)
        name, text = "", ""
        if schema is not None:
            name = schema.name
            text = str(schema.data, "utf-8", "replace") if "msg" in schema.encoding else ""
        ros1 = channel.message_encoding == "ros1"
        self.declare(Channel(channel.id, channel.topic, name, text, ros1))

    def cuts(self) -> list[int]:
        """Return where chunks begin; empty if the summary names another record."""
        with self.path.open("rb") as file:
            for cut in self._cuts:
                file.seek(cut)
                if file.read(1) != bytes([Opcode.CHUNK]):
                    return []
        return sorted(self._cuts)

    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the channels `wanted`, in the order of the file."""
        with self.path.open("rb") as file:
            file.seek(start)
            source = _Source(file, self.bytes)
            yield from unpack_messages(self._walk(source, wanted, losses), losses)
        if self._flaw:
            losses.lose(self.bytes, 0, self._flaw)

    def _walk(self, source: _Source, wanted: Set[int], losses: Losses) -> Iterator[Message]:
        """Yield the messages of the file, or of a chunk, from where `source` is."""
        for record in self._records(source, losses):
            if isinstance(record, records.Message):
                place = source.place(source.at - len(record.data))
                if record.channel_id in wanted:
                    yield Message(record.channel_id, record.data, place, not source.packed)
                elif record.channel_id not in self.channels:
                    problem = f"a message is of channel {record.channel_id}, which is not declared"
                    losses.lose(place, len(record.data), problem)
            elif isinstance(record, records.Chunk):
                place = source.place(source.at - len(record.data))
                if source.base is None:
                    yield from self._open(record, place, wanted, losses)
                else:
                    losses.lose(place, len(record.data), "a chunk is in a chunk")
            elif isinstance(record, records.Schema):
                self._schemas.setdefault(record.id, record)
            elif isinstance(record, records.Channel):
                self._declare(record)

    def _records(self, source: _Source, losses: Losses) -> Iterator[records.McapRecord]:
        while True:
            reader = StreamReader(
                cast(IO[bytes], source), emit_chunks=True, record_size_limit=source.size,
                skip_magic=source.base is not None or source.at > 0,
            )  # fmt: skip
            cuts = self._cuts if source.base is None else set()
            at = source.at
            try:
                for record in reader.records:
                    if isinstance(record, records.Chunk):
                        lengths = len(record.compression.encode()) + len(record.data)
                        if source.at - at != _CHUNK_BYTES + lengths:
                            raise McapError("the lengths in a chunk contradict each other")
                    elif at in cuts:
                        raise McapError("the summary names a chunk here")
                    yield record
                    at = source.at
                return
            except _MCAP_ERRORS as error:
                ended = at == source.size and isinstance(error, EndOfFile)
                if ended and source.base is not None:
                    return
                problem = f"a record is not valid ({str(error) or 'the file ends'})"
            following = min((cut for cut in cuts if cut > at), default=source.size)
            losses.lose(source.place(at), following - at, problem)
            if following == source.size:
                return
            source.seek(following)

    def _open(
        self, chunk: records.Chunk, place: int, wanted: Set[int], losses: Losses
    ) -> Iterator[Message]:
        """Yield the messages of a chunk whose data begin at `place`; a damaged one is lost."""
        data, packed = chunk.data, bool(chunk.compression)
        try:
            if packed:
                data = unpacked(data, chunk.compression, chunk.uncompressed_size)
            if len(data) != chunk.uncompressed_size:
                raise ValueError(f"it holds {len(data)} bytes, not {chunk.uncompressed_size}")
            if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
                raise ValueError("its checksum is another one")
        except ERRORS as error:
            losses.lose(place, len(chunk.data), f"a chunk is damaged ({error})")
            return
        source = _Source(io.BytesIO(data), len(data), place, packed=packed)
        yield from self._walk(source, wanted, losses)


def _reads_tables(
    action: int, _a: str | None, name: str | None, _b: str | None, view: str | None
) -> int:
    """Refuse views, triggers, and functions of computed columns: they can run without end."""
    counts = action != sqlite3.SQLITE_FUNCTION or name in ("count", "min", "max")
    fine = counts and action != sqlite3.SQLITE_RECURSIVE and view is None
    return sqlite3.SQLITE_OK if fine else sqlite3.SQLITE_DENY


class Db3File(RosContainer):
    """A database of messages. Raises FormatError if it has no such tables."""

    NAME = "db3"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            with self._open() as base:
                self._read_channels(base)
        except sqlite3.Error as error:
            raise FormatError(
                f"{path}: its tables cannot be read ({error}): no ROS 2 recording, or a damaged "
                "one (sqlite3 FILE .recover may help)"
            ) from error
        if not self.channels:
            raise FormatError(f"{path}: a database that names no topics: no ROS 2 recording")

    @property
    def notes(self) -> list[str]:
        """A note about messages in the write-ahead log, if there are any."""
        log = self.path.with_name(self.path.name + "-wal")
        if not log.is_file() or not log.stat().st_size:
            return []
        return [
            f"messages that wait in {log.name} are not read; "
            "sqlite3 FILE 'pragma wal_checkpoint' moves them into the file"
        ]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the database for reading: without locks, and even if pages are missing."""
        base = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            base.text_factory = lambda data: data.decode("utf-8", "replace")
            base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
            base.execute("PRAGMA writable_schema = ON")  # else a cut file cannot be opened
            base.execute("PRAGMA trusted_schema = OFF")
            base.set_authorizer(_reads_tables)
            left = iter(range(1 + self.bytes * _STEPS_A_BYTE // _STEPS_AT_ONCE))
            base.set_progress_handler(lambda: next(left, None) is None, _STEPS_AT_ONCE)
            yield base
        finally:
            base.close()

    def _read_channels(self, base: sqlite3.Connection) -> None:
        for table in ("topics", "messages"):
            base.execute(f"SELECT * FROM {table} LIMIT 0")  # refuses a view
            if any(row[-1] for row in base.execute(f"PRAGMA table_xinfo({table})")):
                raise sqlite3.DatabaseError(f"{table} has computed columns")
        texts: dict[object, object] = {}
        with suppress(sqlite3.Error):  # older databases have no such table
            texts = dict(
                base.execute(
                    "SELECT topic_type, encoded_message_definition FROM message_definitions "
                    "WHERE encoding = 'ros2msg'"
                )
            )
        for number, name, kind in base.execute("SELECT id, name, type FROM topics"):
            if isinstance(number, int) and isinstance(name, str) and isinstance(kind, str):
                text = texts.get(kind)
                self.declare(Channel(number, name, kind, str(text or ""), False))

    def _query(self, text: str) -> list[tuple[int, int]]:
        """Return the rows of a query about the messages; none if they cannot be read."""
        with self._open() as base, suppress(sqlite3.Error):
            return base.execute(text).fetchall()
        return []

    def counts(self) -> dict[int, int]:
        """Return the number of messages of each topic."""
        counts = dict(self._query("SELECT topic_id, count(*) FROM messages GROUP BY topic_id"))
        return {number: counts.get(number, 0) for number in self.channels}

    def cuts(self) -> list[int]:
        """Return the places of every eighth row."""
        for first, last in self._query("SELECT min(rowid), max(rowid) FROM messages"):
            if isinstance(first, int) and 0 <= first <= last < first + self.bytes:
                rows = range(_FIRST_ROW + first, _FIRST_ROW + last + 1, _ROWS_BETWEEN_CUTS)
                return list(rows)
        return []

    def locate(self, place: int) -> Place:
        """Return the file, the byte in it (-1 if the place is a row), and the row as a prefix."""
        if place < _FIRST_ROW:
            return Place(self.path, place)
        return Place(self.path, -1, f"row {place - _FIRST_ROW} of messages: ")

    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the topics `wanted`, in order of their numbers."""
        self._check_length(losses)
        yield from unpack_messages(self._rows(wanted, losses, start), losses)

    def _check_length(self, losses: Losses) -> None:
        with self.path.open("rb") as file:
            head = file.read(32)
        page = int.from_bytes(head[16:18], "big")
        page = 65536 if page == 1 else page
        pages = int.from_bytes(head[28:32], "big")
        if pages and self.bytes != pages * page:
            problem = f"the file has {self.bytes} bytes, not {pages} pages of {page}"
            losses.lose(self.bytes, 0, problem)

    def _rows(self, wanted: Set[int], losses: Losses, start: int) -> Iterator[Message]:
        """Yield the messages in the rows; rows that cannot be read are skipped."""
        topics = ", ".join(map(str, sorted(wanted)))
        query = (
            f"SELECT rowid, topic_id, CASE WHEN topic_id IN ({topics}) THEN data END "
            "FROM messages WHERE rowid >= ? ORDER BY rowid"
        )
        row, step, seen = max(0, start - _FIRST_ROW), 1, 0
        with self._open() as base:
            while step <= _MOST_SKIPPED:
                try:
                    for number, topic, data in base.execute(query, (row,)):
                        if number < row:
                            raise sqlite3.DatabaseError(f"row {number} follows it")
                        row, step, seen = number + 1, 1, seen + 1
                        place = _FIRST_ROW + number
                        if topic not in self.channels:
                            problem = f"a message is of topic {topic}, which is not declared"
                            losses.lose(place, 0, problem)
                        elif isinstance(data, bytes):
                            yield Message(topic, data, place, False)
                        elif topic in wanted:
                            losses.lose(place, 0, "a message without bytes")
                    # SQLite may end at a damaged page without an error.
                    counted = "SELECT count(*) FROM messages"
                    if not start and seen != (count := base.execute(counted).fetchone()[0]):
                        problem = f"{seen:,} of {count:,} messages can be read"
                        losses.lose(_FIRST_ROW + row, 0, problem)
                    return
                except sqlite3.Error as error:
                    if step == 1:
                        losses.lose(_FIRST_ROW + row, 0, f"cannot be read ({error})")
                row += step
                step *= 2
