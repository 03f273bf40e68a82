"""Where the rows of a dataset stand in its file, and how to read them from there.

The HDF5 library is asked once for the places of the pieces; they are then read from the file and
unpacked here (see `filters`). Rows run along a dataset's first dimension.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.formats.hdf5 import filters as f

MOST_CHUNK_BYTES = 1 << 28  # a chunk is unpacked whole: this bounds what a hostile one may cost
PIECE_BYTES = 1 << 19  # what is stored in one stretch is read in pieces of about this size
_MOST_PROBES = 1 << 17

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

    def raw(self, handle: int, piece: Piece) -> bytes:
        """Return the bytes of a piece as they stand in the file. Raises ChunkError."""
        if self.inline is not None:
            return self.inline[piece.offset : piece.offset + piece.size]
        data = os.pread(handle, piece.size, piece.offset)
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


def survey(dataset: h5py.Dataset, name: str, path: Path, *, strict: bool) -> Stored:
    """Return where a dataset's rows stand.

    Raises FormatError for rows that are no numbers, that stand in another file, and for chunks too
    large to unpack.
    """
    shape = dataset.shape
    if not shape or dataset.dtype.hasobject or not dataset.dtype.itemsize:
        raise FormatError(f"{path}: {name} has shape {shape} of {dataset.dtype}; rows are meant")
    settings = dataset.id.get_create_plist()
    layout = settings.get_layout()
    if layout == h5py.h5d.VIRTUAL or settings.get_external_count():
        raise FormatError(
            f"{path}: {name} is kept in other files, which are not opened; repack it into one"
        )
    filters = tuple(
        f.Filter(each[0], tuple(each[2]), each[3].decode("latin-1"))
        for each in (settings.get_filter(i) for i in range(settings.get_nfilters()))
    )
    if layout == h5py.h5d.CHUNKED:
        return _chunked(dataset, name, path, filters, strict=strict)
    inline = None
    offset, size = 0, int(dataset.id.get_storage_size())
    if layout == h5py.h5d.COMPACT:
        inline = np.ascontiguousarray(dataset[()]).tobytes()
    else:
        found = dataset.id.get_offset()
        offset, size = (0, 0) if found is None else (int(found), size)
        # Where the file is cut, what is left of the stretch counts.
        size = max(0, min(size, path.stat().st_size - offset))
    return Stored(
        name, path, dataset.dtype, shape[0], shape[1:], (), (),
        np.zeros(1, np.int64), np.array([offset], np.int64), np.array([size], np.int64),
        np.zeros(1, np.int64), np.zeros((1, 0), np.int64), inline,
    )  # fmt: skip


def _chunked(
    dataset: h5py.Dataset, name: str, path: Path, filters: tuple[f.Filter, ...], *, strict: bool
) -> Stored:
    chunk = dataset.chunks
    if dataset.dtype.itemsize * int(np.prod(chunk, dtype=np.float64)) > MOST_CHUNK_BYTES:
        raise FormatError(
            f"{path}: a chunk of {name} is {chunk} of {dataset.dtype}, more than "
            f"{MOST_CHUNK_BYTES} bytes; repack it with h5repack --layout {name}:CHUNK=65536"
        )
    # More entries than the file has room for are damage that runs in a circle.
    most = path.stat().st_size // 16 + 16
    found: list[Any] = []

    def keep(each: Any) -> bool | None:
        found.append(each)
        return True if len(found) > most else None

    unread = ""
    try:
        if hasattr(dataset.id, "chunk_iter"):
            dataset.id.chunk_iter(keep)
        else:  # HDF5 before 1.12.3
            _probe(dataset, 0, found)
    except Exception as error:
        unread = " ".join(str(error).split())
        if not strict:
            reached = max((each.chunk_offset[0] // chunk[0] for each in found), default=-1)
            _probe(dataset, reached + 1, found)
    places = [each.chunk_offset for each in found]
    starts = np.array(places, np.int64).reshape(len(found), len(chunk))
    columns = [
        np.array([getattr(each, key) for each in found], np.int64)
        for key in ("byte_offset", "size", "filter_mask")
    ]
    order = np.argsort(starts[:, 0], kind="stable")
    return Stored(
        name, path, dataset.dtype, dataset.shape[0], dataset.shape[1:], tuple(chunk), filters,
        starts[order, 0] // chunk[0], columns[0][order], columns[1][order], columns[2][order],
        starts[order, 1:], None, unread,
    )  # fmt: skip


def _probe(dataset: h5py.Dataset, first: int, found: list[Any]) -> None:
    """Ask for chunks one by one, by their rows, from chunk `first` on."""
    rows = dataset.chunks[0]
    rest = tuple(0 for _ in dataset.chunks[1:])
    last = min(-(-dataset.shape[0] // rows), first + _MOST_PROBES)
    for number in range(first, last):
        with suppress(Exception):
            each = dataset.id.get_chunk_info_by_coord((number * rows, *rest))
            if each.byte_offset is not None and each.size:
                found.append(each)


def by_library(file: h5py.File) -> Fallback:
    """Return how rows are read through the HDF5 library, for filters that are not known here."""
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401  (it registers its filters)

    def read(name: str, first: int, stop: int) -> NDArray[Any]:
        try:
            rows: NDArray[Any] = file[name][first:stop]
        except Exception as error:
            reason = " ".join(str(error).split())
            raise f.ChunkError(f"the HDF5 library cannot unpack it ({reason})") from None
        return rows

    return read


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
