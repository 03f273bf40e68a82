"""Lists of images and their times, stored next to the images.

A list names its images (`images.txt` of the event-camera dataset, Mueggler et al. 2017;
`images.csv` of ESIM), or has a time for each in natural order of their names (vid2e, E2VID, DSEC,
TUM-VIE). It is in the folder of the images or in one of the two above.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._files import is_hidden, open_regular, visible
from dvskit.errors import VideoError, count_of
from dvskit.events import Size, as_size
from dvskit.formats.side_text import SideText, scaled

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".exr", ".hdr")
IMAGES_NAME = "images.txt"
MOST_PIXELS = 1 << 26  # of an image, and of all frames of a depth clip
MOST_VIDEO_PIXELS = 1 << 25  # of a frame: decoders hold several; 8K has fewer

_SECONDS, _MICROSECONDS, _NANOSECONDS = 6, 0, -3  # powers of ten to microseconds
_FOLDERS_ABOVE = 2
_MOST_SECONDS = 1000  # between two images, for whole numbers to be seconds
# Images are 0.2 ms to 10 s apart; only microseconds or nanoseconds give whole numbers there.
_APART = ((10_000, 200_000, _MICROSECONDS), (10_000_000, 1 << 62, _NANOSECONDS))
_RADIANCE = re.compile(rb"-Y\s*\+?0*(\d{1,9})\d*\s*\+X\s*\+?0*(\d{1,9})")  # as OpenCV reads it


class ListKind(NamedTuple):
    """A kind of list.

    name       of the file, a pattern
    power      of ten that gives microseconds
    named      whether each line names its image, after the time
    separator  between columns; None: white space
    """

    name: str
    power: int
    named: bool = False
    separator: str | None = None


SECONDS_AND_NAMES = ListKind(IMAGES_NAME, _SECONDS, named=True)
KINDS = (
    ListKind("timestamps_us.txt", _MICROSECONDS),
    ListKind("images_timestamps_us.txt", _MICROSECONDS),
    ListKind("timestamps.txt", _SECONDS),
    ListKind("*image_timestamps.txt", _MICROSECONDS),  # DSEC
    ListKind("image_timestamps_*.txt", _MICROSECONDS),  # TUM-VIE
    SECONDS_AND_NAMES,
    ListKind("rgb.txt", _SECONDS, named=True),
    ListKind("images.csv", _NANOSECONDS, named=True, separator=","),
)


Timed = list[tuple[int, Path]]  # images and their times in microseconds, in order of time


class TimedImages(NamedTuple):
    """Images with their times; `notes` lists assumptions."""

    images: Timed
    notes: list[str]


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder, without hidden ones, in natural order of their names."""
    names = (file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    return sorted((file for file in names if not is_hidden(file.name)), key=_natural)


def _natural(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def read_image(file: Path) -> NDArray[Any]:
    """Return an image as read by OpenCV: gray, BGR or BGRA, upright. Raises VideoError."""
    import cv2

    check_pixels(file)
    # OpenCV applies the EXIF rotation unless transparency is requested.
    turned = file.suffix.lower() in (".jpg", ".jpeg")
    how = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH if turned else cv2.IMREAD_UNCHANGED
    try:
        with silent_opencv():
            image = cv2.imread(str(file), how) if file.is_file() else None
    except cv2.error:  # such as too many pixels
        image = None
    if image is None:
        raise VideoError(f"{file}: is not a readable image; remove or replace it")
    return np.asarray(image)


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Keep OpenCV's messages on damage off stderr: the caller reports it."""
    import cv2

    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def check_pixels(file: Path) -> None:
    """Raise VideoError if the header of an image says more than 67,108,864 pixels.

    A decoder takes memory for all of them first, also for those of a damaged header. A Radiance
    file, which takes 24 bytes for each, may have half as many.
    """
    from PIL import Image

    with warnings.catch_warnings(), suppress(OSError, ValueError, SyntaxError):
        warnings.simplefilter("ignore")  # of damage, which the decoder finds, too
        try:
            with open_regular(file) as raw:
                if raw.read(2) == b"#?":
                    for height, width in _RADIANCE.findall(raw.read()):
                        _check_count(file, int(height) * int(width), MOST_PIXELS // 2)
                with Image.open(raw) as image:
                    frame_size(file, *image.size)
        except Image.DecompressionBombError:
            _check_count(file, sys.maxsize, MOST_PIXELS)


def _check_count(file: Path, pixels: int, most: int) -> None:
    if pixels > most:
        raise VideoError(f"{file}: has more than {most:,} pixels; scale it down")


def frame_size(file: Path, width: int, height: int, most: int = MOST_PIXELS) -> Size:
    """Return the size of a picture. Raises VideoError, GeometryError for too large ones."""
    _check_count(file, width * height, most)
    return as_size((width, height))


def find_images(folder: Path) -> TimedImages:
    """Return the images of a folder, with their times.

    A list in the folder is tried first; the images that it names may be in other folders. Raises
    VideoError, with file and line, if there is no list, or a damaged one.
    """
    own = images_in(folder)
    lists = lists_in(folder)
    if not own:  # a list with names is then more certain than one with times only
        lists.sort(key=lambda found: not found[1].named)
    if lists:
        file, kind = lists[0]
        if kind.named:
            listed = read_names(SideText(file, error=VideoError), kind)
            return TimedImages(listed, _unnamed(file, listed))
        if own:
            return _counted(file, kind, own, [])
    if own:
        return _listed_above(folder, own)
    below = [each for each in visible(folder) if each.is_dir() and images_in(each)]
    if lists and len(below) == 1:
        return _counted(*lists[0], images_in(below[0]), [])
    names = ", ".join(each.name for each in below[:3])
    mend = f"; there are in {names}: name that folder" if below else ""
    raise VideoError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}) in this folder{mend}")


def lists_in(folder: Path) -> list[tuple[Path, ListKind]]:
    """Return the lists in a folder that are not hidden, the first kinds first."""
    names = [file.name for file in visible(folder) if file.is_file()]
    return [
        (folder / name, kind) for kind in KINDS for name in names if fnmatchcase(name, kind.name)
    ]


def _listed_above(folder: Path, own: list[Path]) -> TimedImages:
    here = _place(folder)
    passed = []
    for place in list(here.parents)[:_FOLDERS_ABOVE]:
        if not os.access(place, os.R_OK | os.X_OK):
            break
        above = place if folder.is_absolute() else Path(os.path.relpath(place))
        lists = lists_in(above)
        for file, kind in lists:
            if kind.named:
                text = SideText(file, error=VideoError)
                listed = read_names(text, kind, lambda image: _place(image.parent) == here)
                if listed:
                    notes = [f"times are those of {file}", *_unnamed(file, listed)]
                    return TimedImages(listed, notes)
                passed.append(f"{file} names none of them")
        for file, kind in lists:
            if not kind.named and not images_in(above):  # otherwise it counts its own images
                count = sum(1 for _ in SideText(file, error=VideoError))
                if count == len(own):
                    return _counted(file, kind, own, [f"times are those of {file}"])
                images = count_of(len(own), "image")
                passed.append(f"{file} has {count_of(count, 'time')} for {images}")
    texts = sorted(file.name for file in folder.iterdir() if file.suffix in (".txt", ".csv"))
    passed += [f"{', '.join(texts[:3])} there is not one"] if texts else []
    found = f" ({'; '.join(passed)})" if passed else ""
    raise VideoError(
        f"{folder}: {count_of(len(own), 'image')} and no time-stamp file ("
        f"{', '.join(kind.name for kind in KINDS)}) there or above{found}; "
        "write images.txt (a line of seconds and name each) or pass fps="
    )


def _place(folder: Path) -> Path:
    """Return the absolute path of a folder, without resolving links."""
    return Path(os.path.normpath(folder.absolute()))


def _unnamed(file: Path, listed: Timed) -> list[str]:
    """Return a note on images that a list does not name."""
    names = {image for _, image in listed}
    left = sum(
        image not in names
        for folder in {image.parent for image in names}
        for image in images_in(folder)
    )
    return [f"left out: {count_of(left, 'image')} that {file.name} does not name"] if left else []


def read_names(
    text: SideText, kind: ListKind, wanted: Callable[[Path], bool] = lambda image: True
) -> Timed:
    """Return the images that a list names, in its folder or below; those `wanted` must exist.

    A first comment `id timestamp image_name`, as in the UZH-FPV dataset, means that lines are
    numbered. Raises the errors of the text.
    """
    listed: list[tuple[int, int, Path]] = []
    folder = text.path.parent
    for number, line in text:
        numbered = bool(text.comments) and text.comments[-1].lower().startswith(("id ", "index "))
        words = [word.strip() for word in line.split(kind.separator, 1 + numbered)][numbered:]
        t_us = scaled(words[0], kind.power) if len(words) == 2 else None
        if t_us is None:
            text.lose(number, f"is {line[:60]!r}; it must be a time and a name")
            continue
        image = _below(folder, words[1])
        if image is None:
            text.lose(number, f"names {words[1]!r}, which is not below {folder or '.'}")
        elif not wanted(image):
            continue
        elif not image.is_file():
            text.lose(number, f"names {words[1]}, which is missing")
        else:
            listed.append((number, t_us, image))
    return text.in_order(listed)


def _below(folder: Path, name: str) -> Path | None:
    """Return the file with a name; None if it would be outside the folder."""
    plain = PurePosixPath(name.replace("\\", "/"))
    if plain.is_absolute() or re.match(r"[A-Za-z]:", name) or "\0" in name:
        return None
    image = os.path.normpath(plain)
    return None if image == ".." or image.startswith("../") else folder / image


def _counted(file: Path, kind: ListKind, images: list[Path], notes: list[str]) -> TimedImages:
    """Give the images the times of a list, by their order."""
    text = SideText(file, error=VideoError)
    lines = [(number, line.split(kind.separator)) for number, line in text]
    column = _index_column(lines)
    power, told = _unit(file, kind, [words[column] for _, words in lines if len(words) > column])
    found: list[tuple[int, int, Path]] = []
    for number, words in lines:
        t_us = scaled(words[column], power) if len(words) == 1 + column else None
        if t_us is None:
            text.lose(number, f"is {' '.join(words)[:60]!r}; it must be one time per image")
        elif len(found) == len(images):
            text.lose(number, f"is a time too many: there are {len(images)} images")
        else:
            found.append((number, t_us, images[len(found)]))
    entries = text.in_order(found)
    if len(entries) != len(images):
        raise VideoError(
            f"{file}: has {count_of(len(entries), 'time')} for {count_of(len(images), 'image')}; "
            "write one for each image"
        )
    return TimedImages(entries, notes + told)


def _index_column(lines: list[tuple[int, list[str]]]) -> int:
    """Return 1 if each line is the number of its image, from 0 or 1, and a time; else 0."""
    firsts = [words[0] for _, words in lines if len(words) == 2]
    for start in (0, 1):
        counted = [str(number) for number in range(start, start + len(lines))]
        if lines and [str(scaled(first, 0)) for first in firsts] == counted:
            return 1
    return 0


def read_times(file: Path) -> list[int]:
    """Return the times of a list in microseconds, in order; the images need not exist.

    Its kind is that of its name in `KINDS`; other names have lines that begin with seconds. Raises
    VideoError, with file and line, for a damaged list.
    """
    kind = next(
        (each for each in KINDS if fnmatchcase(file.name, each.name)), ListKind("", _SECONDS)
    )
    text = SideText(file, error=VideoError)
    lines = [(number, line.split(kind.separator)) for number, line in text]
    header = text.comments[-1].lower() if text.comments else ""
    numbered = header.startswith(("id ", "index "))
    column = int(numbered or (not kind.named and _index_column(lines) == 1))
    words_of = [(number, words[column : column + 1]) for number, words in lines]
    power, _ = _unit(file, kind, [words[0] for _, words in words_of if words])
    found = []
    for number, words in words_of:
        t_us = scaled(words[0].strip(), power) if words else None
        if t_us is None:
            text.lose(number, "has no time")
        else:
            found.append((number, t_us, None))
    return [t_us for t_us, _ in text.in_order(found)]


def _unit(file: Path, kind: ListKind, times: list[str]) -> tuple[int, list[str]]:
    """Return the power of ten to microseconds: that of the name, unless the times contradict it."""
    if kind.power != _SECONDS or len(times) < 2 or not all(time.isdecimal() for time in times):
        return kind.power, []
    apart = int(np.median(np.diff([scaled(time, 0) or 0 for time in times])))
    if apart <= _MOST_SECONDS:
        return kind.power, []
    for least, most, power in _APART:
        if least <= apart <= most:
            unit = "microseconds" if power == _MICROSECONDS else "nanoseconds"
            return power, [f"{file.name}: whole numbers, {apart:,} apart: assumed to be {unit}"]
    raise VideoError(
        f"{file}: whole numbers, {apart:,} apart, cannot be seconds; "
        "name it timestamps_us.txt if they are microseconds"
    )
