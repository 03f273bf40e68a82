"""The header ahead of a NumPy array, in a `.npy` file and in the members of an `.npz` archive."""

from __future__ import annotations

import warnings
from typing import IO, Any

import numpy as np


def read_array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header at the beginning of an array: its shape, whether by columns, and its type.

    Raises ValueError for a negative count, and anything for damage: the header is parsed as Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about headers of Python 2, when a damaged one fails
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
    if min(shape, default=0) < 0:
        raise ValueError(f"the shape is {shape}, and counts are not negative")
    return shape, fortran, dtype
