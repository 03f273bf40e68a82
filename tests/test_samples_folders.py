"""Folders of anything as samples: what each folder means, and what is wrong, where, and the fix."""

from __future__ import annotations

import os
import re
import unicodedata
import zipfile
from pathlib import Path

import pytest

from dvskit.datasets import open_samples
from dvskit.errors import ConfigError, FormatError, MissingFileError
from dvskit.formats import load_events
from tests.sample_files import folder, recording, video

PLAIN = ("clap/a.npz", "clap/b.npz", "wave/a.npz", "wave/b.npz")


def known(samples, *fields):
    return [tuple(getattr(row, field) for field in fields) for row in samples.rows]


def test_a_folder_a_class_is_in_order_of_names_and_gives_the_events_of_its_files(tmp_path):
    root = folder(tmp_path / "set", *PLAIN)
    samples = open_samples(root)
    assert samples.classes == ("clap", "wave")
    assert samples.labels.tolist() == [0, 0, 1, 1]
    assert known(samples, "name", "label", "group", "part", "span") == [
        (name, name.partition("/")[0], None, None, None) for name in PLAIN
    ]
    assert [samples.events(k) for k in range(4)] == [load_events(root / name) for name in PLAIN]
    assert (samples.notes, samples.others, samples.left_out) == ((), (), ())


def test_files_of_a_named_format_are_recordings_whatever_they_are_called(tmp_path):
    for label in "ab":
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "set" / label / "take.dump").write_text("1,2,100,1\n3,0,900,0\n")
    with pytest.raises(FormatError, match="holds no recordings"):
        open_samples(tmp_path / "set")
    samples = open_samples(tmp_path / "set", format="csv:x,y,t,p", size=(6, 5))
    assert [row.name for row in samples.rows] == ["a/take.dump", "b/take.dump"]
    assert samples.events(1).size == (6, 5)
    assert samples.events(1).x.tolist() == [1, 3]


@pytest.mark.slow
def test_kinds_formats_and_sizes_may_be_mixed(tmp_path):
    root = tmp_path / "set"
    folder(root, "a/1.mp4", "a/2.raw", "a/3.aedat4", "b/1.mkv", "b/2.csv")
    recording(root / "b/3.npz", size=(33, 7))
    samples = open_samples(root, size=(24, 16))
    sizes = {row.name: samples.events(k).size for k, row in enumerate(samples.rows)}
    assert sizes["a/1.mp4"] == sizes["b/1.mkv"] == (24, 16)  # emulated at that size
    assert sizes["a/2.raw"] == sizes["a/3.aedat4"] == (12, 10)  # as they say
    assert sizes["b/2.csv"] == (24, 16)  # a text does not say its own
    assert sizes["b/3.npz"] == (33, 7)
    assert all(len(samples.events(k)) for k in range(len(samples)))


@pytest.mark.parametrize(
    ("names", "layout", "found"),
    [
        (("wave/p1/a.npz", "wave/p2/a.npz", "clap/p1/a.npz"), None, "wave p1"),
        (("p1/wave/a.npz", "p1/clap/a.npz", "p2/wave/a.npz"), None, "wave p1"),
        (("wave/Subject-01/a.npz", "clap/Subject-02/a.npz"), None, "wave Subject-01"),
        (("wave/anna/a.npz", "clap/ben/a.npz"), "class/group", "wave anna"),
        (("anna/wave/a.npz", "ben/clap/a.npz"), "group/class", "wave anna"),
        (("train/wave/a.npz", "test/clap/b.npz"), None, "wave None train"),
        (("Train/user1/wave/a.npz", "val/user2/clap/b.npz"), None, "wave user1 train"),
        (("training/wave/p1/a.npz", "testing/clap/p1/b.npz"), None, "wave p1 train"),
    ],
)
def test_folders_of_people_and_of_parts_are_known_by_their_names_or_by_the_layout(
    tmp_path, names, layout, found
):
    samples = open_samples(folder(tmp_path / "set", *names), layout=layout)
    row = next(row for row in samples.rows if row.label == "wave")
    assert found in f"{row.label} {row.group} {row.part}"
    assert {row.label for row in samples.rows} == {"wave", "clap"}
    assert {row.name for row in samples.rows} == set(names)


