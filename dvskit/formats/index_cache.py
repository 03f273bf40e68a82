"""Checkpoints in files without an index: built in one pass, and cached."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit._files import forget, unfinished, whole_file
from dvskit.errors import FormatError, OutputError
from dvskit.formats.stored_array import load_arrays

_VERSION = 1
NEVER = -(1 << 62)


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """Checkpoints where decoding can begin: columns of equal length n, in order of the file.

    before_us  int64 (n,)    the time of the latest event before each, NEVER if there is none
    offset     int64 (n,)    the byte to begin at
    state      int64 (n, k)  the state of the decoder there
    """

    before_us: NDArray[np.int64]
    offset: NDArray[np.int64]
    state: NDArray[np.int64]

    def at(self, start_us: int) -> int:
        """Return the latest checkpoint before all events from `start_us` on.

        Returns the first one if none is certain; needs at least one.
        """
        return max(0, int(np.searchsorted(self.before_us, start_us)) - 1)

    def __len__(self) -> int:
        return len(self.offset)


def index_of(rows: Sequence[tuple[int, ...]]) -> Index:
    """Return checkpoints from rows: the time before each, the byte to begin at, and the state."""
    table = np.array(rows, np.int64)
    return Index(table[:, 0].copy(), table[:, 1].copy(), table[:, 2:].copy())


def count_early(count: int, is_early: Callable[[int], bool]) -> int:
    """Return how many of `count` places in order of time are early, by bisection.

    Early places come before the others.
    """
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if is_early(middle):
            low = middle + 1
        else:
            high = middle
    return low


def cache_folder() -> Path:
    """Return the folder of indexes: DVSKIT_CACHE, else XDG_CACHE_HOME/dvskit or its default."""
    asked = os.environ.get("DVSKIT_CACHE")
    if asked:
        return Path(asked)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "dvskit"


def find_index(path: Path, kind: str, build: Callable[[], Index]) -> Index:
    """Return the index of a file, built unless one for its current state is cached.

    `kind` names the format and all options that the index depends on. An index that cannot be
    stored (a read-only folder) is built again the next time.
    """
    status = path.stat()
    stamp = np.array([_VERSION, status.st_size, status.st_mtime_ns], np.int64)
    name = hashlib.sha256(f"{kind}\n{path.resolve()}".encode()).hexdigest()[:32]
    kept = cache_folder() / "indexes" / f"{name}.npz"
    found = _read(kept, stamp)
    if found is not None:
        return found
    index = build()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        for left, target in unfinished(kept.parent):  # by a process that was killed
            if target == kept:
                left.unlink(missing_ok=True)
        with whole_file(kept, overwrite=True) as partial:
            np.savez(
                partial,
                stamp=stamp,
                before_us=index.before_us,
                offset=index.offset,
                state=index.state,
            )
        forget(kept)
    except (OutputError, OSError):
        pass  # the next time is only slower
    return index


def _read(kept: Path, stamp: NDArray[np.int64]) -> Index | None:
    try:
        columns = load_arrays(kept, ("stamp", "before_us", "offset", "state"))
    except FormatError:  # missing, or damaged
        return None
    before_us, offset, state = columns["before_us"], columns["offset"], columns["state"]
    shapes = before_us.ndim == offset.ndim == 1 and state.ndim == 2
    if not (
        np.array_equal(columns["stamp"], stamp)
        and all(column.dtype == np.int64 for column in columns.values())
        and shapes
        and 1 <= len(before_us) == len(offset) == len(state)
    ):
        return None
    return Index(before_us, offset, state)
