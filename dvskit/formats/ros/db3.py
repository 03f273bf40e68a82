"""ROS 2's sqlite3 storage: a database with the tables topics and messages.

Layout: github.com/ros2/rosbag2, rosbag2_storage_sqlite3 (schema versions 1 to 4).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dvskit.errors import FormatError
from dvskit.events import Size
from dvskit.formats.losses import Losses
from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.container import Channel, Container, Message
from dvskit.formats.ros.messages import PACKET_TYPE, ROS2_PACKET
from dvskit.formats.ros.reading import RosRecording, open_container
from dvskit.formats.ros.records import unpacked_message
from dvskit.formats.ros.sqlite import Database, Row, Value, kind_bytes
from dvskit.formats.ros.topics import ENCODINGS
from dvskit.formats.ros.wire import MessageError, read_packet
from dvskit.formats.ros.writing import ROS2_TYPE, TOPICS, ContainerWriter, RosSink

__all__ = ["open_recording", "open_sink"]

_TABLES = ("topics", "messages", "message_definitions")
_TOPIC_COLUMNS = ("id", "name", "type", "serialization_format")
_MOST_NUMBER = 1 << 40  # of messages
_TYPE = re.compile(r"[A-Za-z]\w*/(msg/)?[A-Za-z]\w*")


class Db3File(Container):
    """A database of messages. Raises FormatError where it holds no such tables."""

    NAME = "db3"

    def __init__(self, path: Path, *, strict: bool) -> None:
        super().__init__(path)
        self._doubt = ""
        self._database = Database(path)
        self._tables: dict[str, tuple[int, list[str]]] = {}  # the root page, and the columns
        self._leaves: list[int] | None = None
        self._quiet = Losses(path, strict=False).lose
        with self._database.open() as file:
            self._read_schema(file)
            self._root, own = self._tables.get("messages", (0, []))
            # Where topic and data stand in a message's row: as the table says, else as always.
            self._order = tuple(
                own.index(name) if name in own else place
                for name, place in (("topic_id", 1), ("data", 3))
            )
            self._moved = None if strict else self._database.find_moved(file, self._root)
            if strict and not {"topics", "messages"} <= self._tables.keys():
                named = ", ".join(self._tables) or "none"
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

    def _read_schema(self, file: BinaryIO) -> None:
        for row in self._database.table(file, 1, self._quiet):
            values = self._values(file, row)
            if len(values) >= 5 and values[0] == "table" and values[1] in _TABLES:
                root, text = values[3], values[4]
                if isinstance(root, int) and isinstance(text, str):
                    self._tables[str(values[1])] = root, _column_names(text)

    def _values(self, file: BinaryIO, row: Row) -> list[Value]:
        return self._database.values(row, self._database.payload(file, row)[0])

    def _table(self, file: BinaryIO, name: str) -> Iterator[dict[str, Value]]:
        if name in self._tables:
            root, columns = self._tables[name]
            for row in self._database.table(file, root, self._quiet):
                values = zip(columns, self._values(file, row), strict=False)
                yield {**dict(values), "id": row.number}

    def _likely_rows(self, file: BinaryIO) -> Iterator[Row]:
        """Yield the rows of all that may be leaf pages, of whatever table."""
        for leaf in self._database.likely_leaves(file):
            yield from self._database.rows(file, leaf, self._quiet)

    def _read_channels(self, file: BinaryIO) -> None:
        texts: dict[Value, Value] = {}
        for definition in self._table(file, "message_definitions"):
            if definition.get("encoding") == "ros2msg":
                texts[definition.get("topic_type")] = definition.get("encoded_message_definition")
        for topic in self._table(file, "topics"):
            self._take_topic(topic, texts)
        if not self.channels:  # the table is lost: its rows may stand where they stood
            self._doubt = "the table of topics is damaged"
            for row in self._likely_rows(file):
                if 4 <= len(row.kinds) <= 6 and all(kind % 2 for kind in row.kinds[1:]):
                    values = zip(_TOPIC_COLUMNS, self._values(file, row), strict=False)
                    self._take_topic({**dict(values), "id": row.number}, texts)

    def _take_topic(self, topic: dict[str, Value], texts: dict[Value, Value]) -> None:
        number, name, kind = topic.get("id"), topic.get("name"), topic.get("type")
        if not (isinstance(number, int) and isinstance(name, str) and isinstance(kind, str)):
            return
        if _TYPE.fullmatch(kind):
            text = texts.get(kind)
            text = text if isinstance(text, str) else ""
            self.declare(Channel(number, name, kind, text, False))

    def _guess_topics(self, file: BinaryIO) -> None:
        """Take as topics of packets those whose messages are packets, by all that they say."""
        for row in filter(_is_message, self._likely_rows(file)):
            number, first = self._head(row)
            with suppress(MessageError):
                head = read_packet(row.local[first:], ros1=False)
                if head.encoding in ENCODINGS and 0 < head.width < 1 << 15 > head.height > 0:
                    name = f"unnamed topic {number}"
                    self.declare(Channel(number, name, PACKET_TYPE, "", False))

    def counts(self) -> dict[int, int]:
        """Return the number of messages of each topic; their bytes are not read."""
        found = dict.fromkeys(self.channels, 0)
        with self._database.open() as file:
            for row in self._message_rows(file, Losses(self.path, strict=False)):
                topic = self._head(row)[0]
                if topic in found:
                    found[topic] += 1
        return found

    def cuts(self) -> list[int]:
        """Return where the pages of messages begin, as the tree of pages says."""
        if self._leaves is None:
            with self._database.open() as file:
                self._leaves = list(self._database.leaves(file, self._root, self._quiet))
        return self._leaves

    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the topics `wanted`, in order of their numbers."""
        database = self._database
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
                topic, first = self._head(row)
                if topic not in self.channels:
                    problem = f"a message is of topic {topic}, which is not declared"
                    losses.lose(row.offset, row.length, problem)
                elif topic in wanted:
                    payload, broken = database.payload(file, row)
                    data: bytes | memoryview = memoryview(payload)[first:]
                    data, trouble = unpacked_message(data)
                    broken = broken or trouble
                    if broken is not None:
                        losses.lose(row.offset, row.length - len(payload), broken)
                    exact = not row.overflow and len(data) == len(payload) - first
                    yield Message(topic, data, row.offset + first * exact, exact)

    def _head(self, row: Row) -> tuple[int, int]:
        """Return a message's topic, and where its data begin in the payload."""
        topic = self._database.values(row, row.local)[self._order[0]]
        first = row.header + sum(map(kind_bytes, row.kinds[: self._order[1]]))
        return topic if isinstance(topic, int) else -1, first

    def _message_rows(self, file: BinaryIO, losses: Losses, start: int = 0) -> Iterator[Row]:
        """Yield the rows of messages: by the tree of pages, or by their places if it is broken."""
        database, strict = self._database, losses.strict
        pages: Iterable[int]
        if start:
            pages = self.cuts()[self.cuts().index(start) :]
        elif strict:
            pages = database.leaves(file, self._root, losses.lose)
        else:
            pages = self._valid_leaves(file, losses)
        latest = None
        seen: set[int] = set()
        for page in pages:
            rows = (
                database.rows(file, page, losses.lose)
                if strict
                else self._all_rows(file, page, latest, losses)
            )
            for row in rows:
                if not _is_message(row):
                    losses.lose(row.offset, row.length, "a row is no message")
                    continue
                if latest is not None and row.number <= latest:
                    losses.lose(row.offset, 0, f"row {row.number} stands behind row {latest}")
                    if row.number in seen:
                        continue
                if not strict:
                    seen.add(row.number)
                latest = row.number
                yield row

    def _all_rows(
        self, file: BinaryIO, start: int, latest: int | None, losses: Losses
    ) -> list[Row]:
        """Return the rows of a page, also those that stand elsewhere on it."""
        before = losses.damage.count
        rows = list(self._database.rows(file, start, losses.lose))
        lost = losses.damage.count - before
        if lost:  # messages are numbered one by one
            valid = {row.number for row in rows}
            known = valid or ({latest} if latest is not None else {0, _MOST_NUMBER})
            least = max(latest or 0, min(known) - lost - 1)
            near = range(least + 1, max(known) + lost + 1)
            displaced = self._database.displaced_rows(file, start, near)
            rows += [row for row in displaced if row.number not in valid]
            if len(rows) > len(valid):
                rows.sort(key=lambda row: row.number)
        return rows

    def _valid_leaves(self, file: BinaryIO, losses: Losses) -> list[int]:
        """Return where the leaf pages of messages begin; by their places if the tree is broken."""
        database = self._database
        bad: set[int] = set()

        def lose(offset: int, length: int, problem: str) -> None:
            bad.add(offset)
            losses.lose(offset, length, problem)

        listed = list(database.leaves(file, self._root, lose))
        if not bad and self._moved is None:
            return listed
        found = set(listed)
        for start in {*database.likely_leaves(file), *bad} - found:
            if start > 0 and any(map(_is_message, database.rows(file, start, self._quiet))):
                found.add(start)
        # A recording only ever appends: pages stand in the order of their messages.
        return sorted(found)