def test_what_folders_mean_is_said_where_names_decided_it(tmp_path):
    samples = open_samples(folder(tmp_path / "set", "wave/p1/a.npz", "clap/p2/a.npz"))
    assert samples.notes[0] == "its folders are class/group/file"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), r"set: holds no folder; make one folder per class, named after it"),
        (("a.npz", "b.npz"), r"set: holds recordings, not one folder of them per class; name the "),
        (("a.mp4",), r"set: holds videos, not one folder of them per class; name the folder above"),
        (("a.mp4", *PLAIN), r"a\.mp4: a video next to the classes; move it to .*set/<class>/"),
        ((*PLAIN, "wave/p/c.npz"), r"wave/p: a folder among the recordings of class wave; move"),
        (("wave/anna/a.npz", "clap/anna/a.npz"), r"may be a class and a person or a person and a "),
        (("videos/wave/a.npz", "videos/clap/a.npz"), r"holds one folder, videos, with folders in"),
        (("a/b/c/d.npz", "a/b/e/d.npz"), r"d\.npz: lies 3 folders deep; use .*<class>/<file>"),
        (("Wave/a.npz", "wave/b.npz"), r"classes Wave and wave differ by case alone; use one name"),
    ],
)
def test_wrong_folders_say_what_where_and_the_fix_in_a_line(tmp_path, names, message):
    (tmp_path / "set").mkdir()
    with pytest.raises(FormatError, match=message) as caught:
        open_samples(folder(tmp_path / "set", *names))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "set") in str(caught.value)


def test_a_list_beside_samples_without_folders_is_pointed_at(tmp_path):
    root = folder(tmp_path / "set", "a.mp4", "b.mp4")
    (root / "labels.csv").write_text("file,label\na.mp4,wave\n")
    with pytest.raises(FormatError, match=r"or give .*set/labels\.csv, if it lists them$"):
        open_samples(root)


def test_an_empty_class_is_refused_or_left_out_and_counted(tmp_path):
    root = folder(tmp_path / "set", *PLAIN)
    (root / "bow").mkdir()
    (root / "bow" / "notes.md").write_text("none yet")
    with pytest.raises(FormatError, match=r"bow: holds no recordings or videos; add some"):
        open_samples(root)
    samples = open_samples(root, strict=False)
    assert [(each.path.name, "holds no" in each.why) for each in samples.left_out] == [
        ("bow", True)
    ]
    assert samples.classes == ("clap", "wave")


def test_still_images_are_no_clips_but_a_folder_of_them_is(tmp_path):
    cv2 = pytest.importorskip("cv2")
    root = folder(tmp_path / "set", *PLAIN)
    (root / "still").mkdir()
    from tests.sample_files import pictures

    def write(place):
        place.mkdir(exist_ok=True)
        for number, (_, picture) in enumerate(pictures(0, 4, (32, 24))):
            cv2.imwrite(str(place / f"{number:03}.png"), picture)

    write(root / "still")
    with pytest.raises(FormatError, match="still: holds still images, which show no change; a cli"):
        open_samples(root)
    for file in (root / "still").iterdir():
        file.unlink()
    write(root / "still" / "clip")
    samples = open_samples(root, fps=30)
    number = [row.name for row in samples.rows].index("still/clip")
    assert len(samples.events(number))
    assert samples.events(number).size == (32, 24)
    before = samples.fingerprint(number)
    (root / "still" / "clip" / "003.png").write_bytes(
        (root / "still" / "clip" / "000.png").read_bytes()
    )
    assert open_samples(root, fps=30).fingerprint(number) != before


def test_what_systems_leave_behind_is_passed_over_and_other_files_are_listed(tmp_path):
    root = folder(tmp_path / "set", *PLAIN)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "wave/.DS_Store", "wave/._a.npz",
                 "wave/Thumbs.db", "clap/Desktop.ini", "clap/readme.md", "about.txt"):  # fmt: skip
        (root / name).write_text("x")
    (root / "__MACOSX" / "wave").mkdir(parents=True)
    (root / "__MACOSX" / "wave" / "a.npz").write_text("x")
    samples = open_samples(root)
    assert [row.name for row in samples.rows] == list(PLAIN)
    assert sorted(path.name for path in samples.others) == ["about.txt", "readme.md"]


