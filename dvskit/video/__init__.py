"""Videos, image folders, cameras and arrays to (t_us, frame): gray frames with their time stamps.

And back: `write_video` encodes gray frames.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from dvskit.video.array import ArrayFrames
from dvskit.video.camera import CameraFrames
from dvskit.video.file import VideoFrames
from dvskit.video.folder import IMAGE_SUFFIXES, ImageFolder
from dvskit.video.light import Light, luminance
from dvskit.video.source import FrameSource
from dvskit.video.writing import write_video

__all__ = [
    "IMAGE_SUFFIXES",
    "ArrayFrames",
    "CameraFrames",
    "FrameSource",
    "ImageFolder",
    "VideoFrames",
    "luminance",
    "open_frames",
    "write_video",
]


def open_frames(
    path: str | PathLike[str], *, fps: float | None = None, light: Light = "luma"
) -> FrameSource:
    """Open a video file or a folder of images; see VideoFrames and ImageFolder.

    light  "luma": gray as it is coded; "linear": float32 of linear light, colors decoded as sRGB

    Raises VideoError.
    """
    if Path(path).is_dir():
        return ImageFolder(path, fps=fps, light=light)
    return VideoFrames(path, fps=fps, light=light)
