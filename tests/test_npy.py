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
from dvskit.events.sources import read_all
from dvskit.formats.stored_array import read_array_header
from tests.laws import refused
from tests.test_events import LAYOUTS, make


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def plain(events: Events, order: str, dtype: type = np.int64) -> np.ndarray:
    return np.stack([getattr(events, name).astype(dtype) for name in order], axis=1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_structured_arrays_of_all_layouts_are_read(tmp_path, layout):
    events = make(500)
    recording = dvskit.open_events(save(tmp_path / "a.npy", events.to_array(layout)))
    assert (recording.size, recording.size_origin) == ((20, 10), "data")
    assert recording.load() == events
    assert recording.header()["rows"] == "500"


@pytest.mark.parametrize(
    ("order", "dtype", "fortran"),
    [
        ("txyp", np.int64, False),
        ("xytp", np.int16, True),
        ("xypt", np.uint32, False),
        ("txyp", np.float64, True),
        ("xypt", ">i4", False),
    ],
)
@pytest.mark.parametrize("off", [0, -1])
def test_plain_columns_are_told_by_what_they_hold(tmp_path, order, dtype, fortran, off):
    events = make(500)
    array = plain(events, order, dtype)
    if off and np.dtype(dtype).kind != "u":
        place = order.index("p")
        array[:, place] = array[:, place] * 2 - 1
    path = save(tmp_path / "a.npy", np.asfortranarray(array) if fortran else array)
    recording = dvskit.open_events(path, size=(30, 30))
    assert any(",".join(order) in line for line in recording.assumptions)
    assert recording.size_origin == "argument"
    got = read_all(recording)
    assert all(np.array_equal(getattr(got, name), getattr(events, name)) for name in "txyp")


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.zeros((3, 5)), "(3, 5)"),
        (np.zeros((3, 4), np.complex128), "complex"),
        (np.array([None] * 4, object), "objects"),
        (np.zeros(3, [("t", "i8"), ("x", "i2"), ("y", "i2")]), "polarity"),
        (np.zeros(3, [("t", "U3"), ("x", "i2"), ("y", "i2"), ("p", "?")]), "field t"),
        (np.zeros((3, 4), int), "as well"),
        (np.full((30, 4), -7) - np.eye(30, 4, dtype=int), "a.npy"),
        (np.array([[0.5, 1, 2, 1], [0.25, 4, 5, 0]] * 9), "npy:t_s,x,y,p"),
        (np.zeros(0, [("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "?")]), "event"),
    ],
)
def test_an_array_that_is_no_events_is_refused(tmp_path, array, named):
    with refused(FormatError, named):
        dvskit.open_events(save(tmp_path / "a.npy", array))


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("t", 3.5, "microseconds"),
        ("t", -1.0, "runs back"),
        ("x", 5.5, "pixel"),
        ("y", 11, "20x10"),
        ("y", -1, "20x10"),
        ("p", 0.5, "polarity"),
        ("p", -1, "polarity"),
    ],
)
def test_an_impossible_row_is_an_error_with_its_offset_and_salvage_skips_it(
    tmp_path, field, value, named
):
    array = np.zeros(30, [(name, "f8") for name in "txyp"])
    array["t"] = np.arange(30)
    array[field][10] = value
    path = save(tmp_path / "a.npy", array)
    start = path.stat().st_size - 30 * 32
    with refused(DamagedFileError, named, f"byte {start + 320}"):
        dvskit.load_events(path, size=(20, 10))
    recording = dvskit.open_events(path, size=(20, 10), strict=False)
    assert read_all(recording).t.tolist() == [t for t in range(30) if t != 10]
    assert recording.damage.losses[0][:2] == (start + 320, 32)


def test_a_cut_file_keeps_its_whole_rows(tmp_path):
    path = save(tmp_path / "a.npy", make(100).to_array("tonic"))
    path.write_bytes(path.read_bytes()[:-20])
    with refused(DamagedFileError, "2 of the rows"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False, size=(20, 10))
    assert read_all(recording) == make(100)[:98]
    assert recording.damage.lost_bytes == 13 * 2 - 20
    by_columns = save(tmp_path / "b.npy", np.asfortranarray(plain(make(300), "txyp")))
    by_columns.write_bytes(by_columns.read_bytes()[: -100 * 8 - 3])
    for strict in (True, False):
        with refused(FormatError, 300):
            dvskit.load_events(by_columns, strict=strict)


