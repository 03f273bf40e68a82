"""The folder of clips behind dvskit teach: no operation loses or changes a clip's bytes."""

from __future__ import annotations

import io
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from dvskit.datasets import open_samples
from dvskit.errors import ConfigError, MissingFileError, OutputError, VideoError
from dvskit.teach import ClipFolder, clip_files
from dvskit.video import open_frames
from tests.laws import refused
from tests.sample_files import video
from tests.teach_clips import CLASSES, every_byte, fill, record
from tests.test_last_frame import clip as cut_clip


@pytest.fixture
def folder(tmp_path):
    with ClipFolder(tmp_path / "set") as made:
        yield made


def names(folder: ClipFolder) -> list[str]:
    return [clip.file for clip in folder.clips()]


OPERATIONS = {
    "move": lambda folder, pick, turn: folder.move_clip(
        pick(names(folder)), pick(folder.classes())
    ),
    "person": lambda folder, pick, turn: folder.move_clip(
        pick(names(folder)), folder.classes()[0], pick(["bo", "cy"])
    ),
    "delete": lambda folder, pick, turn: folder.delete_clip(pick(names(folder))),
    "undo": lambda folder, pick, turn: folder.undo(),
    "back": lambda folder, pick, turn: folder.undo_move(pick(names(folder))),
    "rename": lambda folder, pick, turn: folder.rename_class(
        pick(folder.classes()), f"class {turn % 5}"
    ),
    "class": lambda folder, pick, turn: folder.add_class(f"new {turn % 3}"),
    "drop": lambda folder, pick, turn: folder.delete_class(
        pick(folder.classes()), with_clips=bool(turn % 2)
    ),
}


@pytest.mark.slow
def test_any_sequence_of_operations_keeps_the_bytes_of_all_clips(folder):
    fill(folder, "anna", "bo", each=2)
    before, rng = every_byte(folder.path), np.random.default_rng(3)
    assert len(set(before)) == 8
    done = set()
    for turn in range(150):
        what = str(rng.choice(list(OPERATIONS)))
        try:
            OPERATIONS[what](folder, lambda choices: str(rng.choice(choices)), turn)
            done.add(what)
        except (ConfigError, ValueError):  # nothing to choose from, or a name in use
            pass
        assert every_byte(folder.path) == before, what
    assert done == OPERATIONS.keys()
    while folder.deleted():
        try:
            folder.undo()
        except ConfigError:  # its class exists again
            folder.rename_class(folder.deleted()[0].name, f"again {len(folder.deleted())}")
    assert sorted((folder.path / file).read_bytes() for file in names(folder)) == before


def test_a_moved_clip_is_the_next_take_and_goes_back_to_its_name_or_the_next_take(folder):
    fill(folder, "anna", each=2)
    record(folder, "up", "bo", 3)
    data, before = (folder.path / "up/anna_t1.mkv").read_bytes(), names(folder)
    assert folder.move_clip("up/anna_t1.mkv", "up").file == "up/anna_t1.mkv"
    moved = folder.move_clip("up/anna_t1.mkv", "across")
    assert (moved.file, moved.take) == ("across/anna_t3.mkv", 3)
    assert (folder.path / moved.file).read_bytes() == data
    assert folder.undo_move(moved.file) == "up/anna_t1.mkv"
    assert names(folder) == before
    assert folder.move_clip("up/anna_t1.mkv", "across", "bo").file == "across/bo_t1.mkv"
    assert folder.move_clip("across/bo_t1.mkv", "across", "Anna").file == "across/Anna_t3.mkv"
    moved = folder.move_clip("up/bo_t1.mkv", "across").file
    assert record(folder, "up", "bo", 9).file == "up/bo_t1.mkv"  # takes the name meanwhile
    assert folder.undo_move(moved) == "up/bo_t2.mkv"
    moved = folder.move_clip("up/bo_t1.mkv", "across").file
    folder.delete_class("up", with_clips=True)
    assert folder.undo_move(moved) == "up/bo_t1.mkv"
    for file in ("across/anna_t1.mkv", moved, "up/none.mkv"):
        with refused(ConfigError, file):
            folder.undo_move(file)


