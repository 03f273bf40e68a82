"""Entries of the cache: keys, the bytes of an entry, and samples with cached events."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from math import prod
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray

from dvskit.datasets.samples import Samples, WrappedSamples
from dvskit.errors import ConfigError
from dvskit.events import Events, Size

if TYPE_CHECKING:
    from dvskit.datasets.cache import Cache

_VERSION = 1  # of the computation: a change invalidates all entries


def key_of(*parts: object) -> str:
    """Return the key of `parts`: 64 hexadecimal digits, the same in every process.

    The version of dvskit is part of it. Raises ConfigError for values `describe` does not support.

    Parts are numbers, texts, paths, arrays, dataclasses and collections of them.

        key = dvskit.datasets.key_of("counts", 20, (34, 34))
        len(key)  # 64
    """
    from dvskit import __version__

    return hashlib.sha256(describe((_VERSION, __version__, *parts)).encode()).hexdigest()


def describe(value: object) -> str:
    """Return a text that is the same only for values of equal type and content.

    Supports numbers, texts, dtypes, arrays, dataclasses, tuples, lists and mappings of these, and
    functions and classes with a name in a module. Raises ConfigError for anything else.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, Enum):
        return f"{_name(type(value))}.{value.name}"
    if isinstance(value, np.generic | np.ndarray):
        array = np.ascontiguousarray(value)
        if array.dtype.hasobject:
            raise ConfigError(f"an array of {array.dtype} has no content for a key")
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
        f"{value!r} has no content for a key, so its results cannot be cached; "
        "use a dataclass or a function of a module, or no cache"
    )


def _name(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"


_MARK = b"dvskit 1 "  # version of the layout; other versions are not read
_LEVEL = 3
_ALIGNED = 8  # bytes: alignment of each array


class DamagedEntryError(Exception):
    """Bytes that are not the expected entry."""


class _Own(threading.local):
    """A compressor and decompressor per thread: two threads must not share one."""

    def __init__(self) -> None:
        self.pack = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress
        self.unpack = zstandard.ZstdDecompressor().decompress


_own = _Own()


def pack(key: str, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of an entry: a zstd frame with its length and checksum.

    It holds a line with the layout's version and the key, a line of JSON with the name, dtype and
    shape of each array, and the arrays, little-endian, each at a multiple of 8 bytes.
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

    Every byte and the key are checked.
    """
    try:
        content = _own.unpack(data, allow_extra_data=False)
        head = _MARK + key.encode() + b"\n"
        if not content.startswith(head):
            raise DamagedEntryError("is another entry, or has another version")
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


_UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64)


class CachedSamples(WrappedSamples):
    """Other samples, whose events are cached.

    This pays for events that are emulated or slow to decode (text, HDF5, bags). Samples with new
    draws at each reading are not cached. The bytes of a file are read once for its key: make a new
    object after files change.

        samples = dvskit.datasets.open_samples("gestures")
        cache = dvskit.datasets.Cache("cache")
        cached = dvskit.datasets.CachedSamples(samples, cache)
        cached.is_kept(0)  # False: the first reading emulates the video, later ones read the cache
    """

    def __init__(self, samples: Samples, cache: Cache) -> None:
        super().__init__(samples)
        self.cache = cache
        self._keys: dict[int, str] = {}

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample, as `Samples.events` does; missing ones are computed."""
        if rng is not None and self.draws:
            return self.samples.events(number, rng)
        key = self._key(number)
        arrays = self.cache.get(key)
        if arrays is not None:
            return from_arrays(arrays)
        events = self.samples.events(number)
        self.cache.put(key, to_arrays(events))
        return events

    def is_kept(self, number: int) -> bool:
        """Return whether the cache has a file with the events of a sample."""
        return self.cache.path(self._key(number)).is_file()

    def _key(self, number: int) -> str:
        key = self._keys.get(number)
        if key is None:
            key = self._keys[number] = key_of("events", self.samples.fingerprint(number))
        return key


def to_arrays(events: Events) -> dict[str, NDArray[Any]]:
    """Return events as arrays that compress well: time steps, in the smallest types.

    start  int64 (1,), the first time; absent without events
    steps  between successive times, unsigned; x, y unsigned; p eight to a byte
    """
    steps = np.diff(events.t).view(np.uint64)  # exact, as a step of any length fits
    return {
        "size": np.array(events.size, np.int32),
        "start": events.t[:1],
        "steps": steps.astype(smallest(int(steps.max(initial=0)))),
        "x": events.x.astype(smallest(events.size.width - 1)),
        "y": events.y.astype(smallest(events.size.height - 1)),
        "p": np.packbits(events.p),
    }


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Events:
    """Return the events packed by `to_arrays`."""
    x, y = arrays["x"], arrays["y"]
    t = np.empty(len(x), np.int64)
    t[:1] = arrays["start"]
    np.cumsum(arrays["steps"], out=t[1:].view(np.uint64))
    if len(t) > 1 and t[0]:
        t[1:] += t[0]
    width, height = arrays["size"].tolist()
    return Events.from_checked(
        t,
        x.astype(np.int16),
        y.astype(np.int16),
        np.unpackbits(arrays["p"], count=len(x)).view(np.bool_),
        Size(width, height),
    )


def smallest(most: int) -> type[np.unsignedinteger[Any]]:
    """Return the smallest unsigned type that holds 0..most."""
    return next(kind for kind in _UNSIGNED if most <= np.iinfo(kind).max)


@dataclass(slots=True)
class MemoryBudget:
    """The bytes that may still be held in memory, shared by sets. Raises ConfigError below 0."""

    free: int = 1 << 30

    def __post_init__(self) -> None:
        if self.free < 0:
            raise ConfigError(f"room of {self.free} bytes must be at least 0")


class HeldSamples(WrappedSamples):
    """Other samples, each read once and kept in memory within a budget.

    Samples beyond the budget, and those with new draws at each reading, are read each time.
    """

    def __init__(self, samples: Samples, room: MemoryBudget) -> None:
        super().__init__(samples)
        self.room = room
        self._held: dict[int, Events] = {}

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample like `Samples.events`."""
        if self.draws:
            return self.samples.events(number, rng)
        events = self._held.get(number)
        if events is None:
            events = self.samples.events(number)
            size = sum(column.nbytes for column in (events.t, events.x, events.y, events.p))
            if size <= self.room.free:
                self.room.free -= size
                # A copy: the columns may be views of much more, such as a whole recording.
                self._held[number] = Events.from_checked(
                    events.t.copy(), events.x.copy(), events.y.copy(), events.p.copy(), events.size
                )
        return events
