"""The events of an HDF5 file as columns t, x, y, p, from datasets of any layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit import _threads
from dvskit.errors import FormatError
from dvskit.formats.checked_blocks import LostRows
from dvskit.formats.hdf5.filters import ECF, ChunkError, undo_ecf
from dvskit.formats.hdf5.library import RowFile
from dvskit.formats.hdf5.stored import Stored, StoredPiece, common_spans
from dvskit.formats.storage import EventColumns, new_columns

_LATEST_US = 1 << 62
_PARTS_A_THREAD = 4
_LEAST_PIECE_BYTES = 1 << 15


_PROBLEMS = (
    "a time out of range",
    "a coordinate that is not a whole number",
    "a coordinate that is not a whole number",
    "a polarity other than 0, 1 and -1",
)
# Fills in a column; returns a mask of invalid values, if any.
Fill = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.bool_] | None]


class Field(NamedTuple):
    """One column of events: a dataset, and a field or column of its rows."""

    stored: Stored
    pick: str | int | None = None

    def of(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the column of some rows."""
        if self.pick is None:
            return rows
        return rows[self.pick] if isinstance(self.pick, str) else rows[:, self.pick]


@dataclass(frozen=True, slots=True)
class EventTable:
    """Events as columns of datasets.

    fields     the columns t, x, y, p
    unit       of t: microseconds or seconds
    offset_us  added to t
    """

    path: Path
    fields: tuple[Field, ...]
    unit: Literal["us", "s"] = "us"
    offset_us: int = 0

    def __post_init__(self) -> None:
        for each in self.fields:
            rows = np.zeros((0, *each.stored.row_shape), each.stored.dtype)
            kind = each.of(rows).dtype
            if kind.kind not in "iufb":
                raise FormatError(f"{self.path}: {each.stored.name} holds {kind}, not numbers")

    @property
    def t(self) -> Stored:
        """The dataset of the times."""
        return self.fields[0].stored

    @property
    def datasets(self) -> list[Stored]:
        """The datasets, each once."""
        return list({each.stored.name: each.stored for each in self.fields}.values())

    @property
    def count(self) -> int:
        """The number of events that all columns claim."""
        return min(each.count for each in self.datasets)

    def _is_ecf(self, piece: StoredPiece) -> bool:
        """Whether a piece is in Prophesee's format, all columns in one dataset."""
        filters = self.t.filters
        packed = len(self.datasets) == 1 and any(each.code == ECF for each in filters)
        return packed and not piece.mask & 1

    def spans(self) -> list[tuple[int, int]]:
        """Return the spans of rows in all columns, in order."""
        return common_spans(self.datasets, self.count)

    def block_rows(self, about: int) -> int:
        """Return a number of rows near `about` that splits few chunks."""
        largest = max(each.piece_rows for each in self.datasets)
        return max(1, round(about / largest)) * largest

    def read(self, file: RowFile, first: int, stop: int, out: EventColumns) -> list[LostRows]:
        """Decode rows first..stop, which must all be stored, into the columns `out`.

        Returns the rows without valid values, relative to `first`; their content in `out` has no
        meaning.
        """
        jobs = [(stored, piece) for stored in self.datasets for piece in stored.pieces(first, stop)]
        lost: list[list[LostRows]] = [[] for _ in jobs]
        threads = _threads.thread_count()
        parts = max(1, min(len(jobs), _PARTS_A_THREAD * threads))

        def work(begin: int, end: int) -> None:
            for number in range(begin, end):
                stored, piece = jobs[number]
                low, high = max(first, piece.first), min(stop, piece.stop)
                columns = out.part(slice(low - first, high - first))
                lost[number] = list(self._read_piece(file, stored, piece, low, high, columns))

        size = sum((piece.stop - piece.first) * stored.row_bytes for stored, piece in jobs)
        if size < _LEAST_PIECE_BYTES * len(jobs) or not all(each.direct for each in self.datasets):
            # Small pieces are mostly Python's work, and the HDF5 library takes one at a time.
            threads = 1
        _threads.run_ranges(work, len(jobs), parts, threads)
        found = sorted(each for some in lost for each in some)
        return [each._replace(first=each.first - first, stop=each.stop - first) for each in found]

    def _read_piece(
        self,
        file: RowFile,
        stored: Stored,
        piece: StoredPiece,
        low: int,
        high: int,
        out: EventColumns,
    ) -> Iterator[LostRows]:
        """Fill in the columns of a dataset; yield the rows without a valid value."""
        try:
            if self._is_ecf(piece):
                self._read_ecf(file, piece, low, high, out)
                return
            rows = stored.rows(file, piece)[low - piece.first : high - piece.first]
        except ChunkError as error:
            problem = f"a chunk of {stored.name} is damaged: {error},"
            yield LostRows(low, high, piece.offset, stored.bytes_there(file, piece), problem)
            return
        fills: tuple[Fill, ...]
        fills = (self._fill_times, _fill_coordinates, _fill_coordinates, _fill_polarities)
        columns: tuple[NDArray[Any], ...] = out
        for field, column, fill, problem in zip(
            self.fields, columns, fills, _PROBLEMS, strict=True
        ):
            odd = fill(field.of(rows), column) if field.stored.name == stored.name else None
            if odd is not None:
                yield from _runs(odd, problem, stored, piece, low)

    def _read_ecf(
        self, file: RowFile, piece: StoredPiece, low: int, high: int, out: EventColumns
    ) -> None:
        stored, rows = self.t, piece.stop - piece.first
        whole = out if high - low == rows else new_columns(rows)
        undo_ecf(stored.raw(file, piece), stored.filters, piece.mask, rows, whole)
        if whole is not out:
            out.fill(whole.part(slice(low - piece.first, high - piece.first)))
        if self.offset_us:
            out.t[:] += self.offset_us

    def _fill_times(self, values: NDArray[Any], out: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        if values.dtype.kind == "f":
            scaled = np.rint(values.astype(np.float64) * (1e6 if self.unit == "s" else 1.0))
            odd = ~(np.abs(scaled) < _LATEST_US)
            scaled[odd] = 0
            np.add(scaled, 0, out=out, casting="unsafe")
        else:
            if self.unit == "s":
                values = values.astype(np.int64) * 1_000_000
            np.copyto(out, values, casting="unsafe")
            odd = (out >= _LATEST_US) | (out <= -_LATEST_US)
        if self.offset_us:
            out += self.offset_us
        return odd if odd.any() else None

    def time_at(self, file: RowFile, row: int) -> int | None:
        """Return t of a row; None if it is damaged."""
        stored, t = self.t, new_columns(1)
        piece = stored.pieces(row, row + 1)[0]
        try:
            if not self._is_ecf(piece):
                odd = self._fill_times(self.fields[0].of(stored.read(file, row, row + 1)), t.t)
                return int(t.t[0]) if odd is None else None
            if piece.first == row and len(stored.filters) == 1:
                head = os.pread(file.handle, 12, piece.offset)
                return int.from_bytes(head[4:12], "little", signed=True) + self.offset_us
            self._read_ecf(file, piece, row, row + 1, t)
            return int(t.t[0])
        except ChunkError:
            return None

    def places(self, first: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the positions of the times of rows first..stop, and about how many bytes each."""
        stored = self.t
        offsets, widths = np.empty((2, stop - first), np.int64)
        for piece in stored.pieces(first, stop):
            low, high = max(first, piece.first), min(stop, piece.stop)
            here = slice(low - first, high - first)
            offsets[here], widths[here] = stored.places(piece, np.arange(low, high))
        return offsets, widths


def _runs(
    odd: NDArray[np.bool_], problem: str, stored: Stored, piece: StoredPiece, low: int
) -> Iterator[LostRows]:
    """Yield the runs of odd rows, from row `low` on."""
    edges = np.flatnonzero(np.diff(odd, prepend=False, append=False)) + low
    for first, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        offset, width = stored.places(piece, first)
        yield LostRows(first, stop, offset, width * (stop - first), problem)


def _fill_coordinates(values: NDArray[Any], out: NDArray[np.int16]) -> NDArray[np.bool_] | None:
    kind, width = values.dtype.kind, values.dtype.itemsize
    if kind == "f":
        odd = ~((values >= -32768) & (values <= 32767) & (values == np.rint(values)))
        np.copyto(out, np.where(odd, 0, values), casting="unsafe")
        return odd if odd.any() else None
    np.copyto(out, values, casting="unsafe")
    if width > 2 and len(values):
        # Two more bytes might look like a pixel: such a row is put off every sensor.
        far = (values < 0) | (values > 32767)
        if far.any():
            out[far] = -1
    return None


def _fill_polarities(values: NDArray[Any], out: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
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
