"""Folders of images, with their times."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import VideoError
from dvskit.events import as_size
from dvskit.formats.image_list import IMAGE_SUFFIXES, find_images, images_in, read_image
from dvskit.video.light import Light, checked_light, luminance
from dvskit.video.source import FrameSource, checked_fps, nth_time_us

__all__ = ["IMAGE_SUFFIXES", "ImageFolder"]


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
    Color is turned gray (Rec. 601); 16-bit and float images stay so. With light="linear" frames are
    float32 of linear light instead (1.0 is white): float images are taken as linear already.

    notes  what was taken for granted, for people

    Raises VideoError for a folder without images or without times, and for a damaged list, with the
    line.
    """

    def __init__(
        self, path: str | PathLike[str], *, fps: float | None = None, light: Light = "luma"
    ) -> None:
        self.path = Path(path)
        self._light = checked_light(light)
        rate = checked_fps(fps)
        self.notes: list[str] = []
        if rate is None:
            self._entries, self.notes = find_images(self.path)
        else:
            images = images_in(self.path) or [file for _, file in find_images(self.path).images]
            self._entries = [(nth_time_us(n, rate), file) for n, file in enumerate(images)]
        if not self._entries:
            raise VideoError(f"{self.path}: a time-stamp file that names no image; write its lines")
        self.frame_count = len(self._entries)
        height, width = self._read(self._entries[0][1]).shape
        self.size = as_size((width, height))

    def _read(self, file: Path) -> NDArray[Any]:
        image = read_image(file)
        if self._light == "linear":
            return luminance(image[..., 2::-1] if image.ndim == 3 else image)  # BGR to RGB
        if image.ndim == 3:
            code = cv2.COLOR_BGRA2GRAY if image.shape[2] == 4 else cv2.COLOR_BGR2GRAY
            image = cv2.cvtColor(image, code)
        return np.asarray(image)

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        for t_us, file in self._entries:
            image = self._read(file)
            if (image.shape[1], image.shape[0]) != self.size:
                raise VideoError(
                    f"{file}: is {image.shape[1]}x{image.shape[0]}, the first was {self.size}; "
                    "frames are of one size"
                )
            yield t_us, image
