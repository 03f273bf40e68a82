"""NumPy `.npy`: one array of events, structured or N x 4.

A structured array has fields t (or timestamp, ts), x, y and p (or on, polarity), in any order. The
columns of a plain array are told by what they hold: t,x,y,p or x,y,t,p or x,y,p,t, whichever is the
only one to fit. Times are whole microseconds, polarity is 0 or 1 or -1 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.events import Events, Size
from dvskit.formats.in_order import Columns, InOrder, Lost, extent, push
from dvskit.formats.index_cache import count_early
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.npy_table import COLUMN_NAMES, FIX, Table, open_table
from dvskit.formats.recording import BLOCK_EVENTS, ReadOptions, Recording, SizeOrigin
from dvskit.formats.row_alignment import RowAlignment
from dvskit.formats.storage import Storage

_ORDERS = ("txyp", "xytp", "xypt")
_MOST_PIXEL = 32767
_ANY_SIZE = Size(_MOST_PIXEL + 1, _MOST_PIXEL + 1)
_LATEST_US = 1 << 62
_LEADING = 5  # first rows in order of time tell the order of columns, if no other has half as many
_GLANCE, _FIT = 64, 0.9  # rows of a window, and the share that fits the right order
_FAULTS = (
    "time is no whole number of microseconds",
    "pixel is no whole number, or off any sensor",
    "polarity is neither 0 or 1 nor -1 or 1 throughout",
)


class NpyRecording(Recording):
    """Events of a NumPy array."""

    format = "npy"

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, table: Table
    ) -> None:
        super().__init__(path, options, size, origin)
        self._table = table
        if table.rows.dtype.names is None:
            self.assumptions.append(
                f"columns are {','.join(table.order)}: no other order of them makes events"
            )

    def header(self) -> Mapping[str, str]:
        """Return the type and the number of the rows."""
        rows = self._table.rows
        return {"dtype": str(rows.dtype), "rows": str(len(rows) + self._table.missing)}

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        known = None if self.size_origin == "data" else self.size
        return self._decoded(_Decoder(self.path, self._table, known), damage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        if not self.strict:
            return self._blocks(damage, storage)  # damaged times cannot be searched
        decoder = _Decoder(self.path, self._table)
        decoder.find_off()
        first = count_early(len(self._table.rows), lambda row: decoder.time(row) < start_us)
        return self._decoded(decoder, damage, first)

    def _decoded(self, decoder: _Decoder, damage: Damage, first: int = 0) -> Iterator[Events]:
        order = InOrder(self._losses(damage), self.size)
        losses = self._losses(damage)
        for block in decoder.blocks(first) if self.strict else decoder.aligned_blocks(losses):
            bad = block.bad
            good = block.columns.part(~bad) if bad.any() else block.columns
            yield from push(order, losses, good, block.lost(np.flatnonzero(bad)))
        if self.strict:
            decoder.lose_end(losses)
        yield from order.rest()


class _Block(NamedTuple):
    """Events of some rows; and masks (3, n) of those that are none, by what is wrong with them."""

    columns: Columns
    faults: NDArray[np.bool_]

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Mark the rows that are no events."""
        return np.asarray(self.faults.any(axis=0))

    def lost(self, bad: NDArray[np.int64]) -> Lost:
        """Return what is wrong with the bad rows."""
        offsets, widths = self.columns.offsets[bad], self.columns.widths[bad]
        return Lost(offsets, widths, lambda i: _FAULTS[int(self.faults[:, bad[i]].argmax())])


def _picker(path: Path, table: Table) -> Callable[[str], Any]:
    """Return what to index rows with to get a column. Raises FormatError where one is missing."""
    dtype = table.rows.dtype
    if dtype.names is None:
        return lambda name: (slice(None), table.order.index(name))
    fields = {}
    for name, choices in COLUMN_NAMES.items():
        found = [choice for choice in choices if choice in dtype.names]
        if not found:
            raise FormatError(
                f"{path}: no field {' or '.join(choices)} among {', '.join(dtype.names)}; {FIX}"
            )
        if dtype[found[0]].kind not in "iufb" or dtype[found[0]].shape:
            raise FormatError(f"{path}: field {found[0]} is {dtype[found[0]]}; {FIX}")
        fields[name] = found[0]
    return lambda name: fields[name]


