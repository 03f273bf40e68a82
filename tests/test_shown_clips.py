"""Commands that show events take a video as well: it is emulated first, and that is said."""

from __future__ import annotations

import json
import tempfile
from mmap import mmap
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import dvskit
from dvskit.cli._clips import open_shown
from dvskit.cli._options import Reading
from dvskit.video import open_frames, write_video
from tests.laws import refused_command
from tests.test_events import make
from tests.video_kinds import B_FRAMES, Kind, cut_to, write


def frames():
    for number in range(12):
        image = np.full((48, 64), 40, np.uint8)
        image[:, 4 * number : 4 * number + 6] = 200
        yield number * 40_000, image


@pytest.fixture(params=["clip.mp4", "clip"])
def clip(request, tmp_path):
    """A video, or a folder of images."""
    path = tmp_path / request.param
    if path.suffix:
        write_video(frames(), path, fps=25)
        return path
    path.mkdir()
    for number, (_, image) in enumerate(frames()):
        cv2.imwrite(str(path / f"{number:03}.png"), image)
    (path / "timestamps_us.txt").write_text("".join(f"{t}\n" for t, _ in frames()))
    return path


SAID = "12 frames emulated for an ideal sensor; dvskit emulate has others\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "out"),
    [
        (("cloud",), "a.html"),
        (("cloud",), "a.png"),
        (("render",), "a.mp4"),
        (("plot", "rate"), "a.png"),
        (("plot", "map"), "a.svg"),
    ],
    ids=lambda word: "-".join(word) if isinstance(word, tuple) else word,
)
def test_a_clip_is_emulated_first(run, tmp_path, clip, words, out):
    code, printed, err = run(*words, clip, "-o", out)
    assert (code, printed) == (0, "")
    assert err.count(SAID) == 1
    assert f"note: {clip}: is a {'video' if clip.suffix else 'folder of images'}: " in err
    assert (tmp_path / out).stat().st_size > 100
    assert {file.name for file in tmp_path.iterdir()} == {clip.name, out}


def test_the_events_of_a_clip_are_those_of_its_emulation(tmp_path, clip):
    recording = open_shown(clip, Reading())
    assert recording.load() == dvskit.emulate(clip).load()
    assert open_shown(clip, Reading()) is recording  # emulated once
    assert tuple(open_shown(clip, Reading(size=dvskit.Size(32, 24))).size) == (32, 24)


def is_mapped(array):
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return isinstance(array, mmap)


def test_the_events_of_a_clip_are_mapped_from_files_without_names(tmp_path, monkeypatch, clip):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    recording = open_shown(clip, Reading())
    blocks = list(recording)
    assert all(is_mapped(block.t) for block in blocks)
    assert all(block.t.flags.aligned and block.x.flags.aligned for block in blocks)
    events = dvskit.emulate(clip).load()
    assert recording.load() == recording.load() == events
    middle_us = int(events.t[len(events) // 2])
    assert recording.between(middle_us, None).load() == events.between(middle_us, None)
    assert list(tmp_path.iterdir()) == [clip]


def test_info_says_what_a_clip_is(run, clip):
    facts = json.loads(run("info", clip, "--json")[1])
    assert facts["format"] == ("video" if clip.suffix else "folder of images")
    assert (facts["frames"], facts["width"], facts["height"]) == (12, 64, 48)
    assert facts["frames_per_second"] == pytest.approx(25)


@pytest.mark.slow
def test_a_view_begins_with_a_video(run, clip, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    stub = SimpleNamespace(Event=lambda: SimpleNamespace(wait=interrupted))
    monkeypatch.setattr("dvskit.cli._console.threading", stub)
    dvskit.save_events(make(500), "a.npz")
    code, out, err = run("view", clip, "a.npz", "--no-browser")
    assert code == 130
    assert out.startswith("http://127.0.0.1:")
    assert err.count(SAID) == 1


def test_what_is_neither_events_nor_a_video_is_refused_as_before(run, tmp_path):
    (tmp_path / "story.txt").write_text("once upon a time\n")
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 4000)
    (tmp_path / "empty").mkdir()
    for path, said in (
        ("story.txt", ""),
        ("broken.mp4", "broken.mp4"),
        ("empty", "is a folder without"),
        ("none.mp4", "no such file"),
    ):
        refused_command(run("info", path), said)


def test_a_damaged_clip_is_salvaged_when_that_is_asked_for(run, tmp_path):
    path = write(Kind("", ".mkv", "libx264", options=B_FRAMES, spoil=cut_to(0.6)), tmp_path)
    code, _, err = run("render", path, "-o", "a.mp4")
    assert (code, "--salvage" in err) == (1, True)
    code, _, err = run("render", path, "-o", "a.mp4", "--salvage")
    assert code == 0, err
    assert "emulated for an ideal sensor" in err
    assert open_frames("a.mp4").size.width > 64
