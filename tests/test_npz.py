"""NumPy archives: an array is whole, or the archive is an error."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

import dvskit
from dvskit.errors import DamagedFileError, FormatError
from tests.test_events import make


@pytest.mark.parametrize("strict", [True, False])
def test_a_changed_byte_in_an_array_is_an_error(tmp_path, strict):
    path = tmp_path / "a.npz"
    dvskit.save_events(make(500), path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x93NUMPY") + 128 + 8 * 100 + 5] ^= 64
    path.write_bytes(data)
    with pytest.raises(FormatError, match="CRC"):
        dvskit.load_events(path, strict=strict)


@pytest.mark.parametrize("strict", [True, False])
def test_an_archive_without_its_directory_is_an_error(tmp_path, strict):
    path = tmp_path / "a.npz"
    dvskit.save_events(make(500), path)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"PK\x01\x02")])
    with pytest.raises(FormatError, match="is not a complete NumPy archive"):
        dvskit.load_events(path, strict=strict)


@pytest.mark.parametrize("size", [True, False])
def test_salvage_reads_arrays_up_to_the_end_of_the_shortest(tmp_path, size):
    events, path = make(500), tmp_path / "a.npz"
    columns = {name: getattr(events, name) for name in "txyp"}
    columns["y"] = events.y[:300]
    np.savez(path, **columns, **({"size": np.array(events.size)} if size else {}))
    with pytest.raises(FormatError, match="arrays differ in length"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    assert recording.load() == events[:300]
    assert "300 rows are read" in recording.damage.losses[0].problem


def test_salvage_skips_events_off_the_sensor_and_out_of_order(tmp_path):
    events, path = make(500), tmp_path / "a.npz"
    columns = {name: getattr(events, name).copy() for name in "txyp"}
    columns["x"][100], columns["t"][200] = 20, 0
    np.savez(path, size=np.array(events.size), **columns)
    with pytest.raises(DamagedFileError, match="off the 20x10 sensor"):
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
    with pytest.raises(FormatError, match="array 't'"):
        dvskit.load_events(tmp_path / "b.npz", strict=strict)
