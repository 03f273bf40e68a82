"""Folders of anything as samples: what each folder means, and what is wrong and where."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from pathlib import Path

import cv2
import pytest

from dvskit.datasets import open_samples
from dvskit.errors import ConfigError, FormatError, MissingFileError
from dvskit.formats import load_events
from tests.laws import refused
from tests.sample_files import folder, pictures, recording, video

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
    with refused(FormatError, tmp_path / "set"):
        open_samples(tmp_path / "set")
    samples = open_samples(tmp_path / "set", format="csv:x,y,t,p", size=(6, 5))
    assert [row.name for row in samples.rows] == ["a/take.dump", "b/take.dump"]
    assert samples.events(1).sensor_size == (6, 5)
    assert samples.events(1).x.tolist() == [1, 3]


@pytest.mark.slow
def test_kinds_formats_and_sizes_may_be_mixed(tmp_path):
    root = tmp_path / "set"
    folder(root, "a/1.mp4", "a/2.raw", "a/3.aedat4", "b/1.mkv", "b/2.csv")
    recording(root / "b/3.npz", size=(33, 7))
    samples = open_samples(root, size=(24, 16))
    sizes = {row.name: samples.events(k).sensor_size for k, row in enumerate(samples.rows)}
    assert sizes["a/1.mp4"] == sizes["b/1.mkv"] == (24, 16)  # emulated at that size
    assert sizes["a/2.raw"] == sizes["a/3.aedat4"] == (12, 10)  # as they say
    assert sizes["b/2.csv"] == (24, 16)  # a text does not say its own
    assert sizes["b/3.npz"] == (33, 7)
    assert all(len(samples.events(k)) for k in range(len(samples)))


@pytest.mark.parametrize(
    ("names", "layout", "found"),
    [
        (("p1/wave/a.npz", "p1/clap/a.npz", "p2/wave/a.npz"), None, "wave p1"),
        (("wave/Subject-01/a.npz", "clap/Subject-02/a.npz"), None, "wave Subject-01"),
        (("wave/anna/a.npz", "clap/ben/a.npz"), "class/group", "wave anna"),
        (("anna/wave/a.npz", "ben/clap/a.npz"), "group/class", "wave anna"),
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
    assert len(samples.notes) >= (layout is None)  # an assumption is said


@pytest.mark.parametrize(
    ("names", "layout", "named"),
    [
        ((), None, "set"),
        (("a.mp4",), None, "set"),
        (("a.mp4", *PLAIN), None, "a.mp4"),
        ((*PLAIN, "wave/p/c.npz"), None, "wave/p"),
        (("wave/anna/a.npz", "clap/anna/a.npz"), None, "anna"),
        (("videos/wave/a.npz", "videos/clap/a.npz"), None, "videos"),
        (("Wave/a.npz", "wave/b.npz"), None, "wave"),
        ((*PLAIN, "wave/p1/c.npz"), "class/group", "clap/a.npz"),
        (("clap/wave/a.npz",), "part/class", "clap"),
    ],
)
def test_wrong_folders_are_refused_with_their_place(tmp_path, names, layout, named):
    (tmp_path / "set").mkdir()
    with refused(FormatError, tmp_path / "set", named):
        open_samples(folder(tmp_path / "set", *names), layout=layout)


def test_a_list_beside_samples_without_folders_is_pointed_at(tmp_path):
    root = folder(tmp_path / "set", "a.mp4", "b.mp4")
    (root / "labels.csv").write_text("file,label\na.mp4,wave\n")
    with refused(FormatError, root / "labels.csv"):
        open_samples(root)


def test_still_images_are_no_clips_but_a_folder_of_them_is(tmp_path):
    root = folder(tmp_path / "set", *PLAIN)

    def write(place):
        place.mkdir(exist_ok=True)
        for number, (_, picture) in enumerate(pictures(0, 4, (32, 24))):
            cv2.imwrite(str(place / f"{number:03}.png"), picture)

    write(root / "still")
    with refused(FormatError, root / "still", "clip"):
        open_samples(root)
    for file in (root / "still").iterdir():
        file.unlink()
    write(root / "still" / "clip")
    samples = open_samples(root, fps=30)
    number = [row.name for row in samples.rows].index("still/clip")
    assert len(samples.events(number))
    assert samples.events(number).sensor_size == (32, 24)
    before = samples.fingerprint(number)
    clip = root / "still" / "clip"
    (clip / "003.png").write_bytes((clip / "000.png").read_bytes())
    assert open_samples(root, fps=30).fingerprint(number) != before


def test_what_systems_leave_behind_is_passed_over_and_other_files_are_listed(tmp_path):
    root = folder(tmp_path / "set", *PLAIN)
    (root / "__MACOSX" / "wave").mkdir(parents=True)
    names = ".DS_Store Thumbs.db desktop.ini wave/.DS_Store wave/._a.npz clap/Desktop.ini"
    for name in (*names.split(), "__MACOSX/wave/a.npz", "clap/readme.md", "about.txt"):
        (root / name).write_text("x")
    samples = open_samples(root)
    assert [row.name for row in samples.rows] == list(PLAIN)
    assert sorted(path.name for path in samples.others) == ["about.txt", "readme.md"]


def test_a_missing_folder_a_packed_one_and_a_single_file_are_refused(tmp_path):
    with refused(MissingFileError, tmp_path / "none"):
        open_samples(tmp_path / "none")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        packed.writestr("wave/a.npz", b"")
    with refused(FormatError, tmp_path / "set.zip"):
        open_samples(tmp_path / "set.zip")
    (tmp_path / "set").mkdir()
    (tmp_path / "set.zip").rename(tmp_path / "set" / "set.zip")
    with refused(FormatError, tmp_path / "set" / "set.zip"):
        open_samples(tmp_path / "set")
    for file in (recording(tmp_path / "a.npz"), video(tmp_path / "a.mp4")):
        with refused(FormatError, file):
            open_samples(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid",
    ],
    ids=["empty", "a pointer of Git LFS"],
)
def test_files_without_data_are_refused_at_the_opening_or_left_out_and_counted(tmp_path, content):
    root = folder(tmp_path / "set", *PLAIN)
    (root / "wave" / "c.mp4").write_bytes(content)
    with refused(FormatError, "wave/c.mp4"):
        open_samples(root)
    samples = open_samples(root, strict=False)
    assert [row.name for row in samples.rows] == list(PLAIN)
    assert [each.path.name for each in samples.left_out] == ["c.mp4"]


def test_an_empty_class_is_refused_or_left_out_and_counted(tmp_path):
    root = folder(tmp_path / "set", *PLAIN)
    (root / "bow").mkdir()
    (root / "bow" / "notes.md").write_text("none yet")
    with refused(FormatError, root / "bow"):
        open_samples(root)
    samples = open_samples(root, strict=False)
    assert [each.path.name for each in samples.left_out] == ["bow"]
    assert samples.classes == ("clap", "wave")


def test_links_are_followed_and_broken_ones_and_circles_refused(tmp_path):
    root = folder(tmp_path / "set", *PLAIN)
    (root / "bow").symlink_to(root / "wave")
    (root / "clap" / "linked.npz").symlink_to(root / "wave" / "a.npz")
    samples = open_samples(root)
    assert [row.name for row in samples.rows][:2] == ["bow/a.npz", "bow/b.npz"]
    assert samples.events(0) == load_events(root / "wave" / "a.npz")
    (root / "clap" / "broken.npz").symlink_to(root / "gone.npz")
    with refused(FormatError, "broken.npz", "gone.npz"):
        open_samples(root)
    (root / "clap" / "broken.npz").unlink()
    (root / "clap" / "circle").symlink_to(root)
    with refused(FormatError, root / "clap" / "circle"):
        open_samples(root)


def test_a_file_without_the_right_to_read_is_refused(tmp_path, monkeypatch):
    root = folder(tmp_path / "set", *PLAIN)
    opened = Path.open

    def refuse(path, *args, **named):  # as chmod 0 does, but for root
        if path == root / "wave" / "a.npz":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with refused(FormatError, root / "wave" / "a.npz", "Permission denied"):
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
    with refused(FormatError, "udcff.npz"):
        open_samples(root)


def test_one_class_and_classes_of_one_sample_are_noted(tmp_path):
    (note,) = open_samples(folder(tmp_path / "one", "wave/a.npz", "wave/b.npz")).notes
    assert "wave" in note
    (note,) = open_samples(folder(tmp_path / "two", "wave/a.npz", "clap/b.npz", "clap/c.npz")).notes
    assert "wave" in note


# -- people


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        ("w/p1_t1 w/p1_t2 w/p2_t1 c/p2_t1", "p1 p1 p2 p2"),
        ("w/s01_t1 w/s1_t2 c/S2_t1", "s1 s1 s2"),
        ("w/subject-3_wave c/subject-3_clap c/subject-04", "subject3 subject3 subject4"),
        ("w/a1_s1_t1 w/a1_s1_t2 w/a1_s2_t1", "s1 s1 s2"),
        ("w/anna_t1 w/anna_t2 w/Bob_t1 c/anna_t1", "anna anna Bob anna"),
        ("w/anna_t1 c/p1_t1 c/p1_t2 w/p1_t9", "anna p1 p1 p1"),
        ("w/p1 c/p1 w/p2", None),  # a picture's number, perhaps
        ("w/s1_p1 w/s1_p2 w/s2_p1", None),  # session and part, or subject and position
        ("w/p1_t1 w/p1_t2 w/q1_t1", None),  # one says nothing
        ("w/user1_t1 w/person1_t2", None),  # two words
        ("w/s1a_t1 w/s1b_t1", None),
        ("w/wave_t1 w/wave_t2 c/clap_t1", None),  # classes, not people
        ("w/user1 w/user2 c/user3", None),  # each is its own
    ],
)
def test_people_are_read_off_names_where_that_is_beyond_doubt(tmp_path, names, groups):
    root = folder(tmp_path / "set", *(f"{name}.npz" for name in names.split()))
    samples = open_samples(root)
    by_name = {row.name: row.group for row in samples.rows}
    found = [by_name[f"{name}.npz"] for name in names.split()]
    assert found == ([None] * len(found) if groups is None else groups.split())
    assert any("people" in note for note in samples.notes) == (groups is not None)
    assert {row.group for row in open_samples(root, group=None).rows} == {None}


def test_a_rule_gives_the_groups_and_a_name_without_one_is_refused(tmp_path):
    root = folder(tmp_path / "set", "wave1/x_anna.npz", "wave1/y_ben.npz", "wave2/z_anna.npz")
    for rule, groups in ((r"_(\w+)\.", "anna ben anna"), (r"[xyz]", "x y z"), (r"(\d)/", "1 1 2")):
        assert [row.group for row in open_samples(root, group=rule).rows] == groups.split()
    with refused(FormatError, "y_ben.npz", "'anna'"):
        open_samples(root, group="anna")
    with refused(ConfigError, "group = '('"):
        open_samples(root, group="(")


@pytest.mark.parametrize("layout", ["class/class", "group", "class/person"])
def test_a_layout_of_other_words_is_refused(tmp_path, layout):
    with refused(ConfigError, f"layout = {layout!r}"):
        open_samples(folder(tmp_path / "set", *PLAIN), layout=layout)
