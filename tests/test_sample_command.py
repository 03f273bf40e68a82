"""`dvskit sample`: the folder of drawn recordings that the guides use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit.emulator import sample_folder as parts
from dvskit.motion import motion_over_time
from tests.test_cli import one_line_error, usage_error

pytestmark = pytest.mark.slow


@pytest.fixture
def few(monkeypatch):
    """Leave only the parts that are written in a moment; no option chooses parts."""
    some = {name: parts._PARTS[name] for name in ("discs.raw", "images")}
    monkeypatch.setattr(parts, "_PARTS", some)
    return some


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


COUNTS = {
    "video.mp4": 1, "events.raw": 1, "noisy.raw": 1, "davis/images/": 25, "discs.raw": 1,
    "recordings/": 3, "gestures/": 18, "digits/": 60, "images/": 60,
}  # fmt: skip


def test_the_folder_holds_every_part_in_under_ten_megabytes(sample_folder):
    found = files_of(sample_folder)
    counts = {name: sum(each.startswith(name) for each in found) for name in COUNTS}
    assert counts == COUNTS
    assert {"gestures/hand_clap/p2_t3.mp4", "digits/2/00020.bin", "images/0/00001.png"} <= set(
        found
    )
    assert 2e6 < sum(map(len, found.values())) < 10e6


@pytest.mark.parametrize("name", ["noisy.raw", "davis", "recordings/a.aedat4", "recordings/c.csv"])
def test_each_recording_opens_with_events_of_both_polarities(sample_folder, name):
    recording = dvskit.open_events(sample_folder / name)
    events = recording.load()
    assert recording.size == ((120, 90) if name == "davis" else (128, 128))
    assert len(events) > 10_000
    assert 0.3 < events.p.mean() < 0.7
    assert not recording.damage


def test_events_are_those_that_emulate_makes_of_the_video(sample_folder, run):
    assert run("emulate", sample_folder / "video.mp4", "events.raw")[0] == 0
    assert Path("events.raw").read_bytes() == (sample_folder / "events.raw").read_bytes()


def test_the_rotation_of_the_events_is_that_of_the_imu(sample_folder):
    recording = dvskit.open_events(sample_folder / "davis")
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


def test_the_three_discs_are_tracked(sample_folder, run):
    code, _, err = run("track", sample_folder / "discs.raw", "-o", "objects.csv")
    assert code == 0
    assert "3 objects" in err
    rows = np.genfromtxt("objects.csv", delimiter=",", names=True)
    assert set(rows["id"]) == {0, 1, 2}


def test_the_shipped_network_recognizes_the_digits(sample_folder, run):
    code, out, _ = run("eval", "nmnist-signed-lif", sample_folder / "digits", "--json")
    assert code == 0
    assert json.loads(out)["accuracy"] > 0.9


def test_a_folder_is_replaced_only_with_force_and_only_if_it_holds_nothing_else(run, few, tmp_path):
    assert run("sample")[0] == 0
    folder = tmp_path / "dvskit-sample"
    whole = files_of(folder)
    assert "--force" in one_line_error(run("sample"))
    (folder / "discs.raw").write_bytes(b"other")
    (folder / "images" / "0" / "00003.png").unlink()
    assert run("sample", "--force")[0] == 0
    assert files_of(folder) == whole
    for name in ("images/mine.png", "mine.txt"):
        (folder / name).write_text("mine")
        err = one_line_error(run("sample", "dvskit-sample", "--force"))
        assert name in err
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
    assert "missing" in one_line_error(run("sample", "missing/folder"))
    assert "folder" in usage_error(run("sample", "-"))
    Path("file").write_text("")
    assert "file" in one_line_error(run("sample", "file", "--force"))
