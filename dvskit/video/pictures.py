"""Pictures in memory, whoever holds them (NumPy, PyTorch, PIL, lists), as gray arrays.

And whether their numbers are on the scale of their type, so that wrong ones are reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from os import PathLike
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, ScaleWarning, ShapeError, warn

_COLOURS = (3, 4)  # RGB and RGBA
_CHANNELS = (1, *_COLOURS)
_PLAIN_MODES = ("1", "L", "F", "RGB", "RGBA", "I;16", "I;16L", "I;16B", "I;16N")
WHITE = {"uint8": 255, "uint16": 65535}  # 1.0 in floats
_BRIGHT = 16.0  # floats beyond it are taken for digital numbers: 1.0 is white
_BRIGHT_WHOLE = 2.0  # the same of whole numbers; linear light may be a few times white
_DIM = {"uint8": 1, "uint16": 4095}  # whole clips below it are taken for those of fewer bits
_LOOKED_AT = 16  # frames that a clip is judged by
_WHITES = (1, 255, 1023, 4095, 65535)  # of 1, 8, 10, 12 and 16 bits


def as_array(pictures: Any) -> NDArray[Any]:
    """Return one picture or many as an array, without copying where its holder allows that.

    Raises ShapeError for a tensor that has a gradient or is not in the processor's memory.
    """
    if isinstance(pictures, np.ndarray):
        return pictures
    if isinstance(pictures, str | PathLike):
        raise ShapeError(
            f"a frame is a picture, not {str(pictures)!r}; pass PIL.Image.open(path) of each, or "
            "the path of their folder alone"
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
    if image.mode == "I":  # what 16 bits were opened as before Pillow 12
        array = np.asarray(image)
        if array.min() < 0 or array.max() > WHITE["uint16"]:
            raise ShapeError("a PIL image of mode I goes beyond 0..65535; give it as floats 0..1")
        return array.astype(np.uint16)
    if image.mode not in _PLAIN_MODES:
        clear = "A" in image.mode or "a" in image.mode or "transparency" in image.info
        image = image.convert("RGBA" if clear else "RGB")
    array = np.asarray(image)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _of_tensor(tensor: Any) -> NDArray[Any]:
    if tensor.requires_grad:
        raise ShapeError(
            "the frames require a gradient, and events have none; pass frames.detach()"
        )
    if tensor.device.type != "cpu":
        raise ShapeError(f"the frames are on {tensor.device}; pass frames.cpu()")
    try:
        return np.asarray(tensor.numpy())
    except (TypeError, RuntimeError):
        raise ShapeError(f"the frames are {tensor.dtype}; pass frames.float()") from None


def checked_white(white: float | None) -> float | None:
    """Return the number of white. Raises ConfigError unless it is finite and above 0."""
    if white is not None and not (math.isfinite(white) and white > 0):
        raise ConfigError(
            f"white = {white} is no brightness; give the number that white has, as 255"
        )
    return white


def gray_picture(picture: Any, number: int, white: float | None = None) -> NDArray[Any]:
    """Return picture `number` of a clip as gray (height, width), at the precision that it has.

    picture  (H, W), (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4), seen on black; or the channels
             first where they cannot be last; of NumPy, PyTorch, PIL, or lists
    white    the number that white has, for values that do not fill their type: they become floats,
             1.0 for white. None: 255 in uint8, 65535 in uint16, 1.0 in floats

    Colours become Y' = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), as those of images in files do;
    black and white (bool) 0 and 255. Raises ShapeError.
    """
    array = _scaled(as_array(picture), white)
    if array.ndim == 2:
        return array
    if array.ndim != 3:
        raise ShapeError(
            f"frame {number} has shape {array.shape}; (height, width) is meant, or "
            "(height, width, 3) for RGB"
        )
    return _luma(_channels_last(array, number))


def is_coloured(shape: tuple[int, ...]) -> bool:
    """Return whether a picture of that shape has colours."""
    return len(shape) == 3 and (shape[-1] in _COLOURS or (shape[-1] != 1 and shape[0] in _COLOURS))


def _scaled(array: NDArray[Any], white: float | None) -> NDArray[Any]:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if white is None or white == WHITE.get(array.dtype.name, 1 if array.dtype.kind == "f" else 0):
        return array
    if array.dtype.kind not in "iuf":
        raise ShapeError(f"frames are {array.dtype}; numbers are meant")
    return array / np.float64(white)


def _channels_last(array: NDArray[Any], number: int) -> NDArray[Any]:
    if array.shape[-1] in _CHANNELS:
        return array
    if array.shape[0] in _CHANNELS:
        return np.moveaxis(array, 0, -1)
    raise ShapeError(
        f"frame {number} has shape {array.shape}; (height, width) is meant, or "
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
            f"colours are {array.dtype}; uint8, uint16 or float are meant: "
            "frames.astype(np.uint8), or pass white=255"
        )
    gray = np.asarray(cv2.cvtColor(np.ascontiguousarray(array[..., :3]), cv2.COLOR_RGB2GRAY))
    if channels == 3:
        return gray
    seen = gray * (array[..., 3] / np.float32(WHITE.get(array.dtype.name, 1)))
    return np.asarray(seen if array.dtype.kind == "f" else np.rint(seen), array.dtype)


class ScaleCheck:
    """Looks at the frames of one clip; gives a ScaleWarning once where they are out of scale."""

    def __init__(self) -> None:
        self._kind: str | None = None
        self._top = 0.0
        self._done = False

    @property
    def is_sure(self) -> bool:
        """Whether further frames would change nothing; floats may always go further."""
        return self._done or self._kind == "float"

    def see(self, frame: NDArray[Any]) -> None:
        """Look at a frame; warn where floats are far beyond 1.0."""
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
                f"float frames reach {self._top:,.6g}, and 1.0 is white: {fix} "
                "(white=1 where they are meant to be so bright)",
                ScaleWarning,
            )
        elif self._kind != "float" and self._top > _DIM[self._kind]:
            self._done = True

    def _is_far_from_white(self, frame: NDArray[Any]) -> bool:
        if self._top <= _BRIGHT_WHOLE:
            return False
        return self._top > _BRIGHT or bool(np.array_equal(frame, np.rint(frame)))

    def end(self) -> None:
        """Warn where all frames together used but the lowest numbers of their type."""
        if self._done or not self._top or self._kind not in _DIM:
            return
        most = np.iinfo(self._kind).max
        warn(
            f"{self._kind} frames reach {self._top:,.0f}, and {most:,} is white: "
            f"pass white={_white(self._top)} to emulate (white={most} where they are meant to be "
            "so dark)",
            ScaleWarning,
        )


def look_at_scale(picture: Callable[[int], NDArray[Any]], count: int) -> None:
    """Give a ScaleWarning where a clip of `count` frames, had by their numbers, is out of scale.

    A few frames are looked at, and all of them ahead of calling the clip too dark.
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
    """Return the white of frames that reach `top`: a little beyond it is from resampling."""
    return next((white for white in _WHITES if top <= 1.1 * white), round(top))
