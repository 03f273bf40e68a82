"""Arrays and events kept in memory, and on disk for all processes of a user.

From top to bottom: the key of a result, the bytes of an entry, the memory, the folder, and the
functions that read samples through them.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from math import inf, prod
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray

from dvskit._checks import check_number
from dvskit.errors import CacheWarning, ConfigError, warn
from dvskit.events import Events, Size
from dvskit.formats.index_cache import cache_folder

if TYPE_CHECKING:
    from dvskit.datasets.samples import LazySample, Samples

Arrays = dict[str, NDArray[Any]]

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
        content = [f"{each.name}={describe(getattr(value, each.name))}" for each in fields(value)]
        return f"{_name(type(value))}({','.join(content)})"
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


class _Compression(threading.local):
    """A compressor and decompressor per thread: two threads must not share one."""

    def __init__(self) -> None:
        self.pack = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress
        self.unpack = zstandard.ZstdDecompressor().decompress


_compression = _Compression()


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
    return _compression.pack(b"".join(part + bytes(-len(part) % _ALIGNED) for part in parts))


def unpack(key: str, data: bytes) -> Arrays:
    """Return the arrays of an entry, read-only. Raises DamagedEntryError.

    Every byte and the key are checked.
    """
    try:
        content = _compression.unpack(data, allow_extra_data=False)
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


def smallest(most: int) -> type[np.unsignedinteger[Any]]:
    """Return the smallest unsigned type that holds 0..most."""
    return next(kind for kind in _UNSIGNED if most <= np.iinfo(kind).max)


def to_arrays(events: Events) -> Arrays:
    """Return events as arrays that compress well: time steps, in the smallest types.

    start  int64 (1,), the first time; absent without events
    steps  between successive times, unsigned; x, y unsigned; p eight to a byte
    """
    steps = np.diff(events.t).view(np.uint64)  # exact, as a step of any length fits
    return {
        "size": np.array(events.sensor_size, np.int32),
        "start": events.t[:1],
        "steps": steps.astype(smallest(int(steps.max(initial=0)))),
        "x": events.x.astype(smallest(events.sensor_size.width - 1)),
        "y": events.y.astype(smallest(events.sensor_size.height - 1)),
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


_with_locks: WeakSet[Memory | Cache] = WeakSet()


def _unlock_all() -> None:
    for each in _with_locks:
        each._lock = threading.Lock()


# A lock held by another thread at a fork would stay locked in the child process.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_all)


class Memory:
    """Values in memory under keys, up to a number of bytes; threads share it.

    limit     bytes of all values together
    replaces  whether the values used least recently are dropped for new ones. Otherwise the first
              values stay: passes over more than the limit find a part of it again
    """

    def __init__(self, limit: int, *, replaces: bool) -> None:
        self.limit, self.replaces = limit, replaces
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()
        _with_locks.add(self)

    def takes(self, size: int) -> bool:
        """Return whether `put` keeps a new value of `size` bytes."""
        return size <= self.limit - (0 if self.replaces else self._used)

    def get(self, key: Hashable) -> Any:
        """Return the value under a key; None if there is none."""
        with self._lock:
            value, size = self._values.pop(key, (None, 0))
            if value is not None:
                self._values[key] = value, size  # at the end: the latest use
        return value

    def put(self, key: Hashable, value: object, size: int) -> None:
        """Keep a value of `size` bytes under a key, if it fits."""
        with self._lock:
            if not self.takes(size):
                return
            self._used += size - self._values.pop(key, (None, 0))[1]
            self._values[key] = value, size
            while self._used > self.limit:
                self._used -= self._values.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Drop all values."""
        with self._lock:
            self._values.clear()
            self._used = 0


_SUFFIX, _PARTIAL = ".zst", ".partial"
_TOUCHED_S = 600  # precision of an entry's time of use
_ABANDONED_S = 86400  # a partial file of this age is treated as abandoned
_KEPT_SHARE = 0.9  # of the limit, after entries are removed


class CacheFile(NamedTuple):
    """A file of the cache: time of last use, path, size in bytes."""

    used_ns: int
    path: str
    size: int


