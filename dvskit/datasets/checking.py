"""Whether files that are to be samples are any, as far as is quickly known."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dvskit._threads import one_thread, thread_count
from dvskit.datasets.kinds import Reading
from dvskit.datasets.samples import Sample
from dvskit.errors import DvskitError, FormatError, one_line

_HEAD_BYTES = 64
_POINTER = b"version https://git-lfs"
_PAGES = (b"<!doctype html", b"<html")


class LeftOut(NamedTuple):
    """A file, or a folder, that could have been a sample and is none, and why, in one line."""

    path: Path
    why: str


@dataclass(slots=True)
class Found:
    """What was found in a folder or a list.

    rows      the samples
    others    files that are none, such as a read-me
    left_out  what is missing, empty or damaged
    notes     what was taken for granted, a line each
    """

    rows: list[Sample] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_head(path: Path) -> None:
    """Raise FormatError for a file that is empty, cannot be read, or plainly holds no data."""
    if path.is_symlink() and not path.exists():
        raise FormatError(f"{path}: a link to {path.readlink()}, which is not there; remove it")
    if path.is_dir():
        return
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise FormatError(
            f"{path}: cannot be read: {error.strerror or error}; give yourself the right to, or "
            "remove it"
        ) from error
    if not head:
        raise FormatError(f"{path}: is empty (0 bytes); copy it again, or remove it")
    if head.startswith(_POINTER):
        raise FormatError(f"{path}: is a pointer of Git LFS, not the file: fetch it (git lfs pull)")
    if head.lstrip().lower().startswith(_PAGES):
        raise FormatError(f"{path}: is a web page, not the file: download it again")


def check_opened(path: Path, how: Reading) -> None:
    """Open a file as reading it begins: header, and first frame. Raises DvskitError."""
    check_head(path)
    with one_thread():
        how.kind(path).check(path, how)


def failures(paths: Iterable[Path], how: Reading, *, opened: bool) -> dict[Path, DvskitError]:
    """Return the error of each file that has one, checked on all threads.

    opened  whether each is opened; else its first bytes are looked at
    """
    unique = list(dict.fromkeys(paths))

    def check(path: Path) -> DvskitError | None:
        try:
            check_opened(path, how) if opened else check_head(path)
        except DvskitError as error:
            return error
        except OSError as error:
            return FormatError(f"{path}: cannot be read: {one_line(error)}")
        return None

    if not opened:
        found = [check(path) for path in unique]
    else:
        with ThreadPoolExecutor(thread_count()) as pool:
            found = list(pool.map(check, unique))
    return {path: error for path, error in zip(unique, found, strict=True) if error is not None}
