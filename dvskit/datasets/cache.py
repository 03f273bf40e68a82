"""Arrays kept on disk under a key, shared by all processes of a user."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.datasets.cache_entries import DamagedEntryError, pack, unpack
from dvskit.errors import CacheWarning, ConfigError, warn
from dvskit.formats.index_cache import cache_folder

Arrays = dict[str, NDArray[Any]]

_SUFFIX, _PARTIAL = ".zst", ".partial"
_TOUCHED_S = 600  # precision of an entry's time of use
_ABANDONED_S = 86400  # a partial file of this age is treated as abandoned
_KEPT_SHARE = 0.9  # of the limit, after entries are removed


_caches: WeakSet[Cache] = WeakSet()


def _unlock_all() -> None:
    for cache in _caches:
        cache._lock = threading.Lock()


# A lock held by another thread at a fork would stay locked in the child process.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_all)


class CacheFile(NamedTuple):
    """A file of the cache: time of last use, path, size in bytes."""

    used_ns: int
    path: str
    size: int


@check_arguments
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
        if not limit_gb > 0 or not memory_gb >= 0:
            raise ConfigError(
                f"limit_gb = {limit_gb}, memory_gb = {memory_gb}: the limit must be above 0, "
                "memory at least 0"
            )
        self.folder = cache_folder() / "samples" if folder is None else Path(folder).absolute()
        self.limit_gb, self.memory_gb = limit_gb, memory_gb
        self.hits = self.misses = self.damaged = 0
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, Arrays] = OrderedDict()
        self._held = 0
        self._used: int | None = None  # bytes on disk, as known to this process
        self._unseen = 0  # bytes written since the folder was last counted
        self._said: set[str] = set()
        self._writes = True
        _caches.add(self)

    def __getstate__(self) -> dict[str, Any]:
        names = ("folder", "limit_gb", "memory_gb")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.hits = self.misses = self.damaged = 0
        self._start()

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
        if self.memory_gb and (arrays := self._recall(key)) is not None:
            return arrays
        place = self._place(key)
        data = _read(place)
        if data is None:
            with self._lock:
                self.misses += 1
            return None
        try:
            arrays = unpack(key, data)
        except DamagedEntryError as error:
            self._lose(place, error)
            return None
        with self._lock:
            self.hits += 1
        self._remember(key, arrays)
        return arrays

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
                self._writes = False
                self._say(
                    "full",
                    f"{self.folder}: cannot be written ({error.strerror or error}); this process "
                    "keeps nothing more there and continues without the cache",
                )
            return
        self._count(len(data))

    @property
    def _limit(self) -> int:
        return int(self.limit_gb * 1e9)

    def _lose(self, place: str, error: Exception) -> None:
        with self._lock:
            self.damaged += 1
            self.misses += 1
        with suppress(OSError):
            Path(place).unlink(missing_ok=True)
        self._say("damaged", f"{place}: removed a damaged entry ({error}); it is computed again")

    def _say(self, what: str, text: str) -> None:
        with self._lock:
            first = what not in self._said
            self._said.add(what)
        if first:
            warn(text, CacheWarning)

    def _recall(self, key: str) -> Arrays | None:
        with self._lock:
            arrays = self._memory.get(key)
            if arrays is None:
                return None
            self._memory.move_to_end(key)
            self.hits += 1
        return arrays.copy()

    def _remember(self, key: str, arrays: Arrays) -> None:
        room = int(self.memory_gb * 1e9)
        size = _bytes_of(arrays)
        if size > room:
            return
        with self._lock:
            self._held += size - _bytes_of(self._memory.pop(key, {}))
            self._memory[key] = arrays.copy()
            while self._held > room:
                self._held -= _bytes_of(self._memory.popitem(last=False)[1])

    def _count(self, size: int) -> None:
        """Count written bytes; when due, count the folder and remove entries."""
        with self._lock:
            self._unseen += size
            known = self._used is not None and self._unseen <= self._limit // 20
            if known and (self._used or 0) + self._unseen <= self._limit:
                return
            entries = sorted(self.entries())
            used = sum(entry.size for entry in entries)
            if used > self._limit:
                used = _remove(entries, used, int(_KEPT_SHARE * self._limit))
            self._used, self._unseen = used, 0

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
        with self._lock:
            self._memory.clear()
            self._held = 0
            entries = list(self.entries())
            _remove(entries, sum(entry.size for entry in entries), -1)
            self._used, self._unseen = None, 0


def _bytes_of(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


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
