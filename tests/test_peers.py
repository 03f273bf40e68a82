"""What dvskit writes, the other readers of the field read back: each where it is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.formats import load_events, open_events, save_events
from dvskit.formats.aedat4 import Aedat4Sink, Compression
from tests.benchmarks import formats as peers
from tests.test_raw_writing import streams

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
# Files by their format, and who reads them. Who is left out is wrong there or does not read it:
# faery draws EVT 2.0 files on another size and moves times of EVT 3.0.
READ_BY = {
    "evt2": ("evt2.raw", ("faery", "evutils", "eventcv", "expelliarmus")),
    "evt21": ("evt21.raw", ("evutils",)),
    "evt3": ("evt3.raw", ("faery", "evutils", "eventcv")),
    "evt4": ("evt4.raw", ("evutils",)),
    "dat": ("dat.dat", ("faery", "evutils", "expelliarmus")),
    "es": ("es.es", ("faery", "event_stream")),
    "aedat2": ("a.aedat", ("evutils",)),
    "aedat4": ("a.aedat4", ("faery", "evutils", "eventcv", "aedat", "dv-processing")),
    "csv": ("csv.csv", ("evutils",)),
}
READERS = {
    "faery": peers.faery_all,
    "evutils": peers.evutils_all,
    "eventcv": peers.eventcv_all,
    "expelliarmus": peers.expelliarmus_all,
    "event_stream": peers.event_stream_all,
    "aedat": peers.aedat_all,
    "dv-processing": peers.dv_all,
}
CASES = [(name, reader) for name, (_, readers) in READ_BY.items() for reader in readers]


def make(size: tuple[int, int] = (320, 240), count: int = 30_000) -> Events:
    """Events with runs in rows, gaps and pairs at the same time."""
    rng = np.random.default_rng(8)
    steps = rng.integers(0, 20, count)
    steps[count // 2] = 40_000
    return Events(
        t=1000 + np.cumsum(steps),
        x=(np.arange(count) // 2 + rng.integers(0, 3, count)) % size[0],
        y=np.arange(count) // 50 % size[1],
        p=rng.integers(0, 2, count).astype(bool),
        size=size,
    )


def read_with(reader: str, path: Path, height: int) -> tuple[np.ndarray, ...]:
    """Read a file with another library, with y from the top; skip without it."""
    try:
        t, x, y, p = (np.asarray(column) for column in READERS[reader](path))
    except ImportError:
        pytest.skip(f"{reader} is not installed")
    t, x, y = t.astype(np.int64), x.astype(np.int64), y.astype(np.int64)
    if reader == "event_stream" or path.suffix == ".aedat":
        y = height - 1 - y  # left as it is stored, from the bottom
    return t, x, y, p > 0


@pytest.mark.parametrize(("name", "reader"), CASES)
def test_a_peer_reads_back_what_is_written(tmp_path, name, reader):
    events = make((346, 260) if name == "aedat2" else (320, 240))
    path = tmp_path / READ_BY[name][0]
    save_events(events, path, format=name)
    t, x, y, p = read_with(reader, path, events.size.height)
    assert np.array_equal(t, events.t)
    assert np.array_equal(x, 345 - events.x if name == "aedat2" else events.x)
    assert np.array_equal(y, events.y)
    assert np.array_equal(p, events.p)


@pytest.mark.parametrize("stream_name", ["one time", "late start", "gaps over wraps"])
@pytest.mark.parametrize("name", ["evt2", "evt21", "evt3", "evt4", "dat"])
def test_evutils_reads_back_times_over_wraps(tmp_path, name, stream_name):
    events = streams()[stream_name]
    path = tmp_path / READ_BY[name][0]
    save_events(events, path, format=name)
    t, x, _, _ = read_with("evutils", path, events.size.height)
    offset = int(open_events(path).header().get("dvskit_time_offset_us", "0"))
    assert np.array_equal(t, events.t - offset)
    assert np.array_equal(x, events.x)


@pytest.mark.parametrize("kind", [Compression.NONE, Compression.ZSTD])
@pytest.mark.parametrize("reader", ["aedat", "dv-processing"])
def test_a_peer_reads_back_aedat4_of_each_compression(tmp_path, reader, kind):
    events = make()
    with Aedat4Sink(tmp_path / "a.aedat4", events.size, compression=kind) as sink:
        sink.write(events)
    t, x, y, p = read_with(reader, tmp_path / "a.aedat4", events.size.height)
    assert all(map(np.array_equal, (t, x, y, p), (events.t, events.x, events.y, events.p)))


@pytest.mark.parametrize(
    ("name", "turned"),
    [("davis240c_aps_imu.aedat", True), ("aedat31_synthetic_dvs128.aedat", False)],
)
def test_evutils_reads_the_same_real_events(data, name, turned):
    path = data / "recordings" / name
    events = load_events(path)
    t, x, y, p = read_with("evutils", path, events.size.height)
    assert np.array_equal(t, events.t)
    assert np.array_equal(x, 239 - events.x if turned else events.x)
    assert np.array_equal(y, events.y if turned else events.size.height - 1 - events.y)
    assert np.array_equal(p, events.p)


def test_faery_and_we_read_what_the_other_writes(tmp_path):
    faery = pytest.importorskip("faery")
    events = streams()["unix epoch"]
    save_events(events, tmp_path / "a.raw")
    assert np.array_equal(read_with("faery", tmp_path / "a.raw", 240)[0], events.t)
    for name, file, options in (
        ("late start", "b.raw", {"version": "evt3"}),
        ("gaps over wraps", "c.raw", {"version": "evt3"}),
        ("dense", "d.es", {}),
    ):
        events = streams()[name]
        rows = events.to_array("faery")
        assert rows.dtype == faery.EVENTS_DTYPE
        stream = faery.events_stream_from_array(rows, dimensions=tuple(events.size))
        stream.to_file(tmp_path / file, **options)
        assert load_events(tmp_path / file) == events


def test_tonic_reads_back_what_is_written(tmp_path):
    tonic = pytest.importorskip("tonic")
    events = make((346, 260))
    dvskit.save_events(events, tmp_path / "a.aedat")
    size, _, rows = tonic.io.read_davis_346(str(tmp_path / "a.aedat"))
    assert Events.from_array(rows, size=size) == events
