"""Videos, image folders, cameras and arrays to (t_us, frame): gray frames with their time stamps.

And back: `write_video` encodes gray frames.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from dvskit._arguments import check_arguments
from dvskit.errors import FormatError, VideoError
from dvskit.formats import find_format
from dvskit.video.array import ArrayFrames, TimedFrames
from dvskit.video.camera import CameraFrames
from dvskit.video.file import Clock, VideoFrames
from dvskit.video.fitting import Bordered, ClipPart, Cropped, Resized, Trimmed, resized
from dvskit.video.images import IMAGE_SUFFIXES, AnimatedImage, ImageFolder, is_animation
from dvskit.video.light import Light, luminance
from dvskit.video.pictures import ScaleCheck, gray_picture
from dvskit.video.source import FrameLosses, FrameSource
from dvskit.video.writing import write_video

__all__ = [
    "IMAGE_SUFFIXES",
    "AnimatedImage",
    "ArrayFrames",
    "Bordered",
    "CameraFrames",
    "ClipPart",
    "Clock",
    "Cropped",
    "FrameLosses",
    "FrameSource",
    "ImageFolder",
    "Light",
    "Resized",
    "ScaleCheck",
    "TimedFrames",
    "Trimmed",
    "VideoFrames",
    "gray_picture",
    "luminance",
    "open_frames",
    "resized",
    "write_video",
]


@check_arguments
def open_frames(
    path: str | PathLike[str],
    *,
    fps: float | None = None,
    light: Light = "luma",
    clock: Clock = "first",
    strict: bool = True,
) -> FrameSource:
    """Open a video file, an animated image or a folder of images.

    fps     a steady rate in place of the clip's own times
    light   "luma": gray as it is coded; "linear": float32 of linear light
    clock   "first": time 0 is the first frame of a video; "container": times as its container has
            them. Folders of images keep the times that their time-stamp file says.
    strict  whether damage raises; else what is damaged is left out, and `damage` says what

    See VideoFrames, AnimatedImage and ImageFolder. Raises VideoError.
    """
    if Path(path).is_dir():
        return ImageFolder(path, fps=fps, light=light, strict=strict)
    if is_animation(Path(path)):
        return AnimatedImage(path, fps=fps, light=light, strict=strict)
    try:
        return VideoFrames(path, fps=fps, light=light, clock=clock, strict=strict)
    except VideoError:
        if format := _format_of_events(Path(path)):
            raise VideoError(
                f"{path}: is an event file ({format}), not a video; dvskit.open_events (dvskit "
                "convert) reads it"
            ) from None
        raise


def _format_of_events(path: Path) -> str:
    """Return the format of an event file; nothing for what is none."""
    try:
        return find_format(path).name
    except FormatError:
        return ""
