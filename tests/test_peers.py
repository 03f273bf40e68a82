"""What dvskit writes, the other readers of the field read back: each where it is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit import Events
from dvskit.formats import load_events, save_events
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
    "hdf5": ("a.hdf5", ("eventcv", "evutils")),
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
    steps = rng.integers(0, 80, count)  # eventcv takes HDF5 below a second for milliseconds
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
    t, x, y, p = read_with(reader, path, events.sensor_size.height)
    assert np.array_equal(t, events.t)
    assert np.array_equal(x, 345 - events.x if name == "aedat2" else events.x)
    assert np.array_equal(y, events.y)
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
        stream = faery.events_stream_from_array(rows, dimensions=tuple(events.sensor_size))
        stream.to_file(tmp_path / file, **options)
        assert load_events(tmp_path / file) == events
