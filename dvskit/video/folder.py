"""Folders of images, with their times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import VideoError
from dvskit.events import as_size
from dvskit.video.light import Light, checked_light, luminance
from dvskit.video.source import FrameSource, checked_fps, nth_time_us

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".exr", ".hdr")


class ImageFolder(FrameSource):
    """Frames of a folder of images, in natural order of their names.

    Times come from `fps`, or from one of these files in the folder:
    timestamps_us.txt (a whole number of microseconds a line), timestamps.txt (seconds a line),
    images.txt (`seconds name` lines), images.csv (`nanoseconds,name` lines).
    Color is turned gray (Rec. 601); 16-bit and float images stay so. With light="linear" frames are
    float32 of linear light instead (1.0 is white): float images are taken as linear already.
    Raises VideoError for a folder without images or without times.
    """

    def __init__(
        self, path: str | PathLike[str], *, fps: float | None = None, light: Light = "luma"
    ) -> None:
        self.path = Path(path)
        self._light = checked_light(light)
        images = sorted(
            (file for file in self.path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES),
            key=_natural,
        )
        if not images:
            raise VideoError(f"{self.path}: no images ({', '.join(IMAGE_SUFFIXES)}) in this folder")
        rate = checked_fps(fps)
        if rate is not None:
            self._entries = [(nth_time_us(n, rate), file) for n, file in enumerate(images)]
        else:
            self._entries = _timed_images(self.path, images)
        self.frame_count = len(self._entries)
        height, width = self._read(self._entries[0][1]).shape
        self.size = as_size((width, height))

    def _read(self, file: Path) -> NDArray[Any]:
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) if file.is_file() else None
        if image is None:
            raise VideoError(f"{file}: is not an image that can be read")
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
                    f"{file}: is {image.shape[1]}x{image.shape[0]}, the first was {self.size}"
                )
            yield t_us, image


def _natural(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _timed_images(folder: Path, images: list[Path]) -> list[tuple[int, Path]]:
    for name, unit, separator in (
        ("timestamps_us.txt", Fraction(1), None),
        ("timestamps.txt", Fraction(1_000_000), None),
        ("images.txt", Fraction(1_000_000), None),
        ("images.csv", Fraction(1, 1000), ","),
    ):
        if (folder / name).is_file():
            return _read_times(folder / name, images, unit, separator)
    raise VideoError(
        f"{folder}: no time-stamp file (timestamps_us.txt, timestamps.txt, images.txt, "
        "images.csv); add one or pass fps (--fps)"
    )


def _read_times(
    file: Path, images: list[Path], unit: Fraction, separator: str | None
) -> list[tuple[int, Path]]:
    named = file.name.startswith("images")
    entries: list[tuple[int, Path]] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = [word.strip() for word in line.split(separator)]
        try:
            t_us = round(Fraction(words[0]) * unit)
            image = file.parent / words[1] if named else images[len(entries)]
        except (ValueError, IndexError):
            meaning = "a time and a name" if named else "one time an image"
            raise VideoError(f"{file}: line {number} is {line!r}; {meaning} is meant") from None
        entries.append((t_us, image))
    if not entries or (not named and len(entries) != len(images)):
        raise VideoError(f"{file}: has {len(entries)} times for {len(images)} images")
    return entries
