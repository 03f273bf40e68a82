"""The command line as a person and a program meet it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from functools import partial

import cv2
import numpy as np
import pytest
import typer

import dvskit
from dvskit import cli
from dvskit.cli import ANSWERS, _console
from dvskit.errors import FormatError
from dvskit.video import open_frames, write_video
from tests.laws import refused_command, scattered
from tests.printed_commands import leaves
from tests.processes import hear_signals, wait_until

make = partial(scattered, size=(20, 10), span_us=1000)


def one_line_error(result, ended_with=1):
    """Check that a command ended with a code and one line on stderr; return the line."""
    assert result[0] == ended_with
    return refused_command(result)


def usage_error(result):
    """Check that a command ended with 2, a mistake of usage, and one line; return the line."""
    return one_line_error(result, 2)


def left_behind(folder):
    return {file.name for file in folder.rglob("*")}


def write_clip(folder):
    """Write a folder of images: a bright bar that moves over a dark ground."""
    folder.mkdir()
    for number in range(12):
        image = np.full((40, 60), 40, np.uint8)
        image[:, 4 * number : 4 * number + 6] = 200
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip")


@pytest.fixture(scope="module")
def whole_inputs(tmp_path_factory):
    """Recordings, texts, a clip and videos, which the tables below name."""
    folder = tmp_path_factory.mktemp("inputs")
    dvskit.save_events(make(500), folder / "a.npz")
    dvskit.save_events(make(500)[:0], folder / "none.npz")
    dvskit.save_events(make(500), folder / "e.raw")
    dvskit.save_events(make(500), folder / "a.csv")
    for name in ("text.xyz", "text.raw", "text.mp4"):
        (folder / name).write_text("just some text")
    for name in ("empty.mp4", "empty.raw"):
        (folder / name).write_bytes(b"")
    write_clip(folder / "clip")
    rng = np.random.default_rng(0)
    frames = ((n * 40_000, rng.integers(20, 230, (48, 64), dtype=np.uint8)) for n in range(8))
    write_video(frames, folder / "film.mp4", fps=25)
    still = ((n * 40_000, np.full((48, 64), 90, np.uint8)) for n in range(8))
    write_video(still, folder / "still.mp4", fps=25)
    return folder


@pytest.fixture
def inputs(whole_inputs, tmp_path):
    return shutil.copytree(whole_inputs, tmp_path, dirs_exist_ok=True)


def commands():
    """Every command with its words, such as ("plot", "rate")."""
    for words, command in leaves(typer.main.get_command(cli.app)):
        yield tuple(words.split()), command


@pytest.mark.slow
def test_every_command_has_a_help_page(run):
    for words, _ in commands():
        code, out, _ = run(*words, "--help")
        assert code == 0, words
        assert "Usage" in out


def test_every_option_has_a_help_text():
    for words, command in commands():
        for each in command.params:
            assert getattr(each, "help", None), (words, each.name)


def test_words_of_the_field_name_the_command_that_does_their_work(run):
    known = {words[0] for words, _ in commands()}
    for word, answer in ANSWERS.items():
        assert word not in known
        assert answer in usage_error(run(word))
        assert set(re.findall(r"`dvskit (\w+)", answer)) <= known
    assert "dvskit flow" in usage_error(run("Optical_Flow"))


def test_only_a_command_that_is_close_is_suggested(run):
    for word, meant in {"trian": "train", "emu": "emulate", "clasify": "classify"}.items():
        assert repr(meant) in usage_error(run(word))
    assert "did you mean" not in usage_error(run("zzz"))
    assert run()[0] == 2


# The words of a command, and the names, places and values that its error has.
MISTAKES = {
    "info": "'file'|dvskit info --help",
    "info a.npz --nope": "--nope",
    "info a.npz --size 64": "--size|'64'",
    "info a.npz --size 0x9": "--size|0x9",
    "info a.npz --from evt33": "--from|'evt33'",
    "info a.csv --from csv:x,y,t,p": "t, x, y, p|--from csv:x,y,t,p",
    "info film.mp4 --size 32x32": "64x48|--size",
    "convert a.npz b.raw --to evt33": "'evt33'|hdf5-ecf, mcap, npz, rpg",
    "convert a.npz b.rav": "b.rav|'.rav'",
    "convert a.npz udp://127.0.0.1:3333": "udp://127.0.0.1:3333|input|tcp://",
    "convert a.npz b": "b:|suffix",
    "convert a.npz b.npz --start 2s --stop 1s": "2s|1s",
    "convert a.npz b.npz --stop 5": "--stop|'5'",
    "convert a.npz b.npz --crop 0,0,99,9": "99|20x10",
    "convert a.npz b.npz --crop 0,0": "--crop|'0,0'",
    "emulate clip": "clip",
    "emulate --camera 0": "--camera 0",
    "emulate clip b.raw --camera 0": "output",
    "emulate clip a.bin --fps 9": "a.bin|read",
    "emulate clip b.raw --fps 0": "fps|0.0",
    "emulate clip b.raw --fps 9 --set shot=1": "--set shot=1|'shot_hz'",
    "emulate clip b.raw --fps 9 --set shot_hz=x": "shot_hz|'x'",
    "emulate clip b.raw --fps 9 --threshold -1": "threshold_on",
    "emulate clip b.raw --fps 9 --preset claen": "'claen'|'clean'",
    "emulate film.mp4 b.raw --resize 9": "--resize|--size WIDTHxHEIGHT",
    "cloud a.npz -o a.jpg": ".html, .png, .svg",
    "render a.npz -o a.txt": "a.txt",
    "render a.npz -o a.mp4 --window 1": "--window|'1'",
    "render a.npz -o b.mp4 --stabilize blau": "--stabilize|'blau'|'translation', 'rotation'",
    "render a.npz -o -": "standard output",
    "render a.npz -o b.mp4 --stabilise rotation": "--stabilize",
    "render a.npz -o b.mp4 --stabilize rotation --camera a.csv": "--camera a.csv|--lens",
    "cloud a.npz -o b.html --colour time": "--color",
    "plot raet": "dvskit plot --help",
    "plot rate a.npz -o a.png --width 1": "--width|1.0",
    "view a.npz --port 70000": "--port",
    "train a.toml --set loop": "--set|'loop'",
    "demo --gesture sleep": "'sleep'",
    "demo -o -": "folder",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_in_the_words_is_a_usage_error_of_one_line(run, inputs, words):
    before = left_behind(inputs)
    err = usage_error(run(*words.split()))
    for named in MISTAKES[words].split("|"):
        assert named in err
    assert left_behind(inputs) == before


# What is wrong with an input or an output: the command ends with 1 and leaves nothing.
FAILURES = {
    "info none.raw": "none.raw",
    "info text.raw": "text.raw|header of evt3 or evt2|--from",
    "convert a.npz a.csv/b.raw": "a.csv is a file",
    "convert empty.raw out.npz": "empty.raw|empty",
    "emulate text.mp4 a.raw": "text.mp4|video",
    "emulate e.raw out.npz": "e.raw|evt3|dvskit convert",
    "render a.npz -o a.mp4 --beside e.raw": "e.raw|evt3",
    "emulate film.mp4 a.raw --start 5s": "film.mp4|0 frames",
    "emulate film.mp4 a.raw --stop 30ms": "film.mp4|1 frame;",
    "emulate --camera 99 a.raw": "camera 99",
    "emulate clip no/a.raw --fps 9": "no",
    "emulate clip /proc/a.raw --fps 9": "the folder /proc takes no new files",
    "cloud a.npz -o b.html --start 9s": "a.npz|--start|--stop",
    "plot rate a.npz -o b.png --start 9s": "a.npz",
    "render a.npz -o b.gif --start 9s": "no events",
    "cloud none.npz -o b.gif": "none.npz: there are no events to show",
    "cloud still.mp4 -o b.html": "still.mp4: there are no events",
    "render still.mp4 -o b.gif": "still.mp4: there are no events",
    "classify still.mp4 --model dvs128-gestures": "still.mp4: there are no events",
}


@pytest.mark.parametrize("words", FAILURES)
def test_a_failure_is_one_line_without_temporary_names_and_leaves_nothing(run, inputs, words):
    before = left_behind(inputs)
    err = one_line_error(run(*words.split()))
    for named in FAILURES[words].split("|"):
        assert named in err
    assert "dvskit-" not in err
    assert left_behind(inputs) == before


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "a.npz", "there.npz", "--crop", "1"),
        ("emulate", "clip", "there.npz", "--fps", "0"),
        ("render", "a.npz", "-o", "there.gif", "--slow", "0"),
        ("plot", "rate", "a.npz", "-o", "there.png", "--stop", "1"),
    ],
)
def test_a_wrong_option_is_reported_before_an_output_that_exists(run, inputs, words):
    for suffix in ("npz", "png", "gif"):
        (inputs / f"there.{suffix}").write_text("mine")
    assert "exists" not in usage_error(run(*words))


def test_info_of_a_recording_as_text_and_as_json(run, inputs):
    code, out, err = run("info", "a.npz")
    assert (code, err, "20x10" in out) == (0, "", True)
    facts = json.loads(run("info", "a.npz", "--json")[1])
    assert (facts["events"], facts["width"], facts["height"]) == (500, 20, 10)
    assert (facts["on"], facts["off"]) == (int(make(500).p.sum()), int((~make(500).p).sum()))
    assert facts["t_first_us"] == int(make(500).t[0])


@pytest.mark.slow
def test_emulate_info_convert_and_cloud_go_hand_in_hand(run, tmp_path, clip):
    code, out, err = run("emulate", "clip", "bar.raw", "--fps", "100")
    assert (code, out) == (0, "")
    direct = dvskit.emulate(open_frames(clip, fps=100)).load()
    assert f"bar.raw: {len(direct):,} events on 60x40 from 12 frames" in err
    assert dvskit.load_events(tmp_path / "bar.raw") == direct
    assert run("convert", "bar.raw", "b.npz")[0] == 0
    assert dvskit.load_events(tmp_path / "b.npz") == direct
    assert run("cloud", "bar.raw", "-o", "bar.png")[0] == 0
    assert (tmp_path / "bar.png").read_bytes().startswith(b"\x89PNG")
    assert run("cloud", "bar.raw", "-o", "bar.html")[0] == 0
    assert "WebGL2" in (tmp_path / "bar.html").read_text()


def test_a_higher_threshold_makes_fewer_events(run, tmp_path, clip):
    counts = []
    for threshold in ("0.2", "0.6"):
        name = f"{threshold}.npz"
        assert run("emulate", "clip", name, "--fps", 100, "--threshold", threshold)[0] == 0
        counts.append(len(dvskit.load_events(tmp_path / name)))
    assert counts[0] > 2 * counts[1] > 0


@pytest.mark.parametrize(("start", "stop"), [("100us", "0.5ms"), ("0.0001 s", "500us")])
def test_convert_cuts_in_time_and_space(run, inputs, start, stop):
    events = make(500)
    words = ("--start", start, "--stop", stop, "--crop", "3,2,10,5")
    assert run("convert", "a.npz", "b.npz", *words)[0] == 0
    origin = int(events.t[0])
    part = events.between(origin + 100, origin + 500)
    kept = dvskit.filters.Crop(3, 2, 10, 5).start(events.sensor_size)(part)
    assert dvskit.load_events(inputs / "b.npz") == kept


def test_convert_fits_another_sensor_and_says_how(run, inputs):
    events = make(500)  # on 20x10
    code, _, err = run("convert", "a.npz", "b.npz", "--fit", "10x10")
    assert code == 0
    fitted = dvskit.filters.Fit((10, 10)).start(events.sensor_size)(events)
    assert dvskit.load_events(inputs / "b.npz") == fitted
    assert "20x10 fitted to 10x10" in err


def test_a_part_without_events_is_written_and_reported(run, inputs):
    code, _, err = run("convert", "a.npz", "b.npz", "--start", "5min")
    assert code == 0
    assert "dvskit: note: b.npz" in err
    assert "b.npz: 0 events on 20x10" in err
    assert len(dvskit.load_events(inputs / "b.npz")) == 0


def test_a_short_part_is_no_mistake_of_units(run):
    long = dvskit.Events(t=[0, 400, 2_000_000], x=[1] * 3, y=[1] * 3, p=[True] * 3, size=(4, 4))
    dvskit.save_events(long, "long.npz")
    code, _, err = run("convert", "long.npz", "part.npz", "--stop", "500us")
    assert (code, "note" in err) == (0, False)
    assert "part.npz: 2 events" in err


def test_triggers_are_carried_or_their_loss_is_reported(run, data):
    recording = data / "recordings" / "evt3_triggers_640x480.raw"
    code, _, err = run("convert", recording, "a.npz")
    assert code == 0
    assert "4,157 triggers" in err
    code, _, err = run("convert", recording, "a.raw")
    assert (code, "trigger" in err) == (0, False)
    assert len(dvskit.open_events("a.raw").triggers()) == 4157


def test_an_existing_output_is_replaced_with_force(run, inputs):
    (inputs / "b.npz").write_text("mine")
    assert "--force" in one_line_error(run("convert", "a.npz", "b.npz"))
    assert (inputs / "b.npz").read_text() == "mine"
    assert run("convert", "a.npz", "b.npz", "--force")[0] == 0
    assert dvskit.load_events(inputs / "b.npz") == make(500)


def test_a_truncated_recording_is_refused_with_its_place_or_salvaged(run, tmp_path, data):
    whole = (data / "recordings" / "evt3_gen41_1280x720.raw").read_bytes()
    (tmp_path / "cut.raw").write_bytes(whole[:300_001])
    for words in (("info", "cut.raw"), ("convert", "cut.raw", "out.npz")):
        err = one_line_error(run(*words))
        assert "at byte 300000" in err
        assert "--salvage" in err
        assert "strict=" not in err
    assert left_behind(tmp_path) == {"cut.raw"}
    code, _, err = run("convert", "cut.raw", "out.npz", "--salvage")
    assert code == 0
    assert "1 byte lost" in err
    assert len(dvskit.load_events(tmp_path / "out.npz")) > 90_000
    assert "DAMAGE" in run("info", "cut.raw", "--salvage")[1]


def test_debug_shows_where_an_error_came_from(run, monkeypatch):
    monkeypatch.setattr(_console, "debug", False)  # a process shows all from here on
    with pytest.raises(FormatError, match=r"none\.raw"):
        run("info", "none.raw", "--debug")


def test_doctor_finds_everything(run):
    code, out, _ = run("doctor", "--json")
    assert code == 0
    checks = json.loads(out)
    assert "kernels" in checks
    assert all(each["ok"] for each in checks.values())


@pytest.mark.slow(seconds=3)
def test_demo_leaves_a_folder_with_a_cloud_and_classifies_its_events(run, tmp_path):
    code, out, err = run("demo")
    assert (code, err) == (0, "")
    names = left_behind(tmp_path / "dvskit-demo")
    assert names == {"person.mp4", "person.raw", "person.html", "person.png"}
    events = dvskit.load_events(tmp_path / "dvskit-demo" / "person.raw")
    assert len(events) > 10_000
    assert f"{len(events):,} events" in out
    assert out.count("right_hand_wave (") == 2  # of the whole, and live
    assert "exists already" in one_line_error(run("demo", "-o", "dvskit-demo"))


# --- processes ------------------------------------------------------------------------------------


def command(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "dvskit", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_signals,
        **options,
    )


@pytest.mark.slow
def test_a_video_is_emulated_from_a_pipe_as_from_its_file(inputs):
    with (inputs / "film.mp4").open("rb") as stdin:
        words = ("emulate", "-", "p.raw", "--crop", "4,4,40,40")
        process = command(*words, cwd=inputs, stdin=stdin)
        assert process.communicate(timeout=120)[0] == ""
    assert process.returncode == 0
    expected = dvskit.emulate(inputs / "film.mp4", crop=(4, 4, 40, 40)).load()
    assert dvskit.load_events(inputs / "p.raw") == expected


def test_a_terminal_is_no_video(run, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert "terminal" in usage_error(run("emulate", "-", "a.raw"))


@pytest.mark.slow(seconds=3)
def test_an_interrupted_emulation_leaves_a_valid_file_of_its_frames(tmp_path, data):
    film = data / "video" / "bikes.mp4"
    process = command("emulate", film, "a.raw", cwd=tmp_path)
    wait_until(lambda: any(f.is_file() and f.stat().st_size > 0 for f in tmp_path.iterdir()), 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert left_behind(tmp_path) == {"a.raw"}
    frames = int(err.split("stopped after frame ")[1].split(";")[0]) + 1
    assert f"from {frames} frames" in err
    part = dvskit.load_events(tmp_path / "a.raw")
    times = [t_us for t_us, _ in open_frames(film)]
    assert 1 < frames < len(times)
    assert times[frames - 2] <= int(part.t[-1]) <= times[frames]
    assert part == dvskit.emulate(film, stop_us=times[frames]).load()[: len(part)]
