"""Ways to read that must change nothing: bytes in pieces, as through a pipe, and small units."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dvskit.formats import Format, InputStream, ReadOptions, Recording, open_stream
from dvskit.formats.table import TABLE

# How many bytes, words, events or losses each format takes at a time: few, so that small files are
# cut in many places. Each name is set in every module of the format that has it. Private names
# stand in this table alone: without them only large files would reach the borders.
_WORDS = {"CHUNK_WORDS": 700, "_SLICE_UNITS": 100, "_UNITS": 40}
_HDF5 = {"BLOCK_EVENTS": 300, "PIECE_BYTES": 900}
_ROS = {"GROUP_EVENTS": 150, "_LANE_EVENTS": 40}
TEXT = {"CHUNK_BYTES": 900, "_SLICE_BYTES": 64}
SMALL = {
    "aedat2": {"BLOCK_WORDS": 100, "_PART_WORDS": 30},
    "aedat31": {"BLOCK_EVENTS": 37, "_PART_EVENTS": 10},
    "aedat4": {"_WINDOW": 5000, "_MOST_PACKETS": 2, "_SHORT_BYTES": 100, "PACKET_EVENTS": 512},
    "bag": _ROS,
    "csv": TEXT,
    "dat": _WORDS,
    "db3": _ROS,
    "dsec": _HDF5,
    "es": {"BLOCK_EVENTS": 64, "_LOSSES": 2, "_INDEXED_BYTES": 0, "_ROWS": 2},
    "evt2": _WORDS,
    "evt21": _WORDS,
    "evt3": _WORDS,
    "evt4": _WORDS,
    "hdf5": _HDF5,
    "hdf5-ecf": _HDF5,
    "mcap": _ROS,
    "nmnist": {"BLOCK_EVENTS": 41},
    "npy": {"BLOCK_EVENTS": 41},
    "npz": {},
    "rpg": TEXT,
}


@contextmanager
def small(format: str, threads: int = 3, **units: int) -> Iterator[None]:
    """Read and write files of a format in small units, or those given, on so many threads."""
    TABLE[format].openers()
    folder = ".".join(TABLE[format].module.partition(":")[0].split(".")[:3])
    modules = [module for name, module in sys.modules.items() if name.startswith(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVSKIT_THREADS", str(threads))
        for name, value in (SMALL[format] | units).items():
            places = [module for module in modules if hasattr(module, name)]
            assert places, name
            for module in places:
                patch.setattr(module, name, value)
        yield


class Pieces:
    """A raw stream that gives one piece at a time, and counts how many were asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.asked = 0

    def readinto(self, buffer: memoryview) -> int:
        if not self._rest:
            self.asked += 1
            self._rest = next(self._pieces, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def cut(content: bytes, length: int) -> Iterator[bytes]:
    """Cut content into pieces of a length."""
    return (content[at : at + length] for at in range(0, len(content), length))


def arrive(
    content: bytes, length: int = 1 << 20, row: Format | None = None, **options: Any
) -> Recording:
    """Open content that arrives in pieces of a length."""
    stream = InputStream(Pieces(cut(content, length)), "pipe")
    return open_stream(stream, row, ReadOptions(**options))


def begin(*pieces: bytes, **options: Any) -> tuple[Pieces, Recording]:
    """Return a stream of pieces, and the recording that is read from it."""
    source = Pieces(iter(pieces))
    return source, open_stream(InputStream(source, "pipe"), None, ReadOptions(**options))