class Cache:
    """Arrays under keys, in a folder that threads and processes share.

    folder     default: `samples` in dvskit's own (DVSKIT_CACHE, else XDG_CACHE_HOME/dvskit or
               ~/.cache/dvskit)
    limit_gb   size limit on disk; the least recently used entries are removed first. Each process
               counts only its own writes, so the limit may be exceeded by a twentieth for a while
    memory_gb  size of entries that this process also keeps in memory, unpacked

    Files are written whole or not at all, and checked when read. A damaged entry counts as missing:
    it is removed, with one CacheWarning. If the folder cannot be written, one CacheWarning is given
    and work goes on without the cache.

    hits, misses, damaged  counts since this object was made

        cache = dvskit.datasets.Cache("cache", limit_gb=1.0)
        key = dvskit.datasets.key_of("counts", 20)
        cache.get(key)  # None: not kept yet
        cache.put(key, {"counts": np.zeros((20, 2, 34, 34), np.uint8)})
        cache.get(key)["counts"].shape  # (20, 2, 34, 34)
    """

    def __init__(
        self,
        folder: str | PathLike[str] | None = None,
        *,
        limit_gb: float = 20.0,
        memory_gb: float = 0.0,
    ) -> None:
        check_number("limit_gb", limit_gb, above=0)
        check_number("memory_gb", memory_gb, 0)
        self.folder = cache_folder() / "samples" if folder is None else Path(folder).absolute()
        self.limit_gb, self.memory_gb = limit_gb, memory_gb
        self.hits = self.misses = self.damaged = 0
        self._limit = int(limit_gb * 1e9)
        self._memory = Memory(int(memory_gb * 1e9), replaces=True)
        self._lock = threading.Lock()
        self._used = inf  # bytes on disk, as known to this process; unknown before the first write
        self._uncounted = 0  # bytes written since the folder was last counted
        self._writes = True
        _with_locks.add(self)

    def __reduce__(self) -> tuple[partial[Cache], tuple[Path]]:
        return partial(Cache, limit_gb=self.limit_gb, memory_gb=self.memory_gb), (self.folder,)

    def __repr__(self) -> str:
        return f"Cache({str(self.folder)!r}, limit_gb={self.limit_gb}, memory_gb={self.memory_gb})"

    def path(self, key: str) -> Path:
        """Return the file of a key of digits and letters a to f, in one of 256 folders."""
        return Path(self._place(key))

    def _place(self, key: str) -> str:
        if len(key) != 64 or not set(key) <= set("0123456789abcdef"):
            raise ConfigError(f"{key!r} is not a key; dvskit.datasets.key_of makes one")
        return f"{self.folder}{os.sep}{key[:2]}{os.sep}{key}{_SUFFIX}"

    def get(self, key: str) -> Arrays | None:
        """Return the arrays kept under a key, read-only; None if there are none."""
        arrays: Arrays | None = self._memory.get(key) if self.memory_gb else None
        if arrays is None:
            arrays = self._read(key)
            if arrays is not None:
                self._remember(key, arrays)
        with self._lock:
            self.hits += arrays is not None
            self.misses += arrays is None
        return None if arrays is None else arrays.copy()

    def _read(self, key: str) -> Arrays | None:
        place = self._place(key)
        data = _read(place)
        if data is None:
            return None
        try:
            return unpack(key, data)
        except DamagedEntryError as error:
            with self._lock:
                self.damaged += 1
                first = self.damaged == 1
            with suppress(OSError):
                Path(place).unlink(missing_ok=True)
            if first:
                text = f"{place}: removed a damaged entry ({error}); it is computed again"
                warn(text, CacheWarning)
            return None

    def _remember(self, key: str, arrays: Arrays) -> None:
        self._memory.put(key, arrays, sum(array.nbytes for array in arrays.values()))

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep arrays under a key, replacing earlier ones; see the class for failures."""
        place = self._place(key)
        data = pack(key, arrays)
        if self.memory_gb:
            self._remember(key, unpack(key, data))  # copies, with the types of later reads
        if not self._writes or len(data) > self._limit:
            return
        path = Path(place)
        try:
            _write(path, data)
        except OSError as error:
            if not path.exists():  # otherwise another process was faster
                with self._lock:
                    first, self._writes = self._writes, False
                if first:
                    warn(
                        f"{self.folder}: cannot be written ({error.strerror or error}); this "
                        "process keeps nothing more there and continues without the cache",
                        CacheWarning,
                    )
            return
        self._count(len(data))

    def _count(self, size: int) -> None:
        """Count written bytes; when due, count the folder and remove entries."""
        with self._lock:
            self._uncounted += size
            fits = self._used + self._uncounted <= self._limit
            if fits and self._uncounted <= self._limit // 20:
                return
            entries = sorted(self.entries())
            used = sum(entry.size for entry in entries)
            if used > self._limit:
                used = _remove(entries, used, int(_KEPT_SHARE * self._limit))
            self._used, self._uncounted = used, 0

    def entries(self) -> Iterator[CacheFile]:
        """Yield the files of the cache, in no order; remove leftovers of crashes."""
        for shard in _scan(self.folder):
            for file in _scan(shard.path) if len(shard.name) == 2 else ():
                with suppress(OSError):  # removed meanwhile
                    status = file.stat()
                    if file.name.endswith(_SUFFIX):
                        yield CacheFile(status.st_mtime_ns, file.path, status.st_size)
                    elif file.name.endswith(_PARTIAL) and _age_s(status) > _ABANDONED_S:
                        Path(file.path).unlink()

    def usage(self) -> tuple[int, int]:
        """Return the number of entries and their total bytes."""
        sizes = [entry.size for entry in self.entries()]
        return len(sizes), sum(sizes)

    def clear(self) -> None:
        """Remove all entries."""
        self._memory.clear()
        with self._lock:
            entries = list(self.entries())
            _remove(entries, sum(entry.size for entry in entries), -1)
            self._used, self._uncounted = inf, 0

    def holds(self, samples: Samples, number: int) -> bool:
        """Return whether there is a file with the events of a sample, for `Samples.cached`.

        samples = dvskit.datasets.open_samples("gestures")
        cache = dvskit.datasets.Cache("cache")
        cache.holds(samples, 0)  # False
        events, label = samples.cached(cache)[0]  # emulates a video
        cache.holds(samples, 0)  # True
        """
        return self.path(_key_of_events(samples, number)).is_file()


def _key_of_events(samples: Samples, number: int) -> str:
    return key_of("events", samples.fingerprint(number))


class CachedEvents:
    """Reads the events of one set through a cache: for `Samples.adapted`.

    Samples with new draws at each reading are not kept. The bytes of a file are read once for its
    key.
    """

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._keys: dict[int, str] = {}

    def __call__(self, sample: LazySample) -> Events:
        """Return the events of a sample; missing ones are computed."""
        if sample.rng is not None:
            return sample.events()
        key = self._keys.get(sample.number)
        if key is None:
            key = self._keys[sample.number] = _key_of_events(sample.whole, sample.number)
        arrays = self.cache.get(key)
        if arrays is not None:
            return from_arrays(arrays)
        events = sample.events()
        self.cache.put(key, to_arrays(events))
        return events


class EventsInMemory:
    """Reads the events of one set once, while the memory has room: for `Samples.adapted`.

    Samples with new draws at each reading are not kept.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def __call__(self, sample: LazySample) -> Events:
        """Return the events of a sample."""
        if sample.rng is not None:
            return sample.events()
        events: Events | None = self.memory.get((self, sample.number))
        if events is None:
            events = sample.events()
            size = sum(column.nbytes for column in (events.t, events.x, events.y, events.p))
            if self.memory.takes(size):
                # A copy: the columns may be views of much more, such as a whole recording.
                copied = Events.from_checked(
                    events.t.copy(),
                    events.x.copy(),
                    events.y.copy(),
                    events.p.copy(),
                    events.sensor_size,
                )
                self.memory.put((self, sample.number), copied, size)
        return events


def _age_s(status: os.stat_result) -> float:
    return time.time() - status.st_mtime


def _scan(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _remove(entries: list[CacheFile], used: int, limit: int) -> int:
    """Remove entries in order until `limit` bytes of `used` are left; return the bytes left.

    The order is that of the files' times: concurrent processes remove the same entries.
    """
    for entry in entries:
        if used <= limit:
            break
        try:
            Path(entry.path).unlink(missing_ok=True)
        except OSError:  # some systems forbid removing a file that another process reads
            continue
        used -= entry.size
    return used


def _read(place: str) -> bytes | None:
    """Return a file's bytes and record the use; None if it cannot be read."""
    try:
        # A Path takes as long as reading the file.
        with open(place, "rb", buffering=0) as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            data = file.readall()
    except OSError:
        return None
    if _age_s(status) > _TOUCHED_S:
        with suppress(OSError):
            os.utime(place)
    return data


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; without fsync, as reading checks every byte."""
    partial = path.with_name(f".{path.stem[:16]}.{secrets.token_hex(4)}{_PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb", buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
