"""ATIS `.bin` files as Recordings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import DamagedFileError, FormatError, GeometryError
from dvskit.events import Events, Size, as_size
from dvskit.formats.file_bytes import FirstBytes, State, state_of
from dvskit.formats.in_order import Columns, InOrder
from dvskit.formats.losses import Damage
from dvskit.formats.nmnist import row_kernels as k
from dvskit.formats.recording import BLOCK_EVENTS, ReadOptions, Recording
from dvskit.formats.row_alignment import Lose, RowAlignment
from dvskit.formats.storage import Storage, new_columns

NMNIST_SIZE = Size(34, 34)
_SURE = 200  # events, from which on a few that do not fit 34x34 are damage
_FIT = 0.98
_GLANCE, _GLANCES = 128, 64  # rows of a window, and windows
_SMALL = 1 << 20  # bytes
_FILLING = 32  # times the same event
_NEVER = -(1 << 62)
_PROBLEMS = {
    k.NO_OVERFLOW: "a row of overflow (y = 240) in a file with times of more than 13 bits",
    k.LOST_OVERFLOW: "time runs back by 2^13 us: a row of overflow is missing",
}


class NmnistRecording(Recording):
    """Events of an ATIS `.bin` file."""

    format = "nmnist"
    _file: _File | None = None  # as it was when it was opened

    def keep(self, file: _File) -> None:
        """Keep the bytes of a small file, to be read again only if it changes."""
        self._file = file if len(file.rows) <= _SMALL else None

    def _rows(self) -> NDArray[np.uint8]:
        """Return the rows of the file as it is now."""
        file = _File.read(self.path, self._file)
        self.keep(file)
        return file.rows

    def load(self) -> Events:
        """Return all events, decoded into their final places."""
        rows = self._rows()
        if not self.strict or not 0 < len(rows) <= _SMALL:
            return super().load()
        self.damage = Damage()
        return Events.concatenate(self._clean(rows, 0, 0, Storage()), size=self.size)

    def _room(self) -> int:
        return len(self._rows()) // k.EVENT_BYTES

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        rows = self._rows()
        if not len(rows):
            return
        if self.strict:
            yield from self._clean(rows, 0, 0, storage)
        else:
            yield from self._salvaged(rows, damage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        data = self._rows()
        if not self.strict or not len(data):
            yield from self._blocks(damage, storage)  # damaged times cannot be searched
            return
        row, clock = _search(data, start_us)
        yield from self._clean(data, row * k.EVENT_BYTES, clock, storage)

    def _clean(
        self, data: NDArray[np.uint8], start: int, clock: int, storage: Storage
    ) -> Iterator[Events]:
        state = np.zeros(k.STATE_FIELDS, np.int64)
        state[k.S_CLOCK], state[k.S_FIELD], state[k.S_LAST] = clock, -1, _NEVER
        state[k.S_MARKED] = has_overflows(data)
        whole = len(data) // k.EVENT_BYTES * k.EVENT_BYTES
        for first in range(start, whole, BLOCK_EVENTS * k.EVENT_BYTES):
            stop = min(whole, first + BLOCK_EVENTS * k.EVENT_BYTES)
            columns = storage.columns((stop - first) // k.EVENT_BYTES)
            t, x, y, p = columns
            last = int(state[k.S_LAST])
            at, why = k.decode_clean(data, first, stop, *self.size, state, columns)
            n = int(state[k.S_EVENTS])
            if why != k.NOTHING:
                last = int(t[n - 1]) if n else last
                raise DamagedFileError(self.path, at, self._problem(data, at, why, state, last))
            yield Events.from_checked(t[:n], x[:n], y[:n], p[:n], self.size)
        if whole < len(data):
            cut = len(data) - whole
            problem = f"the last event has {cut} of {k.EVENT_BYTES} bytes"
            raise DamagedFileError(self.path, whole, problem)

    def _problem(
        self, data: NDArray[np.uint8], at: int, why: int, state: NDArray[np.int64], last: int
    ) -> str:
        if why == k.OFF_SENSOR:
            return f"event at ({data[at]}, {data[at + 1]}) is off the {self.size} sensor"
        if why == k.TIME_BACK:
            field = int.from_bytes(bytes(data[at + 2 : at + 5]), "big") & 0x7FFFFF
            return f"time runs back from {last} to {int(state[k.S_CLOCK]) + field} us"
        return _PROBLEMS[why]

    def _salvaged(self, data: NDArray[np.uint8], damage: Damage) -> Iterator[Events]:
        order = InOrder(self.path, self.size, strict=False, damage=damage)
        for columns in _decoded(data, self.size, damage.add):
            yield from order.push(columns)
        yield from order.rest()


class _File(NamedTuple):
    """The bytes of a file, read-only, and what tells whether it has changed since."""

    rows: NDArray[np.uint8]
    state: State

    @classmethod
    def read(cls, path: Path, before: _File | None = None) -> _File:
        """Return the file as it is now: `before`, where it is small and has not changed."""
        if before is not None and before.state == state_of(os.stat(path)):  # noqa: PTH116
            return before
        with path.open("rb", buffering=0) as file:
            now = os.fstat(file.fileno())
            if 0 < now.st_size <= _SMALL:  # sets are made of many such files: mapping takes longer
                return cls(np.frombuffer(file.read(), np.uint8), state_of(now))
        if not now.st_size:
            return cls(np.empty(0, np.uint8), state_of(now))
        return cls(np.memmap(path, np.uint8, "r"), state_of(now))


def _search(data: NDArray[np.uint8], start_us: int) -> tuple[int, int]:
    """Return a row with no event of t >= start_us ahead of it, and the clock there.

    The overflows ahead of each row are counted first; then times are in order, and bisected.
    """
    count = len(data) // k.EVENT_BYTES
    rows = data[: count * k.EVENT_BYTES].reshape(-1, k.EVENT_BYTES)
    marks = np.concatenate(
        [
            first + np.flatnonzero(rows[first : first + BLOCK_EVENTS, 1] == k.OVERFLOW_ROW)
            for first in range(0, count, BLOCK_EVENTS)
        ]
        or [np.empty(0, np.int64)]
    )
    low, high = 0, count  # all rows ahead of `low` are earlier
    while low < high:
        middle = (low + high) // 2
        while middle > low and rows[middle, 1] == k.OVERFLOW_ROW:
            middle -= 1
        field = int.from_bytes(bytes(rows[middle, 2:5]), "big") & 0x7FFFFF
        ahead = int(np.searchsorted(marks, middle)) * k.OVERFLOW_US
        if rows[middle, 1] == k.OVERFLOW_ROW or ahead + field < start_us:
            low = middle + 1
        else:
            high = middle
    while low > 0 and rows[low - 1, 1] == k.OVERFLOW_ROW:
        low -= 1
    return low, int(np.searchsorted(marks, low)) * k.OVERFLOW_US


def _decoded(data: NDArray[np.uint8], size: Size | None, lose: Lose) -> Iterator[Columns]:
    """Yield the events of a damaged file, unchecked, with rows lined up anew behind damage."""

    def judge(rows: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        wide = rows.astype(np.int64)
        marks = rows[:, 1] == k.OVERFLOW_ROW
        t = (wide[:, 2] & 0x7F) << 16 | wide[:, 3] << 8 | wide[:, 4]
        t = np.where(marks, 0, t) + np.cumsum(marks) * k.OVERFLOW_US
        if size is None:
            return t, rows[:, 1] <= k.OVERFLOW_ROW
        return t, ((rows[:, 0] < size.width) & (rows[:, 1] < size.height)) | marks

    state = np.zeros(k.STATE_FIELDS, np.int64)
    state[k.S_FIELD] = -1
    state[k.S_MARKED] = has_overflows(data)
    for start, count in RowAlignment(data, 0, k.EVENT_BYTES, judge).parts(lose):
        t, _, _, p = new_columns(count)
        x, y, offsets = (np.empty(count, np.int64) for _ in range(3))
        losses = np.empty((count, 3), np.int64)
        stop = start + count * k.EVENT_BYTES
        k.decode_all(data, start, stop, state, t, x, y, p, offsets, losses)
        for place, length, why in losses[: state[k.S_LOSSES]].tolist():
            lose(place, length, _PROBLEMS[why])
        widths = np.full(count, k.EVENT_BYTES)
        columns = Columns(t, x, y, p, offsets, widths).part(slice(0, int(state[k.S_EVENTS])))
        yield _without_filling(columns, lose)


def _without_filling(columns: Columns, lose: Lose) -> Columns:
    """Return the columns without long runs of one event: bytes that fill a gap, not a camera's."""
    count = len(columns.t)
    change = np.ones(count + 1, np.bool_)
    change[1:count] = np.logical_or.reduce(
        [column[1:] != column[:-1] for column in (columns.t, columns.x, columns.y, columns.p)]
    )
    edges = np.flatnonzero(change)
    filling = np.diff(edges) >= _FILLING
    if not filling.any():
        return columns
    kept = np.ones(count, np.bool_)
    for start, stop in zip(edges[:-1][filling], edges[1:][filling], strict=True):
        kept[start:stop] = False
        length = int(stop - start) * k.EVENT_BYTES
        lose(int(columns.offsets[start]), length, f"{stop - start} times the same event")
    return columns.part(kept)


