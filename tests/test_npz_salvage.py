"""NumPy archives: what is left of damaged ones."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

import dvskit
from dvskit.errors import FormatError
from tests.test_events import make


def damaged(tmp_path, change, *, deflated=False):
    events = make(500)
    path = tmp_path / "a.npz"
    if deflated:
        columns = {name: getattr(events, name) for name in "txyp"}
        np.savez_compressed(path, size=np.array(events.size), **columns)
    else:
        dvskit.save_events(events, path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FormatError):
        dvskit.load_events(path)
    return events, dvskit.open_events(path, strict=False)


@pytest.mark.parametrize("deflated", [False, True])
def test_an_archive_without_its_directory_keeps_all_events(tmp_path, deflated):
    events, recording = damaged(
        tmp_path, lambda data: data[: data.index(b"PK\x01\x02")], deflated=deflated
    )
    assert recording.load() == events
    assert recording.load() == events
    assert recording.size_origin == "header"
    assert recording.damage


def test_an_archive_that_ends_early_keeps_the_rows_that_have_all_columns(tmp_path):
    events, recording = damaged(
        tmp_path, lambda data: data[: data.index(b"p.npy") + 5 + 20 + 128 + 300]
    )
    kept = recording.load()
    assert 250 < len(kept) < 400
    assert all(
        np.array_equal(getattr(kept, name), getattr(events[: len(kept)], name)) for name in "txyp"
    )
    assert recording.size_origin == "data"


def test_a_changed_byte_costs_one_event(tmp_path):
    def change(data):
        place = data.index(b"\x93NUMPY") + 128 + 8 * 100 + 5
        return data[:place] + bytes((data[place] ^ 64,)) + data[place + 1 :]

    events, recording = damaged(tmp_path, change)
    kept = recording.load()
    assert kept == events[np.arange(500) != 100]
    assert "CRC" in recording.damage.losses[0].problem


def test_rows_behind_missing_bytes_are_left_out(tmp_path):
    def change(data):
        place = data.index(b"\x93NUMPY") + 128 + 8 * 200 + 5
        return data[:place] + data[place + 3 :]

    events, recording = damaged(tmp_path, change)
    kept = recording.load()
    assert kept[:200] == events[:200]
    assert len(kept) < 220
    assert "bytes are missing" in recording.damage.losses[-1].problem


def test_an_archive_without_a_column_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    dvskit.save_events(make(50), path)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"y.npy") - 30])
    with pytest.raises(FormatError, match="no array named y"):
        dvskit.open_events(path, strict=False)


def test_an_archive_that_asks_for_a_later_unzip_is_damaged_like_any_other(tmp_path):
    path = tmp_path / "a.npz"
    dvskit.save_events(make(500), path)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 6] = 99  # "version needed to extract" of the directory
    path.write_bytes(data)
    with pytest.raises(
        FormatError, match=r"is not a complete NumPy archive: zip file version 9\.9"
    ):
        dvskit.load_events(path)
    assert len(dvskit.load_events(path, strict=False)) == 500


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
