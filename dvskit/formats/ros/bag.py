"""ROS 1 bags of events."""

from __future__ import annotations

from pathlib import Path

from dvskit.events import Size
from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.bag_box import BagBox
from dvskit.formats.ros.bag_file import BagFile
from dvskit.formats.ros.reading import RosRecording, open_container
from dvskit.formats.ros.sink import RosSink

__all__ = ["open_recording", "open_sink"]


def open_recording(path: Path, options: ReadOptions) -> RosRecording:
    """Open a ROS 1 bag. Raises FormatError, GeometryError."""
    return open_container(BagFile(path), options, "bag")


def open_sink(path: Path, size: Size, *, overwrite: bool) -> RosSink:
    """Return a Sink that writes a ROS 1 bag."""
    return RosSink(path, size, "bag", BagBox, overwrite=overwrite)
