"""Positions of a dataset's rows in its file, and reading from there.

The HDF5 library gives the positions of the pieces once. They are then read from the file and
unpacked here (see `filters`). Rows run along a dataset's first dimension.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.formats.hdf5 import filters as f
from dvskit.formats.hdf5.library import RowFile

PIECE_BYTES = 1 << 19  # contiguous data is read in pieces of about this size
MOST_CHUNK_BYTES = 1 << 28  # a chunk is unpacked whole: this bounds the cost of a hostile one


class StoredPiece(NamedTuple):
    """Rows first..stop and the position of their bytes; `place` is where it begins in its rows."""

    first: int
    stop: int
    offset: int
    size: int
    mask: int
    place: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A dataset as stored in a file.

    count, row_shape, dtype   (count, *row_shape) items of dtype
    chunk                     (rows, *items) of a chunk; () for contiguous data
    index                     int64 (n, 4 + dimensions after the first), a row for each stored
                              chunk: its first row / rows of a chunk (sorted), its offset, its
                              bytes, the mask of skipped filters, and its first item
    inline                    the bytes of a dataset stored in the file's structure
    unread                    the error that ended reading the index of chunks
    """

    name: str
    dtype: np.dtype[Any]
    count: int
    row_shape: tuple[int, ...]
    chunk: tuple[int, ...]
    filters: tuple[f.ChunkFilter, ...]
    index: NDArray[np.int64]
    inline: bytes | None = None
    unread: str = ""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, unpacked; at least 1."""
        return max(1, self.dtype.itemsize * math.prod(self.row_shape))

    @property
    def direct(self) -> bool:
        """Whether all filters can be undone without the HDF5 library."""
        return all(f.is_known(each) for each in self.filters)

    @property
    def piece_rows(self) -> int:
        """Rows of a chunk, or of the pieces of contiguous data."""
        return self.chunk[0] if self.chunk else max(1, PIECE_BYTES // self.row_bytes)

    def spans(self) -> list[tuple[int, int]]:
        """Return the spans of stored rows, in order."""
        if not self.chunk:
            there = min(self.count, int(self.index[0, 2]) // self.row_bytes)
            return [(0, there)] if there else []
        numbers, parts = np.unique(self.index[:, 0], return_counts=True)
        sizes = zip(self.row_shape, self.chunk[1:], strict=True)
        numbers = numbers[parts == math.prod(-(-size // part) for size, part in sizes)]
        runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
        rows = self.chunk[0]
        found = [(int(run[0]) * rows, (int(run[-1]) + 1) * rows) for run in runs if len(run)]
        return [(first, min(stop, self.count)) for first, stop in found if first < self.count]

    def pieces(self, first: int, stop: int) -> list[StoredPiece]:
        """Return the pieces of whole rows that hold rows first..stop, which must all be stored."""
        if self.chunk:
            return list({piece.first: piece for piece in self._chunks(first, stop)}.values())
        start, width = int(self.index[0, 1]), self.row_bytes
        cuts = [*range(first, stop, self.piece_rows), stop]
        return [
            StoredPiece(a, b, start + a * width, (b - a) * width, 0, ()) for a, b in pairwise(cuts)
        ]

    def _chunks(self, first: int, stop: int) -> list[StoredPiece]:
        rows = self.chunk[0]
        low = int(np.searchsorted(self.index[:, 0], first // rows))
        high = int(np.searchsorted(self.index[:, 0], (stop - 1) // rows, "right"))
        return [
            StoredPiece(
                n * rows, min(n * rows + rows, self.count), offset, size, mask, tuple(place)
            )
            for n, offset, size, mask, *place in self.index[low:high].tolist()
        ]

    def places(self, piece: StoredPiece, rows: Any) -> tuple[Any, int]:
        """Return the positions of rows of a piece, and about how many bytes each has.

        Packed rows have the position of their piece.
        """
        if self.filters:
            return piece.offset, max(1, piece.size // (piece.stop - piece.first))
        return piece.offset + self.row_bytes * (rows - piece.first), self.row_bytes

    def bytes_there(self, file: RowFile, piece: StoredPiece) -> int:
        """Return how many bytes of a piece are in the file."""
        if self.inline is not None:
            return piece.size
        return max(0, min(piece.size, os.fstat(file.handle).st_size - piece.offset))

    def raw(self, file: RowFile, piece: StoredPiece) -> bytes:
        """Return the bytes of a piece as stored in the file. Raises ChunkError."""
        if self.inline is not None:
            return self.inline[piece.offset : piece.offset + piece.size]
        # Not of the claimed size: memory for it would be allocated before reading.
        data = os.pread(file.handle, self.bytes_there(file, piece), piece.offset)
        if len(data) != piece.size:
            raise f.ChunkError(f"the file ends {piece.size - len(data)} bytes before its end")
        return data

    def rows(self, file: RowFile, piece: StoredPiece) -> NDArray[Any]:
        """Return the rows of a piece. Raises ChunkError."""
        if not self.chunk:
            return np.frombuffer(self.raw(file, piece), self.dtype).reshape(-1, *self.row_shape)
        if not self.direct:
            return file.by_library(self.name, piece.first, piece.stop)
        if self.chunk[1:] == self.row_shape:
            return self._unpacked(file, piece)
        out = np.empty((piece.stop - piece.first, *self.row_shape), self.dtype)
        for part in self._chunks(piece.first, piece.stop):
            sizes = zip(part.place, self.chunk[1:], strict=True)
            target = out[(slice(None), *(slice(at, at + size) for at, size in sizes))]
            unpacked = self._unpacked(file, part)
            target[...] = unpacked[tuple(slice(0, size) for size in target.shape)]
        return out

    def _unpacked(self, file: RowFile, piece: StoredPiece) -> NDArray[Any]:
        size = self.dtype.itemsize * math.prod(self.chunk)
        content = f.undo(self.raw(file, piece), self.filters, piece.mask, size)
        if len(content) != size:
            raise f.ChunkError(f"it holds {len(content)} bytes instead of {size}")
        return np.frombuffer(content, self.dtype).reshape(self.chunk)[: piece.stop - piece.first]

    def read(self, file: RowFile, first: int, stop: int) -> NDArray[Any]:
        """Return rows first..stop, at least one, which must all be stored. Raises ChunkError."""
        return np.concatenate(
            [
                self.rows(file, piece)[max(0, first - piece.first) : stop - piece.first]
                for piece in self.pieces(first, stop)
            ]
        )


def common_spans(all_stored: Sequence[Stored], count: int) -> list[tuple[int, int]]:
    """Return the spans of rows below `count` that all datasets have."""
    all_spans = [[(0, count)], *(stored.spans() for stored in all_stored)]
    edges = [edge for spans in all_spans for a, b in spans for edge in ((a, 1), (b, -1))]
    depth, found = 0, []
    for (at, step), (following, _) in pairwise(sorted(edges)):
        depth += step
        if depth == len(all_spans) and at < following:
            found.append((at, following))
    return found


def survey(dataset: h5py.Dataset, name: str, path: Path) -> Stored:
    """Return the positions of a dataset's rows.

    Raises FormatError for rows that are not numbers or are in another file, and for chunks too
    large to unpack.
    """
    shape = dataset.shape
    if not shape or dataset.dtype.hasobject or not dataset.dtype.itemsize:
        raise FormatError(f"{path}: {name} has shape {shape} of {dataset.dtype}; it must have rows")
    settings = dataset.id.get_create_plist()
    layout = settings.get_layout()
    if layout == h5py.h5d.VIRTUAL or settings.get_external_count():
        raise FormatError(
            f"{path}: {name} is stored in other files, which are not opened; repack it into one"
        )
    rows = (name, dataset.dtype, shape[0], shape[1:])
    if layout == h5py.h5d.CHUNKED:
        filters = tuple(
            f.ChunkFilter(each[0], tuple(each[2]), each[3].decode("latin-1"))
            for each in (settings.get_filter(i) for i in range(settings.get_nfilters()))
        )
        chunk = tuple(dataset.chunks)
        _check_chunks(path, name, dataset.dtype, chunk, filters)
        index, unread = _find_chunks(dataset, path)
        return Stored(*rows, chunk, filters, index, None, unread)
    inline, offset, size = None, 0, int(dataset.id.get_storage_size())
    if layout == h5py.h5d.COMPACT:
        inline = np.ascontiguousarray(dataset[()]).tobytes()
        size = len(inline)
    else:
        found = dataset.id.get_offset()
        offset, size = (0, 0) if found is None else (int(found), size)
        # If the file is cut, only the rest of the contiguous data counts.
        size = max(0, min(size, path.stat().st_size - offset))
    return Stored(*rows, (), (), np.array([[0, offset, size, 0]], np.int64), inline)


def _check_chunks(
    path: Path,
    name: str,
    dtype: np.dtype[Any],
    chunk: tuple[int, ...],
    filters: tuple[f.ChunkFilter, ...],
) -> None:
    chunk_bytes = dtype.itemsize * int(np.prod(chunk, dtype=np.float64))
    for each in filters:
        problem = f.why_not(each, dtype.itemsize, chunk_bytes)
        if problem:
            raise FormatError(
                f"{path}: filter {each.name or each.code!r} of {name} {problem}; "
                "repack the file with h5repack --filter GZIP=1"
            )
    if chunk_bytes > MOST_CHUNK_BYTES:
        raise FormatError(
            f"{path}: a chunk of {name} is {chunk} of {dtype}, more than "
            f"{MOST_CHUNK_BYTES} bytes; repack it with h5repack --layout {name}:CHUNK=65536"
        )


def _find_chunks(dataset: h5py.Dataset, path: Path) -> tuple[NDArray[np.int64], str]:
    """Return the index of the chunks, and the error that kept the library from finding all."""
    # More entries than fit into the file are damage that runs in a circle.
    most = path.stat().st_size // 16 + 16
    found: list[Any] = []

    def keep(each: Any) -> bool | None:
        found.append(each)
        return True if len(found) > most else None

    rows, unread = dataset.chunks[0], ""
    try:
        dataset.id.chunk_iter(keep)
    except Exception as error:
        unread = " ".join(str(error).split())
    index = np.array(
        [
            (
                each.chunk_offset[0] // rows,
                each.byte_offset,
                each.size,
                each.filter_mask,
                *each.chunk_offset[1:],
            )
            for each in found
        ],
        np.int64,
    ).reshape(len(found), 3 + len(dataset.chunks))
    return index[np.argsort(index[:, 0], kind="stable")], unread
