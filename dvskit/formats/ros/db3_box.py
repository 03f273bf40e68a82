"""Messages into a database of ROS 2."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from dvskit.formats.ros.boxes import ROS2_TYPE, TOPICS, Box
from dvskit.formats.ros.definitions import ROS2_PACKET


class Db3Box(Box):
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
        path.open("wb").close()  # a plain error where the file cannot be written
        self._known: set[int] = set()
        try:
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
            self._declare(0)
        except sqlite3.Error as error:
            raise OSError(str(error)) from error

    def _declare(self, topic: int) -> None:
        if topic not in self._known:
            self._known.add(topic)
            self._base.execute(
                "INSERT INTO topics VALUES (?, ?, ?, 'cdr', '', '')",
                (topic + 1, TOPICS[topic], ROS2_TYPE),
            )

    def add(self, topic: int, t_ns: int, data: bytes) -> None:
        """Append a message of a topic, recorded at `t_ns`."""
        try:
            self._declare(topic)
            self._base.execute(
                "INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)",
                (topic + 1, t_ns, data),
            )
        except sqlite3.Error as error:
            raise OSError(str(error)) from error

    def close(self) -> None:
        """Finish the database."""
        try:
            self._base.execute("COMMIT")
        except sqlite3.Error as error:
            raise OSError(str(error)) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file, which is going to be removed."""
        with suppress(sqlite3.Error):
            self._base.close()
