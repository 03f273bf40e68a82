"""Arrays of NumPy's layout: the header, and reading one of an archive in parts."""

from __future__ import annotations

import ast
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dvskit._files import open_regular
from dvskit.errors import FormatError, one_line

_LONGEST_HEADER = 10_000  # bytes; NumPy's own limit: parsing a longer header takes long
_MOST_BYTES = 1 << 28  # of arrays that are read whole
_PYTHON_2_INT = re.compile(r"(?<=\d)L\b")  # 10L
_KEYS = {"descr", "fortran_order", "shape"}
_PARSING = Lock()  # CPython 3.11 raises SystemError at times if two threads parse at once


def read_array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header at the beginning of an array: its shape, whether by columns, and its type.

    Raises ValueError for a negative count, and anything for damage: the header is parsed as Python.
    Layout: NumPy's numpy.lib.format, versions 1.0 to 3.0.
    """
    version = np.lib.format.read_magic(file)
    length = int.from_bytes(_read(file, 2 if version == (1, 0) else 4), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(
            f"the header has {length:,} bytes, where at most {_LONGEST_HEADER:,} are read"
        )
    text = _read(file, length).decode("utf-8" if version >= (3, 0) else "latin-1")
    with _PARSING:
        header = ast.literal_eval(_PYTHON_2_INT.sub("", text).strip())
    if not isinstance(header, dict) or set(header) != _KEYS:
        raise ValueError("the header is no table of descr, fortran_order and shape")
    shape, fortran = header["shape"], header["fortran_order"]
    if not isinstance(shape, tuple) or not all(isinstance(count, int) for count in shape):
        raise ValueError(f"the shape is {shape!r}, no whole numbers")
    if not isinstance(fortran, bool):
        raise ValueError(f"fortran_order is {fortran!r}, neither True nor False")
    if min(shape, default=0) < 0:
        raise ValueError(f"the shape is {shape}, and counts are not negative")
    return shape, fortran, np.lib.format.descr_to_dtype(header["descr"])


def _read(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError(f"the header ends behind {len(data)} of {count} bytes")
    return data


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a NumPy archive to read it. Raises FormatError for any other file.

    The file is closed by its own context: members left open by an error would hold it.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_regular(path))
            archive = stack.enter_context(zipfile.ZipFile(file))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise FormatError(
                f"{path}: is not a complete NumPy archive: {one_line(error)}"
            ) from error
        yield archive


def load_arrays(
    path: Path, names: Collection[str] | None = None, *, most: int = _MOST_BYTES
) -> dict[str, NDArray[Any]]:
    """Return the arrays of an archive by name; all without `names`. Raises FormatError.

    most  bytes of these arrays together

    Each member is read to its end, where its checksum is, and holds nothing but the array.
    """
    found: dict[str, NDArray[Any]] = {}
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.namelist() if names is None else [f"{n}.npy" for n in names]
            size = sum(archive.getinfo(member).file_size for member in members)
            if size > most:
                raise ValueError(f"its arrays have {size:,} bytes; at most {most:,} are read")
            for member in members:
                data = BytesIO(archive.read(member))
                array = np.lib.format.read_array(data, allow_pickle=False)
                if data.read(1):
                    raise ValueError(f"{member} goes on after its array")
                found[member.removesuffix(".npy")] = array
    except Exception as error:  # headers are parsed as Python: damage raises any error
        raise FormatError(
            f"{path}: is not a readable .npz ({one_line(error)}); save it anew"
        ) from error
    return found


class StoredArray:
    """One array of an archive, read forward in parts.

    Raises FormatError for a damaged array and for another number of dimensions.
    """

    def __init__(
        self, archive: zipfile.ZipFile, name: str, path: Path, *, dimensions: int = 1
    ) -> None:
        self.path = path
        self.name = name
        try:
            self._file: IO[bytes] = archive.open(f"{name}.npy")
            self.shape, by_columns, self.dtype = read_array_header(self._file)
        except Exception as error:  # the header is parsed as Python: damage raises any error
            raise FormatError(
                f"{path}: array {name!r} cannot be read: {' '.join(str(error).split())}"
            ) from error
        if self.dtype.hasobject:
            raise FormatError(f"{path}: array {name!r} holds Python objects, which are not loaded")
        if len(self.shape) != dimensions:
            meant = "one dimension is" if dimensions == 1 else f"{dimensions} dimensions are"
            raise FormatError(f"{path}: array {name!r} has shape {self.shape}; {meant} meant")
        if by_columns and dimensions > 1:
            raise FormatError(
                f"{path}: array {name!r} is in Fortran order; write numpy.ascontiguousarray of it"
            )

    def read(self, count: int) -> NDArray[Any]:
        """Return the next `count` numbers, as one dimension."""
        wanted = count * self.dtype.itemsize
        try:
            data = self._file.read(wanted)
        except (OSError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise FormatError(f"{self.path}: array {self.name!r} is damaged: {error}") from error
        if len(data) != wanted:
            raise FormatError(
                f"{self.path}: array {self.name!r} ends {wanted - len(data)} bytes early"
            )
        return np.frombuffer(data, self.dtype)
