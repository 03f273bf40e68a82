"""A small file, read at once: what tells its format is what is decoded then.

Data sets are made of many such files, and to open each a second time takes as long as to decode it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

SMALL_BYTES = 1 << 16

State = tuple[int, int, int]  # of a file: it has changed where they differ


class FirstBytes(NamedTuple):
    """What a file begins with.

    data   the first bytes; all of them where the file is small
    state  of a small file, what `state_of` said of it; None of others
    """

    data: bytes
    state: State | None


def read_first(path: Path, count: int) -> FirstBytes:
    """Return the first `count` bytes of a file, or all of a small one. Raises OSError."""
    # A Path takes as long to open a file as the reading.
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        length = status.st_size
        if length > SMALL_BYTES or not stat.S_ISREG(status.st_mode):
            return FirstBytes(file.read(count), None)
        data = file.read(max(1, length))
    return FirstBytes(data, state_of(status) if len(data) == length else None)


def state_of(status: os.stat_result) -> State:
    """Return what differs where a file has changed."""
    return status.st_size, status.st_mtime_ns, status.st_ino
