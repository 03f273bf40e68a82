"""Folders of still images, told from folders of recordings by what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path

from dvskit.datasets.idx import idx_parts
from dvskit.datasets.kinds import kind_of
from dvskit.datasets.samples import Part, Stills
from dvskit.datasets.stills import FolderStills, IdxStills, is_image
from dvskit.datasets.tree import visible
from dvskit.errors import FormatError, MissingFileError
from dvskit.formats.image_list import KINDS as LISTS_OF_TIMES


def open_stills(path: str | PathLike[str], parts: Sequence[Part] = ("train", "test")) -> Stills:
    """Open a folder of labelled still images.

    path   a folder of MNIST-style IDX files, plain or gzip, or of `<class>/<image>`
    parts  which of "train" and "test" are meant of IDX files

    Raises MissingFileError, FormatError for what is neither and for missing and damaged IDX files.
    """
    root = Path(path)
    if not root.is_dir():
        raise MissingFileError(root, "a folder of IDX files, or with a folder of images a class")
    folders = any(entry.is_dir() and not entry.name.startswith(".") for entry in root.iterdir())
    return FolderStills(root) if folders and not idx_parts(root) else IdxStills(root, parts)


def holds_stills(path: str | PathLike[str]) -> bool:
    """Return whether a path is a folder that `open_stills` reads, not one of recordings.

    It is where it holds IDX files, or folders that hold images. Raises FormatError where it holds
    recordings or videos as well, or images with a list of their times, which may be clips.
    """
    root = Path(path)
    if not root.is_dir():
        return False
    folders = [entry for entry in visible(root) if entry.is_dir()]
    found = root if idx_parts(root) else next(filter(_images_in, folders), None)
    if found is None:
        return False
    for folder in folders:
        for entry in visible(folder):
            kind = kind_of(entry)
            if kind is not None or _lists_times(entry):
                what = "a list of times" if kind is None else f"a {kind.name}"
                images = "IDX files" if found == root else f"still images, in {found.name}"
                raise FormatError(
                    f"{root}: could be still images or recordings: it holds {images}, and {what}, "
                    f"{folder.name}/{entry.name}; move one of them to a folder of its own"
                )
    return True


def _images_in(folder: Path) -> bool:
    return any(is_image(entry) for entry in folder.iterdir())


def _lists_times(path: Path) -> bool:
    return any(fnmatchcase(path.name, kind.name) for kind in LISTS_OF_TIMES)
