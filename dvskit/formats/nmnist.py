"""N-MNIST and N-Caltech101 `.bin`: 5 bytes per event of an ATIS camera.

Big-endian: x (8 bits), y (8), polarity (1, ON = 1), time in microseconds (23). A row with y = 240
is an overflow: it advances the time by 2^13 us. Layout: Orchard et al. 2015, Converting static
image datasets to spiking neuromorphic datasets using saccades.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import FormatError, GeometryError
from dvskit.events import Events, Size, as_size
from dvskit.formats import nmnist_kernels as k
from dvskit.formats.file_bytes import FirstBytes, State, state_of
from dvskit.formats.index_cache import count_early
from dvskit.formats.losses import Damage, Losses
from dvskit.formats.recording import BLOCK_EVENTS, ReadOptions, Recording
from dvskit.formats.storage import ReusedStorage, Storage, new_columns
from dvskit.formats.validate import DecodedBlock, InStep, Validator, block_of, lost_where

NMNIST_SIZE = Size(34, 34)
_LARGEST = Size(256, 256)  # all that 8 bits can address
_SURE = 200  # events: with more, a few that do not fit 34x34 are damage
_FIT = 0.98
_FIRST_EVENTS = 10  # before time runs back: if so many fit 34x34, that is the sensor
_FIRST_FIT = 0.9
_SMALL = 1 << 20  # bytes
_NO_OVERFLOW = "a row of overflow (y = 240) in a file with times of more than 13 bits"


class NmnistRecording(Recording):
    """Events of an ATIS `.bin` file."""

    format = "nmnist"
    _file: _File | None = None  # when it was opened

    def keep(self, file: _File) -> None:
        """Keep the bytes of a small file; it is read again only if it changes."""
        self._file = file if len(file.rows) <= _SMALL else None

    def _rows(self) -> NDArray[np.uint8]:
        """Return the rows of the file as it is now."""
        file = _File.read(self.path, self._file)
        self.keep(file)
        if self._file is None:
            self._note_map()
        return file.rows

    def load(self) -> Events:
        """Return all events, decoded into their final places."""
        rows = self._rows()
        if not self.strict or not 0 < len(rows) <= _SMALL:
            return super().load()
        self.damage = Damage()
        return Events.concatenate(self._decoded(rows, self.damage, Storage()), size=self.size)

    def _room(self) -> int:
        return len(self._rows()) // k.EVENT_BYTES

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        return self._decoded(self._rows(), damage, storage)

    def _blocks_from(self, start_us: int, damage: Damage, storage: Storage) -> Iterator[Events]:
        rows = self._rows()
        if not self.strict:
            return self._decoded(rows, damage, storage)  # damaged times cannot be searched
        return self._decoded(rows, damage, storage, *_search(rows, start_us))

    def _decoded(
        self,
        data: NDArray[np.uint8],
        damage: Damage,
        storage: Storage,
        start: int = 0,
        clock: int = 0,
    ) -> Iterator[Events]:
        losses = self._losses(damage)
        decoder = _Decoder(data, self.size, losses, clock)
        return Validator(losses, self.size).blocks(decoder.blocks(storage, start))


class _Decoder:
    """One pass over rows. In salvage mode, rows that are out of step are lost."""

    def __init__(self, data: NDArray[np.uint8], size: Size, losses: Losses, clock: int = 0) -> None:
        self._data, self._size, self._losses = data, size, losses
        self._in_step = InStep(losses, size)
        self._state = np.zeros(k.STATE_FIELDS, np.int64)
        self._state[k.S_CLOCK] = clock
        self._state[k.S_MARKED] = k.has_overflows(data)

    def blocks(self, storage: Storage, start: int = 0) -> Iterator[DecodedBlock]:
        """Yield the events of the rows from byte `start` on; a cut last row is lost."""
        whole = len(self._data) // k.EVENT_BYTES * k.EVENT_BYTES
        for first in range(start, whole, BLOCK_EVENTS * k.EVENT_BYTES):
            stop = min(whole, first + BLOCK_EVENTS * k.EVENT_BYTES)
            columns = storage.columns((stop - first) // k.EVENT_BYTES)
            given = self._data, first, stop, *self._size, self._state, columns
            n, valid = k.decode(*given, True)
            if not n:
                n, valid = k.decode(*given, False)
            block = DecodedBlock(
                columns.part(slice(0, n)), partial(self._places, first, stop), (), valid
            )
            if not valid and not self._state[k.S_MARKED]:
                placed = block.placed()
                unexpected = lost_where(placed, placed.y == k.OVERFLOW_ROW, lambda _: _NO_OVERFLOW)
                block = block._replace(lost=(unexpected,))
            yield block if self._losses.strict else self._kept(block)
        cut = len(self._data) - whole
        if cut:
            problem = f"the last event has {cut} of {k.EVENT_BYTES} bytes"
            self._losses.lose(whole, cut, problem)

    def _places(self, first: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        offsets = np.arange(first, stop, k.EVENT_BYTES)
        if self._state[k.S_MARKED]:
            offsets = offsets[self._data[offsets + 1] != k.OVERFLOW_ROW]
        return offsets, np.full(len(offsets), k.EVENT_BYTES)

    def _kept(self, block: DecodedBlock) -> DecodedBlock:
        """Return the events that are in step; report the others, and rows of overflow, as lost."""
        columns = block.placed()
        for lost in block.lost:
            self._losses.lose_all(lost.offsets, lost.lengths, lost.problem)
            columns = columns.part(columns.y != k.OVERFLOW_ROW)
        middle = self._data[columns.offsets + 3]
        long = (self._data[columns.offsets + 2] & 0x7F != 0) | (middle >= k.OVERFLOW_US >> 8)
        marks = self._in_step.lost(columns, long & (self._state[k.S_MARKED] != 0))
        if not block.lost and not marks.any():
            return block
        return block_of(columns.part(~marks))


class _File(NamedTuple):
    """The bytes of a file, read-only, and its state when they were read."""

    rows: NDArray[np.uint8]
    state: State

    @classmethod
    def read(cls, path: Path, before: _File | None = None) -> _File:
        """Return the current file; `before` if it has not changed."""
        if before is not None and before.state == state_of(os.stat(path)):  # noqa: PTH116
            return before
        with path.open("rb", buffering=0) as file:
            now = os.fstat(file.fileno())
            if 0 < now.st_size <= _SMALL:  # faster than mapping, for the files of data sets
                return cls(np.frombuffer(file.read(), np.uint8), state_of(now))
        if not now.st_size:
            return cls(np.empty(0, np.uint8), state_of(now))
        return cls(np.memmap(path, np.uint8, "r"), state_of(now))


def _search(data: NDArray[np.uint8], start_us: int) -> tuple[int, int]:
    """Return the byte of a row before all events of t >= start_us, and the clock there.

    The overflows before each row are counted; then times are in order, and bisected.
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

    def is_early(row: int) -> bool:
        while row >= 0 and rows[row, 1] == k.OVERFLOW_ROW:
            row -= 1
        if row < 0:
            return True
        field = int.from_bytes(bytes(rows[row, 2:5]), "big") & 0x7FFFFF
        return int(np.searchsorted(marks, row)) * k.OVERFLOW_US + field < start_us

    row = count_early(count, is_early)
    while row > 0 and rows[row - 1, 1] == k.OVERFLOW_ROW:
        row -= 1
    return row * k.EVENT_BYTES, int(np.searchsorted(marks, row)) * k.OVERFLOW_US


