"""The path through the whole of dvskit, on a real clip, with other readers at its end."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

import dvskit
from dvskit.video import VideoFrames


@pytest.fixture(scope="module")
def bikes(data):
    """The events of the first 50 frames (2 s) of a real clip of bikes, about 2.5 million."""
    frames = list(islice(VideoFrames(data / "video" / "bikes.mp4"), 50))
    return dvskit.events.read_all(dvskit.emulate(frames))


def read_by_faery(path):
    faery = pytest.importorskip("faery")
    rows = np.concatenate(list(faery.events_stream_from_file(path)))
    return rows["t"], rows["x"], rows["y"], rows["on"]


def read_by_evutils(path):
    io = pytest.importorskip("evutils.io")
    rows = io.EventReader(str(path), max_time=2**62, max_events=2**40).read_all()
    return rows.t, rows.x, rows.y, rows.p


def read_by_eventcv(path):
    rows = pytest.importorskip("eventcv").load(str(path)).numpy()
    return rows[:, 2], rows[:, 0], rows[:, 1], rows[:, 3]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # evutils' open file
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("reader", [read_by_faery, read_by_evutils, read_by_eventcv])
@pytest.mark.parametrize("suffix", [".raw", ".aedat4"])
def test_other_readers_see_the_events_of_an_emulated_clip(tmp_path, bikes, reader, suffix):
    path = tmp_path / f"bikes{suffix}"
    dvskit.save_events(bikes, path)
    t, x, y, p = (np.asarray(column).astype(np.int64) for column in reader(path))
    assert len(bikes) > 1_000_000
    assert np.array_equal(t, bikes.t)
    assert np.array_equal(x, bikes.x)
    assert np.array_equal(y, bikes.y)
    assert np.array_equal(p > 0, bikes.p)


def test_every_event_of_an_emulated_clip_is_in_its_tensor(bikes):
    tensor = dvskit.tensors.bin_events(bikes, bins=25)
    assert tuple(tensor.shape) == (25, 2, 272, 640)
    assert int(tensor.sum()) == len(bikes)
    assert int(tensor[:, 1].sum()) == int(np.count_nonzero(bikes.p))
