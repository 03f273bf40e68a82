"""Entries of the cache: named for content and parameters alone; named arrays as one zstd file."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import prod
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray

from dvskit.errors import ConfigError

_VERSION = 1  # of what is computed: a change makes all that is kept out of date


def key_of(*parts: object) -> str:
    """Return the key of `parts`: 64 hexadecimal digits, the same in every process.

    The version of dvskit is part of it. Raises ConfigError for what `describe` cannot tell.
    """
    from dvskit import __version__

    return hashlib.sha256(describe((_VERSION, __version__, *parts)).encode()).hexdigest()


def describe(value: object) -> str:
    """Return a text that two values share only if they are equal in type and content.

    Numbers, texts, dtypes, arrays, dataclasses of these, tuples, lists, mappings, and functions and
    classes that a module has by name. Raises ConfigError for anything else, such as a lambda, whose
    content cannot be told.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, Enum):
        return f"{_name(type(value))}.{value.name}"
    if isinstance(value, np.generic | np.ndarray):
        array = np.ascontiguousarray(value)
        if array.dtype.hasobject:
            raise ConfigError(f"an array of {array.dtype} has no content to name it by")
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        return f"array:{array.dtype.str}{np.shape(value)}{digest}"
    if isinstance(value, torch.Tensor):
        return f"tensor:{value.dtype}{describe(value.detach().cpu().contiguous().numpy())}"
    if isinstance(value, torch.dtype | torch.device | np.dtype):
        return f"{type(value).__name__}:{value}"
    if isinstance(value, PathLike):
        return f"path:{fspath(value)!r}"
    return _describe_whole(value)


def _describe_whole(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"{_name(type(value))}({','.join(describe(each) for each in value)})"
    if isinstance(value, Mapping):
        pairs = sorted(f"{describe(name)}={describe(each)}" for name, each in value.items())
        return f"{_name(type(value))}({','.join(pairs)})"
    if is_dataclass(value) and not isinstance(value, type):
        told = [f"{each.name}={describe(getattr(value, each.name))}" for each in fields(value)]
        return f"{_name(type(value))}({','.join(told)})"
    if callable(value) and "<" not in getattr(value, "__qualname__", "<"):
        return f"named:{_name(value)}"
    raise ConfigError(
        f"{value!r} cannot be told from others of its kind, so that nothing made by it can be "
        "kept; use a dataclass or a function of a module, or no cache"
    )


def _name(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"


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