def _is_message(row: Row) -> bool:
    """Whether a row has a number, a topic, a time and data."""
    kinds = row.kinds
    return (
        len(kinds) == 4
        and kinds[3] >= 12
        and kinds[3] % 2 == 0
        and 1 <= kinds[1] <= 9
        and 1 <= kinds[2] <= 9
    )


def _column_names(sql: str) -> list[str]:
    """Return the names of the columns that a CREATE TABLE statement declares."""
    inner = sql[sql.find("(") + 1 : sql.rfind(")")]
    return [part.split()[0].strip('"`[]') for part in inner.split(",") if part.split()]


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(str(error)) from error


class Db3Writer(ContainerWriter):
    """The database of ROS 2's sqlite3 storage, schema version 4."""

    _SCHEMA = """
    CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
    CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL,
      metadata TEXT NOT NULL);
    CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
      serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL,
      type_description_hash TEXT NOT NULL);
    CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL,
      encoding TEXT NOT NULL, encoded_message_definition TEXT NOT NULL,
      type_description_hash TEXT NOT NULL);
    CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,
      timestamp INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX timestamp_idx ON messages (timestamp ASC);
    INSERT INTO schema(schema_version, ros_distro) VALUES (4, 'dvskit');
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        path.open("wb").close()  # a plain error where the file cannot be written
        with _as_os_errors():
            # Nothing is kept for a way back: an unfinished file is removed.
            self._base = sqlite3.connect(path, isolation_level=None)
            self._base.execute("PRAGMA journal_mode = OFF")
            self._base.execute("PRAGMA synchronous = OFF")
            self._base.executescript(self._SCHEMA)
            self._base.execute("BEGIN")
            self._base.execute(
                "INSERT INTO message_definitions VALUES (1, ?, 'ros2msg', ?, '')",
                (ROS2_TYPE, ROS2_PACKET),
            )
        self._need(0)

    @_as_os_errors()
    def _declare(self, topic: int) -> None:
        self._base.execute(
            "INSERT INTO topics VALUES (?, ?, ?, 'cdr', '', '')",
            (topic + 1, TOPICS[topic], ROS2_TYPE),
        )

    @_as_os_errors()
    def _append(self, topic: int, t_ns: int, data: bytes) -> None:
        self._base.execute(
            "INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)",
            (topic + 1, t_ns, data),
        )

    @_as_os_errors()
    def _finish(self) -> None:
        self._base.execute("COMMIT")

    def abandon(self) -> None:
        """Close the file, which is going to be removed."""
        with suppress(sqlite3.Error):
            self._base.close()


def open_recording(path: Path, options: ReadOptions) -> RosRecording:
    """Open a database of ROS 2 messages, alone or out of its folder.

    Raises FormatError, GeometryError.
    """
    recording = open_container(Db3File(path, strict=options.strict), options)
    note = waiting_log(path)
    recording.assumptions += [] if note is None else [note]
    return recording


def waiting_log(path: Path) -> str | None:
    """Return what to say where messages wait in a log that sqlite writes ahead; else None."""
    log = path.with_name(path.name + "-wal")
    if not log.is_file() or not log.stat().st_size:
        return None
    return (
        f"messages that wait in {log.name} are not read; "
        "sqlite3 FILE 'pragma wal_checkpoint' moves them into the file"
    )


def open_sink(path: Path, size: Size, *, overwrite: bool) -> RosSink:
    """Return a Sink that writes a database of ROS 2 messages, without a metadata.yaml beside."""
    return RosSink(path, size, "db3", Db3Writer, overwrite=overwrite)
