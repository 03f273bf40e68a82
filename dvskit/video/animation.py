"""Animated GIF and WebP, through Pillow: FFmpeg passes over their damage, or does not know them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dvskit.errors import MissingFileError, VideoError
from dvskit.events import as_size
from dvskit.video.container import cut_short
from dvskit.video.light import Light, checked_light, luminance
from dvskit.video.source import FrameLosses, FrameSource, checked_fps, nth_time_us

_SUDDEN_MS, _USUAL_MS = 10, 100  # browsers show a frame of at most 10 ms for 100 ms
_DAMAGE = (OSError, ValueError, IndexError, SyntaxError, EOFError, struct.error)


def is_animation(path: Path) -> bool:
    """Return whether a file begins as GIF or WebP does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(12)
    return head[:6] in (b"GIF87a", b"GIF89a") or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


class AnimatedImage(FrameSource):
    """Gray frames of an animated GIF or WebP, each shown as long as the file says.

    Frames are uint8, or float32 of linear light (`light`), as in VideoFrames; `fps` replaces the
    times. A frame of at most 10 ms is shown for 100, as browsers do. Transparent pixels are seen on
    black. Raises VideoError for a file that cannot be read; with strict=False, what is ahead of the
    damage is read and `damage` says where it begins.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        fps: float | None = None,
        light: Light = "luma",
        strict: bool = True,
    ) -> None:
        self.path = Path(path)
        self.strict = strict
        self._light = checked_light(light)
        self._fps = checked_fps(fps)
        self.damage = FrameLosses(self.path, strict)
        self.container_start_us = 0
        if not self.path.exists():
            raise MissingFileError(self.path)
        with self._open() as image:
            self.size = as_size(image.size)
            try:
                pixels = np.asarray(image.convert("RGBA"))
            except _DAMAGE as error:
                raise VideoError(
                    f"{self.path}: holds no frame that can be read ({error})"
                ) from error
        if pixels[..., 3].min() < 255:
            self.notes = ("transparent pixels are seen on black",)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            image = Image.open(self.path)
        except _DAMAGE as error:
            raise VideoError(
                f"{self.path}: is not an image that can be opened ({error})"
            ) from error
        with image:
            yield image

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        return self._pass(self._picture)

    def pictures(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the same frames as RGB, (height, width, 3) uint8."""
        return self._pass(_on_black)

    def _pass(
        self, picture_of: Callable[[NDArray[np.uint8]], NDArray[Any]]
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        self.damage = FrameLosses(self.path, self.strict)
        t_us = number = 0
        with self._open() as image:
            while True:
                try:
                    image.seek(number)
                    picture = picture_of(np.asarray(image.convert("RGBA")))
                except EOFError:
                    break
                except _DAMAGE as error:
                    self.damage.lose(
                        f"frame {number} (at {t_us / 1e6:.3f} s) cannot be read ({error})"
                    )
                    return
                yield (t_us if self._fps is None else nth_time_us(number, self._fps)), picture
                shown_ms = image.info.get("duration") or 0
                t_us += round((shown_ms if shown_ms > _SUDDEN_MS else _USUAL_MS) * 1000)
                number += 1
        cut = cut_short(self.path, "webp" if image.format == "WEBP" else "gif")
        if cut is not None:
            self.damage.lose(f"{cut}, behind frame {number - 1}")

    def _picture(self, rgba: NDArray[np.uint8]) -> NDArray[Any]:
        if self._light == "linear":
            return luminance(rgba[..., :3]) * (rgba[..., 3] / np.float32(255))
        return np.asarray(cv2.cvtColor(_on_black(rgba), cv2.COLOR_RGB2GRAY))


def _on_black(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB, (height, width, 3), as it is seen on black."""
    if rgba[..., 3].min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    opaque = rgba[..., 3:] / np.float32(255)
    return np.asarray(np.rint(rgba[..., :3] * opaque), np.uint8)