@pytest.mark.parametrize("lost", [1, 5, 100])
def test_rows_behind_missing_bytes_are_lost_in_one_stretch(tmp_path, lost):
    events = make(900)
    for array in (events.to_array("tonic"), plain(events, "txyp")):
        path = save(tmp_path / "a.npy", array)
        data = path.read_bytes()
        place = len(data) // 2
        path.write_bytes(data[:place] + data[place + lost :])
        with pytest.raises(FormatError):
            dvskit.load_events(path, size=events.sensor_size)
        recording = dvskit.open_events(path, size=events.sensor_size, strict=False)
        kept = recording.load()
        assert kept[:440] == events[:440]
        assert len(kept) < 460
        assert recording.damage.losses[0].problem.startswith("rows")
        assert recording.damage.count <= 5


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_stands_behind_the_rows_is_none_of_them_and_told(tmp_path, order):
    array = make(100).to_array("tonic")
    if order == "F":
        array = np.asfortranarray(np.stack([array[name] for name in "txyp"], axis=1))
    path = save(tmp_path / "a.npy", array)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() * 2)
    with refused(DamagedFileError, f"{size} bytes"):
        dvskit.load_events(path, size=(20, 10))
    recording = dvskit.open_events(path, size=(20, 10), strict=False)
    assert recording.load() == make(100)
    assert recording.damage.lost_bytes == size


@pytest.mark.parametrize(("order", "strict"), [("C", True), ("F", False)])
def test_a_negative_count_of_rows_is_an_error(tmp_path, order, strict):
    array = np.asarray(np.ones((1000, 4), np.int64), order=order)
    path = save(tmp_path / "a.npy", array)
    content = path.read_bytes()
    assert b"(1000, 4)" in content
    path.write_bytes(content.replace(b"(1000, 4)", b"(-100, 4)"))
    with refused(FormatError, -100):
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


def header_of(text: str) -> io.BytesIO:
    return io.BytesIO(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())


def test_a_header_of_python_2_is_read():
    text = "{'descr': '<i2', 'fortran_order': False, 'shape': (3L, 10L)}"
    assert read_array_header(header_of(text)) == ((3, 10), False, np.dtype("<i2"))


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<i2', 'fortran_order': False, 'shape': (-3,)}",
        "{'descr': '<i2', 'fortran_order': False, 'shape': (1.5,)}",
        "{'descr': '<i2', 'fortran_order': 1, 'shape': (3,)}",
        "{'descr': '<i2', 'shape': (3,)}",
        "[1, 2]",
        "{'descr': '<i2', 'fortran_order': False, 'shape': (3,)}" + " " * 10_000,
    ],
)
def test_odd_headers_are_refused(text):
    with refused(ValueError):
        read_array_header(header_of(text))


@pytest.mark.parametrize(
    ("kind", "names"),
    [(np.float64, "t_s,x,y,p"), (np.float32, "x,y,t_s,p"), (np.float64, "p,t_s,y,x")],
)
def test_times_in_seconds_are_read_where_the_columns_are_named(tmp_path, kind, names):
    events = make(300)
    columns = {"t_s": events.t / 1e6, "x": events.x, "y": events.y, "p": events.p}
    table = np.stack([columns[name] for name in names.split(",")], axis=1).astype(kind)
    path = save(tmp_path / "a.npy", table)
    if names == "t_s,x,y,p":
        with refused(FormatError, "npy:t_s,x,y,p"):
            dvskit.open_events(path)
    recording = dvskit.open_events(path, format=f"npy:{names}", size=events.sensor_size)
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
    with refused(FormatError, "npy:t_s"):
        dvskit.load_events(path)
    assert dvskit.load_events(path, format="npy:t_s", size=events.sensor_size) == events
    plainly = save(tmp_path / "b.npy", np.zeros((5, 4)))
    wrong = {path: ("x", "t_s,x,y,p", ""), plainly: ("t,x,y", "t,t_s,x,y", "t,x,y,q", "t_s")}
    for file, names in [(file, each) for file, several in wrong.items() for each in several]:
        with refused(ConfigError, file):
            dvskit.load_events(file, format=f"npy:{names}")


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e308])
def test_a_time_in_seconds_that_cannot_be_is_named(tmp_path, value):
    table = np.array([[0.1, 1, 2, 1], [value, 1, 2, 0], [0.3, 3, 4, 1]])
    path = save(tmp_path / "a.npy", table)
    with refused(DamagedFileError, "microseconds"):
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
            shapes = list(pool.map(read, [300] * 4))
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
    assert shapes == [{(280, 4)}] * 4
