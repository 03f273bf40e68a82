"""ROS 2 sqlite3 recordings of events."""

from __future__ import annotations

from pathlib import Path

from dvskit.events import Size
from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.db3_box import Db3Box
from dvskit.formats.ros.db3_file import Db3File
from dvskit.formats.ros.reading import RosRecording, open_container
from dvskit.formats.ros.sink import RosSink

__all__ = ["open_recording", "open_sink"]


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
    return RosSink(path, size, "db3", Db3Box, overwrite=overwrite)
