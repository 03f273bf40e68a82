"""NumPy `.npy`: one array of events, structured or N x 4.

A structured array has fields t (or timestamp, ts), x, y and p (or on, polarity), in any order. A
plain array has the columns t,x,y,p or x,y,t,p or x,y,p,t: the only order that fits its values.
Times are whole microseconds; polarity is 0 or 1, or -1 or 1. The name of the format may name the
columns: `npy:x,y,t_s,p` (`t_s` for seconds), of a structured array `npy:t_s`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, FormatError
from dvskit.events import Events, Size
from dvskit.formats.index_cache import count_early
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import BLOCK_EVENTS, ReadOptions, Recording, SizeOrigin
from dvskit.formats.storage import Storage
from dvskit.formats.stored_array import read_array_header
from dvskit.formats.validate import (
    Columns,
    DecodedBlock,
    InStep,
    Validator,
    block_of,
    extent,
    lost_where,
)

# Names of the columns of events, as fields or as arrays.
COLUMN_NAMES = {
    "t": ("t", "timestamp", "ts"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "on", "polarity"),
}
_FIX = "save a structured array with fields t, x, y, p (whole microseconds)"
_ORDERS = ("txyp", "xytp", "xypt")
_MOST_PIXEL = 32767
_ANY_SIZE = Size(_MOST_PIXEL + 1, _MOST_PIXEL + 1)
_LATEST_US = 1 << 62
_NAME = f"name them by format=, such as npy:x,y,t_s,p (t_s: seconds), or {_FIX}"
_FIRST_ROWS = (64, 1024)
_FAULTS = (
    "time is no whole number of microseconds (seconds: format='npy:t_s', of N x 4 'npy:t_s,x,y,p')",
    "pixel is no whole number, or off any sensor",
    "polarity is neither 0 or 1 nor -1 or 1 throughout",
)


class _Table(NamedTuple):
    """The rows of a file, read without copying.

    start    the byte offset of the first row
    missing  the number of rows missing at the end
    extra    bytes after the last row
    order    the order of the columns of plain rows
    seconds  whether times are in seconds, not microseconds
    """

    rows: NDArray[Any]
    start: int
    missing: int
    extra: int
    order: str = "txyp"
    seconds: bool = False

    @property
    def width(self) -> int:
        """The bytes of a row."""
        return self.rows.dtype.itemsize * (4 if self.rows.ndim == 2 else 1)

    @property
    def end(self) -> int:
        """The byte after the last row."""
        return self.start + len(self.rows) * self.width


def _open_table(path: Path) -> _Table:
    """Open an array of events. Raises FormatError for other arrays."""
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = read_array_header(file)
            start = file.tell()
    except Exception as error:  # the header is parsed as Python: damage raises any error
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{path}: is not a NumPy array that can be read: {problem}") from error
    if dtype.hasobject:
        raise FormatError(f"{path}: holds Python objects, which are not loaded")
    structured = dtype.names is not None and len(shape) == 1
    plain = dtype.names is None and len(shape) == 2 and shape[1] == 4 and dtype.kind in "iuf"
    if not structured and not plain:
        raise FormatError(f"{path}: is an array of {dtype} of shape {shape}; {_FIX}")
    width = dtype.itemsize * (1 if structured else 4)
    if not width:
        raise FormatError(f"{path}: holds rows of 0 bytes")
    size = path.stat().st_size - start
    held = max(0, min(shape[0], size // width))
    by_columns = fortran and plain
    if by_columns and held < shape[0]:
        raise FormatError(f"{path}: ends before its {shape[0]} rows do, which stand by columns")
    count = (held,) if structured else (held, 4)
    order: Literal["C", "F"] = "F" if by_columns else "C"
    rows = np.memmap(path, dtype, "r", start, count, order) if held else np.empty(count, dtype)
    return _Table(rows, start, shape[0] - held, max(0, size - shape[0] * width))


class NpyRecording(Recording):
    """Events of a NumPy array."""

    format = "npy"
    sortable = True

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, table: _Table
    ) -> None:
        super().__init__(path, options, size, origin)
        self._table = table
        self._note_map()
        if table.rows.dtype.names is None and options.variant is None:
            self.assumptions.append(
                f"columns are {','.join(table.order)}: no other order of them makes events"
            )

    def header(self) -> Mapping[str, str]:
        """Return the type and number of rows."""
        rows = self._table.rows
        return {"dtype": str(rows.dtype), "rows": str(len(rows) + self._table.missing)}

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._decoded(_Decoder(self.path, self._table), damage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        if not self.strict:
            return self._blocks(damage, storage)  # damaged times cannot be searched
        decoder = _Decoder(self.path, self._table)
        decoder.find_off()
        first = count_early(len(self._table.rows), lambda row: decoder.time(row) < start_us)
        return self._decoded(decoder, damage, first)

    def _decoded(self, decoder: _Decoder, damage: Damage, first: int = 0) -> Iterator[Events]:
        losses = self._losses(damage)
        validator = Validator(losses, self.size)
        rows = decoder.rows(first) if self.strict else decoder.in_step(losses, self.size)
        for each in rows:
            yield from validator.push(each.block())
        decoder.lose_end(losses)
        yield from validator.rest()


class _Rows(NamedTuple):
    """Events of some rows, and masks (3, n) of invalid rows: one per problem of _FAULTS."""

    columns: Columns
    faults: NDArray[np.bool_]

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Mark the invalid rows."""
        return np.asarray(self.faults.any(axis=0))

    def block(self) -> DecodedBlock:
        """Return the events, and the invalid rows as lost."""
        lost = lost_where(
            self.columns, self.bad, lambda row: _FAULTS[int(self.faults[:, row].argmax())]
        )
        return block_of(self.columns, (lost,))


