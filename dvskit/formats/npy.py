"""NumPy `.npy`: one array of events, structured or N x 4.

A structured array has fields t (or timestamp, ts), x, y and p (or on, polarity), in any order. The
columns of a plain array are told by what they hold: t,x,y,p or x,y,t,p or x,y,p,t, whichever is the
only one to fit. Times are whole microseconds, polarity is 0 or 1 or -1 or 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, FormatError
from dvskit.events import Events, Size
from dvskit.formats.in_order import Columns, InOrder
from dvskit.formats.recording import BLOCK_EVENTS, Damage, ReadOptions, Recording, SizeOrigin
from dvskit.formats.storage import Storage

_NAMES = {"t": ("t", "timestamp", "ts"), "x": ("x",), "y": ("y",), "p": ("p", "on", "polarity")}
_ORDERS = ("txyp", "xytp", "xypt")
_MOST_PIXEL = 32767
_LATEST_US = 1 << 62
_MEND = "save a structured array with fields t, x, y, p (whole microseconds)"


class _Table(NamedTuple):
    """The rows of a file, where they begin, and whether the file ends before they do."""

    rows: NDArray[Any]
    start: int
    missing: int

    @property
    def width(self) -> int:
        return self.rows.dtype.itemsize * (4 if self.rows.ndim == 2 else 1)


def _open_table(path: Path) -> _Table:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers of Python 2, when a damaged one fails
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(file)
            start = file.tell()
    except Exception as error:  # the header is parsed as Python: damage shows in any way
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{path}: is not a NumPy array that can be read: {problem}") from error
    if dtype.hasobject:
        raise FormatError(f"{path}: holds Python objects, which are not loaded")
    structured = dtype.names is not None and len(shape) == 1
    plain = dtype.names is None and len(shape) == 2 and shape[1] == 4 and dtype.kind in "iuf"
    if not structured and not plain:
        raise FormatError(f"{path}: is an array of {dtype} of shape {shape}; {_MEND}")
    width = dtype.itemsize * (1 if structured else 4)
    held = shape[0]
    if not width:
        raise FormatError(f"{path}: holds rows of 0 bytes")
    if fortran and plain:
        if path.stat().st_size < start + held * width:
            raise FormatError(f"{path}: ends before its {held} rows do, which stand by columns")
    else:
        held = min(held, (path.stat().st_size - start) // width)
    count = (held,) if structured else (held, 4)
    order: Any = "F" if fortran and plain else "C"
    rows = np.memmap(path, dtype, "r", start, count, order) if held else np.empty(count, dtype)
    return _Table(rows, start, shape[0] - held)


def _picker(path: Path, dtype: np.dtype[Any], order: str) -> Callable[[str], Any]:
    """Return what to index rows with to get a column."""
    if dtype.names is None:
        return lambda name: (slice(None), order.index(name))
    fields = {}
    for name, choices in _NAMES.items():
        found = [choice for choice in choices if choice in (dtype.names or ())]
        if not found:
            raise FormatError(
                f"{path}: no field {' or '.join(choices)} among {', '.join(dtype.names)}; {_MEND}"
            )
        if dtype[found[0]].kind not in "iufb" or dtype[found[0]].shape:
            raise FormatError(f"{path}: field {found[0]} is {dtype[found[0]]}; {_MEND}")
        fields[name] = found[0]
    return lambda name: fields[name]


def _whole(values: NDArray[Any], most: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return values as int64, and where they are no whole numbers of at most `most`."""
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(values.astype(np.float64)) <= most)
        if values.dtype.kind == "f":
            bad |= values != np.floor(values)
        return np.where(bad, 0, values).astype(np.int64), bad


class _Decoder:
    """Makes columns of rows; knows which polarity stands for OFF after it has seen one."""

    def __init__(self, path: Path, table: _Table, order: str) -> None:
        self._pick = _picker(path, table.rows.dtype, order)
        self._table = table
        self._off: int | None = None

    def blocks(self) -> Iterator[tuple[Columns, dict[str, NDArray[np.bool_]]]]:
        """Yield events, and masks of those that are none: by what is wrong with them."""
        rows, width = self._table.rows, self._table.width
        for start in range(0, len(rows), BLOCK_EVENTS):
            part = rows[start : start + BLOCK_EVENTS]
            t, bad_t = _whole(np.asarray(part[self._pick("t")]), _LATEST_US)
            x, bad_x = _whole(np.asarray(part[self._pick("x")]), _MOST_PIXEL)
            y, bad_y = _whole(np.asarray(part[self._pick("y")]), _MOST_PIXEL)
            p, bad_p = _whole(np.asarray(part[self._pick("p")]), 1)
            offs = p[~bad_p & (p != 1)]
            if self._off is None and len(offs):
                self._off = int(offs[0])
            bad_p |= (p != 1) & (p != self._off)
            offsets = self._table.start + np.arange(start, start + len(part)) * width
            columns = Columns(t, x, y, p == 1, offsets, np.full(len(part), width))
            yield (
                columns,
                {
                    "time is no whole number of microseconds": bad_t,
                    "pixel is no whole number, or off any sensor": bad_x | bad_y,
                    "polarity is neither 0 or 1 nor -1 or 1 throughout": bad_p,
                },
            )


