"""`dvskit sample`: the folder of drawn recordings that the guides use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit.emulator import sample_folder
from dvskit.motion import motion_over_time
from tests.test_cli import one_line_error, usage_error

pytestmark = pytest.mark.slow(seconds=8)


@pytest.fixture
def folder(sample_folder) -> Path:
    return sample_folder


@pytest.fixture
def few(monkeypatch):
    """Leave only the parts that are written in a moment."""
    parts = {name: sample_folder._PARTS[name] for name in ("discs.raw", "images")}
    monkeypatch.setattr(sample_folder, "_PARTS", parts)
    return parts


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_the_folder_holds_every_part_in_under_ten_megabytes(folder):
    found = files_of(folder)
    assert {name.partition("/")[0] for name in found} == {
        "video.mp4", "events.raw", "noisy.raw", "davis", "discs.raw", "recordings", "gestures",
        "digits", "images",
    }  # fmt: skip
    count = {
        name: sum(each.startswith(f"{name}/") for each in found)
        for name in ("davis/images", "recordings", "gestures", "digits", "images")
    }
    assert count == {
        "davis/images": 25, "recordings": 3, "gestures": 18, "digits": 60, "images": 60,
    }  # fmt: skip
    assert {"gestures/hand_clap/p2_t3.mp4", "digits/2/00020.bin", "images/0/00001.png"} <= set(
        found
    )
    assert 2e6 < sum(map(len, found.values())) < 10e6


@pytest.mark.parametrize("name", [
    "events.raw", "noisy.raw", "discs.raw", "davis", "recordings/a.aedat4", "recordings/b.dat",
    "recordings/c.csv",
])  # fmt: skip
def test_each_recording_opens_with_events_of_both_polarities(folder, name):
    recording = dvskit.open_events(folder / name)
    events = recording.load()
    assert recording.size == ((120, 90) if name == "davis" else (128, 128))
    assert len(events) > 10_000
    assert 0.3 < events.p.mean() < 0.7
    assert not recording.damage


def test_events_are_those_that_emulate_makes_of_the_video(folder, run):
    for out, *options in (["events.raw"], ["noisy.raw", "--preset", "noisy", "--seed", "1"]):
        assert run("emulate", folder / "video.mp4", out, *options)[0] == 0
        assert Path(out).read_bytes() == (folder / out).read_bytes()


def test_the_rotation_of_the_events_is_that_of_the_imu(folder):
    recording = dvskit.open_events(folder / "davis")
    imu = recording.imu()
    assert len(list(recording.frames())) == 25
    found = motion_over_time(
        recording.between(0, 300_000), "rotation", window_us=20_000, camera=recording.intrinsics()
    )
    for axis in range(3):
        shown = np.interp(
            (found.start_us + found.stop_us) / 2, imu.t, np.radians(imu.gyroscope[:, axis])
        )
        assert np.corrcoef(shown, found.parameters[:, axis])[0, 1] > 0.9
        assert abs(shown - found.parameters[:, axis]).mean() < 0.15


def test_the_three_discs_are_tracked(folder, run):
    code, _, err = run("track", folder / "discs.raw", "-o", "objects.csv")
    assert code == 0
    assert "3 objects" in err
    rows = np.genfromtxt("objects.csv", delimiter=",", names=True)
    assert set(rows["id"]) == {0, 1, 2}


def test_digits_keep_all_events_as_n_mnist_stores_them(folder, monkeypatch, tmp_path):
    events = dvskit.load_events(folder / "digits" / "0" / "00001.bin")
    drawn = sample_folder.emulate_saccades(sample_folder._digit(0, 0), dvskit.Size(34, 34), (0, 0))
    assert events.size == (34, 34)
    np.testing.assert_array_equal(events.t, drawn.t)
    np.testing.assert_array_equal(events.x, drawn.x)
    np.testing.assert_array_equal(events.y, drawn.y)
    np.testing.assert_array_equal(events.p, drawn.p)


def test_the_shipped_network_recognises_the_digits(folder, run):
    import json

    code, out, _ = run("eval", "nmnist-signed-lif", folder / "digits", "--json")
    assert code == 0
    assert json.loads(out)["accuracy"] > 0.9


def test_another_process_writes_the_same_bytes_without_torch(folder, tmp_path):
    script = (
        "import sys; from dvskit import cli; sys.argv = ['dvskit', 'sample', 'again']\n"
        "try: cli.main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "assert not {'torch', 'tonic', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "again") == files_of(folder)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:9]] == list(sample_folder._PARTS)
    assert lines[9].startswith("again: ")
    assert [line.split()[0] for line in lines[10:]] == ["cd", "dvskit", "dvskit", "dvskit"]


def test_a_folder_is_replaced_only_with_force_and_only_if_it_holds_nothing_else(run, few, tmp_path):
    assert run("sample")[0] == 0
    folder = tmp_path / "dvskit-sample"
    whole = files_of(folder)
    assert "exists already; pass --force" in one_line_error(run("sample"))
    (folder / "discs.raw").write_bytes(b"other")
    (folder / "images" / "0" / "00003.png").unlink()
    assert run("sample", "--force")[0] == 0
    assert files_of(folder) == whole
    for name in ("images/mine.png", "mine.txt"):
        (folder / name).write_text("mine")
        err = one_line_error(run("sample", "dvskit-sample", "--force"))
        assert f"holds {name}, which was not written here" in err
        assert (folder / name).read_text() == "mine"
        (folder / name).unlink()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(run, few, tmp_path, monkeypatch, error):
    def fail(path):
        path.mkdir()
        (path / "begun").write_text("")
        raise error

    monkeypatch.setitem(few, "images", few["images"]._replace(write=fail))
    code, _, err = run("sample", "mine")
    assert code not in (0, None)
    assert err.count("\n") <= 1  # Ctrl-C is reported past the captured stream
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written_are_one_line(run, few):
    assert "make it first" in one_line_error(run("sample", "missing/folder"))
    assert "name a folder" in usage_error(run("sample", "-"))
    Path("file").write_text("")
    assert "file" in one_line_error(run("sample", "file", "--force"))
