"""NumPy arrays as Recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, FormatError
from dvskit.events import Events, Size
from dvskit.formats.in_order import InOrder, extent
from dvskit.formats.losses import Damage
from dvskit.formats.npy.decoding import Block, Decoder, likely_order, picker, told_order
from dvskit.formats.npy.layout import Table, open_table
from dvskit.formats.recording import ReadOptions, Recording, SizeOrigin
from dvskit.formats.row_alignment import Lose, RowAlignment
from dvskit.formats.storage import Storage


class NpyRecording(Recording):
    """Events of a NumPy array."""

    format = "npy"

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        table: Table,
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
        known = None if self.size_origin == "data" else self.size
        decoder = Decoder(self.path, self._table, self._order, known)
        if self.strict:
            yield from self._checked(decoder.blocks())
            return
        order = InOrder(self.path, self.size, strict=False, damage=damage)
        for block in _aligned(self.path, self._table, decoder, damage.add):
            bad = block.bad
            for place in np.flatnonzero(bad).tolist():
                offset = int(block.columns.offsets[place])
                damage.add(offset, self._table.width, block.fault(place))
            yield from order.push(block.columns.part(~bad) if bad.any() else block.columns)
        yield from order.rest()

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        if not self.strict:
            yield from self._blocks(damage, storage)  # damaged times cannot be searched
            return
        decoder = Decoder(self.path, self._table, self._order)
        low, high = 0, len(self._table.rows)
        while low < high:
            middle = (low + high) // 2
            if decoder.time(middle) < start_us:
                low = middle + 1
            else:
                high = middle
        for block in decoder.blocks(0):  # what stands for OFF is told by the first that is not ON
            if block.columns.p.all():
                continue
            break
        yield from self._checked(decoder.blocks(low))

    def _checked(self, blocks: Iterator[Block]) -> Iterator[Events]:
        """Yield events; raise DamagedFileError at the first row that is none."""
        order = InOrder(self.path, self.size, strict=True, damage=Damage())
        for block in blocks:
            bad = block.bad
            if bad.any():
                first = int(np.argmax(bad))
                yield from order.push(block.columns.part(slice(0, first)))
                offset = int(block.columns.offsets[first])
                raise DamagedFileError(self.path, offset, block.fault(first))
            yield from order.push(block.columns)
        yield from order.rest()
        end = self._table.start + len(self._table.rows) * self._table.width
        if self._table.missing:
            raise DamagedFileError(self.path, end, _missing(self._table))
        if self._table.extra:
            raise DamagedFileError(self.path, end, _extra(self._table))


def _missing(table: Table) -> str:
    return f"{table.missing} of the rows are missing at the end"


def _extra(table: Table) -> str:
    return f"{table.extra} bytes stand behind the last row that the header tells"


def _aligned(path: Path, table: Table, decoder: Decoder, lose: Lose) -> Iterator[Block]:
    """Yield the rows of a file that may be damaged, lined up anew behind missing bytes."""
    size = path.stat().st_size
    whole = table.start + len(table.rows) * table.width
    extra = table.extra
    if table.by_columns or not len(table.rows):
        yield from decoder.blocks()
    else:
        data: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        if _out_of_line(data[:whole], table, decoder):
            extra = 0  # rows that were moved
        else:
            data = data[:whole]  # what stands behind the rows is none of them
        for offset, count in RowAlignment(data, table.start, table.width, decoder.judge).parts(
            lose
        ):
            content = data[offset : offset + count * table.width].reshape(count, table.width)
            yield decoder.decode(table.typed(content), offset)
    if table.missing:
        lose(whole, max(0, size - whole), _missing(table))
    if extra:
        lose(whole, extra, _extra(table))


def _out_of_line(data: NDArray[np.uint8], table: Table, decoder: Decoder) -> bool:
    """Whether rows do not line up somewhere."""
    lost: list[int] = []
    for _ in RowAlignment(data, table.start, table.width, decoder.judge).parts(
        lambda offset, *_: lost.append(offset)
    ):
        if lost:
            break
    return bool(lost)


def _data_size(path: Path, table: Table, order: str, *, strict: bool) -> Size:
    decoder = Decoder(path, table, order)
    blocks = decoder.blocks() if strict else _aligned(path, table, decoder, lambda *_: None)
    width, height = extent((block.columns, block.bad) for block in blocks)
    if not width:
        raise FormatError(f"{path}: no row is an event, and nothing tells the sensor's size")
    return Size(width, height)


def _order(path: Path, table: Table, strict: bool) -> str:
    if not strict and not table.by_columns and len(table.rows):
        likely = likely_order(path, table, np.memmap(path, np.uint8, "r"))
        if likely is not None:
            return likely
    return told_order(path, table)


def open_recording(path: Path, options: ReadOptions) -> NpyRecording:
    """Open a NumPy array. Its size is the argument, else the smallest that holds the events.

    Raises FormatError for arrays that are no events, and where the order of plain columns cannot be
    told.
    """
    table = open_table(path, strict=options.strict)
    order = "txyp" if table.rows.dtype.names is not None else _order(path, table, options.strict)
    picker(path, table.rows.dtype, order)
    if options.size is not None:
        return NpyRecording(path, options, options.size, "argument", table, order)
    size = _data_size(path, table, order, strict=options.strict)
    return NpyRecording(path, options, size, "data", table, order)
