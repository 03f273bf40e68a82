"""MCAP files of events."""

from __future__ import annotations

from pathlib import Path

from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.mcap_file import McapFile
from dvskit.formats.ros.reading import RosRecording, open_container

__all__ = ["open_recording"]


def open_recording(path: Path, options: ReadOptions) -> RosRecording:
    """Open an MCAP file. Raises FormatError, GeometryError."""
    return open_container(McapFile(path), options, "mcap")
