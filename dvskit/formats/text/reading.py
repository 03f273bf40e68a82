"""Lines of text as Recordings: what CSV and rpg share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, FormatError
from dvskit.events import Events, Size
from dvskit.formats.in_order import Columns, InOrder
from dvskit.formats.recording import BLOCK_EVENTS, Damage, ReadOptions, Recording, SizeOrigin
from dvskit.formats.storage import Storage
from dvskit.formats.text import _kernels as k

HEAD_BYTES = 1 << 16
_LOSSES = 4096
_LEAST_LINE = 8  # bytes of an event: 0,0,0,0 and a line end
_PROBLEMS = {
    k.NOT_A_NUMBER: "field {field} is no number",
    k.NOT_WHOLE: "field {field} is not whole (times in seconds: name the column t_s, or read as "
    "rpg)",
    k.TOO_LARGE: "field {field} is too large a number",
    k.TOO_FEW: "{fields} fields are meant, not {found}",
    k.TOO_MANY: "{fields} fields are meant, and there are more",
    k.BAD_POLARITY: "polarity is neither 0 or 1 nor -1 or 1 throughout (other columns than {names} "
    "need a header line that names them)",
}
_FIELD_NAMES = ("t", "x", "y", "p", "-")


class Lines(NamedTuple):
    """How the lines of a file are laid out.

    start    byte offset of the first line that may be an event
    fields   what each field is: k.TIME, k.COLUMN, k.ROW, k.POLARITY or k.OTHER
    seconds  whether times are seconds, not microseconds
    size     the sensor's size where the file says it
    """

    start: int
    fields: tuple[int, ...]
    seconds: bool
    size: Size | None


class TextRecording(Recording):
    """Events of a text file."""

    def __init__(
        self, path: Path, options: ReadOptions, size: Size, origin: SizeOrigin, lines: Lines
    ) -> None:
        super().__init__(path, options, size, origin)
        self._lines = lines

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        order = InOrder(self.path, self.size, strict=self.strict, damage=damage)
        data = np.memmap(self.path, np.uint8, "r")
        for columns, losses in _parse(data, self._lines, strict=self.strict):
            yield from order.push(columns)
            for place, length, why, field in losses.tolist():
                problem = self._problem(bytes(data[place : place + length]), why, field)
                if self.strict:
                    raise DamagedFileError(self.path, place, problem)
                damage.add(place, length, problem)
        yield from order.rest()

    def _problem(self, line: bytes, why: int, field: int) -> str:
        text = line[:40].decode("latin-1").strip()
        fields = self._lines.fields
        problem = _PROBLEMS[why].format(
            field=field + 1,
            fields=len(fields),
            found=field,
            names=",".join(_FIELD_NAMES[kind] for kind in fields),
        )
        return f"line {text!r}: {problem}"


def _parse(
    data: NDArray[np.uint8], lines: Lines, *, strict: bool
) -> Iterator[tuple[Columns, NDArray[np.int64]]]:
    """Yield events, unchecked, and the lines that are none: (place, bytes, why, field)."""
    fields = np.array(lines.fields, np.int64)
    state = np.zeros(k.STATE_FIELDS, np.int64)
    losses = np.empty((_LOSSES, 4), np.int64)
    count = min(BLOCK_EVENTS, len(data) // _LEAST_LINE + 1)
    at = lines.start
    while at < len(data):
        t, p = np.empty(count, np.int64), np.empty(count, np.bool_)
        x, y = np.empty(count, np.int32), np.empty(count, np.int32)
        offsets, widths = np.empty(count, np.int64), np.empty(count, np.int64)
        state[k.S_EVENTS] = state[k.S_LOSSES] = 0
        at = k.parse(
            data, at, fields, lines.seconds, strict, state,
            t, x, y, p, offsets, widths, losses,
        )  # fmt: skip
        columns = Columns(t, x, y, p, offsets, widths).part(slice(0, int(state[k.S_EVENTS])))
        yield columns, losses[: state[k.S_LOSSES]]


def read_head(path: Path) -> list[tuple[int, str]]:
    """Return the first lines of a text file, with the byte offset of each.

    Raises FormatError for bytes that are no text.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if b"\0" in head:
        raise FormatError(f"{path}: is no text: byte {head.index(0)} is 0")
    lines, at = [], 0
    for line in head.splitlines(keepends=True):
        lines.append((at, line.decode("latin-1").strip()))
        at += len(line)
    return lines


def known_size(path: Path, options: ReadOptions, lines: Lines) -> tuple[Size, SizeOrigin]:
    """Return the sensor's size: the argument, what the file says, or what holds the events.

    Raises FormatError where no line is an event.
    """
    if options.size is not None:
        return options.size, "argument"
    if lines.size is not None:
        return lines.size, "header"
    width = height = 0
    for columns, _ in _parse(np.memmap(path, np.uint8, "r"), lines, strict=False):
        x, y = columns.x, columns.y
        good = (x >= 0) & (x < 32767) & (y >= 0) & (y < 32767)
        if good.any():
            width = max(width, int(x[good].max()) + 1)
            height = max(height, int(y[good].max()) + 1)
    if not width:
        raise FormatError(f"{path}: no line is an event, and nothing tells the sensor's size")
    return Size(width, height), "data"
