"""The container of ROS 2's sqlite3 storage: a database with the tables topics and messages.

Layout: github.com/ros2/rosbag2, rosbag2_storage_sqlite3 (schema versions 1 to 4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Set
from pathlib import Path
from typing import BinaryIO

import zstandard

from dvskit.errors import FormatError
from dvskit.formats.losses import Losses
from dvskit.formats.ros.container import MOST_BYTES, Channel, Container, Message
from dvskit.formats.ros.messages import PACKET_TYPE
from dvskit.formats.ros.records import unpack_chunk
from dvskit.formats.ros.sqlite import (
    Database,
    Row,
    Value,
    kind_bytes,
    silent,
    teller,
)
from dvskit.formats.ros.sqlite_moved import find_moved
from dvskit.formats.ros.topics import ENCODINGS
from dvskit.formats.ros.wire import MessageError, read_packet

_ZSTD = b"\x28\xb5\x2f\xfd"
_TABLES = ("topics", "messages", "message_definitions")
_TOPIC_COLUMNS = ("id", "name", "type", "serialization_format")
_MOST_NUMBER = 1 << 40  # of messages
_TYPE = re.compile(r"[A-Za-z]\w*/(msg/)?[A-Za-z]\w*")


class Db3File(Container):
    """A database of messages. Raises FormatError where it holds no such tables."""

    def __init__(self, path: Path, *, strict: bool) -> None:
        super().__init__(path)
        self._doubt = ""
        self._database = Database(path)
        self._roots: dict[str, int] = {}
        self._leaves: list[int] | None = None
        self._columns: dict[str, list[str]] = {}
        with self._database.open() as file:
            self._read_schema(file)
            root = self._roots.get("messages", 0)
            self._moved = None if strict else find_moved(self._database, file, root)
            if strict and not {"topics", "messages"} <= self._roots.keys():
                named = ", ".join(self._roots) or "none"
                raise FormatError(
                    f"{path}: a database without the tables topics and messages (of those: "
                    f"{named}): no ROS 2 recording, or a damaged one (strict=False, --salvage)"
                )
            self._read_channels(file)
            if not self.channels and not strict:
                self._guess_topics(file)
                self._doubt = "the topics are lost: those of packets are told by their messages"
        if not self.channels:
            raise FormatError(f"{path}: a database that names no topics: no ROS 2 recording")

    @property
    def log(self) -> Path | None:
        """The write-ahead log beside the database, where it holds anything."""
        log = self.path.with_name(self.path.name + "-wal")
        return log if log.is_file() and log.stat().st_size else None

    def _read_schema(self, file: BinaryIO) -> None:
        for row in self._table_rows(file, 1):
            values = self._database.values(row, self._database.payload(file, row)[0])
            if len(values) < 5 or values[0] != "table" or values[1] not in _TABLES:
                continue
            root, text = values[3], values[4]
            if isinstance(root, int) and isinstance(text, str):
                self._roots[str(values[1])] = root
                self._columns[str(values[1])] = _column_names(text)

    def _table_rows(self, file: BinaryIO, root: int) -> Iterator[Row]:
        for leaf in self._database.leaves(file, root, silent):
            yield from self._database.rows(file, self._database.start(leaf), silent)

    def _table(self, file: BinaryIO, name: str) -> Iterator[dict[str, Value]]:
        if name in self._roots:
            for row in self._table_rows(file, self._roots[name]):
                values = self._database.values(row, self._database.payload(file, row)[0])
                named = dict(zip(self._columns[name], values, strict=False))
                named["id"] = row.number
                yield named

    def _read_channels(self, file: BinaryIO) -> None:
        texts: dict[Value, Value] = {}
        for definition in self._table(file, "message_definitions"):
            if definition.get("encoding") == "ros2msg":
                texts[definition.get("topic_type")] = definition.get("encoded_message_definition")
        for topic in self._table(file, "topics"):
            self._take_topic(topic, texts)
        if not self.channels:  # the table is lost: its rows may stand where they stood
            self._doubt = "the table of topics is damaged"
            for leaf in self._database.likely_leaves(file):
                for row in self._database.rows(file, leaf, silent):
                    if 4 <= len(row.kinds) <= 6 and all(kind % 2 for kind in row.kinds[1:]):
                        values = self._database.values(row, self._database.payload(file, row)[0])
                        topic = dict(zip(_TOPIC_COLUMNS, values, strict=False))
                        self._take_topic({**topic, "id": row.number}, texts)

    def _guess_topics(self, file: BinaryIO) -> None:
        """Take as topics of packets those whose messages are packets, by all that they say."""
        database = self._database
        for leaf in database.likely_leaves(file):
            for row in database.rows(file, leaf, silent):
                if not self._is_message(row):
                    continue
                number, first = self._head(row, (1, 3))
                if number in self.channels:
                    continue
                try:
                    head = read_packet(row.local[first:], ros1=False)
                except MessageError:
                    continue
                if head.encoding in ENCODINGS and 0 < head.width < 1 << 15 > head.height > 0:
                    name = f"unnamed topic {number}"
                    self.channels[number] = Channel(number, name, PACKET_TYPE, "", False)

    def _take_topic(self, topic: dict[str, Value], texts: dict[Value, Value]) -> None:
        number, name, kind = topic.get("id"), topic.get("name"), topic.get("type")
        if not (isinstance(number, int) and isinstance(name, str) and isinstance(kind, str)):
            return
        if _TYPE.fullmatch(kind):
            text = texts.get(kind)
            text = text if isinstance(text, str) else ""
            self.declare(Channel(number, name, kind, text, False))

    def counts(self) -> dict[int, int]:
        """Return the number of messages of each topic; their bytes are not read."""
        found = dict.fromkeys(self.channels, 0)
        order = self._order()
        with self._database.open() as file:
            quiet = Losses(self.path, strict=False)
            for row in self._message_rows(file, quiet):
                topic = self._head(row, order)[0]
                if topic in found:
                    found[topic] += 1
        return found

    def _order(self) -> tuple[int, ...]:
        """Return where topic and data stand in a message's row: as it says, else as always."""
        own = self._columns.get("messages", [])
        return tuple(
            own.index(name) if name in own else place
            for name, place in (("topic_id", 1), ("data", 3))
        )

    def cuts(self) -> list[int]:
        """Return where the pages of messages begin, as the tree of pages says."""
        if self._leaves is None:
            with self._database.open() as file:
                leaves = self._database.leaves(file, self._roots.get("messages", 0), silent)
                self._leaves = [self._database.start(leaf) for leaf in leaves]
        return self._leaves

    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the topics `wanted`, in order of their numbers."""
        database = self._database
        order = self._order()
        said = database.said_pages or database.pages
        if database.bytes != said * database.page_bytes:
            problem = (
                f"the file has {database.bytes} bytes, not {said} pages of {database.page_bytes}"
            )
            losses.lose(database.bytes, 0, self._moved or problem)
        if self._doubt:
            losses.lose(0, 0, self._doubt)
        with database.open() as file:
            for row in self._message_rows(file, losses, start):
                topic, first = self._head(row, order)
                if topic not in self.channels:
                    problem = f"a message is of topic {topic}, which is not declared"
                    losses.lose(row.offset, row.length, problem)
                elif topic in wanted:
                    payload, broken = database.payload(file, row)
                    data: bytes | memoryview = memoryview(payload)[first:]
                    if data[:4] == _ZSTD:  # rosbag2's compression of messages
                        size = _zstd_size(data)
                        data, trouble = unpack_chunk(bytes(data), "zstd", size)
                        broken = broken or trouble
                    if broken is not None:
                        losses.lose(row.offset, row.length - len(payload), broken)
                    exact = not row.overflow and len(data) == len(payload) - first
                    yield Message(topic, data, row.offset + first * exact, exact)

    def _head(self, row: Row, order: tuple[int, ...]) -> tuple[int, int]:
        """Return a message's topic, and where its data begin in the payload."""
        topic = self._database.values(row, row.local)[order[0]]
        first = row.header + sum(map(kind_bytes, row.kinds[: order[1]]))
        return topic if isinstance(topic, int) else -1, first

    def _is_message(self, row: Row) -> bool:
        kinds = row.kinds
        return (
            len(kinds) == 4
            and kinds[3] >= 12
            and kinds[3] % 2 == 0
            and 1 <= kinds[1] <= 9
            and 1 <= kinds[2] <= 9
        )

    def _message_rows(self, file: BinaryIO, losses: Losses, start: int = 0) -> Iterator[Row]:
        """Yield the rows of messages: by the tree of pages, or by their places if it is broken."""
        database = self._database

        def tell(offset: int, problem: str) -> None:
            losses.lose(offset, 0, problem)

        pages: Iterator[int] | list[int]
        if start:
            pages = self.cuts()[self.cuts().index(start) :]
        elif losses.strict:
            leaves = database.leaves(file, self._roots["messages"], teller(database, losses))
            pages = map(database.start, leaves)
        else:
            pages = self._valid_leaves(file, losses)
        latest = None
        seen: set[int] = set()
        for page in pages:
            for row in self._rows_of(file, page, latest, tell, strict=losses.strict):
                if not self._is_message(row):
                    losses.lose(row.offset, row.length, "a row is no message")
                    continue
                if latest is not None and row.number <= latest:
                    losses.lose(row.offset, 0, f"row {row.number} stands behind row {latest}")
                    if row.number in seen:
                        continue
                if not losses.strict:
                    seen.add(row.number)
                latest = row.number
                yield row

    def _rows_of(
        self,
        file: BinaryIO,
        start: int,
        latest: int | None,
        tell: Callable[[int, str], None],
        *,
        strict: bool,
    ) -> Iterable[Row]:
        """Return the rows of a page; in salvage mode also those that stand elsewhere on it."""
        if strict:
            return self._database.rows(file, start, tell)
        lost: list[int] = []

        def count(offset: int, problem: str) -> None:
            lost.append(offset)
            tell(offset, problem)

        rows = list(self._database.rows(file, start, count))
        if lost:  # messages are numbered one by one
            valid = {row.number for row in rows}
            known = valid or ({latest} if latest is not None else {0, _MOST_NUMBER})
            least = max(latest or 0, min(known) - len(lost) - 1)
            near = range(least + 1, max(known) + len(lost) + 1)
            displaced = [row for row in self._database.displaced_rows(file, start, near)
                         if row.number not in valid]  # fmt: skip
            if displaced:
                return sorted([*rows, *displaced], key=lambda row: row.number)
        return rows

    def _valid_leaves(self, file: BinaryIO, losses: Losses) -> list[int]:
        """Return where the leaf pages of messages begin; by their places if the tree is broken."""
        database = self._database
        broken: list[tuple[int, str]] = []
        root = self._roots.get("messages", 0)
        listed = list(
            database.leaves(file, root, lambda number, problem: broken.append((number, problem)))
        )
        if not broken and self._moved is None:
            return list(map(database.start, listed))
        tell = teller(database, losses)
        for number, problem in broken:
            tell(number, problem)
        bad = {database.start(number) for number, _ in broken if 1 <= number <= database.pages}
        found = set(map(database.start, listed))
        for start in {*database.likely_leaves(file), *bad} - found - {0}:
            if any(self._is_message(row) for row in database.rows(file, start, silent)):
                found.add(start)
        # A recording only ever appends: pages stand in the order of their messages.
        return sorted(found)


def _column_names(sql: str) -> list[str]:
    """Return the names of the columns that a CREATE TABLE statement declares."""
    inner = sql[sql.find("(") + 1 : sql.rfind(")")]
    return [part.split()[0].strip('"`[]') for part in inner.split(",") if part.split()]


def _zstd_size(data: bytes | memoryview) -> int:
    """Return how many bytes zstd data say to become; MOST_BYTES where they do not say."""
    try:
        size: int = zstandard.frame_content_size(bytes(data[:32]))
    except zstandard.ZstdError:
        return MOST_BYTES
    return size if size >= 0 else MOST_BYTES
