"""NumPy archives: an array is whole, or the archive is an error."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import DamagedFileError, FormatError
from tests.laws import refused
from tests.test_events import make


def test_an_archive_holds_columns_that_numpy_loads(tmp_path):
    for events in (make(500), Events.empty((5, 6))):
        dvskit.save_events(events, tmp_path / "a.npz", overwrite=True)
        assert dvskit.load_events(tmp_path / "a.npz") == events
        with np.load(tmp_path / "a.npz") as archive:
            assert sorted(archive) == ["p", "size", "t", "x", "y"]
            assert np.array_equal(archive["t"], events.t)


def test_columns_of_other_names_and_types_are_read(tmp_path):
    np.savez_compressed(
        tmp_path / "a.npz",
        timestamp=np.array([1, 2], np.uint32),
        x=np.array([0, 9], np.int64),
        y=np.array([1, 2], np.uint16),
        polarity=np.array([-1, 1]),
    )
    recording = dvskit.open_events(tmp_path / "a.npz")
    events = Events.concatenate(recording)
    assert (recording.size, recording.size_origin) == ((10, 3), "data")
    assert events.p.tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"t": np.array([2, 1])}, "runs back"),
        ({"t": np.array([1.5, 2.0])}, "t"),
        ({"t": np.array([1])}, "length"),
        ({"p": np.array([0, 3])}, "polarity"),
        ({"size": np.array([0, 3])}, "size"),
        ({"x": np.array([[1, 2]])}, "x"),
        ({"x": np.array([None, 1], object)}, "objects"),
    ],
)
def test_a_wrong_archive_is_refused(tmp_path, change, named):
    columns = {"t": [1, 2], "x": [0, 1], "y": [0, 1], "p": [0, 1], "size": [4, 4]}
    np.savez(tmp_path / "a.npz", **(columns | change))
    with refused(FormatError, "a.npz", named):
        dvskit.load_events(tmp_path / "a.npz")


def changed_byte(data: bytes) -> bytes:
    place = data.index(b"\x93NUMPY") + 128 + 8 * 100 + 5
    return data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :]


def without_directory(data: bytes) -> bytes:
    return data[: data.index(b"PK\x01\x02")]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("damage", [changed_byte, without_directory])
def test_a_damaged_archive_is_an_error(tmp_path, damage, strict):
    path = tmp_path / "a.npz"
    dvskit.save_events(make(500), path)
    path.write_bytes(damage(path.read_bytes()))
    with refused(FormatError, path):
        dvskit.load_events(path, strict=strict)


@pytest.mark.parametrize("size", [True, False])
def test_salvage_reads_arrays_up_to_the_end_of_the_shortest(tmp_path, size):
    events, path = make(500), tmp_path / "a.npz"
    columns = {name: getattr(events, name) for name in "txyp"}
    columns["y"] = events.y[:300]
    np.savez(path, **columns, **({"size": np.array(events.sensor_size)} if size else {}))
    with refused(FormatError, "length"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert recording.load() == events[:300]
    assert "300 rows are read" in recording.damage.losses[0].problem


def test_salvage_skips_events_off_the_sensor_and_out_of_order(tmp_path):
    events, path = make(500), tmp_path / "a.npz"
    columns = {name: getattr(events, name).copy() for name in "txyp"}
    columns["x"][100], columns["t"][200] = 20, 0
    np.savez(path, size=np.array(events.sensor_size), **columns)
    with refused(DamagedFileError, "20x10"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert recording.load() == events[np.isin(np.arange(500), [100, 200], invert=True)]
    assert recording.damage.count == 2


@pytest.mark.parametrize("strict", [True, False])
def test_a_negative_count_of_events_is_an_error_and_no_empty_recording(tmp_path, strict):
    dvskit.save_events(make(500), tmp_path / "a.npz")
    with (
        zipfile.ZipFile(tmp_path / "a.npz") as archive,
        zipfile.ZipFile(tmp_path / "b.npz", "w") as other,
    ):
        for member in archive.namelist():
            other.writestr(member, archive.read(member).replace(b"(500,)", b"(-50,)"))
    with refused(FormatError, "'t'"):
        dvskit.load_events(tmp_path / "b.npz", strict=strict)