def _whole(values: NDArray[Any], most: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return values as int64, and where they are no whole numbers of at most `most`."""
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            wide = values.astype(np.float64)
            bad = ~(np.abs(wide) <= most) | (wide != np.floor(wide))
            return np.where(bad, 0, wide).astype(np.int64), bad
    if values.dtype.kind == "b" or np.iinfo(values.dtype).max <= most:
        return values.astype(np.int64), np.zeros(values.shape, np.bool_)
    bad = values > most
    if values.dtype.kind == "i":
        bad |= values < -most
    return np.where(bad, 0, values).astype(np.int64), bad


class _Decoder:
    """Makes columns of rows; knows which polarity stands for OFF after it has seen one.

    `size` is that of the sensor where it is known.
    """

    def __init__(self, path: Path, table: Table, size: Size | None = None) -> None:
        self._path, self._table = path, table
        self._size = _ANY_SIZE if size is None else size
        self._pick = _picker(path, table)
        self._off: int | None = None

    def blocks(self, start: int = 0) -> Iterator[_Block]:
        """Yield the events of all rows from number `start` on, where they should stand."""
        for first in range(start, len(self._table.rows), BLOCK_EVENTS):
            offset = self._table.start + first * self._table.width
            yield self._decode(self._table.rows[first : first + BLOCK_EVENTS], offset)

    def aligned_blocks(self, losses: Losses) -> Iterator[_Block]:
        """Yield the rows of a file that may be damaged, lined up anew behind missing bytes."""
        table, extra = self._table, True
        if table.by_columns or not len(table.rows):
            yield from self.blocks()
        else:
            data: NDArray[np.uint8] = np.memmap(self._path, np.uint8, "r")
            whole = data[: table.end]
            extra = not _out_of_line(RowAlignment(whole, table.start, table.width, self.judge))
            if extra:
                data = whole  # what stands behind the rows is none of them; else they were moved
            rows = RowAlignment(data, table.start, table.width, self.judge)
            for offset, count in rows.parts(losses.lose):
                content = data[offset : offset + count * table.width].reshape(count, table.width)
                yield self._decode(table.typed(content), offset)
        self.lose_end(losses, extra=extra)

    def lose_end(self, losses: Losses, *, extra: bool = True) -> None:
        """Lose the rows that are missing at the end, and bytes behind it if they are `extra`."""
        table = self._table
        if table.missing:
            left = max(0, self._path.stat().st_size - table.end)
            losses.lose(table.end, left, f"{table.missing} of the rows are missing at the end")
        if table.extra and extra:
            problem = f"{table.extra} bytes stand behind the last row that the header tells"
            losses.lose(table.end, table.extra, problem)

    def _decode(self, rows: NDArray[Any], offset: int) -> _Block:
        """Return the events of rows that begin at a byte offset."""
        width = self._table.width
        t, bad_t = _whole(np.asarray(rows[self._pick("t")]), _LATEST_US)
        x, bad_x = _whole(np.asarray(rows[self._pick("x")]), _MOST_PIXEL)
        y, bad_y = _whole(np.asarray(rows[self._pick("y")]), _MOST_PIXEL)
        p, bad_p = _whole(np.asarray(rows[self._pick("p")]), 1)
        if self._off is None:
            offs = p[~bad_p & (p != 1)]
            self._off = int(offs[0]) if len(offs) else None
        bad_p |= (p != 1) & (p != self._off)
        offsets = offset + np.arange(len(rows)) * width
        columns = Columns(t, x, y, p == 1, offsets, np.full(len(rows), width))
        return _Block(columns, np.stack([bad_t, bad_x | bad_y, bad_p]))

    def judge(self, content: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the times of (n, width) bytes as rows, and which may be events."""
        known, self._off = self._off, None
        block = self._decode(self._table.typed(content), 0)
        self._off = known
        x, y = block.columns.x, block.columns.y
        on_sensor = (x >= 0) & (x < self._size.width) & (y >= 0) & (y < self._size.height)
        return block.columns.t, ~block.bad & on_sensor

    def find_off(self) -> None:
        """Learn what stands for OFF from the first row that is not ON."""
        for block in self.blocks():
            if not block.columns.p.all():
                return

    def time(self, row: int) -> int | float:
        """Return the time of a row, as it is stored."""
        value: int | float = self._table.rows[row : row + 1][self._pick("t")][0].item()
        return value

    def size(self, *, strict: bool) -> Size:
        """Return the smallest size that holds the events."""
        anywhere = Losses(self._path, strict=False)
        blocks = self.blocks() if strict else self.aligned_blocks(anywhere)
        width, height = extent((block.columns, block.bad) for block in blocks)
        if not width:
            raise FormatError(
                f"{self._path}: no row is an event, and nothing tells the sensor's size"
            )
        return Size(width, height)


def _out_of_line(rows: RowAlignment) -> bool:
    """Whether rows do not line up somewhere."""
    lost: list[int] = []
    return any(lost for _ in rows.parts(lambda offset, *_: lost.append(offset))) or bool(lost)


def _misfits(path: Path, table: Table) -> int:
    """Count what is impossible in the rows of a table."""
    count, last = 0, None
    for columns, faults in _Decoder(path, table).blocks():
        count += int(np.count_nonzero(faults))
        count += int(np.count_nonzero((columns.x < 0) | (columns.y < 0)))
        count += int(np.count_nonzero(columns.t[1:] < columns.t[:-1]))
        count += last is not None and int(columns.t[0]) < last
        last = int(columns.t[-1])
    return count


def _told_order(path: Path, table: Table) -> str:
    """Return the order of the columns of an N x 4 array that fits best, and no other as well."""
    misfits = sorted((_misfits(path, table._replace(order=order)), order) for order in _ORDERS)
    if any(few == more for (few, _), (more, _) in pairwise(misfits[:2])):
        names = " and ".join(",".join(order) for few, order in misfits if few == misfits[0][0])
        raise FormatError(f"{path}: {names} fit its columns as well as each other; {FIX}")
    if misfits[0][0] * 2 > len(table.rows):
        raise FormatError(
            f"{path}: its columns are neither {' nor '.join(','.join(o) for o in _ORDERS)}; {FIX}"
        )
    return misfits[0][1]


def _likely_order(path: Path, table: Table, data: NDArray[np.uint8]) -> str | None:
    """Return the only order that fits the first rows that fit any; None where there are none.

    Rows behind damage may not line up, and fit another order then.
    """
    width, count = table.width, (len(data) - table.start) // table.width
    for first in range(0, count - 1, _GLANCE):
        rows = min(_GLANCE, count - first)
        content = data[table.start + first * width :][: rows * width].reshape(rows, width)
        fitting, leading = [], []
        for order in _ORDERS:
            t, possible = _Decoder(path, table._replace(order=order)).judge(content)
            good = possible[1:] & possible[:-1] & (t[1:] >= t[:-1])
            if good.mean() >= _FIT:
                fitting.append(order)
            leading.append((int(np.append(good, False).argmin()), order))
        (second, _), (longest, order) = sorted(leading)[-2:]
        if first == 0 and longest >= _LEADING and longest > 2 * second:
            return order  # damage may stand close behind
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def open_recording(path: Path, options: ReadOptions) -> NpyRecording:
    """Open a NumPy array. Its size is the argument, else the smallest that holds the events.

    Raises FormatError for arrays that are no events, and where the order of plain columns cannot be
    told.
    """
    table = open_table(path, strict=options.strict)
    if table.rows.dtype.names is None:
        order = None
        if not options.strict and not table.by_columns and len(table.rows):
            order = _likely_order(path, table, np.memmap(path, np.uint8, "r"))
        table = table._replace(order=order or _told_order(path, table))
    decoder = _Decoder(path, table)
    if options.size is not None:
        return NpyRecording(path, options, options.size, "argument", table)
    return NpyRecording(path, options, decoder.size(strict=options.strict), "data", table)
