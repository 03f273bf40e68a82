"""Frames to video."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from os import PathLike
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit._files import whole_file
from dvskit.errors import VideoError
from dvskit.video.container import reason

_LIMITED_RANGE = np.round(np.arange(256) * (219 / 255) + 16).astype(np.uint8)
_NO_COLOR = 128  # chroma of gray


@check_arguments
def write_video(
    frames: Iterable[tuple[int, NDArray[np.uint8]]],
    path: str | PathLike[str],
    *,
    fps: int,
    overwrite: bool = False,
) -> None:
    """Encode gray frames as H.264 (mp4, mkv, mov by the suffix), each at its own time.

    frames: (t_us, uint8 (height, width)), with even width and height. `fps` is the usual rate.
    Raises VideoError for frames that do not fit, OutputError.
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
                raise VideoError(f"frames are {width}x{height}; H.264 takes even numbers")
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = clock
            stream.options = {"crf": "18", "preset": "veryfast"}
        if gray.shape != (height, width) or gray.dtype != np.uint8:
            raise VideoError(f"frame {number} is {gray.dtype} {gray.shape}, not as the first")
        planes = np.full((height * 3 // 2, width), _NO_COLOR, np.uint8)
        planes[:height] = _LIMITED_RANGE[gray]
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = t_us, clock
        container.mux(stream.encode(frame))
    if stream is None:
        raise VideoError("no frames to encode")
    container.mux(stream.encode(None))
