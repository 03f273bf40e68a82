"""Write frames as video, or as PNG files with a list of their times."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from os import PathLike
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._files import whole_file, whole_folder
from dvskit.errors import VideoError
from dvskit.events import Size, as_size
from dvskit.formats import Recording, RecordingPart
from dvskit.formats.image_list import IMAGES_NAME
from dvskit.streams import Frame
from dvskit.video.container import reason
from dvskit.video.images import full_scale, middle_us
from dvskit.video.light import LINEAR_PNG, PNG_HEAD

_LIMITED_RANGE = np.round(np.arange(256) * (219 / 255) + 16).astype(np.uint8)
_NO_COLOR = 128  # chroma of gray


def write_video(
    frames: Iterable[tuple[int, NDArray[np.uint8]]],
    path: str | PathLike[str],
    *,
    fps: int,
    overwrite: bool = False,
) -> None:
    """Encode gray frames as H.264 (mp4, mkv, mov by the suffix), each at its own time.

    frames: (t_us, uint8 (height, width)), with even width and height. `fps` is the usual rate.
    Raises VideoError for frames that do not fit, OutputError for an existing file unless
    `overwrite`.

        frames = dvskit.video.open_frames("video.mp4")
        inverted = ((t_us, 255 - frame) for t_us, frame in frames)
        dvskit.video.write_video(inverted, "inverted.mp4", fps=100)
    """
    with whole_file(path, overwrite=overwrite) as partial:
        try:
            with av.open(str(partial), "w") as container:
                _encode(frames, container, fps)
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise VideoError(f"{path}: cannot be encoded ({reason(error)})") from error


def _encode(frames: Iterable[tuple[int, NDArray[np.uint8]]], container: Any, fps: int) -> None:
    stream = None
    clock = Fraction(1, 1_000_000)
    for number, (t_us, gray) in enumerate(frames):
        if stream is None:
            height, width = gray.shape
            if width % 2 or height % 2:
                raise VideoError(f"frames are {width}x{height}; H.264 needs even sides")
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = clock
            stream.options = {"crf": "18", "preset": "veryfast"}
        if gray.shape != (height, width) or gray.dtype != np.uint8:
            raise VideoError(f"frame {number} is {gray.dtype} {gray.shape}, unlike the first")
        planes = np.full((height * 3 // 2, width), _NO_COLOR, np.uint8)
        planes[:height] = _LIMITED_RANGE[gray]
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = t_us, clock
        container.mux(stream.encode(frame))
    if stream is None:
        raise VideoError("no frames to encode")
    container.mux(stream.encode(None))


class WrittenImages(NamedTuple):
    """The result of `write_images`: the number of images, and their sizes."""

    images: int
    sizes: tuple[Size, ...]


def write_images(
    frames: Iterable[Frame] | Recording | RecordingPart,
    path: str | PathLike[str],
    *,
    overwrite: bool = False,
) -> WrittenImages:
    """Write frames as frame_000000.png and so on, and images.txt, into a folder.

    images.txt has a line of seconds (the middle of the exposure, six decimals) and name for each,
    as in the event-camera dataset. Images are gray or RGB, with 8 or 16 bits as given; those of a
    recording of 10 bits are scaled to 16. Those of a recording are marked as linear light (gAMA of
    PNG), as sensors count it. The folder is written whole or not at all.
    Returns the number of images and their sizes. Raises VideoError without frames, OutputError for
    a folder with files unless `overwrite`.

        recording = dvskit.open_events("davis")
        written = dvskit.video.write_images(recording, "frames")
        written.images, written.sizes    # their number, and (Size(width=120, height=90),)
    """
    given = full_scale(frames) if isinstance(frames, Recording | RecordingPart) else frames
    head = b"" if given is frames else LINEAR_PNG
    lines: list[str] = []
    sizes: dict[Size, None] = {}
    with whole_folder(path, overwrite=overwrite, is_own=_is_image) as partial:
        for number, frame in enumerate(given):
            if not number:
                partial.mkdir()
            name, image = f"frame_{number:06d}.png", frame.image
            sizes[as_size((image.shape[1], image.shape[0]))] = None
            found, data = cv2.imencode(".png", image if image.ndim == 2 else image[..., ::-1])
            if not found:
                raise VideoError(f"{path}: frame {number} cannot be written as PNG")
            png = data.tobytes()
            (partial / name).write_bytes(png[:PNG_HEAD] + head + png[PNG_HEAD:])
            lines.append(f"{_seconds(middle_us(frame))} {name}\n")
        if not lines:
            raise VideoError(f"{path}: there are no frames to write")
        (partial / IMAGES_NAME).write_text("".join(lines), encoding="utf-8")
    return WrittenImages(len(lines), tuple(sizes))


def _seconds(t_us: int) -> str:
    whole, part = divmod(abs(t_us), 1_000_000)
    return f"{'-' if t_us < 0 else ''}{whole}.{part:06d}"


def _is_image(name: str) -> bool:
    return name == IMAGES_NAME or re.fullmatch(r"frame_\d{6,}\.png", name) is not None
