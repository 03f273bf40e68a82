"""The cache on disk: what is kept comes back whole, whatever happens to its files."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch

from dvskit.datasets import Cache, CachedSamples, key_of
from dvskit.datasets import cache as cache_module
from dvskit.datasets.cache_entries import from_arrays, to_arrays
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


@pytest.mark.slow
def test_different_things_have_different_keys_and_the_same_ones_the_same_in_any_process():
    keys = [key_of(each) for each in DIFFERENT]
    assert len(set(keys)) == len(DIFFERENT)
    assert key_of("a", "b") != key_of("ab") != key_of("a,b")
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    code = "from dvskit.datasets import key_of; print(key_of('x', {'b': 1.5, 'a': (None, b'')}))"
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert told.stdout.strip() == key_of("x", {"a": (None, b""), "b": 1.5})


def test_a_key_of_what_cannot_be_told_is_refused():
    local = Width(lambda x: x)
    for each in (object(), local, lambda x: x, np.array([object()]), {1, 2}):
        with pytest.raises(ConfigError):
            key_of(each)


def test_files_have_names_that_any_system_takes_whatever_the_key_is_of(tmp_path):
    cache = Cache(tmp_path)
    for each in ("../up", "CON", "a:b*?", "x" * 1000, "\0"):
        cache.put(key_of(each), ARRAYS)
    files = [file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 5
    for file in files:
        assert set(str(file).replace(os.sep, "")) <= set("0123456789abcdefzst.")
        assert len(str(file)) < 80
    for each in ("../up", "A" * 64, "", "0" * 63):
        with pytest.raises(ConfigError):
            cache.get(each)


def noise_of(number: int) -> dict:
    return {"noise": np.random.default_rng(number).integers(0, 255, 10_000).astype(np.uint8)}


def damaged(data: bytes) -> dict[str, bytes]:
    middle = len(data) // 2
    return {
        "empty": b"",
        "cut": data[:middle],
        "longer": data + b"\0",
        "twice": data + data,
        "bit": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "last": data[:-1] + bytes([data[-1] ^ 255]),
        "other": b"no entry at all" * 9,
    }


@pytest.mark.parametrize("kind", damaged(bytes(4)))
def test_a_damaged_entry_is_said_once_counted_and_made_anew(tmp_path, kind):
    cache = Cache(tmp_path)
    keys = [key_of(number) for number in range(2)]
    for key in keys:
        cache.put(key, ARRAYS)
        path = cache.path(key)
        path.write_bytes(damaged(path.read_bytes())[kind])
    with pytest.warns(CacheWarning, match="damaged") as said:
        assert [cache.get(key) for key in keys] == [None, None]
    assert len(said) == 1
    assert cache.damaged == 2
    assert not cache.path(keys[0]).exists()
    cache.put(keys[0], ARRAYS)
    assert same(cache.get(keys[0]), ARRAYS)


def test_any_single_bit_that_changes_is_noticed(tmp_path):
    cache = Cache(tmp_path)
    key = key_of("noise")
    cache.put(key, noise_of(0))  # noise is stored as it is: any byte would do
    data = cache.path(key).read_bytes()
    rng = np.random.default_rng(1)
    found = []
    with pytest.warns(CacheWarning, match="damaged"):  # noqa: PT031
        for at in rng.integers(0, len(data), 50).tolist():
            changed = bytes([data[at] ^ 1 << int(rng.integers(8))])
            cache.path(key).write_bytes(data[:at] + changed + data[at + 1 :])
            found.append(cache.get(key))
    assert found == [None] * 50
    assert cache.damaged == 50


def test_an_entry_under_the_name_of_another_is_not_taken_for_it(tmp_path):
    cache = Cache(tmp_path)
    one, other = key_of(1), key_of(2)
    cache.put(one, ARRAYS)
    cache.path(other).parent.mkdir(exist_ok=True)
    cache.path(one).rename(cache.path(other))
    with pytest.warns(CacheWarning, match="another entry"):
        assert cache.get(other) is None


WRITER = """
import sys
import numpy as np
from dvskit.datasets import Cache, key_of
cache = Cache(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 255, 3_000_000).astype(np.uint8)
print("ready", flush=True)
while True:
    for number in range(3):
        cache.put(key_of(number), {"noise": noise, "number": np.array(number)})
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed with SIGKILL")
def test_a_writer_that_is_killed_leaves_whole_entries_only(tmp_path):
    cache = Cache(tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(3):
        words = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            for _ in range(10):  # it writes while we read
                for number in range(3):
                    found = cache.get(key_of(number))
                    assert found is None or int(found["number"]) == number
            time.sleep(float(rng.uniform(0.01, 0.1)))
            writer.kill()
    assert cache.damaged == 0
    assert cache.hits > 0
    left = [file for file in tmp_path.rglob("*.partial") if file.is_file()]
    for file in left:  # a day later
        os.utime(file, (0, 0))
    assert cache.usage()[0] <= 3
    assert not list(tmp_path.rglob("*.partial"))


def _write_all(folder: str, first: int) -> int:
    cache = Cache(folder)
    for number in range(first, first + 200):
        key = key_of(number % 100)
        if cache.get(key) is None:
            cache.put(key, {"number": np.full(2000, number % 100)})
    return cache.damaged


@pytest.mark.slow
def test_two_processes_that_make_the_same_entries_keep_each_whole(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(2) as pool:
        assert pool.starmap(_write_all, [(str(tmp_path), 0), (str(tmp_path), 50)]) == [0, 0]
    cache = Cache(tmp_path)
    for number in range(100):
        assert np.array_equal(cache.get(key_of(number))["number"], np.full(2000, number))
    assert cache.usage()[0] == 100
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked off")
@pytest.mark.timeout(20)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_is_forked_off_while_a_thread_is_in_the_cache_can_use_it(tmp_path):
    cache = Cache(tmp_path, memory_gb=1)
    cache.put(key_of(1), ARRAYS)
    with cache._lock:  # as another thread may have it at that moment
        child = os.fork()
        if not child:
            os._exit(0 if same(cache.get(key_of(1)), ARRAYS) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_many_threads_share_one_cache(tmp_path):
    cache = Cache(tmp_path, memory_gb=1e-4)  # four entries

    def work(number: int) -> bool:
        key = key_of(number % 20)
        found = cache.get(key)
        if found is None:
            cache.put(key, {"number": np.full(3000, number % 20)})
            return True
        return bool(np.all(found["number"] == number % 20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(600)))
    assert cache.hits + cache.misses == 600
    assert cache.damaged == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_is_said_once_and_all_goes_on(tmp_path, monkeypatch, number):
    cache = Cache(tmp_path)
    cache.put(key_of("before"), ARRAYS)
    tried = []

    def fail(path, data):
        tried.append(path)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache_module, "_write", fail)
    samples = CachedSamples(DrawnSamples(3, draws=False), cache)
    with pytest.warns(CacheWarning, match=os.strerror(number)) as said:
        found = [samples.events(number) for number in (0, 1, 2, 1)]
    assert found == [DrawnSamples(3).events(number) for number in (0, 1, 2, 1)]
    assert len(said) == 1
    assert len(tried) == 1
    assert same(cache.get(key_of("before")), ARRAYS)


@pytest.mark.slow
def test_a_write_that_ends_halfway_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")  # POSIX
    code = (
        "import sys, signal, resource, warnings, numpy as np\n"
        "from dvskit.datasets import Cache, key_of\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "noise = np.random.default_rng(0).integers(0, 255, 50_000).astype(np.uint8)\n"
        "cache = Cache(sys.argv[1])\n"
        "with warnings.catch_warnings(record=True) as said:\n"
        "    warnings.simplefilter('always')\n"
        "    cache.put(key_of(1), {'noise': noise})\n"
        "print(len(said), cache.get(key_of(1)))\n"
    )
    assert resource
    words = [sys.executable, "-c", code, str(tmp_path)]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["1", "None"]
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_folder_that_cannot_be_made_is_no_obstacle(tmp_path):
    (tmp_path / "file").write_text("a file where the folder would be")
    cache = Cache(tmp_path / "file" / "folder")
    with pytest.warns(CacheWarning, match="cannot be written"):
        cache.put(key_of(1), ARRAYS)
    assert cache.get(key_of(1)) is None
    assert cache.usage() == (0, 0)


def test_the_limit_holds_and_what_was_not_used_for_longest_goes_first(tmp_path, monkeypatch):
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
    assert 0 in kept
    assert 13 in kept
    assert 1 not in kept
    rest = [number for number in kept if number]
    assert rest == list(range(rest[0], 14))
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


def test_entries_in_memory_are_read_without_the_disk_up_to_a_limit(tmp_path):
    cache = Cache(tmp_path, memory_gb=35e3 / 1e9)  # three entries
    for number in range(4):
        cache.put(key_of(number), noise_of(number))
        cache.path(key_of(number)).unlink()
    assert [cache.get(key_of(number)) is not None for number in range(4)] == [False] + [True] * 3


def test_entries_in_memory_count_as_what_they_take_and_are_nobody_elses(tmp_path):
    cache = Cache(tmp_path, memory_gb=35e3 / 1e9)  # four, were they counted as they are on disk
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


@pytest.mark.parametrize(
    "events",
    [
        Events.empty((3, 4)),
        events_of(0, 1),
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


def test_cached_samples_are_read_once_and_those_that_are_drawn_each_time(tmp_path):
    for draws in (False, True):
        plain = DrawnSamples(4, draws=draws)
        samples = CachedSamples(plain, Cache(tmp_path / str(draws)))
        assert samples.draws == draws
        assert samples.rows == plain.rows
        rng = np.random.default_rng(3)
        seen = [samples.events(2, rng) for _ in range(3)]
        assert [seen[0] == each for each in seen[1:]] == [not draws] * 2
        assert samples.events(2) == samples.events(2) == DrawnSamples(4).events(2)
        assert plain.reads[2] == (4 if draws else 1)
        assert samples.choose([2]).events(0) == samples.events(2)
        other = CachedSamples(DrawnSamples(4, draws=draws), Cache(tmp_path / str(draws)))
        assert other.events(2) == samples.events(2)
        assert other.samples.reads[2] == 0