def test_a_missing_folder_a_packed_one_and_a_single_file_are_refused(tmp_path):
    with pytest.raises(
        MissingFileError, match=r"none: no such file; give a folder with one folder per cla"
    ):
        open_samples(tmp_path / "none")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        packed.writestr("wave/a.npz", b"")
    with pytest.raises(FormatError, match=r"set\.zip: is packed; unpack it and give the folder"):
        open_samples(tmp_path / "set.zip")
    (tmp_path / "set").mkdir()
    (tmp_path / "set.zip").rename(tmp_path / "set" / "set.zip")
    with pytest.raises(FormatError, match=r"set\.zip: is packed; unpack it, and remove it or mov"):
        open_samples(tmp_path / "set")
    for file in (recording(tmp_path / "a.npz"), video(tmp_path / "a.mp4")):
        with pytest.raises(FormatError, match=r"is a single (recording|video); give a folder"):
            open_samples(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\); copy it again, or remove it"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a pointer of Git LFS, not the fi"),
        (b"\n<!DOCTYPE html><html>", "is a web page, not the file: download it again"),
    ],
)
def test_files_that_hold_no_data_are_refused_when_the_folder_is_opened(tmp_path, content, message):
    root = folder(tmp_path / "set", *PLAIN)
    (root / "wave" / "c.mp4").write_bytes(content)
    with pytest.raises(FormatError, match=rf"wave/c\.mp4: {message}"):
        open_samples(root)
    samples = open_samples(root, strict=False)
    assert [row.name for row in samples.rows] == list(PLAIN)
    assert [each.path.name for each in samples.left_out] == ["c.mp4"]
    assert re.search(message, samples.left_out[0].why)


def test_links_are_followed_broken_ones_and_circles_refused(tmp_path):
    root = folder(tmp_path / "set", *PLAIN)
    (root / "bow").symlink_to(root / "wave")
    (root / "clap" / "linked.npz").symlink_to(root / "wave" / "a.npz")
    samples = open_samples(root)
    assert [row.name for row in samples.rows][:2] == ["bow/a.npz", "bow/b.npz"]
    assert samples.events(0) == load_events(root / "wave" / "a.npz")
    (root / "clap" / "broken.npz").symlink_to(root / "gone.npz")
    with pytest.raises(FormatError, match=r"broken\.npz: a link to .*gone\.npz, which is missing"):
        open_samples(root)
    (root / "clap" / "broken.npz").unlink()
    (root / "clap" / "circle").symlink_to(root)
    with pytest.raises(FormatError, match="circle: a link to a folder that contains it; remove it"):
        open_samples(root)


def test_a_file_without_the_right_to_read_is_refused(tmp_path, monkeypatch):
    root = folder(tmp_path / "set", *PLAIN)
    opened = Path.open

    def refuse(path, *args, **named):  # as chmod 0 does, but for root
        if path == root / "wave" / "a.npz":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FormatError, match=r"wave/a\.npz: cannot be read: Permission denied"):
        open_samples(root)


def test_a_name_is_the_same_however_a_system_composes_its_letters(tmp_path):
    for form in ("NFC", "NFD"):
        folder(tmp_path / form, *(unicodedata.normalize(form, f"{c}/ü 1.npz") for c in "äb"))
    first, second = (open_samples(tmp_path / form) for form in ("NFC", "NFD"))
    assert known(first, "name", "label") == known(second, "name", "label")
    assert first.events(0) == second.events(0)


def test_a_name_that_is_no_unicode_is_refused(tmp_path):
    root = folder(tmp_path / "set", *PLAIN)
    try:
        (root / "wave" / "a.npz").rename(root / "wave" / os.fsdecode(b"\xff.npz"))
    except OSError:
        pytest.skip("this file system takes none")
    with pytest.raises(FormatError, match="a file name with bytes that are not UTF-8; rename it"):
        open_samples(root)


def test_one_class_and_classes_of_one_sample_are_noted(tmp_path):
    samples = open_samples(folder(tmp_path / "one", "wave/a.npz", "wave/b.npz"))
    assert samples.notes == ("one class, wave: there is no other to distinguish it from",)
    samples = open_samples(folder(tmp_path / "small", "wave/a.npz", "clap/b.npz", "clap/c.npz"))
    assert samples.notes == ("class wave: one sample, so only one part of a split has it",)