def _picker(path: Path, table: _Table) -> Callable[[str], Any]:
    """Return a function from a column's name to its index in rows.

    Raises FormatError if a column is missing.
    """
    dtype = table.rows.dtype
    if dtype.names is None:
        return lambda name: (slice(None), table.order.index(name))
    fields = {}
    for name, choices in COLUMN_NAMES.items():
        found = [choice for choice in choices if choice in dtype.names]
        if not found:
            raise FormatError(
                f"{path}: no field {' or '.join(choices)} among {', '.join(dtype.names)}; {_FIX}"
            )
        if dtype[found[0]].kind not in "iufb" or dtype[found[0]].shape:
            raise FormatError(f"{path}: field {found[0]} is {dtype[found[0]]}; {_FIX}")
        fields[name] = found[0]
    return lambda name: fields[name]


def _whole(values: NDArray[Any], most: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return values as int64, and marks of those that are not whole numbers up to `most`."""
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            wide = values.astype(np.float64)
            bad = ~(np.abs(wide) <= most) | (wide != np.floor(wide))
            return np.where(bad, 0, wide).astype(np.int64), bad
    if values.dtype.kind == "b":
        values = values.view(np.uint8)  # a damaged byte may be neither 0 nor 1
    if np.iinfo(values.dtype).max <= most:
        return values.astype(np.int64), np.zeros(values.shape, np.bool_)
    bad = values > most
    if values.dtype.kind == "i":
        bad |= values < -most
    return np.where(bad, 0, values).astype(np.int64), bad


class _Decoder:
    """Makes columns of rows; the first polarity other than 1 is the value of OFF."""

    def __init__(self, path: Path, table: _Table) -> None:
        self._path, self._table = path, table
        self._pick = _picker(path, table)
        self._off: int | None = None

    def rows(self, start: int = 0) -> Iterator[_Rows]:
        """Yield the events of all rows from number `start` on."""
        for first in range(start, len(self._table.rows), BLOCK_EVENTS):
            offset = self._table.start + first * self._table.width
            yield self._decode(self._table.rows[first : first + BLOCK_EVENTS], offset)

    def in_step(self, losses: Losses, size: Size) -> Iterator[_Rows]:
        """Yield the events of the rows that are in step."""
        in_step = InStep(losses, size)
        for rows in self.rows():
            kept = ~in_step.lost(rows.columns, rows.bad)
            whole = bool(kept.all())
            yield rows if whole else _Rows(rows.columns.part(kept), rows.faults[:, kept])

    def lose_end(self, losses: Losses) -> None:
        """Report rows missing at the end, and bytes after it, as lost."""
        table = self._table
        if table.missing:
            left = max(0, self._path.stat().st_size - table.end)
            losses.lose(table.end, left, f"{table.missing} of the rows are missing at the end")
        if table.extra:
            problem = f"{table.extra} bytes stand behind the last row that the header tells"
            losses.lose(table.end, table.extra, problem)

    def _decode(self, rows: NDArray[Any], offset: int) -> _Rows:
        """Return the events of rows that begin at a byte offset."""
        width = self._table.width
        t, bad_t = _whole(self._times(rows), _LATEST_US)
        x, bad_x = _whole(np.asarray(rows[self._pick("x")]), _MOST_PIXEL)
        y, bad_y = _whole(np.asarray(rows[self._pick("y")]), _MOST_PIXEL)
        p, bad_p = _whole(np.asarray(rows[self._pick("p")]), 1)
        if self._off is None:
            offs = p[~bad_p & (p != 1)]
            self._off = int(offs[0]) if len(offs) else None
        bad_p |= (p != 1) & (p != self._off)
        offsets = offset + np.arange(len(rows)) * width
        columns = Columns(t, x, y, p == 1, offsets, np.full(len(rows), width))
        return _Rows(columns, np.stack([bad_t, bad_x | bad_y, bad_p]))

    def _times(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the times of rows, in microseconds."""
        times = np.asarray(rows[self._pick("t")])
        if not self._table.seconds:
            return times
        with np.errstate(over="ignore", invalid="ignore"):  # damaged times may be of any size
            return np.rint(times.astype(np.float64) * 1e6)

    def find_off(self) -> None:
        """Find the value of OFF in the first row that is not ON."""
        for rows in self.rows():
            if not rows.columns.p.all():
                return

    def time(self, row: int) -> int | float:
        """Return the time of a row in microseconds."""
        value: int | float = self._times(self._table.rows[row : row + 1])[0].item()
        return value

    def size(self, options: ReadOptions) -> Size:
        """Return the smallest size that holds the events."""
        anywhere = Losses(self._path, strict=False, any_order=options.any_order)
        found = self.rows() if options.strict else self.in_step(anywhere, _ANY_SIZE)
        width, height = extent(
            (rows.columns.x[~rows.bad], rows.columns.y[~rows.bad]) for rows in found
        )
        if not width:
            fields, why = self._table.rows.dtype.names, ""
            if fields and self._table.rows.dtype[self._pick("t")].kind == "f":
                why = "; of times in seconds, pass format='npy:t_s'"
            raise FormatError(
                f"{self._path}: no row is an event, and nothing tells the sensor's size{why}"
            )
        return Size(width, height)


def _named_columns(path: Path, table: _Table, variant: str) -> _Table:
    """Return the table with the columns of a variant. Raises ConfigError."""
    names = [name.strip() for name in variant.split(",")]
    order = "".join("t" if name == "t_s" else name for name in names)
    structured = table.rows.dtype.names is not None
    wanted = ["t"] if structured else sorted("txyp")
    if sorted(order) != wanted or len(names) != len(wanted):
        meant = "t_s alone, for a time in seconds" if structured else "t (or t_s), x, y and p"
        raise ConfigError(f"{path}: npy:{variant} names other columns than {meant}")
    return table._replace(order="txyp" if structured else order, seconds="t_s" in names)


def _misfits(path: Path, table: _Table, *, any_order: bool) -> int:
    """Count the invalid values in the rows of a table."""
    count, last = 0, None
    for columns, faults in _Decoder(path, table).rows():
        count += int(np.count_nonzero(faults))
        count += int(np.count_nonzero((columns.x < 0) | (columns.y < 0)))
        if not any_order:
            count += int(np.count_nonzero(columns.t[1:] < columns.t[:-1]))
            count += last is not None and int(columns.t[0]) < last
        last = int(columns.t[-1])
    return count


def _find_order(path: Path, table: _Table, *, any_order: bool) -> str:
    """Return the order of the columns of an N x 4 array, found in as few rows as suffice."""
    for count in _FIRST_ROWS:
        try:
            first = table._replace(rows=table.rows[:count])
            return _order_that_fits(path, first, any_order=any_order)
        except FormatError:
            continue  # more rows may suffice
    return _order_that_fits(path, table, any_order=any_order)


def _order_that_fits(path: Path, table: _Table, *, any_order: bool) -> str:
    """Return the order of columns with the fewest misfits. Raises FormatError unless it is sure."""

    def by_misfits(table: _Table) -> list[tuple[int, str]]:
        ways = (table._replace(order=order) for order in _ORDERS)
        return sorted((_misfits(path, way, any_order=any_order), way.order) for way in ways)

    misfits, many = by_misfits(table), len(table.rows) // 2
    if misfits[0][0] > many and table.rows.dtype.kind == "f":
        few, order = by_misfits(table._replace(seconds=True))[0]
        if few <= many:
            columns = ",".join(order).replace("t", "t_s")
            raise FormatError(
                f"{path}: its times are fractions, which look like seconds; name the columns: "
                f"format='npy:{columns}'"
            )
    if any(few == more for (few, _), (more, _) in pairwise(misfits[:2])):
        names = " and ".join(",".join(order) for few, order in misfits if few == misfits[0][0])
        raise FormatError(f"{path}: {names} fit its columns as well as each other; {_NAME}")
    if misfits[0][0] * 2 > len(table.rows):
        neither = " nor ".join(",".join(order) for order in _ORDERS)
        raise FormatError(f"{path}: its columns are neither {neither}; {_NAME}")
    return misfits[0][1]


def open_recording(path: Path, options: ReadOptions) -> NpyRecording:
    """Open a NumPy array. Its size is the argument, else the smallest that holds the events.

    Raises FormatError for other arrays, and if the order of plain columns cannot be found.
    """
    table = _open_table(path)
    if options.variant is not None:
        table = _named_columns(path, table, options.variant)
    elif table.rows.dtype.names is None:
        table = table._replace(order=_find_order(path, table, any_order=options.any_order))
    decoder = _Decoder(path, table)
    if options.size is not None:
        return NpyRecording(path, options, options.size, "argument", table)
    return NpyRecording(path, options, decoder.size(options), "data", table)
