"""Recordings in a folder, found by file names and, for text files, by their content."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from dvskit.errors import FormatError
from dvskit.formats.labels import LABELS_ENDING, MAPPING_NAME
from dvskit.formats.table import file_of_events, formats, read_head

TEXTS = {".txt", ".csv"}  # next to recordings these are more often read-mes or lists
# Folders made by systems, besides names that begin with a dot.
_OF_SYSTEMS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "$recycle.bin",
               "system volume information", "lost+found", "@eadir"}  # fmt: skip
_NUMBER = rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_EVENT_LINE = re.compile(rb"[ \t]*" + _NUMBER + (rb"[,; \t]+" + _NUMBER) * 2 + rb"[,; \t\r\n]")


class Found(NamedTuple):
    """The recordings in a folder and its subfolders, and the other files; by path."""

    recordings: list[Path]
    others: list[Path]


def readable_suffixes() -> set[str]:
    """Return the suffixes of the files that some format reads."""
    return {suffix for row in formats() if "r" in row.can for suffix in row.suffixes}


def is_hidden(name: str) -> bool:
    """Return whether a file or folder name is hidden or a system's own."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def is_recording(path: Path) -> bool:
    """Return whether a file is to be read as a recording, whole or damaged.

    Its suffix must be that of a readable format. A text file must also have a line of three numbers
    in its first 4096 bytes, and not be labels of a recording.
    """
    suffix = path.suffix.lower()
    if suffix not in readable_suffixes():
        return False
    if suffix not in TEXTS:
        return True
    if path.name.endswith(LABELS_ENDING) or path.name == MAPPING_NAME:
        return False
    head = read_head(path) + b"\n"
    return head == b"\n" or any(_EVENT_LINE.match(line) for line in head.splitlines(keepends=True))


def find_recordings(path: Path, also: Collection[str] = ()) -> Found:
    """Return the recordings in a folder and its subfolders; a file is returned as it is.

    also  suffixes of other files to return

    Names that begin with a dot are skipped. A folder that some format reads as one recording is
    one. Raises FormatError for a folder without recordings.
    """
    found = Found([], [])
    _collect(path, found, also)
    if not found.recordings:
        named = ", ".join(sorted(readable_suffixes()))
        raise FormatError(f"{path}: holds no recordings; it must have files of {named}")
    return found


def _collect(path: Path, found: Found, also: Collection[str]) -> None:
    if not path.is_dir() or file_of_events(path) != path:
        found.recordings.append(path)
        return
    for entry in sorted(path.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() or is_recording(entry) or entry.suffix.lower() in also:
            _collect(entry, found, also)
        else:
            found.others.append(entry)
