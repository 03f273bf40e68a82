"""Damaged and hostile HDF5 files: one clean error, or the loss counted; never more than that."""

from __future__ import annotations

import random
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

import dvskit
from dvskit.errors import DamagedFileError, FormatError
from dvskit.formats.hdf5 import stored
from dvskit.formats.hdf5.filters import ChunkError
from dvskit.formats.hdf5.library import RowFile
from dvskit.formats.hdf5.writing import EVENT, TRIGGER
from tests.test_hdf5 import SIZE, as_rows, make_events

CHUNK = 16384
WRITTEN = ("hdf5", "hdf5-gzip", "dsec")


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
def test_a_file_that_ends_early_keeps_the_chunks_ahead_of_its_end(tmp_path, name):
    path = tmp_path / "a.h5"
    dvskit.save_events(EVENTS, path, format=name)
    whole = path.read_bytes()
    columns = ["events/x", "events/p"] if name == "dsec" else ["CD/events"]
    starts = [chunks_of(path, column) for column in columns]
    for kept in (1, 2, 3):
        cut = starts[0][kept].byte_offset + 10 if kept < 3 else starts[-1][3].byte_offset + 10
        path.write_bytes(whole[:cut])
        with pytest.raises(DamagedFileError, match=rf"the file ends.*at byte {cut}"):
            dvskit.open_events(path)
        recording = dvskit.open_events(path, strict=False)
        assert recording.load() == join(slice(0, kept * CHUNK))
        assert recording.damage.count >= 1
        assert recording.damage.losses[0].offset <= cut


