"""Recordings of ROS: bags of ROS 1, sqlite3 and MCAP files of ROS 2, with one way of reading.

Messages: event_camera_msgs/EventPacket (github.com/ros-event-camera/event_camera_msgs; encodings
as github.com/ros-event-camera/event_camera_codecs) and dvs_msgs/EventArray
(github.com/uzh-rpg/rpg_dvs_ros) with its relatives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from dvskit.events import Size
from dvskit.formats.recording import ReadOptions
from dvskit.formats.ros.bag import BagFile
from dvskit.formats.ros.container import RosContainer
from dvskit.formats.ros.folder import BagFolder
from dvskit.formats.ros.reading import RosRecording, open_container
from dvskit.formats.ros.ros2 import Db3File, McapFile

__all__ = ["BAG", "DB3", "FOLDER", "MCAP"]


def _open(
    container: Callable[[Path], RosContainer], path: Path, options: ReadOptions
) -> RosRecording:
    """Open a file. Raises FormatError, GeometryError."""
    return open_container(container(path), options)


def _open_folder(path: Path, options: ReadOptions) -> RosRecording:
    """Open the folder of a metadata.yaml. Raises FormatError, GeometryError."""
    return open_container(BagFolder(path.parent, strict=options.strict), options)


def _open_sink(name: str, path: Path, size: Size, *, overwrite: bool) -> object:
    from dvskit.formats.ros.writing import RosSink

    return RosSink(path, size, name, overwrite=overwrite)


def _format(container: type[BagFile | Db3File | McapFile]) -> SimpleNamespace:
    return SimpleNamespace(
        open_recording=partial(_open, container), open_sink=partial(_open_sink, container.NAME)
    )


BAG, DB3, MCAP = _format(BagFile), _format(Db3File), _format(McapFile)
FOLDER = SimpleNamespace(open_recording=_open_folder)
