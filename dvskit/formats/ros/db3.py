"""ROS 2 sqlite3 recordings of events."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dvskit.events import Size
from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.db3_file import Db3File
from dvskit.formats.ros.messages import ROS2_PACKET
from dvskit.formats.ros.reading import RosRecording, open_container
from dvskit.formats.ros.writing import ROS2_TYPE, TOPICS, ContainerWriter, RosSink

__all__ = ["open_recording", "open_sink"]


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
    container = Db3File(path, strict=options.strict)
    recording = open_container(container, options, "db3")
    if container.log is not None:
        recording.assumptions.append(
            f"messages that wait in {container.log.name} are not read; "
            "sqlite3 FILE 'pragma wal_checkpoint' moves them into the file"
        )
    return recording


def open_sink(path: Path, size: Size, *, overwrite: bool) -> RosSink:
    """Return a Sink that writes a database of ROS 2 messages, without a metadata.yaml beside."""
    return RosSink(path, size, "db3", Db3Writer, overwrite=overwrite)
