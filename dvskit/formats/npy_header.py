"""The header ahead of a NumPy array, in a `.npy` file and in the members of an `.npz` archive.

NumPy's own reader warns of damaged headers; to keep that quiet for a while is not safe beside other
threads, which samples are read on.
"""

from __future__ import annotations

import ast
import re
from typing import IO, Any

import numpy as np

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
