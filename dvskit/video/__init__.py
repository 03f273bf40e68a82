"""Frames with time stamps, (t_us, frame), from videos, image folders, cameras and arrays.

`write_video` encodes gray frames, `write_images` writes PNG files.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

from dvskit.errors import FormatError, VideoError
from dvskit.formats import Format, find_format
from dvskit.formats.found import PathKind, identify, is_image_arrays
from dvskit.formats.image_list import IMAGE_SUFFIXES, IMAGES_NAME
from dvskit.video.camera import CameraFrames
from dvskit.video.file import Clock, VideoFrames
from dvskit.video.fitting import Bordered, ClipPart, Cropped, Resized, Trimmed, resized
from dvskit.video.images import (
    AnimatedImage,
    ImageArrays,
    ImageFolder,
    RecordedFrames,
    is_animation,
)
from dvskit.video.light import Light, luminance
from dvskit.video.source import (
    ArrayFrames,
    FileFrames,
    FrameLosses,
    FrameSource,
    ScaleCheck,
    TimedFrames,
    gray_picture,
)
from dvskit.video.writing import write_images, write_video

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
    "ImageArrays",
    "ImageFolder",
    "Light",
    "RecordedFrames",
    "Resized",
    "ScaleCheck",
    "TimedFrames",
    "Trimmed",
    "VideoFrames",
    "gray_picture",
    "luminance",
    "open_frames",
    "resized",
    "write_images",
    "write_video",
]


def open_frames(
    path: str | PathLike[str],
    *,
    fps: float | None = None,
    light: Light = "luma",
    clock: Clock = "first",
    strict: bool = True,
) -> FrameSource:
    """Open a video, an animated image, images in a folder or .npz, or the frames of an event file.

    fps     a steady rate instead of the clip's own times
    light   "luma": gray as coded; "linear": float32 of linear light
    clock   "first": time 0 is the first frame of a video; "container": the times in the container.
            Folders of images keep the times of their time-stamp file
    strict  whether damage raises; otherwise damaged parts are skipped and listed in `damage`

    See VideoFrames, AnimatedImage, ImageFolder, ImageArrays and RecordedFrames. Raises VideoError,
    and FormatError for a damaged event file.

        frames = dvskit.video.open_frames("video.mp4")
        frames.size, frames.frame_count    # (Size(width=128, height=128), 200)
        for t_us, frame in frames:
            mean = frame.mean()
    """
    file = Path(path)
    for recognizes, kind in _KINDS:
        if recognizes(file):
            return kind(path, fps=fps, light=light, strict=strict)
    try:
        return VideoFrames(path, fps=fps, light=light, clock=clock, strict=strict)
    except VideoError as error:
        format = _format_of(file)
        if format is None:
            raise
        try:
            return RecordedFrames(path, fps=fps, light=light, strict=strict)
        except FormatError:
            if format.recognizes is None:  # its name alone marks it as an event file
                raise error from None
            raise


def _is_recording_folder(path: Path) -> bool:
    return path.is_dir() and _format_of(path) is not None


# Kinds that a look at the path recognizes, in this order; anything else is tried as a video.
_KINDS: tuple[tuple[Callable[[Path], bool], type[FileFrames]], ...] = (
    (_is_recording_folder, RecordedFrames),
    (Path.is_dir, ImageFolder),
    (is_animation, AnimatedImage),
    (is_image_arrays, ImageArrays),
)


def _format_of(path: Path) -> Format | None:
    """Return the format of an event file or folder; None for anything else.

    A folder with a list of images is an image folder.
    """
    if not path.is_file() and (
        identify(path) is not PathKind.RECORDING or (path / IMAGES_NAME).is_file()
    ):
        return None
    try:
        return find_format(path)
    except FormatError:
        return None
