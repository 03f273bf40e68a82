"""NumPy arrays: every layout of a peer, plain columns told by what they hold, damage."""

from __future__ import annotations

import gc
import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import Events
from dvskit.errors import ConfigError, DamagedFileError, FormatError
from dvskit.events import read_all
from dvskit.formats.stored_array import read_array_header
from tests.test_events import make

ORDERS = ["txyp", "xytp", "xypt"]


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def plain(events: Events, order: str, dtype: type = np.int64) -> np.ndarray:
    return np.stack([getattr(events, name).astype(dtype) for name in order], axis=1)


@pytest.mark.parametrize("layout", ["tonic", "faery", "expelliarmus", "metavision", "dv"])
def test_structured_arrays_of_all_layouts_are_read(tmp_path, layout):
    events = make(500)
    recording = dvskit.open_events(save(tmp_path / "a.npy", events.to_array(layout)))
    assert (recording.size, recording.size_origin) == ((20, 10), "data")
    assert read_all(recording) == events
    assert read_all(recording) == events
    assert recording.header()["rows"] == "500"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.uint32, np.float64, ">i4"])
@pytest.mark.parametrize("fortran", [False, True])
def test_plain_columns_are_told_by_what_they_hold(tmp_path, order, dtype, fortran):
    events = make(500)
    array = plain(events, order, dtype)
    path = save(tmp_path / "a.npy", np.asfortranarray(array) if fortran else array)
    recording = dvskit.open_events(path, size=(30, 30))
    assert any(",".join(order) in line for line in recording.assumptions)
    assert recording.size_origin == "argument"
    got = read_all(recording)
    assert all(np.array_equal(getattr(got, name), getattr(events, name)) for name in "txyp")


def test_signed_polarity_is_read(tmp_path):
    events = make(300)
    array = plain(events, "txyp")
    array[:, 3] = array[:, 3] * 2 - 1
    assert dvskit.load_events(save(tmp_path / "a.npy", array)) == events


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 5)), "shape"),
        (np.zeros(3), "shape"),
        (np.zeros((3, 4), np.complex128), "complex"),
        (np.array([None] * 4, object), "objects"),
        (np.zeros(3, [("t", "i8"), ("x", "i2"), ("y", "i2")]), "no field p or on or polarity"),
        (np.zeros(3, [("t", "U3"), ("x", "i2"), ("y", "i2"), ("p", "?")]), "field t is"),
        (np.zeros((3, 4), int), "as well as each other"),
        (np.full((30, 4), -7) - np.eye(30, 4, dtype=int), "as well as each other|neither"),
        (np.array([[0.5, 1, 2, 1], [0.25, 4, 5, 0]] * 9), "npy:t_s,x,y,p"),
        (np.zeros(0, [("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "?")]), "no row is an event"),
    ],
)
def test_an_array_that_is_no_events_is_refused(tmp_path, array, message):
    with pytest.raises(FormatError, match=message) as caught:
        dvskit.open_events(save(tmp_path / "a.npy", array))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("t", 3.5, "whole number of microseconds"),
        ("t", np.nan, "whole number of microseconds"),
        ("t", -1.0, "runs back"),
        ("x", 5.5, "pixel"),
        ("x", 1e6, "pixel"),
        ("y", 11, "off the 20x10"),
        ("y", -1, "off the 20x10"),
        ("p", 0.5, "polarity"),
        ("p", 2, "polarity"),
        ("p", -1, "polarity"),
    ],
)
def test_an_impossible_row_is_an_error_with_its_offset_and_salvage_skips_it(
    tmp_path, field, value, message
):
    array = np.zeros(30, [(name, "f8") for name in "txyp"])
    array["t"] = np.arange(30)
    array[field][10] = value
    path = save(tmp_path / "a.npy", array)
    start = path.stat().st_size - 30 * 32
    with pytest.raises(DamagedFileError, match=message) as caught:
        dvskit.load_events(path, size=(20, 10))
    assert caught.value.offset == start + 10 * 32
    recording = dvskit.open_events(path, size=(20, 10), strict=False)
    assert read_all(recording).t.tolist() == [t for t in range(30) if t != 10]
    assert recording.damage.losses[0][:2] == (start + 320, 32)


