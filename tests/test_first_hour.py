"""What a newcomer types in the first hour, and what is said: the fix in the words of the shell."""

from __future__ import annotations

import ast
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

import dvskit
from dvskit.cli import _console
from dvskit.cli._options import model_names
from dvskit.errors import FormatError, count_of
from dvskit.video import write_video
from tests.test_cli import clip, commands, one_line_error, usage_error  # noqa: F401 (fixture)
from tests.test_events import make


@pytest.fixture
def video(tmp_path):
    rng = np.random.default_rng(0)
    frames = ((n * 40_000, rng.integers(20, 230, (48, 64), dtype=np.uint8)) for n in range(8))
    write_video(frames, tmp_path / "clip.mp4", fps=25)
    return tmp_path / "clip.mp4"


def pipe(words, file, folder):
    with file.open("rb") as stdin:
        return subprocess.run(
            [sys.executable, "-m", "dvskit", *map(str, words)], stdin=stdin, cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("out", ["a.html", "a.png", "a.gif", "a.mp4"])
def test_a_cloud_of_no_events_is_refused_as_a_video_of_them_is(run, tmp_path, out):
    dvskit.save_events(make(300), "a.npz")
    late = ("a.npz", "-o", out, "--start", "9s")
    said = "a.npz: there are no events to show from --start to --stop"
    assert said in one_line_error(run("cloud", *late))
    if out != "a.html":
        assert said in one_line_error(run("plot", "rate", "a.npz", "-o", "b.png", "--start", "9s"))
    if out.endswith((".mp4", ".gif")):
        assert "there are no events to show" in one_line_error(run("render", *late))
    dvskit.save_events(make(300)[:0], "none.npz")
    assert "none.npz: there are no events to show\n" in one_line_error(
        run("cloud", "none.npz", "-o", out)
    )
    assert {file.name for file in tmp_path.iterdir()} == {"a.npz", "none.npz"}


def test_one_of_several_recordings_without_events_is_named(run, tmp_path):
    dvskit.save_events(make(300), "a.npz")
    dvskit.save_events(make(300)[:0], "none.npz")
    assert "none.npz: there are" in one_line_error(
        run("cloud", "a.npz", "none.npz", "-o", "a.html")
    )


def test_columns_that_contradict_a_header_are_refused_and_others_are_not(run, tmp_path):
    events = make(300)
    dvskit.save_events(events, "a.csv")
    said = usage_error(run("info", "a.csv", "--from", "csv:x,y,t,p"))
    assert "its header names t, x, y, p, and --from csv:x,y,t,p another order; leave that" in said
    for variant in ("t,x,y,p", "timestamp,x,y,polarity"):
        assert dvskit.load_events("a.csv", format=f"csv:{variant}", size=(20, 10)) == events
    body = (tmp_path / "a.csv").read_text().partition("t,x,y,p\n")[2]
    (tmp_path / "b.csv").write_text("when,column,row,sign\n" + body)
    assert dvskit.load_events("b.csv", format="csv:t,x,y,p", size=(20, 10)) == events
    with pytest.raises(FormatError, match="when, column"):
        dvskit.load_events("b.csv", size=(20, 10))


@pytest.mark.parametrize(
    "words",
    [("emulate", "a.raw", "out.npz"), ("render", "a.raw", "-o", "a.mp4", "--beside", "a.raw")],
)
def test_events_where_a_video_is_meant_are_told_with_the_way(run, words):
    dvskit.save_events(make(300), "a.raw")
    said = one_line_error(run(*words))
    assert said == (
        "dvskit: error: a.raw: is an event file (evt3) without frames; name a video (dvskit "
        "convert reads the events)\n"
    )


@pytest.mark.slow
def test_a_video_is_emulated_from_a_pipe_as_from_its_file(video, tmp_path):
    done = pipe(("emulate", "-", "a.raw", "--crop", "4,4,40,40"), video, tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    expected = dvskit.emulate(video, crop=(4, 4, 40, 40)).load()
    assert dvskit.load_events(tmp_path / "a.raw") == expected
    dvskit.save_events(expected, tmp_path / "b.raw")
    wrong = pipe(("emulate", "-", "c.raw"), tmp_path / "b.raw", tmp_path)
    assert wrong.returncode == 1
    assert "is an event file (evt3) without frames" in wrong.stderr


def test_a_terminal_is_no_video(run, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert "standard input is a terminal" in usage_error(run("emulate", "-", "a.raw"))


@pytest.mark.slow
def test_csv_on_a_pipe_says_which_option_tells_the_size(tmp_path):
    dvskit.save_events(make(300), tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines(keepends=True)
    (tmp_path / "b.csv").write_text("".join(line for line in lines if line[0] != "%"))
    said = pipe(("info", "-"), tmp_path / "b.csv", tmp_path).stderr
    assert "pass --size WIDTHxHEIGHT\n" in said
    assert pipe(("info", "-", "--size", "20x10"), tmp_path / "b.csv", tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("said", "shell"),
    [
        ("pass overwrite=True (--force) to replace it", "pass --force to replace it"),
        ("pass strict=False (--salvage) to", "pass --salvage to"),
        ("pass size=(width, height) (--size WIDTHxHEIGHT)", "pass --size WIDTHxHEIGHT"),
        ("pass fps (--fps) to count", "pass --fps to count"),
        ("give start_us and stop_us (--start, --stop)", "give --start, --stop"),
        ("or judge these too: split='all' (--split all)", "or judge these too: --split all"),
        ("at 540 ms (--time container)", "at 540 ms (--time container)"),
        ("dvskit.open_events (dvskit convert) reads it", "dvskit convert reads it"),
    ],
)
def test_a_fix_is_told_in_the_words_of_the_shell(said, shell):
    assert _console.for_shell(said) == shell


def test_an_existing_output_and_a_damaged_file_are_told_with_options(run, tmp_path):
    dvskit.save_events(make(300), "a.npz")
    dvskit.save_events(make(300), "a.raw")
    said = one_line_error(run("convert", "a.npz", "a.raw"))
    assert "a.raw: exists already; pass --force to replace it" in said
    data = (tmp_path / "a.raw").read_bytes()
    (tmp_path / "a.raw").write_bytes(data[:-1])
    said = one_line_error(run("info", "a.raw"))
    assert "pass --salvage to" in said
    assert "=" not in said


def test_a_clip_of_too_few_frames_is_named(run, video):
    said = one_line_error(run("emulate", video, "a.raw", "--start", "5s"))
    assert said.startswith(f"dvskit: error: {video}: has 0 frames; ")
    said = one_line_error(run("emulate", video, "a.raw", "--stop", "30ms"))
    assert f"{video}: has 1 frame; " in said


def test_numbers_of_one_and_of_many():
    assert [count_of(n, "event") for n in (0, 1, 2000)] == ["0 events", "1 event", "2,000 events"]
    assert [count_of(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]


def test_one_event_is_not_one_events(run):
    dvskit.save_events(make(300)[:1], "a.npz")
    *notes, last = run("convert", "a.npz", "b.csv")[2].splitlines()
    assert last == "b.csv: 1 event on 20x10, csv"
    assert notes[0].endswith("pass --size 20x10 to read it back unchanged")


def test_a_size_of_a_video_is_not_ignored(run, video):
    said = usage_error(run("info", video, "--size", "32x32"))
    assert "this is a video of 64x48; dvskit emulate --size scales it" in said


def test_a_demo_is_not_written_to_standard_output(run, tmp_path):
    assert "name a folder" in usage_error(run("demo", "-o", "-"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("convert", "a.raw", "b.raw", "--scale", "2"), "--scale; --fit WIDTHxHEIGHT scales"),
        (("emulate", "a.mp4", "b.raw", "--resize", "9"), "--resize; --size WIDTHxHEIGHT scales"),
        (("cloud", "a.raw", "-o", "b.png", "--scale", "2"), "--pixels WIDTHxHEIGHT scales"),
    ],
)
def test_who_looks_for_scaling_is_told_its_option(run, words, said):
    assert said in usage_error(run(*words))


NMNIST = ("nmnist-emulated", "nmnist-signed-lif")


def test_names_of_models_are_completed_in_any_case_by_every_command():
    assert model_names("NMN") == model_names("nmn") == list(NMNIST)
    for words, command in commands():
        for each in command.params:
            if each.name == "model" and words not in (
                ("motion",),
                ("reconstruct",),
            ):  # other models
                found = {item.value for item in each.shell_complete(typer.Context(command), "NMN")}
                assert found == set(NMNIST), words


def test_reconstructors_are_completed_in_any_case():
    wanted = {("reconstruct",): ["filter", "reconstruct"], ("eval",): ["filter", "reconstruct"]}
    for words, command in commands():
        for each in command.params:
            if words in wanted and each.name == "model":
                for typed, left in (("FIL", ["filter"]), ("rec", ["reconstruct"])):
                    found = each.shell_complete(typer.Context(command), typed)
                    assert [item.value for item in found] == left
                every = {item.value for item in each.shell_complete(typer.Context(command), "")}
                assert every.issuperset(wanted.pop(words))
    assert not wanted


@pytest.mark.slow
def test_calibration_names_its_stages_where_nobody_watches(run, video):
    dvskit.save_events(dvskit.emulate(video).load(), "a.npz")
    code, _, err = run("calibrate", "a.npz", video)
    assert code == 0
    told = re.findall(r"^dvskit: a\.npz: (.+)$", err, re.MULTILINE)
    assert told[:3] == [
        "reading the events", "reading the frames", "searching offset, low-pass and log map",
    ]  # fmt: skip
    assert told[-1] == "emulating, to measure the agreement"
    assert "a.npz: reading" not in run("-q", "calibrate", "a.npz", video)[2]


def test_a_part_of_a_recording_is_rendered_with_an_end_in_sight(run, monkeypatch):
    totals = []
    monkeypatch.setattr(
        _console, "progress",
        lambda title, total, unit: totals.append(total) or _Silent(),
    )  # fmt: skip
    events = make(500)
    slow = dvskit.Events(t=events.t * 1000, x=events.x, y=events.y, p=events.p, size=events.size)
    dvskit.save_events(slow, "a.npz")
    part = ("--start", "100ms", "--stop", "400ms", "--slow", "2", "--fps", "50")
    assert run("render", "a.npz", "-o", "a.mp4", *part)[0] == 0
    assert totals == [pytest.approx(30)]


COUNTED = (
    "sample|event|file|frame|epoch|class|window|bin|clip|image|label|recording|step|trigger|pixel|"
    "byte|layer|place|time|path|spike|decision|group|part|row|column"
)


def test_messages_of_the_command_line_count_one_thing_as_one():
    said = 0
    for file in Path(dvskit.cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            for number, words in itertools.pairwise(parts):
                what = ast.unparse(number)
                if not isinstance(words, ast.Constant) or "_of(" in what or "{given.bins}" in what:
                    continue
                found = re.match(rf" (?:more )?({COUNTED})e?s\b(?!/)", words.value)
                where = f"{file.name}:{node.lineno}: {words.value}"
                assert not found or "raw" in words.value or "384" in words.value, where
                said += 1
    assert said > 200


@pytest.mark.parametrize(("stop", "frames"), [("1s", 6), ("99ms", 6), ("50ms", 3), ("90ms", 6)])
def test_a_video_ends_where_the_recording_does_and_says_so(run, stop, frames):
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(5_000_000, 5_098_000, 300))
    t[[0, -1]] = 5_000_000, 5_097_999
    dvskit.save_events(dvskit.Events(t=t, x=t % 40, y=t % 30, p=t % 2, size=(40, 30)), "a.npz")
    code, _, err = run("render", "a.npz", "-o", "a.mp4", "--stop", stop)
    assert code == 0
    assert f"a.mp4: {frames} frames of" in err
    ends = "a.npz: ends at 97.999 ms, before --stop; the video ends there"
    assert (ends in err) == (stop in ("1s", "99ms"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("cloud", "-o", "a.html"),
        ("cloud", "-o", "a.png"),
        ("cloud", "-o", "a.gif"),
        ("render", "-o", "a.gif"),
        ("plot", "rate", "-o", "a.png"),
        ("plot", "raster", "-o", "a.png"),
        ("plot", "raster", "-o", "a.png", "--model", "nmnist-signed-lif"),
        ("classify", "--model", "dvs128-gestures"),
    ],
)
def test_a_video_without_motion_is_named_and_no_temporary_file(run, tmp_path, words):
    gray = np.full((48, 64), 90, np.uint8)
    write_video([(n * 40_000, gray) for n in range(8)], tmp_path / "still.mp4", fps=25)
    number = 2 if words[0] == "plot" else 1
    code, out, err = run(*words[:number], "still.mp4", *words[number:])
    assert (code, out) == (1, "")
    assert "dvskit: error: still.mp4: there are no events to " in err
    assert "dvskit-" not in err
    assert {path.name for path in tmp_path.iterdir()} == {"still.mp4"}


class _Silent:
    def __enter__(self):
        return lambda done, remark="": None

    def __exit__(self, *error):
        return None


@pytest.mark.slow
def test_help_shows_no_python_types_of_lists_and_keeps_its_columns_wide(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for words, command in commands():
        out = run(*words, "--help")[1]
        assert "<list[str]>" not in out, words
        for line in out.splitlines():
            assert len(line) <= 80, words
        for each in command.params:
            if each.name != "help" and getattr(each, "help", ""):
                assert not re.search(r"\bbehind\b|\bby the others\b", each.help), (words, each.name)


def test_help_breaks_no_line_where_the_source_does(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = " ".join(run("view", "--help")[1].split())
    assert "printed on standard output. More event files and videos can be dropped" in out
    lines = [line.strip() for line in run("view", "--help")[1].splitlines()]
    at = next(n for n, line in enumerate(lines) if line.startswith("The page is served"))
    assert all(len(line) > 60 for line in lines[at : at + 2])
