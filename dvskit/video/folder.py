"""Folders of images, with their times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import VideoError, one_line
from dvskit.events import as_size
from dvskit.formats.image_list import IMAGE_SUFFIXES, find_images, images_in, read_image
from dvskit.video.light import Light, checked_light, luminance
from dvskit.video.source import FrameLosses, FrameSource, checked_fps, nth_time_us

__all__ = ["IMAGE_SUFFIXES", "ImageFolder"]

_MOST_OF_12_BITS = 4095  # cameras of 10 or 12 bits are often stored so, without being scaled


class ImageFolder(FrameSource):
    """Frames of a folder of images, at the times that a list says, or else `fps`.

    A list is sought in the folder, then in the two above it; times stay what it says:

    images.txt              `seconds name` lines (event-camera dataset; UZH-FPV numbers them); also
                            rgb.txt (TUM RGB-D)
    images.csv              `nanoseconds,name` lines (ESIM)
    timestamps.txt          seconds a line, or a number and seconds (E2VID, vid2e); whole numbers
                            too far apart for seconds are microseconds (DSEC) or nanoseconds
    timestamps_us.txt, images_timestamps_us.txt, image_timestamps.txt (DSEC),
    image_timestamps_left.txt (TUM-VIE)    microseconds a line

    Names are relative to the list, and the images need not lie in the folder itself: a folder that
    holds images.txt and images/ is one. Without names, images are taken in natural order.
    Color is turned gray (Rec. 601); 16-bit and float images stay so. A picture whose EXIF says that
    it is to be turned is; transparent pixels are seen on black. With light="linear" frames are
    float32 of linear light instead (1.0 is white): float images are taken as linear already.

    With strict=False an image that cannot be read, or is of another size, is left out, and `damage`
    says which; `notes` says what was taken for granted. Raises VideoError for a folder without
    images or without times, for a damaged list, with the line, and for a damaged image.
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
        self.damage = FrameLosses(self.path, strict)
        rate = checked_fps(fps)
        if rate is None:
            self._entries, notes = find_images(self.path)
            self.notes = tuple(notes)
        else:
            images = images_in(self.path) or [file for _, file in find_images(self.path).images]
            self._entries = [(nth_time_us(n, rate), file) for n, file in enumerate(images)]
        if not self._entries:
            raise VideoError(f"{self.path}: a time-stamp file that names no image; write its lines")
        self.frame_count = len(self._entries)
        first = self._first()
        self.size = as_size((first.shape[1], first.shape[0]))
        top = int(first.max()) if first.dtype == np.uint16 else 0
        if 0 < top <= _MOST_OF_12_BITS:
            self.notes += (
                f"the first of its 16-bit images reaches {top:,} of 65,535, which is white: scale "
                "images of fewer bits first",
            )

    def _first(self) -> NDArray[Any]:
        """Return the first image; without `strict`, the first that can be read."""
        for _, file in self._entries[:-1]:
            try:
                return self._read(file)
            except VideoError:
                if self.strict:
                    raise
        return self._read(self._entries[-1][1])

    def _read(self, file: Path) -> NDArray[Any]:
        return _on_black(read_image(file), self._gray)

    def _gray(self, image: NDArray[Any]) -> NDArray[Any]:
        if self._light == "linear":
            return luminance(image[..., ::-1] if image.ndim == 3 else image)  # BGR to RGB
        return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        return self._pass(self._read)

    def pictures(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the same images as RGB, (height, width, 3); gray ones as (height, width)."""
        return self._pass(lambda file: _on_black(read_image(file), _rgb))

    def _pass(self, read: Callable[[Path], NDArray[Any]]) -> Iterator[tuple[int, NDArray[Any]]]:
        self.damage = losses = FrameLosses(self.path, self.strict)
        for t_us, file in self._entries:
            try:
                image = read(file)
            except VideoError as error:
                losses.lose(one_line(error).removeprefix(f"{self.path}/"), frames=1)
                continue
            if (image.shape[1], image.shape[0]) != self.size:
                losses.lose(
                    f"{file.name} is {image.shape[1]}x{image.shape[0]}, the first was {self.size}",
                    frames=1,
                )
                continue
            yield t_us, image


def _rgb(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _on_black(image: NDArray[Any], made: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
    """Return what is made of an image, gray, BGR or BGRA, its transparent pixels black."""
    if image.ndim == 2 or image.shape[2] < 4:
        return made(image)
    opaque = image[..., 3] / np.float32(np.iinfo(image.dtype).max)
    picture = made(image[..., :3])
    seen = picture * (opaque if picture.ndim == 2 else opaque[..., None])
    return np.asarray(seen if picture.dtype.kind == "f" else np.rint(seen), picture.dtype)