def test_a_cut_file_keeps_its_whole_rows(tmp_path):
    path = save(tmp_path / "a.npy", make(100).to_array("tonic"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedFileError, match="2 of the rows are missing"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False, size=(20, 10))
    assert read_all(recording) == make(100)[:98]
    assert recording.damage.lost_bytes == 13 * 2 - 20


@pytest.mark.parametrize("lost", [1, 5, 12, 14, 100])
def test_rows_behind_missing_bytes_are_lost_in_one_stretch(tmp_path, lost):
    events = make(900)
    for array in (events.to_array("tonic"), plain(events, "txyp")):
        path = save(tmp_path / "a.npy", array)
        data = path.read_bytes()
        place = len(data) // 2
        path.write_bytes(data[:place] + data[place + lost :])
        with pytest.raises(FormatError):
            dvskit.load_events(path, size=events.size)
        recording = dvskit.open_events(path, size=events.size, strict=False)
        kept = recording.load()
        assert kept[:440] == events[:440]
        assert len(kept) < 460
        assert recording.damage.losses[0].problem.startswith("rows make no sense")
        assert recording.damage.count <= 5


@pytest.mark.parametrize("strict", [True, False])
def test_an_array_by_columns_that_the_end_cuts_is_refused(tmp_path, strict):
    events = make(300)
    path = save(tmp_path / "a.npy", np.asfortranarray(plain(events, "txyp")))
    path.write_bytes(path.read_bytes()[: -100 * 8 - 3])
    with pytest.raises(FormatError, match="ends before its 300 rows"):
        dvskit.load_events(path, strict=strict)


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_stands_behind_the_rows_is_none_of_them_and_told(tmp_path, order):
    array = make(100).to_array("tonic")
    if order == "F":
        array = np.asfortranarray(np.stack([array[name] for name in "txyp"], axis=1))
    path = save(tmp_path / "a.npy", array)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DamagedFileError, match=f"{size} bytes stand behind the last row"):
        dvskit.load_events(path, size=(20, 10))
    recording = dvskit.open_events(path, size=(20, 10), strict=False)
    assert recording.load() == make(100)
    assert recording.damage.lost_bytes == size


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("strict", [True, False])
def test_a_negative_count_of_rows_is_an_error(tmp_path, order, strict):
    array = np.asarray(np.ones((1000, 4), np.int64), order=order)
    path = save(tmp_path / "a.npy", array)
    content = path.read_bytes()
    assert b"(1000, 4)" in content
    path.write_bytes(content.replace(b"(1000, 4)", b"(-100, 4)"))
    with pytest.raises(FormatError, match="counts are not negative"):
        dvskit.open_events(path, size=(20, 10), strict=strict)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("shape", [(), (3,), (2, 5, 1)])
def test_a_header_is_read_as_numpy_reads_it(version, shape):
    array = np.zeros(shape, "<i2", order="F")
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    file.seek(0)
    expected = (shape, array.flags.fnc, array.dtype)
    assert read_array_header(file) == expected
    assert file.tell() == len(file.getvalue()) - array.nbytes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (3L, 10L)}", None),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (-3,)}", "counts are not negative"),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (1.5,)}", "no whole numbers"),
        ("{'descr': '<i2', 'fortran_order': 1, 'shape': (3,)}", "neither True nor False"),
        ("{'descr': '<i2', 'shape': (3,)}", "is no table of descr"),
        ("[1, 2]", "is no table of descr"),
        (
            "{'descr': '<i2', 'fortran_order': False, 'shape': (3,)}" + " " * 10_000,
            "at most 10,000",
        ),
    ],
)
def test_odd_headers_are_told_and_those_of_python_2_are_read(text, message):
    file = io.BytesIO(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())
    if message is None:
        assert read_array_header(file) == ((3, 10), False, np.dtype("<i2"))
        return
    with pytest.raises(ValueError, match=message):
        read_array_header(file)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("names", ["t_s,x,y,p", "x,y,t_s,p", "p,t_s,y,x"])