def test_recordings_with_labels_beside_them_are_spans_with_the_people_of_their_names(tmp_path):
    root = tmp_path / "set"
    for user in ("user01_lab", "user01_led", "user02_lab"):
        recording(root / f"{user}.npz")
        (root / f"{user}_labels.csv").write_text(
            "class,startTime_usec,endTime_usec\n1,200,2000\n2,2000,4000\n"
        )
    samples = open_samples(root)
    assert known(samples, "name", "label", "group", "span")[:3] == [
        ("user01_lab.npz", "1", "user1", (200, 2000)),
        ("user01_lab.npz", "2", "user1", (2000, 4000)),
        ("user01_led.npz", "1", "user1", (200, 2000)),
    ]
    whole = load_events(root / "user01_lab.npz")
    assert samples.events(1) == whole.between(2000, 4000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (("w/p1_t1", "w/p1_t2", "w/p2_t1", "c/p2_t1"), "p1 p1 p2 p2"),
        (("w/s01_t1", "w/s1_t2", "c/S2_t1"), "s1 s1 s2"),
        (("w/user01", "c/user01", "c/user2"), "user1 user1 user2"),
        (("w/subject-3 wave", "c/subject-3 clap", "c/subject-04"), "subject3 subject3 subject4"),
        (("w/person01_wave_d1", "w/person01_wave_d2"), "person1 person1"),
        (("w/a1_s1_t1", "w/a1_s1_t2", "w/a1_s2_t1"), "s1 s1 s2"),
        (("w/p1", "c/p1", "w/p2"), None),  # a picture's number, perhaps
        (("w/s1_p1", "w/s1_p2", "w/s2_p1"), None),  # session and part, or subject and position
        (("w/p1_t1", "w/p1_t2", "w/q1_t1"), None),  # one says nothing
        (("w/user1_t1", "w/person1_t2"), None),  # two words
        (("w/ps1_t1", "w/ps1_t2"), None),
        (("w/s1a_t1", "w/s1b_t1"), None),
        (("w/anna_t1", "w/anna_t2", "w/Bob_t1", "c/anna_t1"), "anna anna Bob anna"),
        (("w/anna_t1", "c/p1_t1", "c/p1_t2", "w/p1_t9"), "anna p1 p1 p1"),
        (("w/wave_t1", "w/wave_t2", "c/clap_t1"), None),  # classes, not people
        (("w/anna_t1", "c/anna_t1", "c/ben"), None),
        (("w/user1", "w/user2", "c/user3"), None),  # each is its own
    ],
)
def test_people_are_read_off_names_where_that_is_beyond_doubt(tmp_path, names, groups):
    root = folder(tmp_path / "set", *(f"{name}.npz" for name in names))
    samples = open_samples(root)
    by_name = {row.name: row.group for row in samples.rows}
    found = [by_name[f"{name}.npz"] for name in names]
    assert found == ([None] * len(names) if groups is None else groups.split())
    assert any("assumed to be people" in note for note in samples.notes) == (groups is not None)
    assert "group=" not in str(samples.notes)  # the command line prints them, too
    assert {row.group for row in open_samples(root, group=None).rows} == {None}


def test_a_rule_gives_the_groups_and_a_name_without_one_is_refused(tmp_path):
    root = folder(tmp_path / "set", "wave1/x_anna.npz", "wave1/y_ben.npz", "wave2/z_anna.npz")
    assert known(open_samples(root, group=r"_(\w+)\."), "group") == [("anna",), ("ben",), ("anna",)]
    assert known(open_samples(root, group=r"[xyz]"), "group") == [("x",), ("y",), ("z",)]
    assert known(open_samples(root, group=r"(\d)/"), "group") == [("1",), ("1",), ("2",)]
    with pytest.raises(
        FormatError, match=r"y_ben\.npz: its name has no group: 'anna' does not match"
    ):
        open_samples(root, group="anna")
    with pytest.raises(ConfigError, match=r"group = '\(' is not a regular expression"):
        open_samples(root, group="(")


@pytest.mark.parametrize("layout", ["klass", "class/class", "group", "class/person", ""])
def test_a_layout_of_other_words_is_refused(tmp_path, layout):
    with pytest.raises(ConfigError, match="must name class, group and part, each at most once"):
        open_samples(folder(tmp_path / "set", *PLAIN), layout=layout)


def test_files_that_do_not_fit_the_layout_are_refused(tmp_path):
    root = folder(tmp_path / "set", *PLAIN, "wave/p1/c.npz")
    with pytest.raises(
        FormatError, match=r"clap/a\.npz: a recording next to folders that hold oth"
    ):
        open_samples(root, layout="class/group")
    with pytest.raises(FormatError, match="clap: is not a part; use train, validation and test"):
        open_samples(folder(tmp_path / "parts", "clap/wave/a.npz"), layout="part/class")
