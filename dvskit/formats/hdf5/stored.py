"""Where the rows of a dataset stand in its file, and how to read them from there.

The HDF5 library is asked once for the places of the pieces; they are then read from the file and
unpacked here (see `filters`). Rows run along a dataset's first dimension.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.formats.hdf5 import filters as f

PIECE_BYTES = 1 << 19  # what is stored in one stretch is read in pieces of about this size

Fallback = Callable[[str, int, int], NDArray[Any]]


class Piece(NamedTuple):
    """Rows first..stop and where their bytes are; `start` and `shape` place it in its rows."""

    first: int
    stop: int
    offset: int
    size: int
    mask: int
    place: tuple[int, ...]


class Lost(NamedTuple):
    """Rows first..stop that cannot be read, the bytes that held them, and why."""

    first: int
    stop: int
    offset: int
    size: int
    problem: str


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A dataset as it stands in a file.

    count, row_shape, dtype   (count, *row_shape) items of dtype
    chunk                     (rows, *items) of a chunk; () for one stretch of bytes
    numbers                   for each chunk that there is its first row / rows of a chunk, sorted
    offsets, sizes, masks     where it is, its bytes there, and which filters it was spared
    places                    for each chunk its first item along the dimensions behind the first
    unread                    the end of the index of chunks could not be read
    """

    name: str
    path: Path
    dtype: np.dtype[Any]
    count: int
    row_shape: tuple[int, ...]
    chunk: tuple[int, ...]
    filters: tuple[f.Filter, ...]
    numbers: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    masks: NDArray[np.int64]
    places: NDArray[np.int64]
    inline: bytes | None = None
    unread: str = ""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, unpacked."""
        return self.dtype.itemsize * int(np.prod(self.row_shape, dtype=np.int64))

    @property
    def direct(self) -> bool:
        """Whether all filters can be undone without the HDF5 library."""
        return all(f.is_known(each) for each in self.filters)

    @property
    def piece_rows(self) -> int:
        """Rows of a chunk, or of the pieces that a stretch is read in."""
        return self.chunk[0] if self.chunk else max(1, PIECE_BYTES // max(1, self.row_bytes))

    def spans(self) -> list[tuple[int, int]]:
        """Return the spans of rows that are stored, in order."""
        if not self.chunk:
            if self.inline is not None:
                return [(0, self.count)] if self.count else []
            there = int(self.sizes[0]) // max(1, self.row_bytes) if len(self.sizes) else 0
            return [(0, min(self.count, there))] if min(self.count, there) else []
        numbers, pieces = np.unique(self.numbers, return_counts=True)
        whole = 1
        for size, part in zip(self.row_shape, self.chunk[1:], strict=True):
            whole *= -(-size // part)
        numbers = numbers[pieces == whole]
        if not len(numbers):
            return []
        breaks = np.flatnonzero(np.diff(numbers) != 1)
        firsts = numbers[np.concatenate([[0], breaks + 1])] * self.chunk[0]
        stops = (numbers[np.concatenate([breaks, [len(numbers) - 1]])] + 1) * self.chunk[0]
        found = [
            (a, min(b, self.count)) for a, b in zip(firsts.tolist(), stops.tolist(), strict=True)
        ]
        return [(a, b) for a, b in found if a < b]

    def pieces(self, first: int, stop: int) -> list[Piece]:
        """Return the pieces that hold rows first..stop, which must all be stored."""
        if not self.chunk:
            rows = self.piece_rows
            start = int(self.offsets[0]) if len(self.offsets) else 0
            cuts = [*range(first, stop, rows), stop]
            return [
                Piece(a, b, start + a * self.row_bytes, (b - a) * self.row_bytes, 0, ())
                for a, b in pairwise(cuts)
            ]
        rows = self.chunk[0]
        low = int(np.searchsorted(self.numbers, first // rows))
        high = int(np.searchsorted(self.numbers, (stop - 1) // rows, "right"))
        here = slice(low, high)
        columns = (self.numbers, self.offsets, self.sizes, self.masks, self.places)
        return [
            Piece(n * rows, min(n * rows + rows, self.count), offset, size, mask, tuple(place))
            for n, offset, size, mask, place in zip(
                *(each[here].tolist() for each in columns), strict=True
            )
        ]

    def bytes_there(self, handle: int, piece: Piece) -> int:
        """Return how many of the bytes of a piece the file has."""
        if self.inline is not None:
            return piece.size
        return max(0, min(piece.size, os.fstat(handle).st_size - piece.offset))

    def raw(self, handle: int, piece: Piece) -> bytes:
        """Return the bytes of a piece as they stand in the file. Raises ChunkError."""
        if self.inline is not None:
            return self.inline[piece.offset : piece.offset + piece.size]
        # Not of the size that is claimed: room for it is made before anything is read.
        data = os.pread(handle, self.bytes_there(handle, piece), piece.offset)
        if len(data) != piece.size:
            raise f.ChunkError(f"the file ends {piece.size - len(data)} bytes ahead of its end")
        return data

    def rows(self, handle: int, piece: Piece, fallback: Fallback | None) -> NDArray[Any]:
        """Return the rows first..stop of a piece: all items of a row that the piece has.

        Raises ChunkError.
        """
        if not self.chunk:
            data = self.raw(handle, piece)
            return np.frombuffer(data, self.dtype).reshape(-1, *self.row_shape)
        if not self.direct:
            if fallback is None:
                raise f.ChunkError(f"filter {self.filters} is not known")
            return fallback(self.name, piece.first, piece.stop)
        size = self.dtype.itemsize * int(np.prod(self.chunk, dtype=np.int64))
        content = f.undo(self.raw(handle, piece), self.filters, piece.mask, size)
        return np.frombuffer(content, self.dtype).reshape(self.chunk)[: piece.stop - piece.first]

    def row_pieces(self, first: int, stop: int) -> list[Piece]:
        """Return pieces of rows that are whole, for `whole_rows`."""
        pieces = self.pieces(first, stop)
        return list({piece.first: piece for piece in pieces}.values()) if self._cut else pieces

    def whole_rows(self, handle: int, piece: Piece, fallback: Fallback | None) -> NDArray[Any]:
        """Return the rows first..stop of a piece with all their items. Raises ChunkError."""
        if self._cut and self.direct:
            return self.read(handle, piece.first, piece.stop, fallback)
        return self.rows(handle, piece, fallback)

    @property
    def _cut(self) -> bool:
        """Whether chunks hold parts of rows."""
        return bool(self.chunk) and self.chunk[1:] != self.row_shape

    def read(self, handle: int, first: int, stop: int, fallback: Fallback | None) -> NDArray[Any]:
        """Return rows first..stop, which must all be stored. Raises ChunkError."""
        out = np.empty((stop - first, *self.row_shape), self.dtype)
        for piece in self.pieces(first, stop):
            rows = self.rows(handle, piece, fallback)
            low, high = max(first, piece.first), min(stop, piece.stop)
            where = [slice(low - first, high - first)]
            part = [slice(low - piece.first, high - piece.first)]
            if self.chunk and self.direct:
                for at, size, whole in zip(
                    piece.place, self.chunk[1:], self.row_shape, strict=True
                ):
                    where.append(slice(at, min(at + size, whole)))
                    part.append(slice(0, min(size, whole - at)))
            out[tuple(where)] = rows[tuple(part)]
        return out


def common_spans(all_stored: Sequence[Stored], count: int) -> list[tuple[int, int]]:
    """Return the spans of rows below `count` that all datasets have."""
    spans = [(0, count)] if count else []
    for stored in all_stored:
        both = []
        theirs = stored.spans()
        i = j = 0
        while i < len(spans) and j < len(theirs):
            low, high = max(spans[i][0], theirs[j][0]), min(spans[i][1], theirs[j][1])
            if low < high:
                both.append((low, high))
            if spans[i][1] < theirs[j][1]:
                i += 1
            else:
                j += 1
        spans = both
    return spans
