"""Variables of MATLAB files, of versions 4 to 7.3, read with a limit on their size."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from dvskit._files import open_regular
from dvskit.errors import FormatError, MissingFileError, one_line

MOST_BYTES = 1 << 28  # of a file once it is decompressed
_HEAD, _COMPRESSED, _PIECE = 128, 15, 1 << 20
_NUMBERS = ("double", "single", "logical", "int8", "uint8", "int16", "uint16", "int32", "uint32",
            "int64", "uint64")  # fmt: skip


def load_mat(path: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays `names` of a file, with their shapes in MATLAB, without missing ones.

    Raises MissingFileError, and FormatError for damage, other variables than numbers, and files of
    more than `MOST_BYTES`.
    """
    from scipy.io import loadmat, whosmat

    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_unpacked(file)
            file.seek(0)
            for name, shape, kind in whosmat(file):
                if name in names and kind not in _NUMBERS:
                    raise ValueError(f"{name} is {kind} of shape {shape}, no numbers")
            file.seek(0)
            held = loadmat(file, variable_names=list(names))
            return {name: held[name] for name in names if name in held}
    except FileNotFoundError:
        raise MissingFileError(path) from None
    except NotImplementedError:  # version 7.3 is HDF5, with dimensions in reverse
        return _load_hdf5(path, names)
    except Exception as error:  # damage raises any error
        raise FormatError(
            f"{path}: is not a readable MATLAB file ({one_line(error)}); save it anew"
        ) from None


def _check_unpacked(file: BinaryIO) -> None:
    """Raise ValueError if the elements of a file of version 5 decompress to too many bytes."""
    order = "<" if file.read(_HEAD)[-2:] == b"IM" else ">"
    left = MOST_BYTES
    while len(tag := file.read(8)) == 8:
        kind, size = struct.unpack(f"{order}II", tag)
        if kind != _COMPRESSED:
            file.seek(size, 1)
            continue
        unpacker, packed = zlib.decompressobj(), file.read(size)
        while packed and left >= 0:
            left -= len(unpacker.decompress(packed, _PIECE))
            packed = unpacker.unconsumed_tail
        if left < 0:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes once it is decompressed")


def _load_hdf5(path: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    import h5py

    from dvskit.formats.hdf5.table import ChunkError, survey

    found = {}
    try:
        with h5py.File(path) as file:
            for name in names:
                if isinstance(file.get(name), h5py.Dataset):
                    stored = survey(file[name], name, path)
                    if stored.count * stored.row_bytes > MOST_BYTES:
                        raise ChunkError(f"{name} has more than {MOST_BYTES:,} bytes")
                    found[name] = stored.read(file, 0, stored.count).T
    except (OSError, RuntimeError, KeyError, ValueError, ChunkError) as error:
        raise FormatError(
            f"{path}: is not a readable MATLAB file ({one_line(error)}); save it anew"
        ) from None
    return found
