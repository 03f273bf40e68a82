"""Recording clips: frames and times come back exactly, and a kill loses no recording."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dvskit.errors import ConfigError, ShapeError, VideoError
from dvskit.teach import ClipFolder, ClipRecorder
from dvskit.video import open_frames
from tests.laws import refused
from tests.teach_clips import SIZE, every_byte, movement, record

# Records numbered frames without end; every pixel of a frame is its number.
_ENDLESS = """
import sys, time
import numpy as np
from dvskit.teach import ClipFolder, ClipRecorder
folder = ClipFolder(sys.argv[1])
recorder = ClipRecorder(folder, "up", "anna", (64, 48))
for number in range(100_000):
    frame = np.full((48, 64), number % 251, np.uint8)
    recorder.add(5_000_000 + number * 10_007, frame)
    if number == 30:
        print("ready", flush=True)
    time.sleep(0.001)
"""


@pytest.fixture
def folder(tmp_path):
    with ClipFolder(tmp_path / "set") as made:
        made.add_class("up")
        yield made


def test_a_recording_is_a_clip_of_its_frames_and_times(folder):
    frames = list(movement("up", 5))
    recorder = ClipRecorder(folder, "up", "anna", SIZE)
    for number, (t_us, frame) in enumerate(frames):
        recorder.add(t_us, frame)
        assert recorder.frames == number + 1
    assert folder.clips() == []
    seconds = (frames[-1][0] - frames[0][0]) / 1e6
    assert recorder.seconds == pytest.approx(seconds)
    clip = recorder.finish()
    assert clip == folder.clips()[0]
    assert (clip.file, clip.frames, clip.damage) == ("up/anna_t1.mkv", 20, "")
    assert clip.seconds == pytest.approx(seconds)
    for (t_us, frame), (at_us, given) in zip(
        open_frames(folder.path / clip.file), frames, strict=True
    ):
        assert t_us == at_us - frames[0][0]
        assert np.array_equal(frame, given)
    folder.close()
    with ClipFolder(folder.path) as again:  # what was known is what is read
        assert again.clips() == [clip]
        assert again.recovered == ()


def test_several_recordings_at_once_do_not_mix(folder):
    found = {}

    def film(person: str, seed: int) -> None:
        found[record(folder, "up", person, seed).file] = seed

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(film, ["anna", "anna", "anna", "bo"], range(4)))
    assert sorted(found) == ["up/anna_t1.mkv", "up/anna_t2.mkv", "up/anna_t3.mkv", "up/bo_t1.mkv"]
    for file, seed in found.items():
        got = [frame for _, frame in open_frames(folder.path / file)]
        assert np.array_equal(got, [frame for _, frame in movement("up", seed)])


def test_a_wrong_frame_is_refused_in_a_line_and_the_recording_goes_on(folder):
    recorder = ClipRecorder(folder, "up", "anna", SIZE)
    (t_us, frame), (next_us, later), *rest = movement("up", 1)
    recorder.add(t_us, frame)
    with refused(VideoError):
        recorder.add(t_us, later)
    with refused(ShapeError):
        recorder.add(next_us, later.T)
    for at_us, each in [(next_us, later), *rest]:
        recorder.add(at_us, each)
    assert recorder.finish().frames == 20


@pytest.mark.parametrize("count", [0, 3])
def test_a_recording_that_is_too_short_is_said_in_a_line_and_leaves_nothing(folder, count):
    recorder = ClipRecorder(folder, "up", "anna", SIZE)
    for t_us, frame in movement("up", 1, count):
        recorder.add(t_us, frame)
    with refused(VideoError, f"{count} frame", "0.2 s"):
        recorder.finish()
    assert_nothing_left(folder)


def test_a_discarded_recording_leaves_nothing_and_an_ended_one_takes_no_frame(folder):
    recorder = ClipRecorder(folder, "up", "anna", SIZE)
    frames = list(movement("up", 1))
    recorder.add(*frames[0])
    recorder.discard()
    for attempt in (lambda: recorder.add(*frames[1]), recorder.finish):
        with refused(ConfigError):
            attempt()
    assert_nothing_left(folder)


def assert_nothing_left(folder: ClipFolder) -> None:
    assert folder.clips() == []
    assert not any(path.is_dir() for path in (folder.path / ".recording").iterdir())


def test_a_class_that_is_being_recorded_is_neither_renamed_nor_deleted(folder):
    recorder = ClipRecorder(folder, "up", "anna", SIZE)
    for attempt in (
        lambda: folder.rename_class("up", "down"),
        lambda: folder.delete_class("up", with_clips=True),
    ):
        with refused(ConfigError, "“up”"):
            attempt()
    recorder.discard()
    assert folder.rename_class("up", "down") == "down"


def test_an_unknown_class_and_a_bad_name_are_refused_before_the_first_frame(folder):
    with refused(ConfigError, "down"):
        ClipRecorder(folder, "down", "anna", SIZE)
    with refused(ConfigError):
        ClipRecorder(folder, "up", "a/b", SIZE)
    assert_nothing_left(folder)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed")
def test_a_recording_whose_process_was_killed_is_a_clip_at_the_next_start(folder):
    folder.close()
    process = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS, str(folder.path)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.2)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with ClipFolder(folder.path) as again:
        (clip,) = again.clips()
        assert again.recovered == (clip,)
    assert clip.damage == ""
    found = list(open_frames(folder.path / clip.file))
    assert len(found) >= 30
    for number, (t_us, frame) in enumerate(found):
        assert t_us == number * 10_007
        assert (frame == number % 251).all()
    with ClipFolder(folder.path) as again:
        assert (again.recovered, again.clips()) == ((), [clip])


def test_unfinished_files_are_recovered_whatever_state_they_are_in(folder, tmp_path):
    recorder = ClipRecorder(folder, "up", "anna", SIZE)
    for t_us, frame in movement("up", 1):
        recorder.add(t_us, frame)
    (partial,) = (folder.path / ".recording").glob("*/*/*")
    cut = partial.read_bytes()
    whole = record(folder, "up", "whole", 2)
    data = (folder.path / whole.file).read_bytes()
    short = ClipRecorder(folder, "up", "short", SIZE)
    for t_us, frame in movement("up", 3, count=3):
        short.add(t_us, frame)
    (partial,) = (folder.path / ".recording").glob("*/*/short.mkv")
    stub = partial.read_bytes()
    recorder.discard()
    short.discard()
    folder.close()
    left = {
        "a/up/cut.mkv": cut,  # killed while recording
        "b/up/done.mkv": data,  # killed between the last byte and the rename
        "c/gone/cut.mkv": cut[:-100],  # its class was deleted by hand
        "d/up/.new.mkv": b"half",  # killed while recovering
        "f/up/head.mkv": cut[:300],
        "g/up/short.mkv": stub,
        "h/up/dropped.mp4": b"half of a dropped video",
    }
    for name, held in left.items():
        (folder.path / ".recording" / name).parent.mkdir(parents=True)
        (folder.path / ".recording" / name).write_bytes(held)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine.mkv").write_bytes(cut)
    (folder.path / ".recording" / "z").mkdir()
    (folder.path / ".recording" / "z" / "up").symlink_to(tmp_path / "outside")
    with ClipFolder(folder.path) as again:
        files = {clip.file: clip.frames for clip in again.recovered}
        assert files.keys() == {"up/cut_t1.mkv", "up/done_t1.mkv", "gone/cut_t1.mkv"}
        assert files["up/done_t1.mkv"] == 20
        assert files["up/cut_t1.mkv"] >= 18
        assert {clip.damage for clip in again.recovered} == {""}
        assert [each.name for each in again.deleted()] == ["up/short.mkv"]
        assert again.undo() == "up/short.mkv"
        assert again.clip("up/short.mkv").frames >= 2
        assert len(again.clips()) == 5
    assert every_byte(tmp_path / "outside") == [cut]
    with ClipFolder(folder.path) as again:
        assert again.recovered == ()
        assert len(again.clips()) == 5


def test_folders_that_a_killed_recording_left_empty_are_removed(folder):
    folder.begin("up", "anna")  # and no frame comes
    (folder.path / ".recording" / "z").mkdir()
    folder.close()
    with ClipFolder(folder.path) as again:
        assert (again.recovered, again.clips()) == ((), [])
    assert [path.name for path in (folder.path / ".recording").iterdir()] == ["lock"]