def _misfits(path: Path, table: _Table, order: str) -> int:
    """Count what is impossible in the rows if their columns are in this order."""
    count, last = 0, None
    for columns, bad in _Decoder(path, table, order).blocks():
        count += sum(int(np.count_nonzero(mask)) for mask in bad.values())
        count += int(np.count_nonzero((columns.x < 0) | (columns.y < 0)))
        count += int(np.count_nonzero(columns.t[1:] < columns.t[:-1]))
        count += last is not None and int(columns.t[0]) < last
        last = int(columns.t[-1])
    return count


def _told_order(path: Path, table: _Table) -> str:
    """Return the order of the columns of an N x 4 array that fits best, and no other as well."""
    misfits = sorted((_misfits(path, table, order), order) for order in _ORDERS)
    if any(few == more for (few, _), (more, _) in pairwise(misfits[:2])):
        names = " and ".join(",".join(order) for few, order in misfits if few == misfits[0][0])
        raise FormatError(f"{path}: {names} fit its columns as well as each other; {_MEND}")
    if misfits[0][0] * 2 > len(table.rows):
        raise FormatError(
            f"{path}: its columns are neither {' nor '.join(','.join(o) for o in _ORDERS)}; {_MEND}"
        )
    return misfits[0][1]


class NpyRecording(Recording):
    """Events of a NumPy array."""

    format = "npy"

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        table: _Table,
        order: str,
    ) -> None:
        super().__init__(path, options, size, origin)
        self._table, self._order = table, order
        if table.rows.dtype.names is None:
            self.assumptions.append(
                f"columns are {','.join(order)}: no other order of them makes events"
            )

    def header(self) -> Mapping[str, str]:
        """Return the type and the number of the rows."""
        rows = self._table.rows
        return {"dtype": str(rows.dtype), "rows": str(len(rows) + self._table.missing)}

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        order = InOrder(self.path, self.size, strict=self.strict, damage=damage)
        for columns, bad in _Decoder(self.path, self._table, self._order).blocks():
            any_bad = np.logical_or.reduce(list(bad.values()))
            if not any_bad.any():
                yield from order.push(columns)
                continue
            if self.strict:
                first = int(np.argmax(any_bad))
                yield from order.push(columns.part(slice(0, first)))
                problem = next(text for text, mask in bad.items() if mask[first])
                raise DamagedFileError(self.path, int(columns.offsets[first]), problem)
            for place in np.flatnonzero(any_bad).tolist():
                problem = next(text for text, mask in bad.items() if mask[place])
                damage.add(int(columns.offsets[place]), self._table.width, problem)
            yield from order.push(columns.part(~any_bad))
        yield from order.rest()
        if self._table.missing:
            self._lose_end(damage)

    def _lose_end(self, damage: Damage) -> None:
        end = self._table.start + len(self._table.rows) * self._table.width
        problem = f"{self._table.missing} of the rows are missing at the end"
        if self.strict:
            raise DamagedFileError(self.path, end, problem)
        damage.add(end, self.path.stat().st_size - end, problem)


def _data_size(path: Path, table: _Table, order: str) -> Size:
    width = height = 0
    for columns, bad in _Decoder(path, table, order).blocks():
        good = ~np.logical_or.reduce(list(bad.values()))
        good &= (columns.x < _MOST_PIXEL) & (columns.y < _MOST_PIXEL)
        good &= (columns.x >= 0) & (columns.y >= 0)
        if good.any():
            width = max(width, int(columns.x[good].max()) + 1)
            height = max(height, int(columns.y[good].max()) + 1)
    if not width:
        raise FormatError(f"{path}: no row is an event, and nothing tells the sensor's size")
    return Size(width, height)


def open_recording(path: Path, options: ReadOptions) -> NpyRecording:
    """Open a NumPy array. Its size is the argument, else the smallest that holds the events.

    Raises FormatError for arrays that are no events, and where the order of plain columns cannot be
    told.
    """
    table = _open_table(path)
    order = "txyp" if table.rows.dtype.names is not None else _told_order(path, table)
    _picker(path, table.rows.dtype, order)
    if options.size is not None:
        return NpyRecording(path, options, options.size, "argument", table, order)
    return NpyRecording(path, options, _data_size(path, table, order), "data", table, order)
