"""The kind of a path: a recording, a video, a folder of images, ...; recordings in folders."""

from __future__ import annotations

import re
import zipfile
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from dvskit._files import visible
from dvskit.errors import FormatError, UnknownFormatError, VideoError
from dvskit.formats.image_list import IMAGE_SUFFIXES, find_images, lists_in
from dvskit.formats.labels import LABELS_ENDING, MAPPING_NAME
from dvskit.formats.table import (
    CLIP_SUFFIXES,
    TABLE,
    file_of_events,
    find_by_head,
    known_by_head,
    read_head,
)

TEXTS = {".txt", ".csv"}  # next to recordings these are more often read-mes or lists
_LISTS = {".csv", ".tsv"}
_DEPTH, _IMAGES = {"depth"}, {"t_us", "images"}  # arrays of a depth clip, and of a clip of images
_KNOWN = _LISTS.union(CLIP_SUFFIXES, IMAGE_SUFFIXES, {""})  # suffixes, beside those of formats
_NUMBER = rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_EVENT_LINE = re.compile(rb"[ \t]*" + _NUMBER + (rb"[,; \t]+" + _NUMBER) * 2 + rb"[,; \t\r\n]")


class PathKind(StrEnum):
    """The kinds of paths; the values are for messages."""

    RECORDING = "recording"
    DEPTH_CLIP = "depth clip"
    VIDEO = "video"
    IMAGE_FOLDER = "folder of images"
    IMAGE = "image"
    LIST = "list"
    FOLDER = "folder"


CLIPS = frozenset((PathKind.DEPTH_CLIP, PathKind.VIDEO, PathKind.IMAGE_FOLDER))


def identify(path: Path) -> PathKind | None:
    """Return the kind of a path, which need not be sound: None for a file that is of no use.

    The name of a file decides. Only three kinds of files are opened: a text must have a line of
    three numbers in its first 4096 bytes to be a recording, an archive may be a depth clip or a
    video of images, and a MATLAB file a depth clip. A folder that some format reads as one
    recording is one; a folder of images holds images or a list of them, and no video. An unknown
    suffix imports installed packages, which may register its format.
    """
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.is_file() and path.exists():  # a pipe or a device, which may never end
        return None
    kind = _kind_of_file(path)
    if kind is None and _unknown({path.suffix.lower()}):
        TABLE.complete()
        kind = _kind_of_file(path)
    return kind


def _kind_of_folder(path: Path) -> PathKind:
    if file_of_events(path) != path:
        return PathKind.RECORDING
    try:
        entries = visible(path)
    except FormatError:  # cannot be read
        return PathKind.FOLDER
    suffixes = {entry.suffix.lower() for entry in entries}
    if _has_images(path, suffixes):
        return PathKind.IMAGE_FOLDER
    unknown = _unknown(suffixes)
    if unknown and any(e.suffix.lower() in unknown and not e.is_dir() for e in entries):
        TABLE.complete()
        if file_of_events(path) != path:
            return PathKind.RECORDING
    return PathKind.FOLDER


def _unknown(suffixes: set[str]) -> set[str]:
    """Return the suffixes that dvskit does not know."""
    return suffixes - _KNOWN - readable_suffixes()


def _kind_of_file(path: Path) -> PathKind | None:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        stored = _arrays_in(path)  # read once: folders may hold many archives of events
        if stored >= _DEPTH:
            return PathKind.DEPTH_CLIP
        if stored >= _IMAGES:
            return PathKind.VIDEO
    elif is_depth_clip(path):
        return PathKind.DEPTH_CLIP
    if suffix in readable_suffixes() and (suffix not in TEXTS or _has_event_lines(path)):
        return PathKind.RECORDING
    if suffix in CLIP_SUFFIXES:
        return PathKind.VIDEO
    if suffix in IMAGE_SUFFIXES:
        return PathKind.IMAGE
    return PathKind.LIST if suffix in _LISTS and not _is_of_labels(path) else None


def identify_named(path: Path) -> PathKind | None:
    """Return the kind of a path that the user named: the content of a file decides before its name.

    None for a file that holds no events, unless its name is that of a clip, an image or a list.
    """
    kind = identify(path)
    if kind is PathKind.DEPTH_CLIP or not path.is_file():
        return kind
    if is_image_arrays(path):
        return PathKind.VIDEO
    find = find_by_head if kind is None else known_by_head
    try:
        find(path, read_head(path))
    except UnknownFormatError:
        return None if kind is PathKind.RECORDING else kind
    except FormatError:  # an empty or unreadable file
        return kind
    return PathKind.RECORDING


def readable_suffixes() -> set[str]:
    """Return the suffixes of the files that some format reads."""
    return {suffix for row in TABLE.values() if "r" in row.can for suffix in row.suffixes}


def is_image_folder(folder: Path) -> bool:
    """Return whether a folder holds images, or a list of them, and no video."""
    try:
        return _has_images(folder, {file.suffix.lower() for file in visible(folder)})
    except FormatError:
        return False


def _has_images(folder: Path, suffixes: set[str]) -> bool:
    if not suffixes.isdisjoint(CLIP_SUFFIXES):
        return False
    try:
        return not suffixes.isdisjoint(IMAGE_SUFFIXES) or (
            bool(lists_in(folder)) and bool(find_images(folder).images)
        )
    except (OSError, FormatError, VideoError):
        return False


def is_depth_clip(path: Path) -> bool:
    """Return whether a file is a depth clip: an .npz with `depth`, or UTD-MHAD's *_depth.mat."""
    if path.suffix.lower() == ".mat":
        return path.stem.lower().endswith("_depth") and path.is_file()
    return path.suffix.lower() == ".npz" and _arrays_in(path) >= _DEPTH


def is_image_arrays(path: Path) -> bool:
    """Return whether a file is an archive of images: the arrays `t_us` and `images`."""
    return _arrays_in(path) >= _IMAGES


def _arrays_in(path: Path) -> set[str]:
    """Return the names of the arrays in a NumPy archive; none for any other file."""
    if not path.is_file():
        return set()
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                return set()
            with zipfile.ZipFile(file) as archive:
                return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return set()


def _has_event_lines(path: Path) -> bool:
    if _is_of_labels(path):
        return False
    head = read_head(path) + b"\n"
    return head == b"\n" or any(_EVENT_LINE.match(line) for line in head.splitlines(keepends=True))


def _is_of_labels(path: Path) -> bool:
    return path.name.endswith(LABELS_ENDING) or path.name == MAPPING_NAME


class _Found(NamedTuple):
    """The files found in a folder and its subfolders, and the other files; by path."""

    recordings: list[Path]
    others: list[Path]


def find_recordings(path: Path) -> _Found:
    """Return the recordings and clips in a folder and its subfolders; any other path as it is.

    Raises FormatError for a folder without any.
    """
    found = _Found([], [])
    if identify(path) is PathKind.FOLDER:
        _collect(path, found)
    else:
        found.recordings.append(path)
    if not found.recordings:
        named = ", ".join(sorted(readable_suffixes()))
        raise FormatError(f"{path}: holds no recordings; it must have files of {named}")
    return found


def _collect(folder: Path, found: _Found) -> None:
    for entry in visible(folder):
        kind = identify(entry)
        if kind is PathKind.RECORDING or kind in CLIPS:
            found.recordings.append(entry)
        elif kind is PathKind.FOLDER:
            _collect(entry, found)
        else:
            found.others.append(entry)
