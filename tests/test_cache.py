"""The cache on disk: what is kept comes back whole, whatever happens to its files."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch

import dvskit
from dvskit.datasets import Cache, key_of
from dvskit.datasets.cache import from_arrays, to_arrays
from dvskit.errors import CacheWarning, ConfigError
from dvskit.events import Events
from tests.drawn_samples import DrawnSamples, events_of

ARRAYS = {
    "counts": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "name with \n and é": np.array([-1.5, np.inf]),
    "none": np.empty((0, 5), np.int16),
    "flag": np.array(True),
    "big": np.array([1, 2], ">i4"),
}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name])
        and one[name].shape == other[name].shape
        and one[name].dtype == other[name].dtype.newbyteorder("=")
        for name in one
    )


def noise_of(number: int) -> dict:
    return {"noise": np.random.default_rng(number).integers(0, 255, 10_000).astype(np.uint8)}


def files_in(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def test_arrays_come_back_as_they_were_and_read_only(tmp_path):
    cache = Cache(tmp_path)
    key = key_of("a")
    assert cache.get(key) is None
    cache.put(key, ARRAYS)
    for each in (cache, Cache(tmp_path), pickle.loads(pickle.dumps(cache))):
        found = each.get(key)
        assert same(found, ARRAYS)
        assert not any(array.flags.writeable for array in found.values())
    assert (cache.hits, cache.misses, cache.usage()[0]) == (1, 1, 1)
    assert cache.get(key_of("b")) is None


# -- keys


class Kind(Enum):
    ONE = 1
    TWO = 2


@dataclass(frozen=True)
class Width:
    value: float


@dataclass(frozen=True)
class Height:
    value: float


def plain(x):
    return x


DIFFERENT = [
    None, 0, 1, 2, True, 1.0, -0.0, "1", b"1", "", (), (1,), (1, 1), [1], ("a", "b"), ("a,b",),
    {"a": 1}, {"a": 2}, Kind.ONE, Kind.TWO, Width(1), Height(1), Width(1.0), np.uint8(1),
    np.int64(1), np.zeros(3), np.zeros((3, 1)), np.arange(3.0), torch.zeros(3), torch.uint8,
    torch.float32, np.dtype(np.uint8), Path("a"), plain, np.sin, "../../etc/passwd", "CON", "a\0b",
    "name" * 500, "é", "e\u0301",
]  # fmt: skip
DIGEST = "851b6512"


def test_different_things_have_different_keys_and_the_same_ones_the_same_in_any_process(
    monkeypatch,
):
    assert len({key_of(each) for each in DIFFERENT}) == len(DIFFERENT)
    assert key_of("a", "b") != key_of("ab") != key_of("a,b")
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    before = key_of("x")
    monkeypatch.setattr(dvskit, "__version__", "1")
    assert key_of("x") != before  # another version computes other things
    # Pinned: what another process keeps is found by this one.
    assert key_of("x", {"a": (None, b""), "b": 1.5}).startswith(DIGEST)


def test_a_key_of_what_has_no_lasting_value_is_refused(tmp_path):
    local = Width(lambda x: x)
    for each in (object(), local, lambda x: x, np.array([object()]), {1, 2}):
        with pytest.raises(ConfigError):
            key_of(each)
    for each in ("../up", "A" * 64, "", "0" * 63):
        with pytest.raises(ConfigError):
            Cache(tmp_path).get(each)


# -- damage


def damaged(data: bytes) -> dict[str, bytes]:
    middle = len(data) // 2
    return {
        "empty": b"",
        "cut": data[:middle],
        "longer": data + b"\0",
        "first": bytes([data[0] ^ 1]) + data[1:],
        "bit": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "last": data[:-1] + bytes([data[-1] ^ 255]),
    }


@pytest.mark.parametrize("kind", damaged(bytes(4)))
def test_a_damaged_entry_is_said_once_counted_and_made_anew(tmp_path, kind):
    cache = Cache(tmp_path)
    keys = [key_of(number) for number in range(2)]
    for key in keys:
        cache.put(key, ARRAYS)
        path = cache.path(key)
        path.write_bytes(damaged(path.read_bytes())[kind])
    with pytest.warns(CacheWarning) as said:
        assert [cache.get(key) for key in keys] == [None, None]
    assert len(said) == 1
    assert (cache.damaged, cache.misses) == (2, 2)
    assert not cache.path(keys[0]).exists()
    cache.put(keys[0], ARRAYS)
    assert same(cache.get(keys[0]), ARRAYS)


def test_an_entry_under_the_name_of_another_is_not_taken_for_it(tmp_path):
    cache = Cache(tmp_path)
    one, other = key_of(1), key_of(2)
    cache.put(one, ARRAYS)
    cache.path(other).parent.mkdir(exist_ok=True)
    cache.path(one).rename(cache.path(other))
    with pytest.warns(CacheWarning, match="another entry"):
        assert cache.get(other) is None


# -- writers that are killed, side by side, or out of room

WRITER = """
import sys
import numpy as np
import dvskit
from dvskit.datasets import Cache, key_of
cache = Cache(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 255, 3_000_000).astype(np.uint8)
cache.put(key_of(0), {"noise": noise, "number": np.array(0)})
print("ready", flush=True)
while True:
    for number in range(3):
        cache.put(key_of(number), {"noise": noise, "number": np.array(number)})
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed with SIGKILL")
@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.campaign)])
def test_a_writer_that_is_killed_leaves_whole_entries_only(tmp_path, kills):
    cache = Cache(tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(kills):
        words = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(0.1)
            for number in range(30):  # it writes while we read
                found = cache.get(key_of(number % 3))
                assert found is None or int(found["number"]) == number % 3
            time.sleep(float(rng.uniform(0, 0.1)))
            writer.kill()
    assert cache.damaged == 0
    assert cache.hits > 0
    (tmp_path / "00").mkdir(exist_ok=True)
    (tmp_path / "00" / ".left.partial").touch()
    for file in tmp_path.rglob("*.partial"):  # a day later
        os.utime(file, (0, 0))
    assert cache.usage()[0] <= 3
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked off")
@pytest.mark.timeout(20)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_is_forked_off_while_a_thread_is_in_the_cache_can_use_it(tmp_path):
    cache = Cache(tmp_path, memory_gb=1)
    cache.put(key_of(1), ARRAYS)
    with cache._lock:  # no thread can be held in the cache otherwise
        child = os.fork()
        if not child:
            os._exit(0 if same(cache.get(key_of(1)), ARRAYS) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_many_threads_share_a_cache_and_a_folder(tmp_path):
    caches = [Cache(tmp_path, memory_gb=1e-4), Cache(tmp_path)]  # four entries in memory, and none

    def work(number: int) -> bool:
        key, cache = key_of(number % 20), caches[number // 20 % 2]
        found = cache.get(key)
        if found is None:
            cache.put(key, {"number": np.full(3000, number % 20)})
            return True
        return bool(np.all(found["number"] == number % 20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(600)))
    assert sum(cache.hits + cache.misses for cache in caches) == 600
    assert [cache.damaged for cache in caches] == [0, 0]
    assert caches[0].usage()[0] == len(files_in(tmp_path)) == 20


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """Let this process write no file of more than so many bytes."""
    resource = pytest.importorskip("resource")  # POSIX
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_is_said_once_leaves_nothing_and_all_goes_on(tmp_path):
    cache = Cache(tmp_path)
    cache.put(key_of("before"), ARRAYS)
    samples = DrawnSamples(3, draws=False).cached(cache)
    with full_disk(100), pytest.warns(CacheWarning) as said:
        found = [samples.events(number) for number in (0, 1, 2, 1)]
    assert found == [DrawnSamples(3).events(number) for number in (0, 1, 2, 1)]
    assert len(said) == 1
    assert same(cache.get(key_of("before")), ARRAYS)
    cache.put(key_of("after"), ARRAYS)  # this process does not try again
    assert files_in(tmp_path) == [cache.path(key_of("before"))]


def test_a_folder_that_cannot_be_made_is_no_obstacle(tmp_path):
    (tmp_path / "file").write_text("a file where the folder would be")
    cache = Cache(tmp_path / "file" / "folder")
    with pytest.warns(CacheWarning):
        cache.put(key_of(1), ARRAYS)
    assert cache.get(key_of(1)) is None
    assert cache.usage() == (0, 0)


# -- limits


def test_the_limit_holds_and_what_was_not_used_for_longest_goes_first(tmp_path):
    cache = Cache(tmp_path, limit_gb=105e3 / 1e9)  # ten entries
    keys = [key_of(number) for number in range(14)]
    for number in range(9):
        cache.put(keys[number], noise_of(number))
        os.utime(cache.path(keys[number]), (1e9 + number, 1e9 + number))
    assert cache.get(keys[0]) is not None  # used now: not the oldest any more
    for number in range(9, 14):
        cache.put(keys[number], noise_of(number))
        assert cache.usage()[1] <= 105e3
    kept = [number for number, key in enumerate(keys) if cache.path(key).exists()]
    assert kept == [0, *range(kept[1], 14)]
    assert 1 < kept[1] < 13
    cache.clear()
    assert cache.usage() == (0, 0)
    assert cache.get(keys[13]) is None


def test_two_caches_of_a_folder_hold_its_limit_together(tmp_path):
    caches = [Cache(tmp_path, limit_gb=205e3 / 1e9) for _ in range(2)]
    for number in range(60):
        caches[number % 2].put(key_of(number), noise_of(number))
        assert caches[0].usage()[1] <= 1.1 * 205e3
    for cache in caches:
        assert same(cache.get(key_of(59)), noise_of(59))


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path):
    cache = Cache(tmp_path, limit_gb=5e-6)
    cache.put(key_of(1), noise_of(1))
    assert cache.usage() == (0, 0)
    for limits in ({"limit_gb": 0}, {"limit_gb": -1}, {"memory_gb": -1}):
        with pytest.raises(ConfigError):
            Cache(tmp_path, **limits)


def test_entries_in_memory_count_as_what_they_take_and_are_nobody_elses(tmp_path):
    cache = Cache(tmp_path, memory_gb=35e3 / 1e9)  # three entries
    given = {number: np.full(10_000, number, np.uint8) for number in range(4)}
    for number, array in given.items():
        cache.put(key_of(number), {"a": array})
        cache.path(key_of(number)).unlink()
        array[:] = 99
    assert [cache.get(key_of(number)) is not None for number in range(4)] == [False] + [True] * 3
    for number in (1, 2, 3):
        found = cache.get(key_of(number))
        assert same(found, {"a": np.full(10_000, number, np.uint8)})
        assert not found["a"].flags.writeable
        found["b"] = found.pop("a")
        assert cache.get(key_of(number)).keys() == {"a"}
    cache.put(key_of(5), {"a": np.zeros(36_000, np.uint8)})  # alone more than there is room for
    cache.path(key_of(5)).unlink()
    assert cache.get(key_of(5)) is None
    assert cache.get(key_of(3)) is not None


# -- what is kept


@pytest.mark.parametrize(
    "events",
    [
        Events.empty((3, 4)),
        events_of(1, 5000),
        Events(t=[-(1 << 62), 0, 0, 1 << 62], x=[0, 1, 2, 32766], y=[0, 300, 1, 2],
               p=[1, 0, 1, 1], size=(32767, 400)),
        Events(t=[-(1 << 63), (1 << 63) - 1], x=[0, 0], y=[0, 0], p=[0, 1], size=(1, 1)),
    ],
)  # fmt: skip
def test_events_come_back_as_they_were(tmp_path, events):
    cache = Cache(tmp_path)
    cache.put(key_of(1), to_arrays(events))
    found = from_arrays(cache.get(key_of(1)))
    assert found == events
    assert [getattr(found, name).dtype for name in "txyp"] == [np.int64, np.int16, np.int16, bool]
    assert not found.t.flags.writeable


@pytest.mark.parametrize("draws", [False, True])
def test_cached_samples_are_read_once_and_those_that_are_drawn_each_time(tmp_path, draws):
    plain = DrawnSamples(4, draws=draws)
    cache = Cache(tmp_path)
    samples = plain.cached(cache)
    assert samples.draws == draws
    assert samples.rows == plain.rows
    rng = np.random.default_rng(3)
    seen = [samples.events(2, rng) for _ in range(3)]
    assert [seen[0] == each for each in seen[1:]] == [not draws] * 2
    assert samples.events(2) == samples.events(2) == DrawnSamples(4).events(2)
    assert plain.reads[2] == (4 if draws else 1)
    assert samples.choose([2]).events(0) == samples.events(2)
    assert [cache.holds(samples, number) for number in (1, 2)] == [False, True]
    other = DrawnSamples(4, draws=draws).cached(Cache(tmp_path))
    assert other.events(2) == samples.events(2)
    assert other.whole.reads[2] == 0
