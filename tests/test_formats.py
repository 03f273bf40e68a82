"""The table of formats, and the two simplest: npz and N-MNIST."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import (
    ConfigError,
    DamagedFileError,
    EventsError,
    FormatError,
    GeometryError,
    LeftOutWarning,
    OutputError,
    UnknownFormatError,
)
from dvskit.formats import Format, find_format, format_for_writing, formats, open_sink
from tests.test_events import make


def digest(column, dtype):
    return hashlib.sha256(np.ascontiguousarray(column, dtype=dtype).tobytes()).hexdigest()[:16]


def assert_as_truth_says(events: Events, truth: dict) -> None:
    """Compare events with an entry of truth.json: counts, ends, and each column's digest."""
    assert len(events) == truth["events"]
    assert int(np.count_nonzero(events.p)) == truth["on"]
    rows = list(zip(*(getattr(events, c).tolist() for c in "xytp"), strict=True))
    assert [list(row) for row in rows[:3]] == truth["first"]
    assert [list(row) for row in rows[-3:]] == truth["last"]
    for column, dtype in (("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")):
        key = f"sha256_{column}_{ {'<i8': 'int64', '<u2': 'uint16', 'u1': 'uint8'}[dtype] }"
        assert digest(getattr(events, column), dtype) == truth[key]


def test_nmnist_reads_as_truth_says(data):
    truth = json.loads((data / "recordings" / "truth.json").read_text())
    recording = dvskit.open_events(data / "recordings" / "nmnist_34x34.bin")
    assert_as_truth_says(dvskit.load_events(recording.path), truth["nmnist_34x34.bin"])
    assert recording.size == (34, 34)
    assert recording.size_origin == "format"
    assert "34x34" in recording.assumptions[0]


def nmnist_bytes(rows):
    out = bytearray()
    for x, y, p, t in rows:
        out += bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255])
    return bytes(out)


