"""Downloads of public data sets, by the addresses, checksums and functions of tonic."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError

from dvskit.errors import FormatError, one_line


class _Archive(NamedTuple):
    url: str
    name: str
    md5: str


def download_by_tonic(name: str, folder: Path) -> None:
    """Download and unpack the set of tonic's class `name` to folder/<name>, as tonic does.

    Archives that are there and have their checksum are not downloaded again, but unpacked again.
    Archives within them are unpacked too, and removed. Progress is written to stderr.

    Raises FormatError for a wrong checksum and if the server cannot be reached, and the errors of
    archives.
    """
    from tonic import datasets
    from tonic.download_utils import download_url, extract_archive

    place = folder / name
    archives = _archives(getattr(datasets, name))
    with redirect_stdout(sys.stderr):  # tonic prints
        for each in archives:
            try:
                download_url(each.url, str(place), each.name, each.md5)
            except RuntimeError as error:
                raise FormatError(f"{each.url} is not whole: its MD5 is not {each.md5}") from error
            except OSError as error:
                if isinstance(error, HTTPError):
                    error.close()
                raise FormatError(f"{each.url}: {one_line(error)}") from error
        for each in archives:
            extract_archive(str(place / each.name))
    for inner in sorted(place.rglob("*.zip")):
        if inner.parent != place or inner.name not in [each.name for each in archives]:
            extract_archive(str(inner))
            inner.unlink()


def _archives(kind: Any) -> list[_Archive]:
    if hasattr(kind, "train_url"):
        parts = ("train", "test")
        return [_Archive(*(getattr(kind, f"{part}_{each}") for each in _KEYS)) for part in parts]
    return [_Archive(kind.url, kind.filename, kind.file_md5)]


_KEYS = ("url", "filename", "md5")
