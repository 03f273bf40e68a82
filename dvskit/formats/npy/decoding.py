"""From the rows of a table to events, unchecked, and what the columns of plain rows are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError
from dvskit.events import Size
from dvskit.formats.in_order import Columns
from dvskit.formats.npy.layout import COLUMN_NAMES, FIX, Table
from dvskit.formats.recording import BLOCK_EVENTS

ORDERS = ("txyp", "xytp", "xypt")
_MOST_PIXEL = 32767
_ANY_SIZE = Size(_MOST_PIXEL + 1, _MOST_PIXEL + 1)
_LATEST_US = 1 << 62
_LEADING = 5  # first rows in order of time tell the order of columns, if no other has half as many
_GLANCE, _FIT = 64, 0.9  # rows of a window, and the share that fits the right order


class Block(NamedTuple):
    """Events of some rows, and masks of those that are none: by what is wrong with them."""

    columns: Columns
    faults: dict[str, NDArray[np.bool_]]

    @property
    def bad(self) -> NDArray[np.bool_]:
        """Mark the rows that are no events."""
        mask: NDArray[np.bool_] = np.logical_or.reduce(list(self.faults.values()))
        return mask

    def fault(self, place: int) -> str:
        """Say what is wrong with a bad row."""
        return next(text for text, mask in self.faults.items() if mask[place])


def picker(path: Path, dtype: np.dtype[Any], order: str) -> Callable[[str], Any]:
    """Return what to index rows with to get a column. Raises FormatError where one is missing."""
    if dtype.names is None:
        return lambda name: (slice(None), order.index(name))
    fields = {}
    for name, choices in COLUMN_NAMES.items():
        found = [choice for choice in choices if choice in (dtype.names or ())]
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


class Decoder:
    """Makes columns of rows; knows which polarity stands for OFF after it has seen one.

    `size` is that of the sensor where it is known.
    """

    def __init__(self, path: Path, table: Table, order: str, size: Size | None = None) -> None:
        self._size = _ANY_SIZE if size is None else size
        self._pick = picker(path, table.rows.dtype, order)
        self._table = table
        self._off: int | None = None

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield the events of all rows from number `start` on, where they should stand."""
        for first in range(start, len(self._table.rows), BLOCK_EVENTS):
            offset = self._table.start + first * self._table.width
            yield self.decode(self._table.rows[first : first + BLOCK_EVENTS], offset)

    def decode(self, rows: NDArray[Any], offset: int) -> Block:
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
        return Block(
            columns,
            {
                "time is no whole number of microseconds": bad_t,
                "pixel is no whole number, or off any sensor": bad_x | bad_y,
                "polarity is neither 0 or 1 nor -1 or 1 throughout": bad_p,
            },
        )

    def judge(self, content: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the times of (n, width) bytes as rows, and which may be events."""
        known, self._off = self._off, None
        block = self.decode(self._table.typed(content), 0)
        self._off = known
        x, y = block.columns.x, block.columns.y
        on_sensor = (x >= 0) & (x < self._size.width) & (y >= 0) & (y < self._size.height)
        return block.columns.t, ~block.bad & on_sensor

    def time(self, row: int) -> int | float:
        """Return the time of a row, as it is stored."""
        value: int | float = self._table.rows[row : row + 1][self._pick("t")][0].item()
        return value


def _misfits(path: Path, table: Table, order: str) -> int:
    """Count what is impossible in the rows if their columns are in this order."""
    count, last = 0, None
    for columns, faults in Decoder(path, table, order).blocks():
        count += sum(int(np.count_nonzero(mask)) for mask in faults.values())
        count += int(np.count_nonzero((columns.x < 0) | (columns.y < 0)))
        count += int(np.count_nonzero(columns.t[1:] < columns.t[:-1]))
        count += last is not None and int(columns.t[0]) < last
        last = int(columns.t[-1])
    return count


def told_order(path: Path, table: Table) -> str:
    """Return the order of the columns of an N x 4 array that fits best, and no other as well."""
    misfits = sorted((_misfits(path, table, order), order) for order in ORDERS)
    if any(few == more for (few, _), (more, _) in pairwise(misfits[:2])):
        names = " and ".join(",".join(order) for few, order in misfits if few == misfits[0][0])
        raise FormatError(f"{path}: {names} fit its columns as well as each other; {FIX}")
    if misfits[0][0] * 2 > len(table.rows):
        raise FormatError(
            f"{path}: its columns are neither {' nor '.join(','.join(o) for o in ORDERS)}; {FIX}"
        )
    return misfits[0][1]


def likely_order(path: Path, table: Table, data: NDArray[np.uint8]) -> str | None:
    """Return the only order that fits the first rows that fit any; None where there are none.

    Rows behind damage may not line up, and fit another order then.
    """
    width, count = table.width, (len(data) - table.start) // table.width
    for first in range(0, count - 1, _GLANCE):
        rows = min(_GLANCE, count - first)
        content = data[table.start + first * width :][: rows * width].reshape(rows, width)
        fitting, leading = [], []
        for order in ORDERS:
            t, possible = Decoder(path, table, order).judge(content)
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