def test_times_in_seconds_are_read_where_the_columns_are_named(tmp_path, kind, names):
    events = make(300)
    columns = {"t_s": events.t / 1e6, "x": events.x, "y": events.y, "p": events.p}
    table = np.stack([columns[name] for name in names.split(",")], axis=1).astype(kind)
    path = save(tmp_path / "a.npy", table)
    if names == "t_s,x,y,p":
        with pytest.raises(FormatError, match=r"look like seconds; .*--from npy:t_s,x,y,p"):
            dvskit.open_events(path)
    recording = dvskit.open_events(path, format=f"npy:{names}", size=events.size)
    if kind is np.float64:
        assert recording.load() == events
    else:
        assert np.abs(recording.load().t - events.t).max() <= 1
    middle = int(events.t[150])
    assert recording.between(middle, None).load() == recording.load().between(middle, None)


def test_a_structured_array_may_hold_seconds(tmp_path):
    events = make(300)
    table = np.zeros(300, [("t", "<f8"), ("x", "<i2"), ("y", "<i2"), ("p", "?")])
    table["t"], table["x"], table["y"], table["p"] = events.t / 1e6, events.x, events.y, events.p
    path = save(tmp_path / "a.npy", table)
    with pytest.raises(FormatError, match=r"--from npy:t_s"):
        dvskit.load_events(path)
    assert dvskit.load_events(path, format="npy:t_s", size=events.size) == events
    for wrong in ("npy:x", "npy:t_s,x,y,p", "npy:"):
        with pytest.raises(ConfigError, match="names other columns than t_s alone"):
            dvskit.load_events(path, format=wrong)


@pytest.mark.parametrize("wrong", ["npy:t,x,y", "npy:t,t_s,x,y", "npy:t,x,y,q", "npy:t_s"])
def test_columns_that_are_none_are_refused(tmp_path, wrong):
    path = save(tmp_path / "a.npy", np.zeros((5, 4)))
    with pytest.raises(ConfigError, match="names other columns than t"):
        dvskit.load_events(path, format=wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308, -1e300])
def test_a_time_in_seconds_that_cannot_be_is_named(tmp_path, value):
    table = np.array([[0.1, 1, 2, 1], [value, 1, 2, 0], [0.3, 3, 4, 1]])
    path = save(tmp_path / "a.npy", table)
    with pytest.raises(DamagedFileError, match="time is no whole number of microseconds"):
        dvskit.load_events(path, format="npy:t_s,x,y,p", size=(9, 9))
    salvaged = dvskit.load_events(path, format="npy:t_s,x,y,p", size=(9, 9), strict=False)
    assert salvaged.t.tolist() == [100_000, 300_000]


class _Cycle:
    """Garbage that a collection finalizes: Python code that may run in the middle of a parse."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        list(range(3))


def test_headers_are_read_by_many_threads_at_once():
    """CPython's parser fails at times if two threads use it, and a collection runs meanwhile."""
    file = io.BytesIO()
    np.save(file, np.zeros((280, 4), "<i4"))
    header = file.getvalue()[:128]

    def read(count: int) -> set[tuple[int, ...]]:
        found = set()
        for _ in range(count):
            _Cycle()
            found.add(read_array_header(io.BytesIO(header))[0])
        return found

    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(1, 1, 1)
    try:
        with ThreadPoolExecutor(4) as pool:
            shapes = list(pool.map(read, [1000] * 4))
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
    assert shapes == [{(280, 4)}] * 4