def test_nmnist_overflow_rows_move_the_clock(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(nmnist_bytes([(1, 2, 1, 10), (0, 240, 0, 0), (3, 4, 0, 5)]))
    events = dvskit.load_events(path)
    assert events.t.tolist() == [10, 8192 + 5]
    assert events.p.tolist() == [True, False]


def test_nmnist_damage_is_raised_with_its_offset_or_salvaged_and_counted(tmp_path):
    path = tmp_path / "a.bin"
    rows = [(1, 1, 1, 10), (2, 2, 0, 20), (3, 3, 1, 5), (4, 4, 1, 30)]
    path.write_bytes(nmnist_bytes(rows) + b"\x01\x02")
    with pytest.raises(DamagedFileError, match=r"at byte 10") as caught:
        dvskit.load_events(path, size=(34, 34))
    assert caught.value.offset == 10
    recording = dvskit.open_events(path, strict=False)
    assert Events.concatenate(recording).t.tolist() == [10, 20, 30]
    assert recording.damage.count == 2
    assert recording.damage.lost_bytes == 7
    assert "out of order among its neighbours" in recording.damage.losses[1].problem


def test_nmnist_of_another_camera_gets_the_size_of_its_events(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(nmnist_bytes([(200, 100, 1, 10)]))
    recording = dvskit.open_events(path)
    assert (recording.size, recording.size_origin) == ((201, 101), "data")
    assert dvskit.open_events(path, size=(240, 180)).size_origin == "argument"
    with pytest.raises(DamagedFileError, match="off the 34x34"):
        dvskit.load_events(path, size=(34, 34))


def test_npz_holds_columns_that_numpy_loads(tmp_path):
    events = make(500)
    dvskit.save_events(events, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        assert sorted(archive) == ["p", "size", "t", "x", "y"]
        assert np.array_equal(archive["t"], events.t)


def test_npz_of_no_events(tmp_path):
    dvskit.save_events(Events.empty((5, 6)), tmp_path / "a.npz")
    assert dvskit.load_events(tmp_path / "a.npz") == Events.empty((5, 6))


def test_npz_of_other_names_and_types_is_read(tmp_path):
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
    ("change", "message"),
    [
        ({"t": np.array([2, 1])}, "time runs back"),
        ({"t": np.array([1.5, 2.0])}, "does not fit"),
        ({"t": np.array([1])}, "differ in length"),
        ({"p": np.array([0, 3])}, "polarity"),
        ({"size": np.array([0, 3])}, "size"),
        ({"x": np.array([[1, 2]])}, "one dimension"),
        ({"x": np.array([None, 1], object)}, "objects"),
    ],
)
def test_a_wrong_npz_is_refused(tmp_path, change, message):
    columns = {"t": [1, 2], "x": [0, 1], "y": [0, 1], "p": [0, 1], "size": [4, 4]}
    np.savez(tmp_path / "a.npz", **(columns | change))
    with pytest.raises(FormatError, match=message):
        dvskit.load_events(tmp_path / "a.npz")


@pytest.mark.slow
def test_npz_headers_damaged_in_any_byte_raise_nothing_but_our_errors(tmp_path):
    dvskit.save_events(make(5000), tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    start = whole.index(b"\x93NUMPY")
    refused = 0
    for place in range(start, start + 128):
        for flip in (0x01, 0x08, 0x20, 0x80):
            damaged = bytearray(whole)
            damaged[place] ^= flip
            with suppress(FormatError):
                (tmp_path / "b.npz").write_bytes(damaged)
                dvskit.load_events(tmp_path / "b.npz")
                refused -= 1
            refused += 1
    assert refused > 400


def test_content_decides_before_the_suffix(tmp_path):
    dvskit.save_events(make(), tmp_path / "a.npz")
    (tmp_path / "a.npz").rename(tmp_path / "a.raw")
    assert find_format(tmp_path / "a.raw").name == "npz"
    assert dvskit.load_events(tmp_path / "a.raw") == make()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.raw", b"hello, this is text\n", "evt3"),
        ("a.raw", b"", "empty"),
        ("a.xyz", b"hello", "matches no format"),
        ("a.bin", b"", "empty"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        dvskit.load_events(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_missing_files_folders_and_unknown_names_are_refused(tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        dvskit.open_events(tmp_path / "none.raw")
    with pytest.raises(FormatError, match="folder"):
        dvskit.open_events(tmp_path)
    with pytest.raises(UnknownFormatError, match="did you mean 'evt3'"):
        dvskit.open_events(tmp_path / "none.raw", format="evt33")
    with pytest.raises(UnknownFormatError, match=r"did you mean '\.npz'"):
        format_for_writing("a.npzz")
    with pytest.raises(UnknownFormatError, match="only read"):
        format_for_writing("a.bin")


def test_saving_a_recording_carries_its_triggers_or_warns_of_their_loss(tmp_path, data):
    recording = dvskit.open_events(data / "recordings" / "evt3_triggers_640x480.raw")
    with pytest.warns(LeftOutWarning) as told:
        dvskit.save_events(recording, tmp_path / "a.npz")
    assert [str(warning.message).split(": ", 1)[1] for warning in told] == [
        "4,157 triggers are left out: npz has none",
        "519 other words of the input are left out",
    ]
    with pytest.warns(LeftOutWarning, match="519 other words"):
        dvskit.save_events(recording, tmp_path / "a.raw")
    again = dvskit.open_events(tmp_path / "a.raw").triggers()
    assert np.array_equal(again.t, recording.triggers().t)
    assert np.array_equal(again.p, recording.triggers().p)


def test_a_name_is_registered_once():
    assert {"npz", "nmnist", "evt3", "aedat4"} <= {row.name for row in formats()}
    with pytest.raises(ConfigError, match="a format named 'npz' is registered already"):
        dvskit.register_format(Format("npz", (), "x", None, "r", ""))


def test_an_output_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "a.npz"
    dvskit.save_events(make(), path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="--force"):
        dvskit.save_events(make(5), path)

    class Broken:
        size = make().size

        def __iter__(self):
            yield make(10)
            raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        dvskit.save_events(Broken(), path, overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
    dvskit.save_events(make(5), path, overwrite=True)
    assert dvskit.load_events(path) == make(5)


def test_an_output_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        dvskit.save_events(make(), tmp_path / "none" / "a.npz")
    (tmp_path / "b.npz").mkdir()
    with pytest.raises(OutputError, match="folder"):
        dvskit.save_events(make(), tmp_path / "b.npz")


def write_blocks(path, blocks):
    with open_sink(path, blocks[0].size) as sink:
        for block in blocks:
            sink.write(block)


def test_a_sink_refuses_blocks_out_of_order_and_of_another_size(tmp_path):
    with pytest.raises(EventsError, match="before"):
        write_blocks(tmp_path / "a.npz", [make(), make()])
    other = Events(t=[1], x=[1], y=[1], p=[1], size=(3, 3))
    with pytest.raises(GeometryError, match="block of"):
        write_blocks(tmp_path / "a.npz", [make(), other])
    assert list(tmp_path.iterdir()) == []
