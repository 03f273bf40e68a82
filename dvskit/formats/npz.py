"""NumPy archive: one array for each of the columns t, x, y, p, and the sensor's size."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import EventsError, FormatError, GeometryError
from dvskit.events import Events, Size, as_size
from dvskit.events.columns import polarity_column
from dvskit.formats.file_sink import FileSink
from dvskit.formats.losses import Damage
from dvskit.formats.npy import COLUMN_NAMES
from dvskit.formats.recording import BLOCK_EVENTS, ReadOptions, Recording, SizeOrigin
from dvskit.formats.sensor_size import choose_size
from dvskit.formats.storage import Storage
from dvskit.formats.stored_array import StoredArray, open_archive
from dvskit.formats.validate import DecodedBlock, Validator

_KINDS = {"t": "<i8", "x": "<i2", "y": "<i2", "p": "?"}
_COLUMNS: dict[str, np.dtype[Any]] = {name: np.dtype(kind) for name, kind in _KINDS.items()}
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the same events give the same bytes every day


class NpzRecording(Recording):
    """Events of a NumPy archive, read in blocks."""

    format = "npz"
    sortable = True

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        size: Size,
        origin: SizeOrigin,
        names: dict[str, str],
        lengths: dict[str, int],
    ) -> None:
        super().__init__(path, options, size, origin)
        self._names = names
        self._lengths = lengths

    def _blocks(self, damage: Damage, storage: Storage) -> Iterator[Events]:
        """Yield the events. Raises FormatError for a damaged array, in salvage mode before any.

        A checksum covers a whole array, so salvage reads all arrays twice. It loses the rows after
        the end of the shortest array, and events off the sensor or out of order.
        """
        losses = self._losses(damage)
        count = min(self._lengths.values())
        if max(self._lengths.values()) > count:
            losses.lose(0, 0, f"arrays differ in length: {self._lengths}; {count} rows are read")
        if not self.strict:
            self._check()
        with open_archive(self.path) as archive:
            members = {
                column: StoredArray(archive, name, self.path)
                for column, name in self._names.items()
            }
            validator = Validator(losses, self.size)
            for start in range(0, count, BLOCK_EVENTS):
                rows = min(BLOCK_EVENTS, count - start)
                columns = {column: members[column].read(rows) for column in _COLUMNS}
                yield from validator.push(self._block(columns, start))
            yield from validator.rest()

    def _check(self) -> None:
        """Raise FormatError if an array is damaged."""
        with open_archive(self.path) as archive:
            for name in self._names.values():
                member, count = StoredArray(archive, name, self.path), self._lengths[name]
                for start in range(0, count, BLOCK_EVENTS):
                    member.read(min(BLOCK_EVENTS, count - start))

    def _block(self, columns: dict[str, NDArray[Any]], start: int) -> DecodedBlock:
        width, rows = columns["t"].dtype.itemsize, len(columns["t"])

        def places() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            return np.arange(start, start + rows) * width, np.full(rows, width)

        try:
            polarity = polarity_column(columns["p"])
        except EventsError as error:
            raise FormatError(f"{self.path}: {error}") from error
        t = self._integers("t", columns["t"], np.int64)
        x, y = (self._integers(name, columns[name], np.int16) for name in "xy")
        return DecodedBlock((t, x, y, polarity), places)

    def _integers(self, name: str, values: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
        converted = values.astype(dtype, copy=False)
        if values.dtype.kind not in "iu" or not np.array_equal(converted, values):
            raise FormatError(
                f"{self.path}: array {name!r} ({values.dtype}) does not fit {np.dtype(dtype).name}"
            )
        return converted


def _find_columns(path: Path, stored: set[str]) -> dict[str, str]:
    found = {}
    for column, choices in COLUMN_NAMES.items():
        name = next((choice for choice in choices if choice in stored), None)
        if name is None:
            raise FormatError(
                f"{path}: no array named {' or '.join(choices)} among "
                f"{', '.join(sorted(stored)) or 'none'}"
            )
        found[column] = name
    return found


def _stored_size(path: Path, archive: zipfile.ZipFile, stored: set[str]) -> Size | None:
    if "size" not in stored:
        return None
    values = StoredArray(archive, "size", path).read(2)
    try:
        return as_size((int(values[0]), int(values[1])))
    except (GeometryError, ValueError, TypeError) as error:
        raise FormatError(f"{path}: array 'size' holds {values.tolist()}: {error}") from error


def _size_of_data(path: Path, archive: zipfile.ZipFile, names: dict[str, str], count: int) -> Size:
    if not count:
        raise GeometryError(f"{path}: no events and no size; pass size=(width, height)")
    sides = []
    for column in ("x", "y"):
        member = StoredArray(archive, names[column], path)
        parts = (min(BLOCK_EVENTS, count - start) for start in range(0, count, BLOCK_EVENTS))
        sides.append(1 + max(0, *(int(member.read(part).max()) for part in parts)))
    return as_size((sides[0], sides[1]))


def open_recording(path: Path, options: ReadOptions) -> NpzRecording:
    """Open a NumPy archive. Raises FormatError for missing, unequal or damaged arrays.

    In salvage mode unequal arrays are read up to the end of the shortest.
    """
    with open_archive(path) as archive:
        stored = {name.removesuffix(".npy") for name in archive.namelist()}
        names = _find_columns(path, stored)
        lengths = {name: StoredArray(archive, name, path).shape[0] for name in names.values()}
        if options.strict and len(set(lengths.values())) != 1:
            raise FormatError(f"{path}: arrays differ in length: {lengths}")
        size, origin = choose_size(
            options,
            lambda: _stored_size(path, archive, stored),
            lambda: _size_of_data(path, archive, names, min(lengths.values())),
        )
    return NpzRecording(path, options, size, origin, names, lengths)


class NpzSink(FileSink):
    """Writes columns to a temporary file without a name each, then the archive.

    Only a block is in memory.
    """

    format = "npz"
    columns = _COLUMNS
    _end_bytes = 13

    def _open(self, partial: Path) -> None:
        in_place = partial == self.path
        if not in_place:  # a pipe is opened once, as its reader ends with its writer
            partial.touch()
        folder = None if in_place else partial.parent
        self._files = {name: TemporaryFile(dir=folder) for name in self.columns}  # noqa: SIM115
        self._out = partial

    def _write(self, events: Events) -> None:
        for column, dtype in self.columns.items():
            data = np.ascontiguousarray(getattr(events, column), dtype=dtype)
            self._files[column].write(data.data)

    def _finish(self) -> None:
        try:
            for file in self._files.values():
                file.seek(0)
            with (
                self._out.open("wb") as out,
                zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive,
            ):
                for column, dtype in self.columns.items():
                    with archive.open(_entry(column), "w", force_zip64=True) as member:
                        _write_array_header(member, dtype, self.count)
                        while data := self._files[column].read(1 << 20):
                            member.write(data)
                with archive.open(_entry("size"), "w", force_zip64=True) as member:
                    _write_array_header(member, np.dtype("<i8"), 2)
                    member.write(np.array(self.size, "<i8").tobytes())
        finally:
            self._abandon()

    def _abandon(self) -> None:
        for file in self._files.values():
            with suppress(OSError):  # of data that did not fit
                file.close()


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"{name}.npy", _ZIP_DATE)


def _write_array_header(file: IO[bytes], dtype: np.dtype[Any], count: int) -> None:
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
    )


open_sink = NpzSink