def has_overflows(data: NDArray[np.uint8]) -> bool:
    """Whether rows of overflow count the time on, whose field has 13 bits then.

    Told by windows of rows: nearly all fields are that short where the rows line up, in more than
    half of the windows, and some rows are overflows.
    """
    step = max(_GLANCE, -(-(len(data) // k.EVENT_BYTES) // _GLANCES))
    short, long, marks = k.glance(data, step, _GLANCE, 1 - _FIT)
    return bool(short > long and marks > 0)


def _survey(data: NDArray[np.uint8], *, strict: bool) -> tuple[int, int, int, int]:
    """Return the width and height that hold all events, their number, and how many fit 34x34."""
    if strict:
        width, height, count, fit = k.survey(data, *NMNIST_SIZE)
        return width, height, count, fit
    width = height = count = fit = 0
    for part in _decoded(data, None, lambda *_: None):
        x, y = part.x, part.y
        if len(x):
            width, height = max(width, int(x.max()) + 1), max(height, int(y.max()) + 1)
            count += len(x)
            fit += int(((x < NMNIST_SIZE.width) & (y < NMNIST_SIZE.height)).sum())
    return width, height, count, fit


def open_recording(path: Path, options: ReadOptions) -> NmnistRecording:
    """Open an ATIS `.bin` file.

    Its size is an argument, else 34x34 where all events fit it, or all but a few of many; else the
    smallest that holds the events. Raises FormatError.
    """
    if options.size is not None:
        return NmnistRecording(path, options, options.size, "argument")
    return _open(path, _File.read(path), options)


def open_small(path: Path, file: FirstBytes, options: ReadOptions) -> NmnistRecording:
    """Open a file as `open_recording` does, whose bytes are read already."""
    if options.size is not None or file.state is None:
        return open_recording(path, options)
    return _open(path, _File(np.frombuffer(file.data, np.uint8), file.state), options)


def _open(path: Path, file: _File, options: ReadOptions) -> NmnistRecording:
    if len(file.rows) < k.EVENT_BYTES:
        raise FormatError(f"{path}: holds no event; a .bin recording has 5 bytes for each")
    width, height, count, fit = _survey(file.rows, strict=options.strict)
    if not count:
        raise FormatError(f"{path}: holds no event; a .bin recording has 5 bytes for each")
    if fit == count or (count >= _SURE and fit >= _FIT * count):
        recording = NmnistRecording(path, options, NMNIST_SIZE, "format")
        fitting = "all" if fit == count else f"{fit} of {count}"
        recording.assumptions.append(
            f"no sensor size in the file: {fitting} events fit N-MNIST's 34x34"
        )
    else:
        try:
            recording = NmnistRecording(path, options, as_size((width, height)), "data")
        except GeometryError as error:
            raise FormatError(f"{path}: {error}") from error
    recording.keep(file)
    return recording