@pytest.mark.parametrize("name", ["hdf5-gzip", "dsec"])
def test_a_damaged_chunk_loses_its_own_events_alone(tmp_path, name):
    path = tmp_path / "a.h5"
    dvskit.save_events(EVENTS, path, format=name)
    second = chunks_of(path, "events/y" if name == "dsec" else "CD/events")[1]
    patch(path, second.byte_offset + second.size // 2, b"\x55\xaa\x55")
    recording = dvskit.open_events(path)
    with pytest.raises(DamagedFileError, match=f"is damaged.*at byte {second.byte_offset};"):
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
    dvskit.save_events(EVENTS, path)
    chunk = chunks_of(path, "CD/events")[place]
    first = int(EVENTS.t[place * CHUNK])
    patch(path, chunk.byte_offset + 4, (first + jump).to_bytes(8, "little", signed=True))
    alone = place == (0 if jump < 0 else 4)  # nothing behind or ahead of it speaks against it
    if not alone:
        with pytest.raises(DamagedFileError, match="time runs back"):
            dvskit.load_events(path)
        recording = dvskit.open_events(path, strict=False)
        kept = recording.load()
        stop = min((place + 1) * CHUNK, len(EVENTS))
        assert kept == join(slice(0, place * CHUNK), slice(stop, None))
        assert recording.damage.count == stop - place * CHUNK
    else:
        assert len(dvskit.load_events(path, strict=False)) == len(EVENTS)


def test_an_ecf_chunk_with_broken_codes_is_lost_and_its_loss_told(tmp_path):
    path = tmp_path / "a.hdf5"
    dvskit.save_events(EVENTS, path)
    chunk = chunks_of(path, "CD/events")[2]
    for offset, data in ((0, b"\xff\xff"), (2000, b"\x00"), (12, b"\xff" * 20)):
        dvskit.save_events(EVENTS, path, overwrite=True)
        patch(path, chunk.byte_offset + offset, data)
        with pytest.raises(DamagedFileError, match=r"a chunk of CD/events is damaged: .*, at byte"):
            dvskit.load_events(path)
        recording = dvskit.open_events(path, strict=False)
        assert recording.load() == join(slice(0, 2 * CHUNK), slice(3 * CHUNK, None))
        assert recording.damage.losses[0][:2] == (chunk.byte_offset, chunk.size)


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
    with pytest.raises(DamagedFileError, match=f"is off the 640x480.*at byte {start + 160};"):
        dvskit.load_events(path)
    recording = dvskit.open_events(path, strict=False)
    bad = [10, 20, 30, 31, 40]
    assert recording.load().t.tolist() == np.delete(EVENTS.t[:3000], bad).tolist()
    told = {loss.offset - start for loss in recording.damage.losses}
    assert told == {160, 320, 480, 640}
    assert recording.damage.lost_bytes == 5 * 16


def test_numbers_that_are_no_pixels_or_times_are_damage(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["events/xs"] = np.array([1.0, 2.5, 3.0, 1e9, 4.0])
        file["events/ys"] = np.arange(5)
        file["events/ts"] = np.array([0.0, 0.1, np.nan, 0.3, 0.4])
        file["events/ps"] = np.array([1, -1, 1, 1, -1])
    for strict, count in ((False, 2),):
        recording = dvskit.open_events(path, size=SIZE, strict=strict)
        assert recording.load().t.tolist() == [0, 400_000]
        assert recording.damage.count >= 5 - count
    with pytest.raises(DamagedFileError, match="a coordinate that is not a whole number"):
        dvskit.load_events(path, size=SIZE)


def test_wide_integers_do_not_wrap_into_the_sensor(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["events"] = np.array([[0, 1, 1, 1], [1, 65536 + 5, 1, 0], [2, 3, 1 << 31, 0]], "u4")
    recording = dvskit.open_events(path, size=SIZE, strict=False)
    assert recording.load().t.tolist() == [0]
    assert recording.damage.count == 2


@pytest.mark.parametrize("name", ["hdf5", "dsec"])
def test_a_claim_of_a_quintillion_events_costs_nothing(tmp_path, name):
    path = tmp_path / "a.h5"
    events = EVENTS[: 3 * CHUNK]
    dvskit.save_events(events, path, format=name)
    with h5py.File(path, "a") as file:
        for column in ["CD/events"] if name == "hdf5" else [f"events/{c}" for c in "xytp"]:
            file[column].resize((1 << 60,))
    recording = dvskit.open_events(path)
    given = []
    with pytest.raises(DamagedFileError, match=r"events 49152 to 1152921504606846975 are not in"):
        given += iter(recording)
    assert dvskit.Events.concatenate(given or list(take(recording))) == events
    recording = dvskit.open_events(path, strict=False)
    assert recording.load() == events
    assert recording.damage.count == 1


def take(recording):
    try:
        yield from recording
    except DamagedFileError:
        return


def test_a_hole_among_the_chunks_is_told(tmp_path):
    path = tmp_path / "a.h5"
    rows = as_rows(EVENTS)
    with h5py.File(path, "w") as file:
        made = file.create_dataset("CD/events", (len(rows),), EVENT, chunks=(10_000,))
        made[:20_000], made[30_000:] = rows[:20_000], rows[30_000:]
        file.attrs["geometry"] = "640x480"
    with pytest.raises(DamagedFileError, match="events 20000 to 29999 are not in the file"):
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
    "gzip": (zlib.compress(bytes(1 << 26)), {"compression": "gzip"}),
    "zstd": (None, dict(hdf5plugin.Zstd())),
    "blosc": (blosc_bomb(), dict(hdf5plugin.Blosc(cname="zstd"))),
    "lz4": (b"\x10" + bytes(7) + b"\x10" + bytes(60), dict(hdf5plugin.LZ4())),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_chunk_that_would_become_larger_than_a_chunk_is_refused(tmp_path, kind):
    packed, settings = BOMBS[kind]
    if packed is None:
        zstandard = pytest.importorskip("zstandard")
        packed = zstandard.ZstdCompressor().compress(bytes(1 << 26))
    write_bomb(tmp_path / "a.h5", packed, **settings)
    with pytest.raises(DamagedFileError, match="a chunk of CD/events is damaged"):
        dvskit.load_events(tmp_path / "a.h5")
    assert len(dvskit.load_events(tmp_path / "a.h5", strict=False)) == 0


def test_chunks_too_large_to_unpack_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("CD/events", (0,), EVENT, chunks=(1 << 25,), maxshape=(None,))
    with pytest.raises(FormatError, match="h5repack"):
        dvskit.open_events(tmp_path / "a.h5")


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
    for name, said in (
        ("external", "a link to another place"),
        ("soft", "a link to another place"),
        ("virtual", "stored in other files"),
        ("stored", "stored in other files"),
    ):
        for strict in (True, False):
            with pytest.raises(FormatError, match=said):
                dvskit.open_events(tmp_path / f"{name}.h5", strict=strict)


def test_columns_of_unequal_length_are_an_error_or_cut(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for column, count in zip("xytp", (100, 100, 90, 100), strict=True):
            file[f"events/{column}"] = getattr(EVENTS, column)[:count]
    with pytest.raises(FormatError, match=r"columns differ in length .*events/t 90"):
        dvskit.open_events(tmp_path / "a.h5")
    assert dvskit.load_events(tmp_path / "a.h5", size=SIZE, strict=False) == EVENTS[:90]


def test_damaged_structure_is_one_line_with_a_mend(tmp_path):
    path = tmp_path / "a.h5"
    dvskit.save_events(EVENTS, path)
    patch(path, 96, b"\xff" * 400)
    for strict in (True, False):
        with pytest.raises(
            FormatError, match=r"its HDF5 structure cannot be read .*h5repack"
        ) as got:
            dvskit.open_events(path, strict=strict)
        assert "\n" not in str(got.value)


CHILD = """
import resource, sys, time
import dvskit
from dvskit.errors import DvskitError
from tests.test_hdf5_damage import mutations
loose = []
sys.unraisablehook = loose.append
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
damaged = ((path, *each) for path in sys.argv[2:] for each in mutations(path, int(sys.argv[1])))
for path, seed, content in damaged:
    with open(path + ".bad", "wb") as file:
        file.write(content)
    for strict in (True, False):
        try:
            recording = dvskit.open_events(path + ".bad", format="hdf5", strict=strict)
            for block in recording:
                assert (block.t[1:] >= block.t[:-1]).all()
                assert block.x.min() >= 0 and block.x.max() < recording.size.width
                assert block.y.min() >= 0 and block.y.max() < recording.size.height
            recording.triggers()
            for frame in recording.frames():
                pass
        except DvskitError as error:
            assert "\\n" not in str(error), error
    assert not loose, loose
    print(seed, flush=True)
"""


def mutations(path, count):
    """Yield seeds and damaged copies: cuts, flips, blocks swapped or wiped, hostile sizes."""
    whole = Path(path).read_bytes()
    for seed in range(count):
        rng = random.Random(seed)
        content = bytearray(whole)
        # Most of a structure stands near the start: half of the damage is done there.
        at = rng.randrange(len(whole) if seed % 2 else min(len(whole), 6000))
        kind = seed // 2 % 6
        if kind == 0:
            for _ in range(rng.choice([1, 3, 30])):
                content[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[rng.randrange(len(whole)) :]
        elif kind == 2:
            other = rng.randrange(len(whole) - 512)
            content[at : at + 512] = whole[other : other + 512]
        elif kind == 3:
            content[at : at + rng.choice([1, 8, 64, 4096])] = bytes([rng.choice([0, 255])] * 8)
        elif kind == 4:
            size = rng.choice([1 << 60, 1 << 31, 1 << 63, 0, len(whole)])
            content[at : at + 8] = size.to_bytes(8, "little")
        else:
            content[at] = rng.randrange(256)
        yield seed, bytes(content)


def write_latest(path):
    with h5py.File(path, "w", libver="latest") as file:
        for name in "xytp":
            column = getattr(EVENTS, name)
            file.create_dataset(f"events/{name}", data=column, chunks=(5000,), compression="lzf")
        file["events/width"], file["events/height"] = SIZE
        file.create_dataset("images/a", data=np.zeros((20, 30), "u1"))
        file["images/a"].attrs["timestamp"] = 1.5


@pytest.mark.slow
def test_no_damage_crashes_hangs_or_raises_anything_else(tmp_path):
    paths = [tmp_path / f"{name}.h5" for name in WRITTEN]
    for name, path in zip(WRITTEN, paths, strict=True):
        dvskit.save_events(EVENTS, path, format=name)
    paths.append(tmp_path / "latest.h5")
    write_latest(paths[-1])
    command = [sys.executable, "-W", "error", "-c", CHILD, "36", *map(str, paths)]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=root, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.split()) == 4 * 36


@pytest.mark.slow
def test_a_heap_that_the_library_would_walk_for_ever_is_an_error(tmp_path):
    path = tmp_path / "a.hdf5"
    dvskit.save_events(EVENTS[:100], path)
    content = path.read_bytes()
    heap = content.index(b"GCOL")
    patch(path, heap + 16, bytes(16))  # its first object: number 0, size 0
    code = f"import dvskit; print(dvskit.open_events({str(path)!r}, strict=False).header())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "geometry" not in done.stdout  # the attributes stand in the heap


@pytest.mark.slow
def test_streaming_a_long_file_takes_the_memory_of_a_block(tmp_path):
    path = tmp_path / "a.hdf5"
    block = make_events(1 << 20)

    class Long:
        size = block.size

        def __iter__(self):
            for lap in range(8):
                t = block.t + lap * (block.duration_us + 5)
                yield dvskit.Events.from_checked(t, block.x, block.y, block.p, block.size)

    dvskit.save_events(Long(), path)
    code = (
        "import resource, sys, dvskit\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "count = sum(len(each) for each in dvskit.open_events(sys.argv[1]).blocks(reuse=True))\n"
        "print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    count, peak = (int(word) for word in done.stdout.split())
    assert count == 8 << 20
    assert peak < 200


FOREIGN = {
    "blosc2": hdf5plugin.Blosc2(),
    "bzip2": hdf5plugin.BZip2(),
    "bitshuffle": hdf5plugin.Bitshuffle(),
    "blosc-snappy": hdf5plugin.Blosc(cname="snappy"),
    "scale-offset": {"scaleoffset": 0},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOREIGN)
def test_filters_that_are_left_to_the_library_give_the_events(tmp_path, name):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for key in "txyp":
            column = getattr(EVENTS, key).astype("i8" if key == "t" else "u2")
            file.create_dataset(f"events/{key}", data=column, chunks=(4096,), **FOREIGN[name])
    for strict in (True, False):
        recording = dvskit.open_events(path, size=EVENTS.size, strict=strict)
        assert recording.load() == EVENTS
        assert not recording.damage


@pytest.mark.slow
def test_triggers_and_frames_behind_filters_of_the_library_are_read(tmp_path):
    path = tmp_path / "a.h5"
    edges = np.array([(1, 40, 2), (0, 900, 3)], TRIGGER)
    images = np.arange(2 * 48).reshape(2, 6, 8).astype("u1")
    with h5py.File(path, "w") as file:
        file["events"] = np.array([[0, 1, 1, 1]], "u4")
        file.create_dataset("frame", data=images, chunks=(1, 6, 8), **hdf5plugin.BZip2())
        file["frame_ts"] = np.array([0, 40_000])
    got = list(dvskit.open_events(path, size=SIZE).frames())
    np.testing.assert_array_equal(np.stack([frame.image for frame in got]), images)
    with h5py.File(path, "a") as file:
        file["CD/events"] = as_rows(EVENTS[:10])
        file.create_dataset("EXT_TRIGGER/events", data=edges, chunks=(2,), **hdf5plugin.BZip2())
    triggers = dvskit.open_events(path, size=SIZE).triggers()
    assert (triggers.t.tolist(), triggers.id.tolist()) == ([40, 900], [2, 3])


@pytest.mark.slow
def test_a_chunk_on_which_the_library_breaks_down_costs_itself(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("rows", data=np.arange(100), chunks=(10,), **hdf5plugin.BZip2())
    with RowFile(path, strict=True) as reader:
        assert reader.by_library("rows", 20, 40).tolist() == list(range(20, 40))
        reader._process.kill()
        reader._process.wait()
        with pytest.raises(ChunkError, match="the HDF5 library crashes on it"):
            reader.by_library("rows", 0, 10)
        assert reader.by_library("rows", 0, 10).tolist() == list(range(10))
        with pytest.raises(ChunkError, match="the HDF5 library cannot unpack it"):
            reader.by_library("columns", 0, 10)
        assert reader.by_library("rows", 90, 100).tolist() == list(range(90, 100))
    assert reader._process is None


def test_a_chunk_of_a_hostile_size_makes_no_room_for_it(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    index = np.array([[0, 0, 1 << 61, 0]])
    held = stored.Stored("x", np.dtype("u1"), 10, (), (10,), (), index)
    with RowFile(path, strict=True) as file, pytest.raises(ChunkError, match="the file ends"):
        held.read(file, 0, 10)