class _Survey(NamedTuple):
    """The width and height that hold all events, their number, and how many fit 34x34."""

    width: int = 0
    height: int = 0
    events: int = 0
    fit: int = 0


def _survey(path: Path, data: NDArray[np.uint8], *, strict: bool) -> _Survey:
    """Survey all rows; in salvage mode those that are in step."""
    if strict:
        return _Survey(*k.survey(data, *NMNIST_SIZE))
    found = _Survey()
    decoder = _Decoder(data, _LARGEST, Losses(path, strict=False))
    for block in decoder.blocks(ReusedStorage()):
        _, x, y, _ = block.columns
        if len(x):
            fit = int(((x < NMNIST_SIZE.width) & (y < NMNIST_SIZE.height)).sum())
            found = _Survey(
                max(found.width, int(x.max()) + 1),
                max(found.height, int(y.max()) + 1),
                found.events + len(x),
                found.fit + fit,
            )
    return found


def _fitting_first(path: Path, data: NDArray[np.uint8]) -> int:
    """Return how many of the events before the first whose time runs back fit 34x34.

    0 if they are few, or if time does not run back near the start of the file. The rows after
    missing bytes look like those of a larger sensor; for some of them, time goes on.
    """
    # Strict decoding drops no rows; the file has a whole one.
    decoder = _Decoder(data, _LARGEST, Losses(path, strict=True))
    t, x, y, _ = next(decoder.blocks(ReusedStorage())).columns
    back = np.flatnonzero(t[1:] < t[:-1])
    count = int(back[0]) + 1 if len(back) else 0
    fit = int(((x < NMNIST_SIZE.width) & (y < NMNIST_SIZE.height))[:count].sum())
    return fit if fit >= max(_FIRST_EVENTS, _FIRST_FIT * count) else 0


