"""MCAP files of events."""

from __future__ import annotations

from pathlib import Path

from dvskit.events import Size
from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.mcap_box import McapBox
from dvskit.formats.ros.mcap_file import McapFile
from dvskit.formats.ros.reading import RosRecording, open_container
from dvskit.formats.ros.sink import RosSink

__all__ = ["open_recording", "open_sink"]


def open_recording(path: Path, options: ReadOptions) -> RosRecording:
    """Open an MCAP file. Raises FormatError, GeometryError."""
    return open_container(McapFile(path), options, "mcap")


def open_sink(path: Path, size: Size, *, overwrite: bool) -> RosSink:
    """Return a Sink that writes an MCAP file."""
    return RosSink(path, size, "mcap", McapBox, overwrite=overwrite)
