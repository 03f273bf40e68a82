"""NumPy `.npy`: one array of events, structured or N x 4.

A structured array has fields t (or timestamp, ts), x, y and p (or on, polarity), in any order. The
columns of a plain array are told by what they hold: t,x,y,p or x,y,t,p or x,y,p,t, whichever is the
only one to fit. Times are whole microseconds, polarity is 0 or 1 or -1 or 1. The name of the format
may name the columns: `npy:x,y,t_s,p` (`t_s` for seconds), of a structured array `npy:t_s`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError, FormatError
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
_NAME = f"name them (format=, --from), such as npy:x,y,t_s,p (t_s: seconds), or {FIX}"
_FAULTS = (
    "time is no whole number of microseconds (seconds: format='npy:t_s', of N x 4 'npy:t_s,x,y,p')",
    "pixel is no whole number, or off any sensor",
    "polarity is neither 0 or 1 nor -1 or 1 throughout",
)


class NpyRecording(Recording):
    """Events of a NumPy array."""

    format = "npy"
    sortable = True

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, table: Table
    ) -> None:
        super().__init__(path, options, size, origin)
        self._table = table
        if table.rows.dtype.names is None and options.variant is None:
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
        return _Block(columns, np.stack([bad_t, bad_x | bad_y, bad_p]))

    def _times(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the times of rows, in microseconds."""
        times = np.asarray(rows[self._pick("t")])
        if not self._table.seconds:
            return times
        with np.errstate(over="ignore", invalid="ignore"):  # damaged ones may be of any size
            return np.rint(times.astype(np.float64) * 1e6)

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
        """Return the time of a row in microseconds."""
        value: int | float = self._times(self._table.rows[row : row + 1])[0].item()
        return value

    def size(self, *, strict: bool) -> Size:
        """Return the smallest size that holds the events."""
        anywhere = Losses(self._path, strict=False)
        blocks = self.blocks() if strict else self.aligned_blocks(anywhere)
        width, height = extent((block.columns, block.bad) for block in blocks)
        if not width:
            fields, why = self._table.rows.dtype.names, ""
            if fields and self._table.rows.dtype[self._pick("t")].kind == "f":
                why = "; of times in seconds, pass format='npy:t_s' (--from npy:t_s)"
            raise FormatError(
                f"{self._path}: no row is an event, and nothing tells the sensor's size{why}"
            )
        return Size(width, height)


def _out_of_line(rows: RowAlignment) -> bool:
    """Whether rows do not line up somewhere."""
    lost: list[int] = []
    return any(lost for _ in rows.parts(lambda offset, *_: lost.append(offset))) or bool(lost)


def _named_columns(path: Path, table: Table, variant: str) -> Table:
    """Return the table with the columns that a variant names. Raises ConfigError."""
    names = [name.strip() for name in variant.split(",")]
    order = "".join("t" if name == "t_s" else name for name in names)
    structured = table.rows.dtype.names is not None
    wanted = ["t"] if structured else sorted("txyp")
    if sorted(order) != wanted or len(names) != len(wanted):
        meant = "t_s alone, for a time in seconds" if structured else "t (or t_s), x, y and p"
        raise ConfigError(f"{path}: npy:{variant} names other columns than {meant}")
    return table._replace(order="txyp" if structured else order, seconds="t_s" in names)


def _misfits(path: Path, table: Table, *, any_order: bool) -> int:
    """Count what is impossible in the rows of a table."""
    count, last = 0, None
    for columns, faults in _Decoder(path, table).blocks():
        count += int(np.count_nonzero(faults))
        count += int(np.count_nonzero((columns.x < 0) | (columns.y < 0)))
        if not any_order:
            count += int(np.count_nonzero(columns.t[1:] < columns.t[:-1]))
            count += last is not None and int(columns.t[0]) < last
        last = int(columns.t[-1])
    return count


def _told_order(path: Path, table: Table, *, any_order: bool) -> str:
    """Return the order of the columns of an N x 4 array that fits best, and no other as well."""

    def by_misfits(table: Table) -> list[tuple[int, str]]:
        ways = (table._replace(order=order) for order in _ORDERS)
        return sorted((_misfits(path, way, any_order=any_order), way.order) for way in ways)

    misfits, many = by_misfits(table), len(table.rows) // 2
    if misfits[0][0] > many and table.rows.dtype.kind == "f":
        few, order = by_misfits(table._replace(seconds=True))[0]
        if few <= many:
            columns = ",".join(order).replace("t", "t_s")
            raise FormatError(
                f"{path}: its times are fractions, which look like seconds; name the columns: "
                f"format='npy:{columns}' (--from npy:{columns})"
            )
    if any(few == more for (few, _), (more, _) in pairwise(misfits[:2])):
        names = " and ".join(",".join(order) for few, order in misfits if few == misfits[0][0])
        raise FormatError(f"{path}: {names} fit its columns as well as each other; {_NAME}")
    if misfits[0][0] * 2 > len(table.rows):
        neither = " nor ".join(",".join(order) for order in _ORDERS)
        raise FormatError(f"{path}: its columns are neither {neither}; {_NAME}")
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
    if options.variant is not None:
        table = _named_columns(path, table, options.variant)
    elif table.rows.dtype.names is None:
        order = None
        in_turn = not table.by_columns and len(table.rows) > 0
        if in_turn and not options.strict and not options.any_order:
            order = _likely_order(path, table, np.memmap(path, np.uint8, "r"))
        table = table._replace(order=order or _told_order(path, table, any_order=options.any_order))
    decoder = _Decoder(path, table)
    if options.size is not None:
        return NpyRecording(path, options, options.size, "argument", table)
    return NpyRecording(path, options, decoder.size(strict=options.strict), "data", table)
