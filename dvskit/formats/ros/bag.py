"""ROS 1 bags of events."""

from __future__ import annotations

from pathlib import Path

from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.bag_file import BagFile
from dvskit.formats.ros.reading import RosRecording, open_container

__all__ = ["open_recording"]


def open_recording(path: Path, options: ReadOptions) -> RosRecording:
    """Open a ROS 1 bag. Raises FormatError, GeometryError."""
    return open_container(BagFile(path), options, "bag")
