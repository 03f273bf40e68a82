"""Damaged and hostile HDF5 files: one clean error, or the loss counted; never more than that."""

from __future__ import annotations

import h5py
import hdf5plugin
import numpy as np
import pytest

import dvskit
from dvskit.errors import DamagedFileError, FormatError
from dvskit.formats.hdf5.writing import EVENT
from tests.laws import on_threads, refused
from tests.test_hdf5 import SIZE, as_rows, make_events

CHUNK = 16384
WRITTEN = ("hdf5", "hdf5-ecf", "dsec")


EVENTS = make_events(70_000, seed=9, start=1000)


def join(*parts):
    return dvskit.Events.concatenate([EVENTS[part] for part in parts])


def chunks_of(path, name):
    with h5py.File(path) as file:
        found = []
        file[name].id.chunk_iter(found.append)
    return found


def patch(path, offset, data):
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_that_ends_early_is_refused_in_one_line(tmp_path, name):
    path = tmp_path / "a.h5"
    dvskit.save_events(EVENTS, path, format=name)
    path.write_bytes(path.read_bytes()[:-10])
    for strict in (True, False):
        with refused(FormatError, "a.h5", "copy the file again"):
            dvskit.open_events(path, strict=strict)


@pytest.mark.parametrize(
    ("name", "offset", "data"),
    [
        ("hdf5", None, b"\x55\xaa\x55"),
        ("dsec", None, b"\x55\xaa\x55"),
        ("hdf5-ecf", 0, b"\xff\xff"),
        ("hdf5-ecf", 2000, b"\x00"),
        ("hdf5-ecf", 12, b"\xff" * 20),
    ],
)
def test_a_damaged_chunk_loses_its_own_events_alone(tmp_path, name, offset, data):
    path = tmp_path / "a.h5"
    dvskit.save_events(EVENTS, path, format=name)
    second = chunks_of(path, "events/y" if name == "dsec" else "CD/events")[1]
    patch(path, second.byte_offset + (second.size // 2 if offset is None else offset), data)
    recording = dvskit.open_events(path)
    with refused(DamagedFileError, f"at byte {second.byte_offset};"):
        recording.load()
    assert next(iter(recording)) == EVENTS[:CHUNK]
    recording = dvskit.open_events(path, strict=False)
    assert recording.load() == join(slice(0, CHUNK), slice(2 * CHUNK, None))
    assert recording.damage.count == 1
    assert recording.damage.losses[0][:2] == (second.byte_offset, second.size)
    assert recording.damage.lost_bytes == second.size


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("jump", [-(1 << 40), 1 << 40])
def test_a_chunk_whose_time_jumps_is_outvoted(tmp_path, place, jump):
    path = tmp_path / "a.hdf5"
    dvskit.save_events(EVENTS, path, format="hdf5-ecf")
    chunk = chunks_of(path, "CD/events")[place]
    first = int(EVENTS.t[place * CHUNK])
    patch(path, chunk.byte_offset + 4, (first + jump).to_bytes(8, "little", signed=True))
    if place == (0 if jump < 0 else 4):  # nothing behind or ahead of it speaks against it
        assert len(dvskit.load_events(path, strict=False)) == len(EVENTS)
        return
    with pytest.raises(DamagedFileError):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    stop = min((place + 1) * CHUNK, len(EVENTS))
    assert recording.load() == join(slice(0, place * CHUNK), slice(stop, None))
    assert recording.damage.count == stop - place * CHUNK


def write_table(path, rows, **settings):
    with h5py.File(path, "w") as file:
        file.create_dataset("CD/events", data=rows, **settings)
        file.attrs["geometry"] = "640x480"


def test_single_bad_rows_are_lost_where_they_stand(tmp_path):
    path = tmp_path / "a.h5"
    rows = as_rows(EVENTS[:3000])
    rows["x"][10], rows["y"][20], rows["p"][30], rows["p"][31] = 640, 65535, 7, -2
    rows["t"][40] = 1 << 62
    write_table(path, rows)
    with h5py.File(path) as file:
        start = file["CD/events"].id.get_offset()
    with refused(DamagedFileError, "640x480", f"at byte {start + 160};"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    kept = np.delete(EVENTS.t[:3000], [10, 20, 30, 31, 40])
    assert recording.load().t.tolist() == kept.tolist()
    offsets = {loss.offset - start for loss in recording.damage.losses}
    assert offsets == {160, 320, 480, 640}
    assert recording.damage.lost_bytes == 5 * 16


def test_time_that_runs_back_where_the_parts_of_threads_meet_is_damage(tmp_path):
    rows = as_rows(make_events(1 << 16))
    rows["t"][: 1 << 15] += 1 << 30
    write_table(tmp_path / "a.h5", rows)
    with on_threads(2), refused(DamagedFileError, "a.h5"):
        dvskit.load_events(tmp_path / "a.h5")


def test_numbers_that_are_no_pixels_or_times_are_damage(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["events/xs"] = np.array([1.0, 2.5, 3.0, 1e9, 4.0])
        file["events/ys"] = np.arange(5)
        file["events/ts"] = np.array([0.0, 0.1, np.nan, 0.3, 0.4])
        file["events/ps"] = np.array([1, -1, 1, 1, -1])
    recording = dvskit.open_events(path, size=SIZE, strict=False)
    assert recording.load().t.tolist() == [0, 400_000]
    assert recording.damage.count >= 3
    with pytest.raises(DamagedFileError):
        dvskit.load_events(path, size=SIZE)
    with h5py.File(path, "w") as file:  # integers too wide for a pixel
        file["events"] = np.array([[0, 1, 1, 1], [1, 65536 + 5, 1, 0], [2, 3, 1 << 31, 0]], "u4")
    recording = dvskit.open_events(path, size=SIZE, strict=False)
    assert recording.load().t.tolist() == [0]
    assert recording.damage.count == 2


@pytest.mark.parametrize("name", ["hdf5-ecf", "dsec"])
def test_a_claim_of_a_quintillion_events_costs_nothing(tmp_path, name):
    path = tmp_path / "a.h5"
    events = EVENTS[: 3 * CHUNK]
    dvskit.save_events(events, path, format=name)
    with h5py.File(path, "a") as file:
        for column in ["CD/events"] if name == "hdf5-ecf" else [f"events/{c}" for c in "xytp"]:
            file[column].resize((1 << 60,))
    given = []
    with refused(DamagedFileError, 49152, (1 << 60) - 1):
        for block in dvskit.open_events(path):
            given.append(block[:])
    assert dvskit.Events.concatenate(given) == events
    recording = dvskit.open_events(path, strict=False)
    assert recording.load() == events
    assert recording.damage.count == 1


def test_a_hole_among_the_chunks_is_reported(tmp_path):
    path = tmp_path / "a.h5"
    rows = as_rows(EVENTS)
    with h5py.File(path, "w") as file:
        made = file.create_dataset("CD/events", (len(rows),), EVENT, chunks=(10_000,))
        made[:20_000], made[30_000:] = rows[:20_000], rows[30_000:]
        file.attrs["geometry"] = "640x480"
    with refused(DamagedFileError, 20000, 29999):
        dvskit.load_events(path)
    assert dvskit.load_events(path, strict=False) == join(slice(0, 20_000), slice(30_000, None))


def write_bomb(path, packed, **settings):
    with h5py.File(path, "w") as file:
        made = file.create_dataset("CD/events", (CHUNK,), EVENT, chunks=(CHUNK,), **settings)
        made.id.write_direct_chunk((0,), packed)
        file.attrs["geometry"] = "640x480"


def blosc_bomb():
    header = bytes([2, 1, 4 << 5, 16]) + (1 << 30).to_bytes(4, "little") * 2
    return header + (20 + 100).to_bytes(4, "little") + b"\x14\0\0\0" + b"\xff" * 100


BOMBS = {
    "lzf": (b"\x00\x00" + b"\xff\xff\x00" * 3000, {"compression": "lzf"}),
    "blosc": (blosc_bomb(), dict(hdf5plugin.Blosc(cname="zstd"))),
    "lz4": (b"\x10" + bytes(7) + b"\x10" + bytes(60), dict(hdf5plugin.LZ4())),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_chunk_that_would_become_larger_than_a_chunk_is_refused(tmp_path, kind):
    packed, settings = BOMBS[kind]
    write_bomb(tmp_path / "a.h5", packed, **settings)
    with refused(DamagedFileError, "CD/events"):
        dvskit.load_events(tmp_path / "a.h5")
    assert len(dvskit.load_events(tmp_path / "a.h5", strict=False)) == 0


def test_other_files_are_never_opened(tmp_path):
    secret = tmp_path / "secret.h5"
    write_table(secret, as_rows(EVENTS[:100]))
    (tmp_path / "raw.bin").write_bytes(as_rows(EVENTS[:100]).tobytes())
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file["CD"] = h5py.ExternalLink(str(secret), "CD")
    with h5py.File(tmp_path / "soft.h5", "w") as file:
        file["other/events"] = as_rows(EVENTS[:100])
        file["CD"] = h5py.SoftLink("/other")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((100,), EVENT)
        layout[:] = h5py.VirtualSource(str(secret), "CD/events", (100,))
        file.create_virtual_dataset("CD/events", layout)
    with h5py.File(tmp_path / "stored.h5", "w") as file:
        outside = [(str(tmp_path / "raw.bin"), 0, 1600)]
        file.create_dataset("CD/events", (100,), EVENT, external=outside)
    for name in ("external", "soft", "virtual", "stored"):
        for strict in (True, False):
            with refused(FormatError, f"{name}.h5"):
                dvskit.open_events(tmp_path / f"{name}.h5", strict=strict)


def test_columns_of_unequal_length_are_an_error_or_cut(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for column, count in zip("xytp", (100, 100, 90, 100), strict=True):
            file[f"events/{column}"] = getattr(EVENTS, column)[:count]
    with refused(FormatError, "events/t 90"):
        dvskit.open_events(tmp_path / "a.h5")
    assert dvskit.load_events(tmp_path / "a.h5", size=SIZE, strict=False) == EVENTS[:90]


def test_a_damaged_structure_and_chunks_too_large_to_unpack_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    dvskit.save_events(EVENTS, path)
    patch(path, 96, b"\xff" * 400)
    for strict in (True, False):
        with refused(FormatError, "a.h5", "h5repack"):
            dvskit.open_events(path, strict=strict)
    with h5py.File(path, "w") as file:
        file.create_dataset("CD/events", (0,), EVENT, chunks=(1 << 25,), maxshape=(None,))
    with refused(FormatError, "a.h5", "h5repack"):
        dvskit.open_events(path)


def test_a_heap_that_the_library_would_walk_for_ever_is_an_error(tmp_path):
    path = tmp_path / "a.hdf5"
    dvskit.save_events(EVENTS[:100], path)
    heap = path.read_bytes().index(b"GCOL")
    patch(path, heap + 16, bytes(16))  # its first object: number 0, size 0
    header = dvskit.open_events(path, strict=False).header()
    assert "geometry" not in header  # the attributes stand in the heap


FOREIGN = {
    "blosc2": hdf5plugin.Blosc2(),
    "scale-offset": {"scaleoffset": 0},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::dvskit.errors.UnitWarning")  # microseconds are meant
@pytest.mark.parametrize("name", FOREIGN)
def test_filters_that_are_left_to_the_library_give_the_events(tmp_path, name):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for key in "txyp":
            column = getattr(EVENTS, key).astype("i8" if key == "t" else "u2")
            file.create_dataset(f"events/{key}", data=column, chunks=(4096,), **FOREIGN[name])
    recording = dvskit.open_events(path, size=SIZE, strict=name != "scale-offset")
    assert recording.load() == EVENTS
    assert not recording.damage
    if name == "blosc2":
        start, stop = EVENTS.t[[4095, 4097]].tolist()
        assert recording.between(start, stop).load() == EVENTS.between(start, stop)


def test_chunks_that_the_library_would_read_beyond_their_ends_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    write_bomb(path, as_rows(EVENTS[:100]).tobytes())  # of 16384 rows, and without filters
    for strict in (True, False):
        with refused(FormatError, "a.h5", "CD/events", 1600):
            dvskit.open_events(path, strict=strict)
    write_table(path, as_rows(EVENTS[:100]), chunks=(50,), **hdf5plugin.Bitshuffle())
    with refused(FormatError, "a.h5", "bitshuffle", "h5repack"):
        dvskit.open_events(path)
