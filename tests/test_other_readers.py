"""Readers of other packages see the events that dvskit writes."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice

import hdf5plugin
import numpy as np
import pytest

import dvskit
from dvskit.video import VideoFrames


@pytest.fixture(scope="module")
def bikes(data):
    """The events of the first frames of a real clip of bikes."""
    frames = list(islice(VideoFrames(data / "video" / "bikes.mp4"), 6))
    return dvskit.emulate(frames).load()


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
@pytest.mark.filterwarnings("ignore")  # evutils leaves files open; faery warns of its fallback
@pytest.mark.parametrize(
    ("reader", "suffix"),
    [
        (read_by_faery, ".raw"),
        (read_by_faery, ".aedat4"),
        (read_by_faery, ".csv"),
        (read_by_evutils, ".raw"),
        (read_by_evutils, ".aedat4"),
        (read_by_evutils, ".csv"),
        (read_by_eventcv, ".raw"),
        (read_by_eventcv, ".aedat4"),
    ],
)
def test_other_readers_see_the_events_of_an_emulated_clip(tmp_path, bikes, reader, suffix):
    path = tmp_path / f"bikes{suffix}"
    dvskit.save_events(bikes, path)
    t, x, y, p = (np.asarray(column).astype(np.int64) for column in reader(path))
    assert len(bikes) > 10_000
    assert np.array_equal(t, bikes.t)
    assert np.array_equal(x, bikes.x)
    assert np.array_equal(y, bikes.y)
    assert np.array_equal(p > 0, bikes.p)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dsec", "hdf5-gzip"])
def test_eventcv_reads_hdf5(tmp_path, bikes, name):
    pytest.importorskip("eventcv")
    dvskit.save_events(bikes, tmp_path / "a.h5", format=name)
    code = "import sys, eventcv, numpy\nnumpy.save(sys.argv[2], eventcv.load(sys.argv[1]).numpy())"
    command = [sys.executable, "-c", code, str(tmp_path / "a.h5"), str(tmp_path / "a.npy")]
    environment = {**os.environ, "HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH}
    subprocess.run(command, check=True, env=environment)
    rows = np.load(tmp_path / "a.npy").astype(np.int64)
    rows[:, 2] //= 1000  # eventcv counts nanoseconds
    columns = (bikes.x, bikes.y, bikes.t, bikes.p)
    np.testing.assert_array_equal(rows, np.stack(columns, 1))


def test_every_event_of_an_emulated_clip_is_in_its_tensor(bikes):
    tensor = dvskit.tensors.bin_events(bikes, bins=25)
    assert tuple(tensor.shape) == (25, 2, 272, 640)
    assert int(tensor.sum()) == len(bikes)
    assert int(tensor[:, 1].sum()) == int(np.count_nonzero(bikes.p))
