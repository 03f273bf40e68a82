"""What dvskit writes, the other readers of the field read back: each where it is right."""

from __future__ import annotations

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.formats import open_sink
from tests.benchmarks import formats as peers

# Files by their format, and who reads them. Who is left out is wrong there or does not read it:
# faery draws EVT 2.0 files on another size and moves times of EVT 3.0.
READ_BY = {
    "evt2": ("evt2.raw", ("faery", "evutils", "eventcv", "expelliarmus")),
    "evt21": ("evt21.raw", ("evutils",)),
    "evt3": ("evt3.raw", ("faery", "evutils", "eventcv")),
    "evt4": ("evt4.raw", ("evutils",)),
    "dat": ("dat.dat", ("faery", "evutils", "expelliarmus")),
    "es": ("es.es", ("faery", "event_stream")),
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


def make(count: int = 30_000, seed: int = 8) -> Events:
    """Events with runs in rows, gaps and pairs at the same time."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 20, count)
    steps[count // 2] = 40_000
    x = (np.arange(count) // 2 + rng.integers(0, 3, count)) % 320
    return Events(
        t=1000 + np.cumsum(steps),
        x=x,
        y=np.arange(count) // 50 % 240,
        p=rng.integers(0, 2, count).astype(bool),
        size=(320, 240),
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "reader"), CASES)
def test_a_peer_reads_back_what_is_written(tmp_path, name, reader):
    file, _ = READ_BY[name]
    events = make()
    with open_sink(tmp_path / file, events.size, format=name) as sink:
        sink.write(events)
    try:
        t, x, y, p = (np.asarray(column) for column in READERS[reader](tmp_path / file))
    except ImportError:
        pytest.skip(f"{reader} is not installed")
    if reader == "event_stream":
        y = 239 - y.astype(int)  # it leaves y as it is stored, from the bottom
    assert np.array_equal(t.astype(np.int64), events.t)
    assert np.array_equal(x.astype(int), events.x)
    assert np.array_equal(y.astype(int), events.y)
    assert np.array_equal(p > 0, events.p)
    assert dvskit.load_events(tmp_path / file, size=(320, 240)) == events
