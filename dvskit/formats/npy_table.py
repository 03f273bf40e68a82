"""The array of a `.npy` file: its header, and its rows as a table that is read without copying.

Members of an `.npz` archive have the same header. NumPy's own reader warns of damaged ones; to keep
that quiet for a while is not safe beside other threads, which samples are read on.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from dvskit.errors import FormatError

# What the columns of events may be called, as fields or as arrays.
COLUMN_NAMES = {
    "t": ("t", "timestamp", "ts"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "on", "polarity"),
}
FIX = "save a structured array with fields t, x, y, p (whole microseconds)"
_LONGEST = 10_000  # bytes; numpy reads no longer header either, as to parse one takes long
_LONG = re.compile(r"(?<=\d)L\b")  # 10L, as Python 2 wrote counts
_KEYS = {"descr", "fortran_order", "shape"}


def read_array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header at the beginning of an array: its shape, whether by columns, and its type.

    Raises ValueError for a negative count, and anything for damage: the header is parsed as Python.
    Layout: NumPy's numpy.lib.format, versions 1.0 to 3.0.
    """
    version = np.lib.format.read_magic(file)
    length = int.from_bytes(_read(file, 2 if version == (1, 0) else 4), "little")
    if length > _LONGEST:
        raise ValueError(f"the header has {length:,} bytes, where at most {_LONGEST:,} are read")
    text = _read(file, length).decode("utf-8" if version >= (3, 0) else "latin-1")
    header = ast.literal_eval(_LONG.sub("", text).strip())
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


class Table(NamedTuple):
    """The rows of a file, where they begin, and how many are missing at the end.

    by_columns  whether the values of a column follow each other in the file, not those of a row
    extra       bytes that stand behind the last row
    order       of the columns of plain rows
    seconds     whether times are seconds, not microseconds
    """

    rows: NDArray[Any]
    start: int
    missing: int
    by_columns: bool
    extra: int = 0
    order: str = "txyp"
    seconds: bool = False

    @property
    def width(self) -> int:
        """The bytes of a row."""
        return self.rows.dtype.itemsize * (4 if self.rows.ndim == 2 else 1)

    @property
    def end(self) -> int:
        """The byte behind the last row."""
        return self.start + len(self.rows) * self.width


def _read_header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    try:
        with path.open("rb") as file:
            return (*read_array_header(file), file.tell())
    except Exception as error:  # the header is parsed as Python: damage shows in any way
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{path}: is not a NumPy array that can be read: {problem}") from error


def open_table(path: Path, *, strict: bool) -> Table:
    """Open an array of events. Raises FormatError for any other."""
    shape, fortran, dtype, start = _read_header(path)
    if dtype.hasobject:
        raise FormatError(f"{path}: holds Python objects, which are not loaded")
    structured = dtype.names is not None and len(shape) == 1
    plain = dtype.names is None and len(shape) == 2 and shape[1] == 4 and dtype.kind in "iuf"
    if not structured and not plain:
        raise FormatError(f"{path}: is an array of {dtype} of shape {shape}; {FIX}")
    width = dtype.itemsize * (1 if structured else 4)
    if not width:
        raise FormatError(f"{path}: holds rows of 0 bytes")
    size = path.stat().st_size - start
    if fortran and plain:
        return _by_columns(path, dtype, start, shape[0], size, strict=strict)
    held = max(0, min(shape[0], size // width))
    count = (held,) if structured else (held, 4)
    rows = np.memmap(path, dtype, "r", start, count) if held else np.empty(count, dtype)
    return Table(rows, start, shape[0] - held, False, max(0, size - shape[0] * width))


def _by_columns(
    path: Path, dtype: np.dtype[Any], start: int, count: int, size: int, *, strict: bool
) -> Table:
    """Open an array that stands by columns: where the end is missing, rows lack the last one."""
    held = min(count, size // dtype.itemsize - 3 * count)
    if held < count and (strict or held < 1):
        raise FormatError(f"{path}: ends before its {count} rows do, which stand by columns")
    if not held:
        return Table(np.empty((0, 4), dtype), start, 0, True)
    values = np.memmap(path, dtype, "r", start, (3 * count + held,))
    strides = (dtype.itemsize, count * dtype.itemsize)
    rows = as_strided(values, (held, 4), strides, writeable=False)
    extra = max(0, size - 4 * count * dtype.itemsize)
    return Table(rows, start, count - held, True, extra)
