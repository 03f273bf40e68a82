"""ROS 2's sqlite3 storage: a database with the tables topics and messages.

Layout: github.com/ros2/rosbag2, rosbag2_storage_sqlite3 (schema versions 1 to 4).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from dvskit.errors import FormatError
from dvskit.events import Size
from dvskit.formats.losses import Losses
from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.container import LEAST_RECORD, MOST_BYTES, Channel, Container, Message
from dvskit.formats.ros.messages import ROS2_PACKET
from dvskit.formats.ros.reading import RosRecording, open_container
from dvskit.formats.ros.records import unpacked_message
from dvskit.formats.ros.writing import ROS2_TYPE, TOPICS, ContainerWriter, RosSink

__all__ = ["open_recording", "open_sink"]

_FIRST_ROW = 1 << 47  # places from here on are numbers of rows, smaller ones bytes of the file
_ROWS_BETWEEN_CUTS = 8
_MOST_SKIPPED = 1 << 12  # rows at once, behind one that cannot be read


class Db3File(Container):
    """A database of messages. Raises FormatError where it holds no such tables."""

    NAME = "db3"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            with self._open() as base:
                self._read_channels(base)
        except sqlite3.Error as error:
            raise FormatError(
                f"{path}: its topics cannot be read ({error}): no ROS 2 recording, or a damaged "
                "one (sqlite3 FILE .recover may help)"
            ) from error
        if not self.channels:
            raise FormatError(f"{path}: a database that names no topics: no ROS 2 recording")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the database for reading: without locks, and also where pages are missing."""
        base = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            base.text_factory = lambda data: data.decode("utf-8", "replace")
            base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
            base.execute("PRAGMA writable_schema = ON")  # else a cut file cannot be opened
            yield base
        finally:
            base.close()

    def _read_channels(self, base: sqlite3.Connection) -> None:
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
        """Return the rows of a query about the messages; none where they cannot be read."""
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

    def locate(self, place: int) -> tuple[Path, int, str]:
        """Return the file, the byte of a place in it (-1 if it is a row), and the row."""
        if place < _FIRST_ROW:
            return self.path, place, ""
        return self.path, -1, f"row {place - _FIRST_ROW} of messages: "

    def messages(self, wanted: Set[int], losses: Losses, start: int = 0) -> Iterator[Message]:
        """Yield the messages of the topics `wanted`, in order of their numbers."""
        self._check_length(losses)
        for row, topic, found in self._rows(wanted, losses, start):
            place = _FIRST_ROW + row
            if topic not in self.channels:
                losses.lose(place, 0, f"a message is of topic {topic}, which is not declared")
            elif isinstance(found, bytes):
                data, problem = unpacked_message(found)
                if problem is not None:
                    losses.lose(place, 0, problem)
                yield Message(topic, data, place, False)
            elif topic in wanted:
                losses.lose(place, 0, "a message without bytes")

    def _check_length(self, losses: Losses) -> None:
        with self.path.open("rb") as file:
            head = file.read(32)
        page = int.from_bytes(head[16:18], "big")
        page = 65536 if page == 1 else page
        pages = int.from_bytes(head[28:32], "big")
        if pages and self.bytes != pages * page:
            problem = f"the file has {self.bytes} bytes, not {pages} pages of {page}"
            losses.lose(self.bytes, 0, problem)

    def _rows(
        self, wanted: Set[int], losses: Losses, start: int
    ) -> Iterator[tuple[int, int, bytes | None]]:
        """Yield number, topic and data of the rows of messages, the data of those `wanted` alone.

        Behind a row that cannot be read, reading goes on at one that can.
        """
        topics = ", ".join(map(str, sorted(wanted)))
        query = (
            f"SELECT rowid, topic_id, CASE WHEN topic_id IN ({topics}) THEN data END "
            "FROM messages WHERE rowid >= ? ORDER BY rowid"
        )
        row, step = max(0, start - _FIRST_ROW), 1
        with self._open() as base:
            while True:
                try:
                    for number, topic, data in base.execute(query, (row,)):
                        if number < row:
                            raise sqlite3.DatabaseError(f"row {number} stands behind it")
                        yield number, topic, data
                        row, step = number + 1, 1
                    return
                except sqlite3.Error as error:
                    if step == 1:
                        losses.lose(_FIRST_ROW + row, LEAST_RECORD, f"cannot be read ({error})")
                if step > _MOST_SKIPPED:
                    return
                row += step
                step *= 2


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
    recording = open_container(Db3File(path), options)
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
