"""Still images in IDX files, as MNIST and its relatives have them."""

from __future__ import annotations

import gzip
import zlib
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.datasets.samples import Part
from dvskit.errors import FormatError

_IDX_TYPES: dict[int, np.dtype[Any]] = {
    code: np.dtype(name)
    for code, name in ((8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8"))
}


class Images(NamedTuple):
    """Gray images (N, height, width) uint8 and their labels (N,) int64."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def read_idx(path: str | PathLike[str]) -> NDArray[Any]:
    """Return the array of an IDX file, plain or gzip (MNIST's format). Raises FormatError."""
    file = Path(path)
    try:
        data = file.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{file}: cannot be read: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise FormatError(f"{file}: starts with {data[:4]!r}, which is no IDX header")
    start = 4 + 4 * data[3]
    shape = tuple(int(n) for n in np.frombuffer(data[4:start], ">u4"))
    dtype = _IDX_TYPES[data[2]]
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(shape) != data[3] or len(data) != expected:
        raise FormatError(f"{file}: {len(data)} bytes where shape {shape} needs {expected}")
    array: NDArray[Any] = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return array


def read_images(folder: str | PathLike[str], part: str) -> Images:
    """Return MNIST-style images and labels: `part` is "train" or "t10k". Raises FormatError."""
    root = Path(folder)
    pixels = read_idx(_one_of(root, f"{part}-images-idx3-ubyte"))
    labels = read_idx(_one_of(root, f"{part}-labels-idx1-ubyte"))
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or labels.shape != pixels.shape[:1]:
        raise FormatError(
            f"{root}: images {pixels.shape} {pixels.dtype} do not fit labels {labels.shape}"
        )
    return Images(pixels, labels.astype(np.int64))


def idx_parts(folder: Path) -> tuple[Part, ...]:
    """Return which parts of a set a folder holds images of, as IDX files: "train", "test"."""
    names: tuple[tuple[Part, str], ...] = (("train", "train"), ("test", "t10k"))
    return tuple(part for part, name in names if _found(folder, f"{name}-images-idx3-ubyte"))


def _found(root: Path, name: str) -> Path | None:
    return next((path for path in (root / f"{name}.gz", root / name) if path.is_file()), None)


def _one_of(root: Path, name: str) -> Path:
    path = _found(root, name)
    if path is not None:
        return path
    raise FormatError(f"{root}: holds neither {name}.gz nor {name}; download it to that folder")
