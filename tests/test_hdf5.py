"""HDF5 files: every layout is read to the same events, what is written is read back."""

from __future__ import annotations

import h5py
import hdf5plugin
import numpy as np
import pytest

import dvskit
from dvskit.errors import (
    FormatError,
    GeometryError,
    LeftOutWarning,
    OutputError,
    UnknownFormatError,
)
from dvskit.formats.hdf5.table import ECF
from dvskit.formats.hdf5.writing import EVENT, INDEX, TRIGGER
from dvskit.streams import Triggers
from tests.arriving import small
from tests.laws import refused

SIZE = (640, 480)
ZSTD = dict(hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE))


def make_events(count=50_000, seed=0, start=25):
    rng = np.random.default_rng(seed)
    t = start + np.cumsum(rng.integers(0, 30, count))
    x, y = rng.integers(0, SIZE[0], count), np.repeat(rng.integers(0, SIZE[1], count), 3)[:count]
    if count > 1:
        x[1], y[1] = SIZE[0] - 1, SIZE[1] - 1
    return dvskit.Events(t=t, x=x, y=y, p=rng.integers(0, 2, count), size=SIZE)


EVENTS = make_events()
TRIGGERS = Triggers(
    np.array([40, 900, 500_000]), np.array([0, 6, 0], np.int16), np.array([True, False, True])
)


def as_rows(events):
    rows = np.zeros(len(events), EVENT)
    rows["x"], rows["y"], rows["p"], rows["t"] = events.x, events.y, events.p, events.t
    return rows


def write_prophesee(path, events=EVENTS, *, geometry="640x480", chunks=(16384,), **filters):
    with h5py.File(path, "w") as file:
        file.create_dataset("CD/events", data=as_rows(events), chunks=chunks, **filters)
        edges = np.zeros(len(TRIGGERS), TRIGGER)
        edges["t"], edges["id"], edges["p"] = TRIGGERS.t, TRIGGERS.id, TRIGGERS.p
        file.create_dataset("EXT_TRIGGER/events", data=edges, chunks=(2,))
        if geometry:
            file.attrs["geometry"] = geometry
            file.attrs["generation"] = "4.2"


def write_columns(path, events=EVENTS, *, group="events/", names="xytp", types=None, **settings):
    types = types or {"x": "u2", "y": "u2", "t": "u4", "p": "u1"}
    with h5py.File(path, "w", libver=settings.pop("libver", "earliest")) as file:
        for column, name in zip("xytp", names, strict=True):
            data = getattr(events, column).astype(types[column])
            file.create_dataset(f"{group}{name}", data=data, **settings)


def write_dsec(path):
    shifted = EVENTS.t - 1000
    write_columns(path, chunks=(4096,), **ZSTD, types={"x": "u2", "y": "u2", "t": "i8", "p": "u1"})
    with h5py.File(path, "a") as file:
        file["events/t"][:] = shifted
        file["t_offset"] = np.int64(1000)
        file["ms_to_idx"] = np.searchsorted(shifted, np.arange(0, 700) * 1000).astype("u8")


def write_rvt(path):
    write_columns(path, chunks=(5000,), **ZSTD)
    with h5py.File(path, "a") as file:
        file["events/height"], file["events/width"] = SIZE[1], SIZE[0]


def write_v2e(path):
    rows = np.stack([EVENTS.t, EVENTS.x, EVENTS.y, EVENTS.p], 1).astype("u4")
    with h5py.File(path, "w") as file:
        file.create_dataset("events", data=rows, maxshape=(None, 4), compression="gzip")
        frames = np.arange(3 * SIZE[0] * SIZE[1]).reshape(3, SIZE[1], SIZE[0]) % 251
        chunks = (2, SIZE[1], SIZE[0])
        file.create_dataset("frame", data=frames.astype("u1"), chunks=chunks, compression="gzip")
        file["frame_ts"] = np.array([0, 40_000, 80_000], "u4")
        file["frame_idx"] = np.array([0, 2000, 4000], "u8")


