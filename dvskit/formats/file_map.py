"""A file as an array of bytes, of which only what is being read stays in memory."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_STEP_BYTES = 1 << 22


class FileMap:
    """The bytes of a file that is not empty, read as they are looked at, from front to back.

    `data` is read-only. Pages that were looked at count as memory of the process until `forget`.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.data: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        self._forgotten = 0

    def forget(self, stop: int) -> None:
        """Give back the memory of what stands ahead of byte `stop`; it can be read again."""
        stop = min(stop, len(self.data)) // _STEP_BYTES * _STEP_BYTES
        if stop > self._forgotten and hasattr(mmap, "MADV_DONTNEED"):
            begin = self._forgotten
            self._map.madvise(mmap.MADV_DONTNEED, begin, stop - begin)
            self._forgotten = stop
