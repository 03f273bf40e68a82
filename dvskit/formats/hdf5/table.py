"""The events of an HDF5 file as columns t, x, y, p, wherever its datasets hold them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit import _threads
from dvskit.errors import FormatError
from dvskit.formats.hdf5 import ecf
from dvskit.formats.hdf5.filters import ChunkError, Data, undo_one
from dvskit.formats.hdf5.library import LibraryReader
from dvskit.formats.hdf5.stored import Fallback, Lost, Piece, Stored, common_spans
from dvskit.formats.storage import EventColumns, new_columns

_LATEST_US = 1 << 62
_PARTS_A_THREAD = 4
_LEAST_PIECE_BYTES = 1 << 15
_MOST_ECF_BYTES = 32 + 24 * ecf.MOST_EVENTS


class Field(NamedTuple):
    """One column of events: a dataset, and which field or column of its rows."""

    stored: Stored
    pick: str | int | None = None

    def of(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the column of some rows."""
        if self.pick is None:
            return rows
        return rows[self.pick] if isinstance(self.pick, str) else rows[:, self.pick]


class Open(NamedTuple):
    """A file that is being read: its descriptor, and the HDF5 library's way where it is needed."""

    handle: int
    fallback: Fallback | None


@dataclass(frozen=True, slots=True)
class Table:
    """Events as columns of datasets.

    unit       what t counts: microseconds or seconds
    offset_us  is added to t
    """

    path: Path
    t: Field
    x: Field
    y: Field
    p: Field
    unit: Literal["us", "s"] = "us"
    offset_us: int = 0

    def __post_init__(self) -> None:
        for each in self.fields:
            kind = each.of(
                np.zeros(0, each.stored.dtype).reshape((0, *each.stored.row_shape))
            ).dtype
            if kind.kind not in "iufb":
                raise FormatError(f"{self.path}: {each.stored.name} holds {kind}, not numbers")

    @property
    def fields(self) -> tuple[Field, Field, Field, Field]:
        """The columns in the order t, x, y, p."""
        return self.t, self.x, self.y, self.p

    @property
    def datasets(self) -> list[Stored]:
        """The datasets, each once."""
        return list({each.stored.name: each.stored for each in self.fields}.values())

    @property
    def count(self) -> int:
        """Events that all columns claim to have."""
        return min(each.count for each in self.datasets)

    @property
    def is_ecf(self) -> bool:
        """Whether chunks are in Prophesee's format, all columns in one dataset."""
        filters = self.t.stored.filters
        return len(self.datasets) == 1 and any(each.code == ecf.FILTER for each in filters)

    def spans(self) -> list[tuple[int, int]]:
        """Return the spans of rows that all columns have, in order."""
        return common_spans(self.datasets, self.count)

    def block_rows(self, about: int) -> int:
        """Return a number of rows near `about` that cuts few chunks in two."""
        largest = max(each.piece_rows for each in self.datasets)
        return max(1, round(about / largest)) * largest

    @contextmanager
    def opened(self, *, strict: bool) -> Iterator[Open]:
        """Yield the file, open for reading rows."""
        with ExitStack() as stack:
            fallback = None
            if not all(each.direct for each in self.datasets):
                library = LibraryReader(self.path, strict=strict)
                stack.callback(library.close)
                fallback = library.read
            handle = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            stack.callback(os.close, handle)
            yield Open(handle, fallback)

    def read(self, file: Open, first: int, stop: int, out: EventColumns) -> list[Lost]:
        """Decode rows first..stop, which must all be stored, into the columns `out`.

        Returns the rows that have no valid values: what stands for them in `out` means nothing.
        """
        jobs = [
            (stored, piece) for stored in self.datasets for piece in stored.row_pieces(first, stop)
        ]
        lost: list[list[Lost]] = [[] for _ in jobs]
        threads = _threads.thread_count()
        parts = max(1, min(len(jobs), _PARTS_A_THREAD * threads))

        def work(part: int) -> None:
            for number in range(part * len(jobs) // parts, (part + 1) * len(jobs) // parts):
                stored, piece = jobs[number]
                lost[number] = self._read_piece(file, stored, piece, first, stop, out)

        size = sum((piece.stop - piece.first) * stored.row_bytes for stored, piece in jobs)
        if size < _LEAST_PIECE_BYTES * len(jobs) or not all(each.direct for each in self.datasets):
            # Small pieces are mostly Python's work, and the HDF5 library works for one at a time.
            threads = 1
        _threads.run_parts(work, parts, threads)
        return sorted(each for some in lost for each in some)

    def _read_piece(
        self, file: Open, stored: Stored, piece: Piece, first: int, stop: int, out: EventColumns
    ) -> list[Lost]:
        low, high = max(first, piece.first), min(stop, piece.stop)
        columns = out.part(slice(low - first, high - first))
        try:
            if self.is_ecf and not piece.mask & 1:
                self._read_ecf(file, piece, low, high, columns)
                bad: list[tuple[NDArray[np.bool_], str]] = []
            else:
                rows = stored.whole_rows(file.handle, piece, file.fallback)
                part = rows[low - piece.first : high - piece.first]
                bad = self._convert(stored, part, columns)
        except (ChunkError, ecf.EcfError) as error:
            problem = f"a chunk of {stored.name} is damaged: {error},"
            size = stored.bytes_there(file.handle, piece)
            return [Lost(low, high, piece.offset, size, problem)]
        return [each for mask, problem in bad for each in _runs(mask, problem, stored, piece, low)]

    def _read_ecf(self, file: Open, piece: Piece, low: int, high: int, out: EventColumns) -> None:
        stored = self.t.stored
        data: Data = stored.raw(file.handle, piece)
        for number in range(len(stored.filters) - 1, 0, -1):
            if not piece.mask >> number & 1:
                data = undo_one(data, stored.filters[number], _MOST_ECF_BYTES)
        rows = piece.stop - piece.first
        if high - low == rows:
            ecf.decode(data, rows, out)
        else:
            whole = new_columns(rows)
            ecf.decode(data, rows, whole)
            out.fill(whole.part(slice(low - piece.first, high - piece.first)))
        if self.offset_us:
            out.t[:] += self.offset_us

    def _convert(
        self, stored: Stored, rows: NDArray[Any], out: EventColumns
    ) -> list[tuple[NDArray[np.bool_], str]]:
        """Fill in the columns that a dataset has; return masks of rows without a valid value."""
        t, x, y, p = out
        bad: list[tuple[NDArray[np.bool_] | None, str]] = []
        if self.t.stored.name == stored.name:
            mask = _times(self.t.of(rows), self.unit, self.offset_us, t)
            bad.append((mask, "a time beyond all bounds"))
        for each, place in ((self.x, x), (self.y, y)):
            if each.stored.name == stored.name:
                mask = _coordinates(each.of(rows), place)
                bad.append((mask, "a coordinate that is no whole number"))
        if self.p.stored.name == stored.name:
            mask = _polarities(self.p.of(rows), p)
            bad.append((mask, "a polarity that is neither 0 nor 1 nor -1"))
        return [(mask, problem) for mask, problem in bad if mask is not None]

    def first_time(self, file: Open, row: int) -> int | None:
        """Return t of the first row of the piece that holds `row`; None if that is damaged."""
        stored = self.t.stored
        piece = stored.row_pieces(row, row + 1)[0]
        t = new_columns(1)
        if self.is_ecf and not piece.mask & 1 and len(stored.filters) == 1:
            head = os.pread(file.handle, 12, piece.offset)
            return int.from_bytes(head[4:12], "little", signed=True) + self.offset_us
        try:
            if self.is_ecf and not piece.mask & 1:
                whole = new_columns(piece.stop - piece.first)
                self._read_ecf(file, piece, piece.first, piece.stop, whole)
                return int(whole[0][0])
            if not stored.chunk:
                piece = piece._replace(stop=piece.first + 1, size=stored.row_bytes)
            rows = stored.whole_rows(file.handle, piece, file.fallback)
        except (ChunkError, ecf.EcfError):
            return None
        if _times(self.t.of(rows[:1]), self.unit, self.offset_us, t[0]) is not None:
            return None
        return int(t[0][0])

    def places(self, first: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for rows first..stop where their times stand, and in about how many bytes each.

        Packed rows stand where their chunk does.
        """
        offsets = np.empty(stop - first, np.int64)
        widths = np.empty(stop - first, np.int64)
        for piece in self.t.stored.pieces(first, stop):
            low, high = max(first, piece.first), min(stop, piece.stop)
            here = slice(low - first, high - first)
            if self.t.stored.filters:
                offsets[here] = piece.offset
                widths[here] = max(1, piece.size // (piece.stop - piece.first))
            else:
                width = self.t.stored.row_bytes
                offsets[here] = piece.offset + width * np.arange(
                    low - piece.first, high - piece.first
                )
                widths[here] = width
        return offsets, widths


def _runs(
    mask: NDArray[np.bool_], problem: str, stored: Stored, piece: Piece, low: int
) -> list[Lost]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    width = stored.row_bytes
    found = []
    for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if stored.filters:
            share = max(1, piece.size // (piece.stop - piece.first))
            offset, size = piece.offset, share * (stop - start)
        else:
            offset, size = (
                piece.offset + width * (low + start - piece.first),
                width * (stop - start),
            )
        found.append(Lost(low + start, low + stop, offset, size, problem))
    return found


def _times(
    values: NDArray[Any], unit: str, offset_us: int, out: NDArray[np.int64]
) -> NDArray[np.bool_] | None:
    if values.dtype.kind == "f":
        scaled = np.rint(values.astype(np.float64) * (1e6 if unit == "s" else 1.0))
        odd = ~(np.abs(scaled) < _LATEST_US)
        scaled[odd] = 0
        np.add(scaled, 0, out=out, casting="unsafe")
    else:
        if unit == "s":
            values = values.astype(np.int64) * 1_000_000
        np.copyto(out, values, casting="unsafe")
        odd = (out >= _LATEST_US) | (out <= -_LATEST_US)
    if offset_us:
        out += offset_us
    return odd if odd.any() else None


def _coordinates(values: NDArray[Any], out: NDArray[np.int16]) -> NDArray[np.bool_] | None:
    kind, width = values.dtype.kind, values.dtype.itemsize
    if kind == "f":
        odd = ~((values >= -32768) & (values <= 32767) & (values == np.rint(values)))
        np.copyto(out, np.where(odd, 0, values), casting="unsafe")
        return odd if odd.any() else None
    np.copyto(out, values, casting="unsafe")
    if width > 2 and len(values):
        # Two bytes of more might look like a pixel: such a row is put off every sensor.
        far = (values < 0) | (values > 32767)
        if far.any():
            out[far] = -1
    return None


def _polarities(values: NDArray[Any], out: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    if values.dtype.kind == "b":
        values = values.view(np.uint8)
    np.greater(values, 0, out=out)
    if values.dtype.kind == "f":
        odd = ~((values == 0) | (values == 1) | (values == -1))
    else:
        odd = values > 1
        if values.dtype.kind == "i":
            odd |= values < -1
    return odd if odd.any() else None
