"""Digests of the content of files, computed once while the files do not change."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

from dvskit.errors import FormatError, MissingFileError, VideoError
from dvskit.formats.image_list import find_images, images_in

_DIGITS = 32  # of 64: enough that different files do not share a digest by chance
_SETTLED_NS = 2_000_000_000  # a file that just changed may change again within the same time stamp
_SEEDS = 1 << 63

_known: dict[tuple[str, int, int, int], str] = {}  # by path, length, modification time, inode


def content_digest(path: Path) -> str:
    """Return a digest of all bytes of a file, as 32 hex digits; it does not depend on the name.

    A file with unchanged length, modification time and inode is not read again in this process.
    Raises MissingFileError, FormatError for a file that cannot be read.
    """
    try:
        stat = path.stat()
        state = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
        found = _known.get(state)
        if found is None:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]
            if time.time_ns() - stat.st_mtime_ns > _SETTLED_NS:
                _known[state] = found
    except FileNotFoundError:
        raise MissingFileError(path) from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    return found


def digest_of(parts: Iterable[str]) -> str:
    """Return a digest of texts, as 32 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)} ".encode())
        digest.update(part.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:_DIGITS]


def images_digest(folder: Path) -> str:
    """Return a digest of the images of a folder and their times."""
    try:
        images = find_images(folder).images
    except VideoError:  # without times; a rate replaces them
        images = list(enumerate(images_in(folder)))
    return digest_of(f"{t_us} {content_digest(file)}" for t_us, file in images)


def own_seed(seed: int, content: str, span: tuple[int, int] | None = None) -> int:
    """Return the seed of one file among many, derived from `seed` and its content, not its name.

    content  the digest of its bytes
    span     the part of the file, in microseconds; None: all of it
    """
    return int(digest_of((content, str(span), str(seed))), 16) % _SEEDS
