"""Events whose time runs back are sorted where that is asked for."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import dvskit
from dvskit.errors import ConfigError, DamagedFileError, EventsError
from dvskit.formats.table import TABLE
from tests.arriving import arrive
from tests.laws import refused, refused_command

SIZE = (64, 48)
KINDS = ("csv", "txt", "npy", "structured.npy", "npz", "hdf5", "h5")


FORMATS = {"npy": "npy:t,x,y,p"}  # without order in time, the columns of an array are not known


def columns(count, *, seed, most_us):
    random = np.random.default_rng(seed)
    t = random.integers(0, most_us, count)
    x, y = random.integers(0, 64, count), random.integers(0, 48, count)
    x[:2], y[:2] = (0, 63), (0, 47)
    return t, x, y, random.integers(0, 2, count)


def write(path, t, x, y, p):
    """Write columns as they are: in no order."""
    rows = zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True)
    if path.suffix == ".csv":
        path.write_text("t,x,y,p\n" + "".join(f"{t},{x},{y},{p}\n" for t, x, y, p in rows))
    elif path.suffix == ".txt":
        path.write_text("".join(f"{t / 1e6:.6f} {x} {y} {p}\n" for t, x, y, p in rows))
    elif path.name.endswith("structured.npy"):
        table = np.zeros(len(t), [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "?")])
        table["t"], table["x"], table["y"], table["p"] = t, x, y, p
        np.save(path, table)
    elif path.suffix == ".npy":
        np.save(path, np.stack([t, x, y, p], axis=1))
    elif path.suffix == ".npz":
        np.savez(path, t=t, x=x.astype(np.int16), y=y.astype(np.int16), p=p > 0, size=SIZE)
    else:
        zero = np.zeros(len(t), np.int64)
        ordered = dvskit.Events(t=np.sort(t), x=zero, y=zero, p=zero, size=SIZE)
        dvskit.save_events(ordered, path, format="dsec" if path.suffix == ".h5" else "hdf5")
        with h5py.File(path, "r+") as file:
            if path.suffix == ".h5":
                for name, values in zip("txyp", (t, x, y, p), strict=True):
                    file[f"events/{name}"][:] = values
            else:
                rows = file["CD/events"][:]
                rows["t"], rows["x"], rows["y"], rows["p"] = t, x, y, p
                file["CD/events"][:] = rows
    return path


def expected(t, x, y, p):
    order = np.argsort(t, kind="stable")
    return dvskit.Events(t=t[order], x=x[order], y=y[order], p=p[order], size=SIZE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("most_us", "strict"), [(50, True), (1_000_000, False)])
def test_events_are_sorted_and_equal_times_keep_their_order(tmp_path, kind, most_us, strict):
    given = columns(3000, seed=1, most_us=most_us)
    path = write(tmp_path / f"a.{kind}", *given)
    recording = dvskit.open_events(
        path, format=FORMATS.get(kind), size=SIZE, strict=strict, sort=True
    )
    wanted = expected(*given)
    assert recording.load() == wanted == recording.load()
    assert not recording.damage
    late = int(np.count_nonzero(given[0] < np.maximum.accumulate(given[0])))
    assert recording.late == late > 1000
    assert any(f"{late:,} of its events" in text for text in recording.assumptions)
    middle = most_us // 2
    assert recording.between(middle, None).load() == wanted.between(middle, None)
    if strict:
        with refused(DamagedFileError, "runs back", "sort=True"):
            dvskit.load_events(path, format=FORMATS.get(kind), size=SIZE)


@pytest.mark.parametrize("kind", KINDS)
def test_sorting_a_sorted_file_changes_nothing_and_says_nothing(tmp_path, kind):
    given = columns(2000, seed=2, most_us=1000)
    wanted = expected(*given)
    path = write(tmp_path / f"a.{kind}", *(getattr(wanted, name).astype(int) for name in "txyp"))
    recording = dvskit.open_events(path, format=FORMATS.get(kind), size=SIZE, sort=True)
    assert recording.load() == wanted == dvskit.load_events(path, size=SIZE)
    assert recording.late == 0
    assert not any("sorted" in text for text in recording.assumptions)


@pytest.mark.parametrize("kind", ["csv", "txt", "npy"])
def test_what_is_wrong_otherwise_stays_an_error_and_salvage_drops_that_alone(tmp_path, kind):
    t, x, y, p = columns(500, seed=3, most_us=1000)
    x[100] = 700
    path = write(tmp_path / f"a.{kind}", t, x, y, p)
    with refused(DamagedFileError, "64x48"):
        dvskit.load_events(path, format=FORMATS.get(kind), size=SIZE, sort=True)
    recording = dvskit.open_events(
        path, format=FORMATS.get(kind), size=SIZE, strict=False, sort=True
    )
    keep = np.arange(500) != 100
    assert recording.load() == expected(t[keep], x[keep], y[keep], p[keep])
    assert recording.damage.count == 1


def test_other_formats_are_not_sorted(data, run):
    path = data / "recordings" / "evt3_gen41_1280x720.raw"
    with refused(ConfigError, "evt3"):
        dvskit.open_events(path, sort=True)
    refused_command(run("convert", path, "a.csv", "--sort"))
    with refused(EventsError, "np.argsort(t, kind='stable')"):
        dvskit.Events(t=[2, 1], x=[0, 0], y=[0, 0], p=[0, 1], size=(1, 1))


def test_convert_sorts_and_counts(run, tmp_path):
    given = columns(3000, seed=4, most_us=500)
    write(tmp_path / "a.csv", *given)
    refused_command(run("convert", "a.csv", "b.npz", "--size", "64x48"), "--sort")
    code, _, err = run("convert", "a.csv", "b.npz", "--size", "64x48", "--sort")
    assert code == 0
    assert "of its events" in err
    assert dvskit.load_events(tmp_path / "b.npz") == expected(*given)


def test_text_from_a_pipe_is_sorted(tmp_path):
    given = columns(3000, seed=5, most_us=500)
    content = write(tmp_path / "a.csv", *given).read_bytes()
    arriving = arrive(content, 1000, TABLE["csv"], any_order=True, size=dvskit.Size(*SIZE))
    assert arriving.load() == expected(*given)
