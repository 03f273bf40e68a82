"""Datasets of an HDF5 file, and events as columns t, x, y, p from datasets of any layout.

h5py reads the rows, with the filters of hdf5plugin; chunks packed as ECF are decoded here. The
index of the chunks is read first: the library gives zeros for chunks that the file does not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from dvskit import _threads
from dvskit.errors import FormatError, one_line
from dvskit.formats.hdf5 import ecf_kernels as k
from dvskit.formats.storage import EventColumns, new_columns
from dvskit.formats.validate import LostRows, runs_of

PIECE_BYTES = 1 << 19  # contiguous data that is lost together
MOST_CHUNK_BYTES = 1 << 28  # a chunk is unpacked whole: this bounds the cost of a hostile one
_MOST_BLOCK_BYTES = 1 << 26
_MEND = "copy the file again"
ECF = 0x8ECF
_SHUFFLE, _FLETCHER32, _BLOSC, _BITSHUFFLE = 2, 3, 32001, 32008
_BUILT_IN = (1, _SHUFFLE, _FLETCHER32, 4, 5, 6, 32000)  # of the library and of h5py
_MOST_ECF_EVENTS = 65535  # per chunk, in Prophesee's codec
_MOST_ECF_BYTES = 32 + 24 * _MOST_ECF_EVENTS
_ECF_PROBLEMS = {
    k.ENDS_EARLY: "its codes end early",
    k.LONG_RUN: "a run exceeds its events",
    k.EMPTY_RUN: "a run of no events",
    k.LONG_STEP: "a time step of more than 16 digits",
}


class ChunkError(ValueError):
    """Rows that cannot be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A dataset as stored in a file. Rows run along its first dimension.

    count, row_shape, dtype   (count, *row_shape) items of dtype
    chunk                     (rows, *items) of a chunk; () for data in one piece
    index                     int64 (n, 3), for each stored chunk its first row / rows of a chunk
                              (sorted), its offset and its bytes; one row for data in one piece
    filtered                  whether chunks pass filters; `packed`: they are packed as ECF
    """

    name: str
    dtype: np.dtype[Any]
    count: int
    row_shape: tuple[int, ...]
    chunk: tuple[int, ...]
    index: NDArray[np.int64]
    filtered: bool = False
    packed: bool = False

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, unpacked; at least 1."""
        return max(1, self.dtype.itemsize * math.prod(self.row_shape))

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

    def pieces(self, first: int, stop: int) -> list[tuple[int, int]]:
        """Return rows first..stop cut where chunks or pieces end."""
        rows = self.piece_rows
        return list(pairwise([first, *range((first // rows + 1) * rows, stop, rows), stop]))

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the positions of rows in the file, and about how many bytes each has.

        Rows of filtered chunks have the position of their chunk.
        """
        step = self.piece_rows if self.chunk else max(1, self.count)
        chunks = self.index[np.searchsorted(self.index[:, 0], rows // step)]
        if self.filtered:
            return chunks[:, 1], np.maximum(1, chunks[:, 2] // step)
        return chunks[:, 1] + self.row_bytes * (rows % step), np.full(len(rows), self.row_bytes)

    def bytes_of(self, first: int, stop: int) -> tuple[int, int]:
        """Return the position and the number of bytes of the rows of a chunk or piece."""
        if self.chunk:
            _, offset, size = self.index[np.searchsorted(self.index[:, 0], first // self.chunk[0])]
            return int(offset), int(size)
        return int(self.index[0, 1]) + first * self.row_bytes, (stop - first) * self.row_bytes

    def read(self, file: h5py.File, first: int, stop: int) -> NDArray[Any]:
        """Return rows first..stop. Raises ChunkError."""
        if self.packed:
            raise ChunkError("only events are read from ECF")
        try:
            dataset = file[self.name]
            for low, _ in self.pieces(first, stop) if self.chunk else ():
                # Raises where the index is damaged: the library would give zeros for the rows.
                start = low // self.chunk[0] * self.chunk[0]
                dataset.id.read_direct_chunk((start, *(0 for _ in self.row_shape)))
            rows: NDArray[Any] = dataset[first:stop]
        except Exception as error:  # the library raises many kinds
            raise ChunkError(one_line(error)) from None
        return rows

    def parts(
        self, file: h5py.File, first: int, stop: int
    ) -> Iterator[tuple[int, int, NDArray[Any] | ChunkError]]:
        """Yield the rows first..stop, at once or, if some cannot be read, in pieces."""
        try:
            yield first, stop, self.read(file, first, stop)
        except ChunkError:
            for low, high in self.pieces(first, stop):
                try:
                    yield low, high, self.read(file, low, high)
                except ChunkError as error:
                    yield low, high, error


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

    Raises FormatError for rows that are not numbers or are in another file, for unknown filters,
    and for chunks too large to unpack.
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
    if layout != h5py.h5d.CHUNKED:  # without an offset: in the file's structure, or never written
        offset, size = dataset.id.get_offset() or 0, int(dataset.id.get_storage_size())
        return Stored(*rows, (), np.array([[0, offset, size]], np.int64))
    chunk = tuple(dataset.chunks)
    chunk_bytes = dataset.dtype.itemsize * int(np.prod(chunk, dtype=np.float64))
    if chunk_bytes > MOST_CHUNK_BYTES:
        raise FormatError(
            f"{path}: a chunk of {name} is {chunk} of {dataset.dtype}, more than "
            f"{MOST_CHUNK_BYTES} bytes; repack it with h5repack --layout {name}:CHUNK=65536"
        )
    filters = [settings.get_filter(i) for i in range(settings.get_nfilters())]
    for code, _, options, title in filters:
        problem = _why_not(code, tuple(options), dataset.dtype.itemsize, chunk_bytes, len(filters))
        if problem:
            raise FormatError(
                f"{path}: filter {title.decode('latin-1') or code!r} of {name} {problem}; "
                "repack the file with h5repack --filter GZIP=1"
            )
    packed = any(code == ECF for code, *_ in filters)
    index = _find_chunks(dataset, name, path)
    _check_lengths(index, [code for code, *_ in filters], chunk_bytes, f"{path}: {name}")
    order = np.argsort(index[:, 0], kind="stable")
    return Stored(*rows, chunk, index[order, :3], bool(filters), packed)


def _check_lengths(
    index: NDArray[np.int64], codes: list[int], chunk_bytes: int, where: str
) -> None:
    """Raise FormatError for chunks of impossible lengths: the library reads beyond their ends.

    What is packed is hardly longer than what it holds. `index` has the masks of skipped filters.
    """
    packs, plain = np.zeros(len(index), np.bool_), np.full(len(index), chunk_bytes)
    for place, code in enumerate(codes):
        used = index[:, 3] >> place & 1 == 0
        packs |= used & (code not in (_SHUFFLE, _FLETCHER32))
        plain += 4 * (used & (code == _FLETCHER32))
    most = _MOST_ECF_BYTES if ECF in codes else chunk_bytes + max(1 << 12, chunk_bytes // 8)
    sizes = index[:, 2]
    fine = np.where(packs, (sizes > 0) & (sizes <= most), sizes == plain)
    if not fine.all():
        _, offset, size = index[int(np.argmin(fine)), :3].tolist()
        raise FormatError(
            f"{where} has a chunk of {size} bytes at byte {offset}, and none of {chunk_bytes} is "
            f"stored so; {_MEND}"
        )


def _why_not(
    code: int, options: tuple[int, ...], item_bytes: int, chunk_bytes: int, filters: int
) -> str | None:
    """Return why a filter cannot be undone, or None: it is unknown, or has invalid options.

    The library and the plugin of Blosc crash on options of other filters, the plugin of Bitshuffle
    on damaged data.
    """
    if code == ECF:
        return None if filters == 1 else "comes with other filters"
    if code not in _BUILT_IN:
        with suppress(ImportError):
            import hdf5plugin  # noqa: F401  (it registers its filters)
    if not h5py.h5z.filter_avail(code):
        return "is unknown"
    if code == _BITSHUFFLE:
        return "is not read"
    valid = True
    if code == _SHUFFLE:
        valid = options == (item_bytes,)
    elif code == _FLETCHER32:
        valid = not options
    elif code == _BLOSC:
        valid = len(options) >= 4 and 1 <= options[2] <= 255 and options[3] == chunk_bytes
    return None if valid else f"has the options {options}"


def _find_chunks(dataset: h5py.Dataset, name: str, path: Path) -> NDArray[np.int64]:
    """Return for each chunk its first row / rows of a chunk, offset, bytes and mask of filters.

    Raises FormatError if the index is damaged: the library may crash where it looks chunks up.
    """
    # More entries than fit into the file are damage that runs in a circle.
    most = path.stat().st_size // 16 + 16
    found: list[tuple[int, ...]] = []
    places: set[tuple[int, ...]] = set()

    def keep(each: Any) -> bool | None:
        found.append((each.chunk_offset[0], each.byte_offset, each.size, each.filter_mask))
        places.add(each.chunk_offset)
        return True if len(found) > most else None

    problem = ""
    try:
        dataset.id.chunk_iter(keep)
    except Exception as error:
        problem = one_line(error)
    index = np.array(found, np.int64).reshape(-1, 4)
    odd = index[:, 0] % dataset.chunks[0]
    if len(places) < len(found) or odd.any():
        problem = "it names a chunk twice, or parts of chunks"
    if problem:
        raise FormatError(
            f"{path}: the index of the chunks of {name} is damaged ({problem}); {_MEND}"
        )
    index[:, 0] //= dataset.chunks[0]
    return index


_LATEST_US = 1 << 62
_PARTS_A_THREAD = 4
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

    def spans(self) -> list[tuple[int, int]]:
        """Return the spans of rows in all columns, in order."""
        return common_spans(self.datasets, self.count)

    def block_rows(self, about: int) -> int:
        """Return a number of rows near `about`, of bounded memory, that splits few chunks."""
        largest = max(each.piece_rows for each in self.datasets)
        about = min(about, _MOST_BLOCK_BYTES // max(each.row_bytes for each in self.datasets))
        return max(1, round(about / largest)) * largest

    def read(self, file: h5py.File, first: int, stop: int, out: EventColumns) -> list[LostRows]:
        """Decode rows first..stop, which must all be stored, into the columns `out`.

        Returns the rows without valid values, relative to `first`; their content in `out` has no
        meaning.
        """
        if len(self.datasets) == 1 and self.t.packed:
            return self._read_packed(file, first, stop, out)
        lost = []
        for stored in self.datasets:
            for low, high, rows in stored.parts(file, first, stop):
                if isinstance(rows, ChunkError):
                    lost.append(_lost_piece(stored, low, high, first, rows))
                else:
                    part = out.part(slice(low - first, high - first))
                    lost += self._fill(stored, rows, low, first, part)
        return lost

    def _fill(
        self, stored: Stored, rows: NDArray[Any], low: int, first: int, out: EventColumns
    ) -> Iterator[LostRows]:
        """Fill in the columns of a dataset from row `low` on; yield the rows of invalid values."""
        fills: tuple[Fill, ...]
        fills = (self._fill_times, _fill_coordinates, _fill_coordinates, _fill_polarities)
        columns: tuple[NDArray[Any], ...] = out
        for field, column, fill, problem in zip(
            self.fields, columns, fills, _PROBLEMS, strict=True
        ):
            odd = fill(field.of(rows), column) if field.stored.name == stored.name else None
            if odd is not None:
                runs = runs_of(odd) + low
                offsets, widths = stored.places(runs[:, 0])
                lengths = widths * (runs[:, 1] - runs[:, 0])
                runs -= first
                yield LostRows(runs[:, 0], runs[:, 1], offsets, lengths, partial(_same, problem))

    def _read_packed(
        self, file: h5py.File, first: int, stop: int, out: EventColumns
    ) -> list[LostRows]:
        """Decode rows packed as ECF, on all threads."""
        stored, pieces = self.t, self.t.pieces(first, stop)
        raw = [_raw_chunk(file, stored, low) for low, _ in pieces]
        lost: list[LostRows | None] = [None] * len(pieces)

        def work(begin: int, end: int) -> None:
            for number in range(begin, end):
                low, high = pieces[number]
                columns = out.part(slice(low - first, high - first))
                try:
                    self._decode_chunk(raw[number], low, high, columns)
                except ChunkError as error:
                    lost[number] = _lost_piece(stored, low, high, first, error)

        parts = min(len(pieces), _PARTS_A_THREAD * _threads.thread_count())
        _threads.run_ranges(work, len(pieces), parts)
        return [each for each in lost if each is not None]

    def _decode_chunk(
        self, raw: tuple[int, bytes] | ChunkError, low: int, high: int, out: EventColumns
    ) -> None:
        """Decode rows low..high of a chunk into the columns. Raises ChunkError."""
        if isinstance(raw, ChunkError):
            raise raw
        stored, (mask, data) = self.t, raw
        begin = low // stored.chunk[0] * stored.chunk[0]
        rows = min(stored.chunk[0], stored.count - begin)
        if mask & 1:  # not packed
            if len(data) != stored.chunk[0] * stored.row_bytes:
                raise ChunkError(f"it holds {len(data)} bytes")
            plain = np.frombuffer(data, stored.dtype)[low - begin : high - begin]
            for lost in self._fill(stored, plain, low, low, out):
                raise ChunkError(lost.problem(0))
            return
        whole = out if high - low == rows else new_columns(rows)
        decode_ecf(data, rows, whole)
        if whole is not out:
            out.fill(whole.part(slice(low - begin, high - begin)))
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

    def time_at(self, file: h5py.File, row: int) -> int | None:
        """Return t of a row; None if it is damaged."""
        found = new_columns(1)
        return None if self.read(file, row, row + 1, found) else int(found.t[0])

    def places(self, first: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the positions of the times of rows first..stop, and about how many bytes each."""
        return self.t.places(np.arange(first, stop))


def _same(problem: str, _: int) -> str:
    return problem


def _raw_chunk(file: h5py.File, stored: Stored, row: int) -> tuple[int, bytes] | ChunkError:
    """Return the mask of skipped filters and the bytes of the chunk that holds a row."""
    try:
        start = row // stored.chunk[0] * stored.chunk[0]
        found: tuple[int, bytes] = file[stored.name].id.read_direct_chunk((start,))
    except Exception as error:  # the library raises many kinds
        return ChunkError(one_line(error))
    return found


def decode_ecf(data: bytes, rows: int, out: EventColumns) -> None:
    """Decode the first `rows` events of a chunk of ECF into columns of that length.

    Raises ChunkError for a chunk of fewer events, and if its codes do not end at its end.
    """
    if len(data) < 4:
        raise ChunkError(f"{len(data)} bytes are not an ECF chunk")
    count = int.from_bytes(data[:4], "little") >> 2
    if count > _MOST_ECF_EVENTS:
        raise ChunkError(f"it claims {count} events, more than {_MOST_ECF_EVENTS}")
    if count < rows:
        raise ChunkError(f"it holds {count} events instead of {rows}")
    columns = out if count == rows else new_columns(count)
    used = k.ecf_decode(np.frombuffer(data, np.uint8), count, *columns)
    if used < 0:
        raise ChunkError(_ECF_PROBLEMS[used])
    if used != len(data):
        raise ChunkError(f"{len(data) - used} bytes follow its events")
    if count > rows:
        out.fill(columns.part(slice(0, rows)))


def _lost_piece(stored: Stored, low: int, high: int, first: int, error: ChunkError) -> LostRows:
    """Return rows low..high of a damaged chunk as lost, relative to `first`."""
    problem = f"a chunk of {stored.name} is damaged: {error},"
    offset, size = stored.bytes_of(low, high)
    row = np.array([[low - first], [high - first], [offset], [size]], np.int64)
    return LostRows(row[0], row[1], row[2], row[3], partial(_same, problem))


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
