"""ROS 2's sqlite3 storage, read by sqlite3: a database with the tables topics and messages.

Layout: github.com/ros2/rosbag2, rosbag2_storage_sqlite3 (schema versions 1 to 4).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from dvskit.errors import FormatError
from dvskit.formats.losses import Losses
from dvskit.formats.ros.container import MOST_BYTES, Channel, Container, Message, unpack_messages

_FIRST_ROW = 1 << 47  # places from here on are numbers of rows, smaller ones bytes of the file
_ROWS_BETWEEN_CUTS = 8
_MOST_SKIPPED = 1 << 12  # rows at once, after one that cannot be read


class Db3File(Container):
    """A database of messages. Raises FormatError if it has no such tables."""

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

    def locate(self, place: int) -> tuple[Path, int, str]:
        """Return the file, the byte of a place in it (-1 if it is a row), and the row."""
        if place < _FIRST_ROW:
            return self.path, place, ""
        return self.path, -1, f"row {place - _FIRST_ROW} of messages: "

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
        row, step = max(0, start - _FIRST_ROW), 1
        with self._open() as base:
            while step <= _MOST_SKIPPED:
                try:
                    for number, topic, data in base.execute(query, (row,)):
                        if number < row:
                            raise sqlite3.DatabaseError(f"row {number} follows it")
                        row, step = number + 1, 1
                        place = _FIRST_ROW + number
                        if topic not in self.channels:
                            problem = f"a message is of topic {topic}, which is not declared"
                            losses.lose(place, 0, problem)
                        elif isinstance(data, bytes):
                            yield Message(topic, data, place, False)
                        elif topic in wanted:
                            losses.lose(place, 0, "a message without bytes")
                    return
                except sqlite3.Error as error:
                    if step == 1:
                        losses.lose(_FIRST_ROW + row, 0, f"cannot be read ({error})")
                row += step
                step *= 2
