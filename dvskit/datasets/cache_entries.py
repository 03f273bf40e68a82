"""An entry of the cache: named arrays and the key they belong to, as one zstd file."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

_MARK = b"dvskit 1 "  # the layout's version; another is not read
_LEVEL = 3
_ALIGNED = 8  # bytes: where each array begins


class DamagedEntryError(Exception):
    """Bytes that are not the entry they should be."""


class _Own(threading.local):
    """A thread's own compressor and decompressor: neither may be used by two at once."""

    def __init__(self) -> None:
        self.pack = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress
        self.unpack = zstandard.ZstdDecompressor().decompress


_own = _Own()


def pack(key: str, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of an entry: a zstd frame with its length and checksum.

    Inside are a line with the layout's version and the key, a line of JSON with each array's name,
    dtype and shape, and the arrays, little-endian, each at a multiple of 8 bytes.
    """
    whole = {
        name: np.asarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()
    }
    table = [[name, array.dtype.str, array.shape] for name, array in whole.items()]
    parts = [_MARK + key.encode() + b"\n" + json.dumps(table).encode() + b"\n"]
    parts += [array.tobytes() for array in whole.values()]
    return _own.pack(b"".join(part + bytes(-len(part) % _ALIGNED) for part in parts))


def unpack(key: str, data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of an entry, read-only. Raises DamagedEntryError.

    Every byte is checked, and that the entry is the key's own.
    """
    try:
        content = _own.unpack(data, allow_extra_data=False)
        head = _MARK + key.encode() + b"\n"
        if not content.startswith(head):
            raise DamagedEntryError("is another entry, or of another version")
        stop = content.index(b"\n", len(head))
        at = _aligned(stop + 1)
        arrays = {}
        for name, dtype, shape in json.loads(content[len(head) : stop]):
            count = prod(shape)
            array = np.frombuffer(content, dtype, count, at).reshape(shape)
            at = _aligned(at + array.nbytes)
            arrays[name] = array
    except (zstandard.ZstdError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise DamagedEntryError(str(error)) from error
    if at != len(content):
        raise DamagedEntryError("has another length than its arrays")
    return arrays


def _aligned(at: int) -> int:
    return at + -at % _ALIGNED