def write_e2vid(path):
    with h5py.File(path, "w") as file:
        file["events/xs"], file["events/ys"] = EVENTS.x, EVENTS.y
        file["events/ts"] = EVENTS.t / 1e6
        file["events/ps"] = EVENTS.p
        file.attrs["sensor_resolution"] = (SIZE[1], SIZE[0])
        for number in range(3):
            image = file.create_dataset(
                f"images/image{number:09d}", data=np.full((SIZE[1], SIZE[0]), number, "u1")
            )
            image.attrs["timestamp"] = 0.1 * number


def write_mvsec(path):
    columns = [EVENTS.x, EVENTS.y, EVENTS.t / 1e6, np.where(EVENTS.p, 1, -1)]
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "davis/left/events", data=np.stack(columns, 1).astype("f8"), chunks=(10_000, 3)
        )
        file["davis/left/image_raw"] = np.zeros((2, SIZE[1], SIZE[0]), "u1")
        file["davis/left/image_raw_ts"] = np.array([0.5, 0.25])


def write_m3ed(path):
    write_columns(path, group="prophesee/left/", chunks=(4096,), **ZSTD)
    with h5py.File(path, "a") as file:
        file["prophesee/left/calib/resolution"] = np.array(SIZE)


def write_compound(path):
    rows = np.zeros(len(EVENTS), [("timestamp", "<i8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])
    rows["timestamp"], rows["x"], rows["y"], rows["on"] = EVENTS.t, EVENTS.x, EVENTS.y, EVENTS.p
    with h5py.File(path, "w") as file:
        file["events"] = rows


LAYOUTS = {
    "prophesee ecf": lambda path: dvskit.save_events(EVENTS, path, format="hdf5-ecf"),
    "prophesee plain": lambda path: write_prophesee(path),
    "prophesee gzip": lambda path: write_prophesee(path, compression="gzip", shuffle=True),
    "prophesee blosc": lambda path: write_prophesee(path, **ZSTD),
    "prophesee lzf": lambda path: write_prophesee(path, compression="lzf"),
    "dsec": write_dsec,
    "dsec by dvskit": lambda path: dvskit.save_events(EVENTS, path, format="dsec"),
    "rvt": write_rvt,
    "v2e": write_v2e,
    "e2vid": write_e2vid,
    "mvsec": write_mvsec,
    "m3ed": write_m3ed,
    "compound": write_compound,
    "top": lambda path: write_columns(path, group="", compression="gzip", libver="latest"),
    "one stretch": lambda path: write_columns(path),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hdf5")
    made = {}
    for name, write in LAYOUTS.items():
        made[name] = folder / f"{name}.h5"
        write(made[name])
    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::dvskit.errors.UnitWarning")  # microseconds are meant
@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_is_found_by_its_content_and_gives_the_events_and_their_parts(files, name):
    last = int(EVENTS.t[-1])
    edges = [0, 25, 26, int(EVENTS.t[16384]), int(EVENTS.t[16383]) + 1, last, last + 1]
    for strict in (True, False):
        recording = dvskit.open_events(files[name], strict=strict)
        assert recording.format == "hdf5"
        assert recording.load() == EVENTS
        for start in edges:
            for stop in (start + 1, start + 1000):
                assert recording.between(start, stop).load() == EVENTS.between(start, stop)
    assert not recording.damage
    with small("hdf5", BLOCK_EVENTS=6000, PIECE_BYTES=12_000):
        blocks = list(dvskit.open_events(files[name]))
    assert len(blocks) > 2
    assert dvskit.Events.concatenate(blocks) == EVENTS


def test_a_part_is_read_without_what_stands_ahead_of_it(files, tmp_path):
    path = tmp_path / "a.h5"
    content = bytearray(files["rvt"].read_bytes())
    with h5py.File(files["rvt"]) as file:
        first = file["events/t"].id.get_chunk_info(0)
    content[first.byte_offset + 20 : first.byte_offset + 60] = bytes(40)
    path.write_bytes(content)
    at = int(EVENTS.t[40_123])
    part = dvskit.open_events(path).between(at, at + 100)
    assert part.load() == EVENTS.between(at, at + 100)
    with pytest.raises(FormatError):
        dvskit.load_events(path)


def test_where_sizes_come_from_is_said(files):
    opened = {name: dvskit.open_events(files[name]) for name in LAYOUTS}
    for name in ("prophesee ecf", "rvt", "v2e", "e2vid", "mvsec", "m3ed", "dsec by dvskit"):
        assert opened[name].size_origin == "header", name
    for name in ("dsec", "compound", "one stretch"):
        assert opened[name].size_origin == "data", name
    assert opened["prophesee plain"].header()["generation"] == "4.2"
    assert opened["dsec"].header()["t_offset"] == "1000"


def test_a_size_given_is_used_and_a_wrong_one_is_damage(files):
    assert dvskit.open_events(files["dsec"], size=(1280, 720)).size == (1280, 720)
    with refused(FormatError, "600x480"):
        dvskit.load_events(files["dsec"], size=(600, 480))
    small = dvskit.open_events(files["dsec"], size=(600, 480), strict=False)
    assert small.load().t.tolist() == EVENTS.t[EVENTS.x < 600].tolist()
    assert small.damage.count == int((EVENTS.x >= 600).sum())


def test_triggers_come_beside_the_events(files, tmp_path):
    for name in LAYOUTS:
        found = dvskit.open_events(files[name]).triggers()
        assert len(found) == (3 if name.startswith("prophesee ") and "ecf" not in name else 0)
    source = dvskit.open_events(files["prophesee plain"])
    for name in ("hdf5", "hdf5-ecf"):
        dvskit.save_events(source, tmp_path / f"{name}.hdf5", format=name)
    for path in (files["prophesee plain"], tmp_path / "hdf5.hdf5", tmp_path / "hdf5-ecf.hdf5"):
        found = dvskit.open_events(path).triggers()
        assert found.t.tolist() == TRIGGERS.t.tolist()
        assert found.id.tolist() == [0, 6, 0]
        assert found.p.tolist() == [True, False, True]
    with pytest.warns(LeftOutWarning, match="3 triggers"):
        dvskit.save_events(source, tmp_path / "a.h5")


def test_frames_come_in_order_of_time(files):
    v2e = list(dvskit.open_events(files["v2e"]).frames())
    assert [frame.t_us for frame in v2e] == [0, 40_000, 80_000]
    wanted = np.arange(3 * SIZE[0] * SIZE[1]).reshape(3, SIZE[1], SIZE[0]) % 251
    np.testing.assert_array_equal(np.stack([frame.image for frame in v2e]), wanted)
    e2vid = dvskit.open_events(files["e2vid"]).frames()
    found = [(frame.t_us, int(frame.image[0, 0])) for frame in e2vid]
    assert found == [(0, 0), (100_000, 1), (200_000, 2)]
    mvsec = list(dvskit.open_events(files["mvsec"]).frames())
    assert [frame.t_us for frame in mvsec] == [250_000, 500_000]
    assert list(dvskit.open_events(files["dsec"]).frames()) == []
    assert dvskit.open_events(files["v2e"]).other_streams() == {"frames": 3}


@pytest.mark.parametrize(("order", "dtype"), [("txyp", "u4"), ("xytp", "i8")])
def test_tables_of_v2e_and_its_relatives_are_distinguished(tmp_path, order, dtype):
    rows = np.stack([getattr(EVENTS, name).astype(dtype) for name in order], 1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["events"] = rows
    assert dvskit.load_events(tmp_path / "a.h5") == EVENTS


def test_an_unknown_layout_names_what_is_there(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["voxels/grid"] = np.zeros((2, 5, 4), "f4")
        file["label"] = 3
    with refused(UnknownFormatError, "label int64 ()", "voxels/grid float32"):
        dvskit.open_events(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes(b"no such file at all")
    with refused(UnknownFormatError, "b.h5"):
        dvskit.open_events(tmp_path / "b.h5")
    with refused(FormatError, "b.h5"):
        dvskit.open_events(tmp_path / "b.h5", format="hdf5")


@pytest.mark.parametrize("name", ["hdf5", "hdf5-ecf", "dsec"])
@pytest.mark.parametrize(
    ("count", "start"),
    [(0, 0), (1, -5_000_000), (16383, 59_999_999), (16384, 0), (16385, 1_700_000_000_000_000)],
)
def test_what_is_written_is_read_back(tmp_path, name, count, start):
    path = tmp_path / "a.hdf5"
    events = make_events(count, seed=count, start=start)
    dvskit.save_events(events, path, format=name)
    recording = dvskit.open_events(path)
    assert recording.size_origin == "header"
    assert recording.load() == events
    assert dvskit.open_events(path, format=name).load() == events


def test_the_suffix_chooses_the_layout(tmp_path):
    dvskit.save_events(EVENTS, tmp_path / "a.hdf5")
    dvskit.save_events(EVENTS, tmp_path / "ecf.hdf5", format="hdf5-ecf")
    dvskit.save_events(EVENTS, tmp_path / "a.h5")
    stated = {"version": "1.0", "geometry": "640x480"}
    with h5py.File(tmp_path / "a.hdf5") as file:
        for name in "txyp":  # with no plugin
            np.testing.assert_array_equal(file["CD/events"][name], getattr(EVENTS, name))
        assert dict(file.attrs) == stated
    with h5py.File(tmp_path / "ecf.hdf5") as file:
        settings = file["CD/events"].id.get_create_plist()
        assert settings.get_filter(0)[0] == ECF
        assert file["CD/events"].dtype == EVENT
        assert dict(file.attrs) == stated | {"format": "ECF"}
        assert file["EXT_TRIGGER/events"].shape == file["EXT_TRIGGER/indexes"].shape == (0,)
    with h5py.File(tmp_path / "a.h5") as file:
        t, index = file["events/t"][:], file["ms_to_idx"][:].astype(np.int64)
        np.testing.assert_array_equal(t + file["t_offset"][()], EVENTS.t)
        for name in "xyp":
            np.testing.assert_array_equal(file[f"events/{name}"][:], getattr(EVENTS, name))
    assert len(index) == t[-1] // 1000 + 2
    for ms, at in enumerate(index.tolist()):
        assert at == len(t) or t[at] >= 1000 * ms
        assert at == 0 or t[at - 1] < 1000 * ms


def twin_indexes(t):
    """Metavision's writer, event by event."""
    found, index, before = [], (0, -1), (0, -1)
    for number, time in enumerate((t - t[0]).tolist()):
        while time // 2000 + 1 > len(found):
            if number != index[0]:
                before = index
            found.append(before)
            index = (number, time)
    return np.array([*found, index], INDEX)


@pytest.mark.parametrize(("longest", "count"), [(10, 300_000), (3000, 40_000), (100_000, 3000)])
def test_metavisions_index_is_that_of_its_own_writer(tmp_path, longest, count):
    rng = np.random.default_rng(longest)
    t = 77 + np.cumsum(rng.integers(0, longest, count))
    zeros = np.zeros(len(t), np.int64)
    events = dvskit.Events(t=t, x=zeros, y=zeros, p=zeros, size=SIZE)
    dvskit.save_events(events, tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5") as file:
        np.testing.assert_array_equal(file["CD/indexes"][:], twin_indexes(t))
        assert file["CD/indexes"].attrs["offset"] == str(-t[0])


def test_what_does_not_fit_is_refused_and_leaves_no_file(tmp_path):
    wide = dvskit.Events(t=[0], x=[2100], y=[0], p=[1], size=(2200, 100))
    with refused(GeometryError, 2048):
        dvskit.save_events(wide, tmp_path / "a.hdf5", format="hdf5-ecf")
    for name in ("hdf5", "dsec"):
        dvskit.save_events(wide, tmp_path / f"{name}.h5", format=name)
        assert dvskit.load_events(tmp_path / f"{name}.h5") == wide
    with refused(OutputError, "dsec.h5"):
        dvskit.save_events(wide, tmp_path / "dsec.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dsec.h5", "hdf5.h5"]