def test_clips_are_rows_with_their_length_and_read_again_only_when_they_change(folder):
    fill(folder, "anna", "bo")
    row, *_ = folder.clips()
    assert (row.file, row.label, row.person) == ("across/anna_t1.mkv", "across", "anna")
    assert (row.take, row.frames, row.damage) == (1, 20, "")
    times = [t_us for t_us, _ in open_frames(folder.path / row.file)]
    assert row.seconds == pytest.approx(times[-1] / 1e6)
    assert row.fps == pytest.approx(19 / row.seconds, abs=1e-3)
    data = (folder.path / row.file).read_bytes()
    (folder.path / row.file).write_bytes(data[: len(data) // 2])
    assert "damaged" in folder.clip(row.file).damage
    (folder.path / row.file).write_bytes(b"nothing")
    assert folder.clip(row.file).damage.startswith("is not a video that can be opened")
    assert folder.clip(row.file).frames == 0


def test_a_clip_is_decoded_once_also_after_a_move_and_a_restart(folder, monkeypatch):
    fill(folder, "anna")
    video(folder.path / "up" / "bo_t1.mp4")
    before = folder.clips()
    folder.close()

    def fail(path: Path) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(clip_files, "facts_of", fail)  # decoding is seen nowhere else
    with ClipFolder(folder.path) as again:
        assert again.clips() == before
        assert again.move_clip("up/bo_t1.mp4", "across").frames == 8
    monkeypatch.undo()
    for text in ("", "[1]", '{"a": [1]}'):
        (folder.path / ".recording" / "clips.json").write_text(text)
        with ClipFolder(folder.path) as again:
            assert sorted(clip.frames for clip in again.clips()) == [8, 20, 20]


def test_a_video_without_its_last_frame_is_added_and_not_damaged(folder, tmp_path):
    folder.add_class("up")
    added = folder.add_video(cut_clip(tmp_path / "1.avi", lost=1), "up", "anna")
    assert (added.damage, added.cut, added.frames) == ("", True, 11)
    data = (folder.path / added.file).read_bytes()
    other = folder.add_video(data, "up", "bo", name="film.unknown")  # rewritten
    assert (other.file, other.damage, other.cut, other.frames) == ("up/bo_t1.mkv", "", False, 11)
    with pytest.raises(VideoError):
        folder.add_video(cut_clip(tmp_path / "2.avi", lost=2), "up", "anna")
    assert folder.clip(added.file) == added


def test_a_training_opens_the_folder_and_knows_the_people(folder):
    fill(folder, "anna", "bo b", each=2)
    folder.delete_clip("up/anna_t1.mkv")
    samples = open_samples(folder.path)
    assert {(row.label, row.group) for row in samples.rows} == {
        (label, person) for label in CLASSES for person in ("anna", "bo b")
    }
    assert [row.name for row in samples.rows] == names(folder)


@pytest.mark.parametrize(
    "name",
    ["", "   ", ".", "..", ".hidden", "../up", "a/b", "/etc", "a\\b", "C:up", "up?", "a\nb", "a\0b",
     "a\u202eb", "\udcff", "end.", "CON", "nul.txt", "com\u00b9", "Thumbs.db", "x" * 61,
     "\U0001f600" * 50],
)  # fmt: skip
def test_a_name_that_no_system_takes_is_refused_in_a_line(folder, name):
    folder.add_class("up")
    record(folder, "up", "anna", 1)
    for attempt in (
        lambda: folder.add_class(name),
        lambda: folder.rename_class("up", name),
        lambda: folder.begin("up", name),
        lambda: folder.move_clip("up/anna_t1.mkv", "up", name),
        lambda: folder.add_video(folder.path / "up" / "anna_t1.mkv", "up", name),
    ):
        with refused(ConfigError):
            attempt()
    assert (names(folder), folder.classes()) == (["up/anna_t1.mkv"], ["up"])


@pytest.mark.parametrize("name", ["wave", "Hände hoch", "手を振る", "a b-c_d", "x" * 60, "wave_t1"])
def test_a_name_in_any_script_is_a_class_and_a_person(folder, name):
    assert folder.add_class(f"  {name} ") == name
    clip = record(folder, name, name, 1)
    assert (clip.label, clip.person, clip.take) == (name, name, 1)
    assert names(folder) == [f"{name}/{name}_t1.mkv"]
    assert record(folder, name, name, 2).take == 2


def test_a_class_that_differs_by_case_or_composition_exists(folder):
    folder.add_class("Hände")
    for name in ("hände", "HÄNDE", "Ha\u0308nde"):
        with refused(ConfigError):
            folder.add_class(name)
    assert folder.rename_class("Hände", "HÄNDE") == "HÄNDE"
    assert folder.classes() == ["HÄNDE"]
    (folder.path / "notes.txt").write_text("mine")
    with refused(ConfigError, "notes.txt"):
        folder.add_class("notes.txt")


def test_names_of_clips_lead_nowhere_else(folder, tmp_path):
    fill(folder, "anna")
    outside = video(tmp_path / "outside.mkv")
    data = outside.read_bytes()
    for file in ("../outside.mkv", "up/../../outside.mkv", "up/../across/anna_t1.mkv", "", "/",
                 str(outside), ".deleted/x", ".recording/lock", "up", "up/", "up/anna_t1.mkv/",
                 "up/anna_t1.mkv\0", "up/\udcff.mkv"):  # fmt: skip
        for attempt in (folder.clip, folder.delete_clip, folder.thumbnail, folder.preview,
                        lambda name: folder.move_clip(name, "up")):  # fmt: skip
            with refused(ConfigError):
                attempt(file)
    with refused(ConfigError, ".deleted"):
        folder.delete_class(".deleted", with_clips=True)
    with refused(ConfigError, ".deleted"):
        folder.move_clip("up/anna_t1.mkv", ".deleted")
    assert outside.read_bytes() == data


def test_links_are_neither_followed_nor_changed(folder, tmp_path):
    fill(folder, "anna")
    elsewhere = tmp_path / "elsewhere"
    target = video(elsewhere / "bo_t1.mkv")
    (folder.path / "link").symlink_to(elsewhere)
    (folder.path / "up" / "bo_t1.mkv").symlink_to(target)
    before = every_byte(elsewhere)
    assert folder.classes() == ["across", "up"]
    assert names(folder) == ["across/anna_t1.mkv", "up/anna_t1.mkv"]
    for attempt in (
        lambda: folder.rename_class("link", "mine"),
        lambda: folder.delete_class("link", with_clips=True),
        lambda: folder.move_clip("up/anna_t1.mkv", "link"),
        lambda: folder.delete_clip("up/bo_t1.mkv"),
        lambda: folder.begin("link", "cy"),
    ):
        with pytest.raises(ConfigError):
            attempt()
    folder.delete_class("up", with_clips=True)
    assert every_byte(elsewhere) == before
    assert target.exists()


def test_a_hidden_folder_that_is_a_link_is_not_used(folder, tmp_path):
    fill(folder, "anna")
    folder.close()
    (tmp_path / "elsewhere").mkdir()
    (folder.path / ".deleted").symlink_to(tmp_path / "elsewhere")
    shutil.rmtree(folder.path / ".recording")
    (folder.path / ".recording").symlink_to(tmp_path / "elsewhere")
    with refused(OutputError, ".recording"):
        ClipFolder(folder.path)
    (folder.path / ".recording").unlink()
    with ClipFolder(folder.path) as again, refused(OutputError, ".deleted"):
        again.delete_clip("up/anna_t1.mkv")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert every_byte(folder.path / "up") != []


def test_a_deleted_clip_comes_back_also_where_its_place_is_taken_or_its_class_gone(folder):
    fill(folder, "anna")
    data = (folder.path / "up/anna_t1.mkv").read_bytes()
    item = folder.delete_clip("up/anna_t1.mkv")
    assert [each.name for each in folder.deleted()] == ["up/anna_t1.mkv"] == [item.name]
    assert names(folder) == ["across/anna_t1.mkv"]
    record(folder, "up", "anna", 9)
    assert folder.undo(item.token) == "up/anna_t2.mkv"
    assert (folder.path / "up/anna_t2.mkv").read_bytes() == data
    first = folder.delete_clip("up/anna_t2.mkv")
    with refused(ConfigError, "up", "1 file"):
        folder.delete_class("up")
    folder.delete_class("up", with_clips=True)
    assert folder.undo(first.token) == "up/anna_t2.mkv"
    with refused(ConfigError, "“up”"):
        folder.undo()
    folder.rename_class("up", "back")
    assert folder.undo() == "up"
    assert names(folder) == ["across/anna_t1.mkv", "back/anna_t2.mkv", "up/anna_t1.mkv"]
    with refused(ConfigError):
        folder.undo()


@pytest.mark.parametrize("suffix", [".MP4", ".avi"])
def test_a_dropped_video_is_kept_byte_by_byte(folder, tmp_path, suffix):
    folder.add_class("up")
    source = video(tmp_path / f"my video{suffix}")
    by_path = folder.add_video(source, "up", "anna")
    by_bytes = folder.add_video(source.read_bytes(), "up", "bo", name=source.name)
    for clip in (by_path, by_bytes):
        assert clip.file == f"up/{clip.person}_t1{suffix.lower()}"
        assert (folder.path / clip.file).read_bytes() == source.read_bytes()
        assert clip.damage == ""
        assert clip.frames == len(list(open_frames(source)))
    assert not any(path.is_dir() for path in (folder.path / ".recording").iterdir())


def test_a_dropped_video_of_another_suffix_is_rewritten_with_its_frames_and_times(folder, tmp_path):
    folder.add_class("up")
    source = video(tmp_path / "a.mp4")
    clip = folder.add_video(source.read_bytes(), "up", "anna", name="clip")
    assert clip.file == "up/anna_t1.mkv"
    for (t_us, frame), (at_us, given) in zip(
        open_frames(folder.path / clip.file), open_frames(source), strict=True
    ):
        assert t_us == at_us
        assert np.array_equal(frame, given)


def test_what_is_no_whole_video_is_refused_in_a_line_and_leaves_nothing(folder, tmp_path):
    folder.add_class("up")
    whole = video(tmp_path / "a.mp4").read_bytes()
    long = video(tmp_path / "a.avi", frames=20).read_bytes()
    for data, name in (
        (b"", "a.mp4"),
        (b"hello", "a.mp4"),
        (b"hello", ""),
        (whole[:-500], "a.mp4"),
        (long[:-9000], "a.avi"),
        (video(tmp_path / "one.mp4", frames=1).read_bytes(), "one.mp4"),
    ):
        with refused(VideoError, f"“{name or 'the video'}”"):
            folder.add_video(data, "up", "anna", name=name)
    for missing in (tmp_path / "none.mp4", tmp_path):
        with refused(MissingFileError, missing):
            folder.add_video(missing, "up", "anna")
    with refused(ConfigError, "“down”"):
        folder.add_video(whole, "down", "anna", name="a.mp4")
    assert names(folder) == []
    assert list((folder.path / "up").iterdir()) == []
    assert not any(path.is_dir() for path in (folder.path / ".recording").iterdir())


def test_a_thumbnail_and_a_preview_show_the_clip(folder):
    fill(folder, "anna")
    small = Image.open(io.BytesIO(folder.thumbnail("up/anna_t1.mkv")))
    assert (small.format, small.size) == ("JPEG", (48, 36))
    middle = list(open_frames(folder.path / "up/anna_t1.mkv"))[10][1]
    assert abs(np.asarray(small.convert("L")).astype(int) - middle).mean() < 6
    moving = Image.open(io.BytesIO(folder.preview("up/anna_t1.mkv")))
    assert (moving.format, moving.size) == ("WEBP", (48, 36))
    assert moving.n_frames > 3
    lasting = sum(frame.copy().info["duration"] for frame in ImageSequence.Iterator(moving))
    assert lasting == pytest.approx(1000 * folder.clip("up/anna_t1.mkv").seconds, abs=100)


def test_previews_of_long_and_of_large_clips_are_small(folder, tmp_path):
    folder.add_class("up")
    long = record(folder, "up", "anna", 1, count=700)
    assert long.seconds > 15
    assert Image.open(io.BytesIO(folder.preview(long.file))).n_frames <= 125
    large = folder.add_video(video(tmp_path / "a.mp4", size=(640, 360)), "up", "bo")
    assert Image.open(io.BytesIO(folder.thumbnail(large.file))).size == (160, 90)
    assert Image.open(io.BytesIO(folder.preview(large.file))).size == (160, 90)


def test_clips_of_other_names_have_no_person_and_keep_their_names(folder, tmp_path):
    fill(folder, "anna")
    video(folder.path / "up" / "holiday.mp4")
    clip = folder.clip("up/holiday.mp4")
    assert (clip.person, clip.take) == ("", 0)
    shutil.copy(folder.path / "up" / "holiday.mp4", folder.path / "across" / "Holiday.mp4")
    assert folder.move_clip("up/holiday.mp4", "across").file == "across/holiday (2).mp4"
    assert folder.move_clip("across/holiday (2).mp4", "up", "bo").file == "up/bo_t1.mp4"


def test_two_tabs_that_change_and_list_at_once_do_not_disturb_each_other(folder):
    fill(folder, "anna", "bo")
    before, done = every_byte(folder.path), threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                for clip in folder.clips():
                    assert (clip.frames, clip.damage) == (20, "")
                folder.thumbnail("up/anna_t1.mkv")
            except (ConfigError, MissingFileError):  # it was just deleted, or renamed
                pass

    with ThreadPoolExecutor(3) as pool:
        tabs = [pool.submit(look) for _ in range(3)]
        for turn in range(5):
            folder.delete_class("up", with_clips=True)
            folder.undo()
            folder.move_clip("across/anna_t1.mkv", "up", "cy")
            folder.move_clip("up/cy_t1.mkv", "across", "anna")
            record(folder, "across", "dora", turn)
            folder.delete_clip("across/dora_t1.mkv")
        done.set()
    assert [tab.result() for tab in tabs] == [None] * 3
    assert set(before) <= set(every_byte(folder.path))


def test_a_folder_is_used_by_one_process_at_a_time(tmp_path):
    one = ClipFolder(tmp_path / "set")
    with refused(OutputError, "set"):
        ClipFolder(tmp_path / "set")
    one.close()
    ClipFolder(tmp_path / "set").close()


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "none/set"):
        with refused(OutputError, place):
            ClipFolder(tmp_path / place)