def open_recording(path: Path, options: ReadOptions) -> NmnistRecording:
    """Open an ATIS `.bin` file.

    Its size is the argument, 34x34 if all events, or all but a few of many, fit it, else the
    smallest that holds the events. In salvage mode, it is also 34x34 if nearly all events before
    the first whose time runs back fit it. Raises FormatError.
    """
    if options.size is not None:
        return NmnistRecording(path, options, options.size, "argument")
    return _open(path, _File.read(path), options)


def open_small(path: Path, file: FirstBytes, options: ReadOptions) -> NmnistRecording:
    """Open a file whose bytes have been read, as `open_recording` does."""
    if options.size is not None or file.state is None:
        return open_recording(path, options)
    return _open(path, _File(np.frombuffer(file.data, np.uint8), file.state), options)


def decode_small(data: NDArray[np.uint8], spans: Sequence[tuple[int, int]]) -> list[Events | None]:
    """Return the events of whole files of 34x34 pixels; None for damaged and for other ones.

    The columns are views of those of all files.
    """
    columns, counts = new_columns(spans[-1][1] // k.EVENT_BYTES), np.empty(len(spans), np.int64)
    k.decode_files(data, np.array(spans), *NMNIST_SIZE, columns, counts)
    events = columns.events(len(columns.t), NMNIST_SIZE)
    firsts = [start // k.EVENT_BYTES for start, _ in spans]
    return [
        events[first : first + count] if count > 0 else None
        for first, count in zip(firsts, counts.tolist(), strict=True)
    ]


def _open(path: Path, file: _File, options: ReadOptions) -> NmnistRecording:
    if len(file.rows) < k.EVENT_BYTES:
        raise FormatError(f"{path}: holds no event; a .bin recording has 5 bytes for each")
    width, height, count, fit = _survey(path, file.rows, strict=options.strict)
    if not count:
        raise FormatError(f"{path}: holds no event; a .bin recording has 5 bytes for each")
    nearly = fit == count or (count >= _SURE and fit >= _FIT * count)
    first = 0 if nearly or options.strict else _fitting_first(path, file.rows)
    if nearly or first:
        recording = NmnistRecording(path, options, NMNIST_SIZE, "format")
        fitting = (
            "all" if fit == count else f"{first} of the first" if first else f"{fit} of {count}"
        )
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
