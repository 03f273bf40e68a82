"""Images in memory (NumPy, PyTorch, PIL, lists) as gray arrays.

Also checks that their values have the scale of their dtype, and warns if they do not.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ScaleWarning, ShapeError, warn

_COLOURS = (3, 4)  # RGB and RGBA
_CHANNELS = (1, *_COLOURS)
_PLAIN_MODES = ("1", "L", "F", "RGB", "RGBA", "I;16", "I;16L", "I;16B", "I;16N")
WHITE = {"uint8": 255, "uint16": 65535}  # 1.0 in floats
_BRIGHT = 16.0  # floats beyond it count as digital numbers, unlike 1.0 for white
_BRIGHT_WHOLE = 2.0  # the same for whole numbers; linear light may be a few times white
_DIM = {"uint8": 1, "uint16": 4095}  # whole clips below it appear to have fewer bits
_LOOKED_AT = 16  # frames checked per clip
_WHITES = (1, 255, 1023, 4095, 65535)  # of 1, 8, 10, 12 and 16 bits


def as_array(pictures: Any) -> NDArray[Any]:
    """Return one image or many as an array, without copying if possible.

    Raises ShapeError for a tensor that has a gradient or is not in CPU memory.
    """
    if isinstance(pictures, np.ndarray):
        return pictures
    if isinstance(pictures, str | PathLike):
        raise ShapeError(
            f"a frame is an image, not {str(pictures)!r}; pass PIL.Image.open(path) of each, or "
            "only the path of their folder"
        )
    if hasattr(pictures, "convert") and hasattr(pictures, "mode"):
        return _of_pil(pictures)
    if hasattr(pictures, "requires_grad"):
        return _of_tensor(pictures)
    try:
        return np.asarray(pictures)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(pictures).__name__
        raise ShapeError(f"the frames are {kind}, which NumPy cannot take: {error}") from None


def _of_pil(image: Any) -> NDArray[Any]:
    if image.mode == "I":  # the mode of 16-bit images before Pillow 12
        array = np.asarray(image)
        if array.min() < 0 or array.max() > WHITE["uint16"]:
            raise ShapeError("a PIL image of mode I exceeds 0..65535; pass it as floats 0..1")
        return array.astype(np.uint16)
    if image.mode not in _PLAIN_MODES:
        clear = "A" in image.mode or "a" in image.mode or "transparency" in image.info
        image = image.convert("RGBA" if clear else "RGB")
    array = np.asarray(image)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _of_tensor(tensor: Any) -> NDArray[Any]:
    if tensor.requires_grad:
        raise ShapeError(
            "the frames require a gradient, but events have none; pass frames.detach()"
        )
    if tensor.device.type != "cpu":
        raise ShapeError(f"the frames are on {tensor.device}; pass frames.cpu()")
    try:
        return np.asarray(tensor.numpy())
    except (TypeError, RuntimeError):
        raise ShapeError(f"the frames are {tensor.dtype}; pass frames.float()") from None


def gray_picture(picture: Any, number: int, white: float | None = None) -> NDArray[Any]:
    """Return image `number` of a clip as gray (height, width), at its own precision.

    picture  (H, W), (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4), on black; or channels first if they
             cannot be last; of NumPy, PyTorch, PIL, or lists
    white    the value of white, if values do not fill their dtype: integers become uint16, 65535
             for white, floats 1.0. None: 255 in uint8, 65535 in uint16, 1.0 in floats

    Colours become Y' = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), as for images in files;
    black and white (bool) become 0 and 255. Raises ShapeError.

        red = np.zeros((3, 48, 64), np.uint8)    # channels first, as torch has them
        red[0] = 200
        gray = dvskit.video.gray_picture(red, 0)    # (48, 64) uint8
        gray[0, 0]                                  # 60 = 0.299 x 200
    """
    array = _scaled(as_array(picture), white)
    if array.ndim == 2:
        return array
    if array.ndim != 3:
        raise ShapeError(
            f"frame {number} has shape {array.shape}; (height, width) is expected, or "
            "(height, width, 3) for RGB"
        )
    return _luma(_channels_last(array, number))


def is_coloured(shape: tuple[int, ...]) -> bool:
    """Return whether an image of that shape has colours."""
    return len(shape) == 3 and (shape[-1] in _COLOURS or (shape[-1] != 1 and shape[0] in _COLOURS))


def _scaled(array: NDArray[Any], white: float | None) -> NDArray[Any]:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if white is None or white == WHITE.get(array.dtype.name, 1 if array.dtype.kind == "f" else 0):
        return array
    if array.dtype.kind not in "iuf":
        raise ShapeError(f"frames are {array.dtype}; numbers are expected")
    scaled = array / np.float64(white)
    if array.dtype.kind == "f":
        return scaled
    return np.asarray(np.rint(np.clip(scaled, 0, 1) * 65535), np.uint16)  # still codes


def _channels_last(array: NDArray[Any], number: int) -> NDArray[Any]:
    if array.shape[-1] in _CHANNELS:
        return array
    if array.shape[0] in _CHANNELS:
        return np.moveaxis(array, 0, -1)
    raise ShapeError(
        f"frame {number} has shape {array.shape}; (height, width) is expected, or "
        "(height, width, 3) for RGB: keep one channel or their mean, as frame.mean(-1)"
    )


def _luma(array: NDArray[Any]) -> NDArray[Any]:
    channels = array.shape[-1]
    if channels == 1:
        return array[..., 0]
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype.name not in WHITE:
        raise ShapeError(
            f"colours are {array.dtype}; uint8, uint16 or float are expected: "
            "frames.astype(np.uint8), or pass white=255"
        )
    gray = np.asarray(cv2.cvtColor(np.ascontiguousarray(array[..., :3]), cv2.COLOR_RGB2GRAY))
    if channels == 3:
        return gray
    seen = gray * (array[..., 3] / np.float32(WHITE.get(array.dtype.name, 1)))
    return np.asarray(seen if array.dtype.kind == "f" else np.rint(seen), array.dtype)


class ScaleCheck:
    """Checks the frames of one clip; gives a ScaleWarning once if their scale appears wrong.

    Call `see` for each frame, and `end` after the last one.

        check = dvskit.video.ScaleCheck()
        for t_us, frame in dvskit.video.open_frames("video.mp4"):
            check.see(frame)
        check.end()       # no warning: frames of 0..255 in uint8
        check.is_sure     # True
    """

    def __init__(self) -> None:
        self._kind: str | None = None
        self._top = 0.0
        self._done = False

    @property
    def is_sure(self) -> bool:
        """Whether further frames cannot change the result; floats may always increase."""
        return self._done or self._kind == "float"

    def see(self, frame: NDArray[Any]) -> None:
        """Check a frame; warn if floats are far above 1.0."""
        if self._done or not frame.size:
            return
        self._kind = "float" if frame.dtype.kind == "f" else frame.dtype.name
        if self._kind != "float" and self._kind not in _DIM:
            self._done = True
            return
        self._top = max(self._top, float(frame.max()))
        if self._kind == "float" and self._is_far_from_white(frame):
            self._done = True
            fix = f"divide by {_white(self._top)}, or pass white={_white(self._top)} to emulate"
            warn(
                f"float frames reach {self._top:,.6g}, but 1.0 is white: {fix} "
                "(white=1 if they are meant to be this bright)",
                ScaleWarning,
            )
        elif self._kind != "float" and self._top > _DIM[self._kind]:
            self._done = True

    def _is_far_from_white(self, frame: NDArray[Any]) -> bool:
        if self._top <= _BRIGHT_WHOLE:
            return False
        return self._top > _BRIGHT or bool(np.array_equal(frame, np.rint(frame)))

    def end(self) -> None:
        """Warn if all frames together used only the lowest values of their dtype."""
        if self._done or not self._top or self._kind not in _DIM:
            return
        most = np.iinfo(self._kind).max
        warn(
            f"{self._kind} frames reach {self._top:,.0f}, but {most:,} is white: "
            f"pass white={_white(self._top)} to emulate (white={most} if they are meant to be "
            "so dark)",
            ScaleWarning,
        )


def look_at_scale(picture: Callable[[int], NDArray[Any]], count: int) -> None:
    """Give a ScaleWarning if a clip of `count` frames, accessed by index, has the wrong scale.

    A few frames are checked; all of them before the clip counts as too dark.
    """
    check = ScaleCheck()
    for number in range(0, count, -(-count // _LOOKED_AT) or 1):
        check.see(picture(number))
    for number in range(count):
        if check.is_sure:
            return
        check.see(picture(number))
    check.end()


def _white(top: float) -> int:
    """Return the white of frames that reach `top`: resampling may exceed it a little."""
    return next((white for white in _WHITES if top <= 1.1 * white), round(top))
