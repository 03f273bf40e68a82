"""What is kept: its key, its bytes as one zstd file, and samples whose events are kept."""

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


_UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64)


class CachedSamples(WrappedSamples):
    """Other samples, whose events are read from a cache where it holds them.

    It pays where events are emulated or slowly decoded (text, HDF5, bags); the fastest formats are
    read as fast from their own files. What is drawn anew at each reading is not kept. Which bytes
    a sample's file holds is looked at once by each process: begin anew where files change.
    """

    def __init__(self, samples: Samples, cache: Cache) -> None:
        super().__init__(samples)
        self.cache = cache
        self._keys: dict[int, str] = {}

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample: as `Samples.events`, which is asked for what is missing.

        Raises what the samples raise, never anything of the cache.
        """
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
        """Return whether the cache has a file of the events of a sample."""
        return self.cache.path(self._key(number)).is_file()

    def _key(self, number: int) -> str:
        key = self._keys.get(number)
        if key is None:
            key = self._keys[number] = key_of("events", self.samples.fingerprint(number))
        return key


def to_arrays(events: Events) -> dict[str, NDArray[Any]]:
    """Return events as arrays that compress well: steps of time, each type as small as it can be.

    start  int64 (1,), the first time; none where there are no events
    steps  from each time to the next, unsigned; x, y unsigned; p eight to a byte
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
    """Return the events that `to_arrays` was given."""
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
class Room:
    """How many bytes may still be held, by all sets that share it; about 13 are an event's.

    Raises ConfigError below 0.
    """

    free: int = 1 << 30

    def __post_init__(self) -> None:
        if self.free < 0:
            raise ConfigError(f"room of {self.free} bytes; at least 0 is meant")


class HeldSamples(WrappedSamples):
    """Other samples, each read once: those read first stay in memory, as far as there is room.

    What there is no room for is read each time, and so is what is drawn anew at each reading.
    """

    def __init__(self, samples: Samples, room: Room) -> None:
        super().__init__(samples)
        self.room = room
        self._held: dict[int, Events] = {}

    def events(self, number: int, rng: np.random.Generator | None = None) -> Events:
        """Return the events of a sample: as `Samples.events`."""
        if self.draws:
            return self.samples.events(number, rng)
        events = self._held.get(number)
        if events is None:
            events = self.samples.events(number)
            size = sum(column.nbytes for column in (events.t, events.x, events.y, events.p))
            if size <= self.room.free:
                self.room.free -= size
                # A copy: the columns may be views of much more, such as all of a recording.
                self._held[number] = Events.from_checked(
                    events.t.copy(), events.x.copy(), events.y.copy(), events.p.copy(), events.size
                )
        return events
