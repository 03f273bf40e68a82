"""The command line as a person and a program meet it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer

import dvskit
from dvskit import cli
from dvskit.cli import _console
from dvskit.cli._commands import ANSWERS, MODULES
from dvskit.errors import ConfigError
from dvskit.formats.addresses import ADDRESSES
from tests.printed_commands import leaves
from tests.processes import hear_signals
from tests.test_events import make

MODEL = "nmnist-signed-lif"


def one_line_error(result, ended_with=1):
    """Check that a command ended with a code and one line on stderr; return the line."""
    code, out, err = result
    assert code == ended_with
    assert out == ""
    assert err.startswith("dvskit: error: ")
    assert err.count("\n") == 1
    return err


def usage_error(result):
    """Check that a command ended with 2, a mistake of usage, and one line; return the line."""
    return one_line_error(result, 2)


def left_behind(folder):
    return {file.name for file in folder.rglob("*")}


@pytest.fixture
def clip(tmp_path):
    """A folder of images: a bright bar that moves over a dark ground."""
    import cv2

    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(12):
        image = np.full((40, 60), 40, np.uint8)
        image[:, 4 * number : 4 * number + 6] = 200
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


def test_help_names_every_command(run):
    code, out, _ = run("--help")
    assert code == 0
    for verb in [
        "info",
        "convert",
        "emulate",
        "calibrate",
        "cloud",
        "motion",
        "train",
        "eval",
        "classify",
        "demo",
        "sample",
        "doctor",
    ]:
        assert verb in out


def commands():
    """Every command with its words, such as ("plot", "rate")."""
    for words, command in leaves(typer.main.get_command(cli.app)):
        yield tuple(words.split()), command


def test_dark_and_bright_are_one_pair_of_options_in_every_command():
    themed = {}
    for words, command in commands():
        for option in command.params:
            names = {*option.opts, *option.secondary_opts}
            assert "--theme" not in names
            if names & {"--dark", "--bright"}:
                assert names == {"--dark", "--bright"}, words
                themed[words[0]] = option.default
    assert themed == {"cloud": None, "corners": True, "eval": False, "flow": True, "render": True,
                      "motion": False, "track": True, "plot": False}  # fmt: skip


@pytest.mark.slow
def test_every_help_page_explains_each_option_and_says_what_is_left_out(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    for words, command in commands():
        for each in command.params:
            assert getattr(each, "help", "") or each.name == "help", (words, each.name)
        code, out, _ = run(*words, "--help")
        assert code == 0, words
        assert not re.search(r"; [\w]+\.?\s*│", out), words  # a bare word for what is taken
    out = run("emulate", "--help")[1]
    assert "[required]" not in out  # the video is left out with a camera
    assert "left out with --camera" in " ".join(out.replace("│", " ").split())
    words = " ".join(run("cloud", "--help")[1].replace("│", " ").split())
    assert "0 looks from the side, 90 from the front" in words


def test_help_that_names_schemes_of_live_events_names_all(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    named = {}
    for name in MODULES:
        for line in run(name, "--help")[1].splitlines():
            if "udp://" in line and "--out" not in line:
                named[name, line.split()[1]] = ADDRESSES in line
    assert len(named) >= 8
    assert all(named.values()), named


def test_words_of_the_field_name_what_does_their_work(run):
    known = {words[0] for words, _ in commands()}
    for word, answer in ANSWERS.items():
        assert word not in known
        err = usage_error(run(word))
        assert f"there is no command {word!r} in this version; {answer} (dvskit --help)" in err
        for command in re.findall(r"`dvskit (\w+)", answer):
            assert command in known
        for option in re.findall(r"`dvskit (\w+)[^`]*?(--\w[\w-]*)", answer):
            assert option[1] in run(option[0], "--help")[1]
    assert "dvskit flow" in run("Optical_Flow")[2]
    assert "`dvskit cameras` lists USB event cameras" in run("list_cameras", "--all")[2]


def test_only_a_command_that_is_close_is_suggested(run):
    for word, meant in {"trian": "train", "emu": "emulate", "clasify": "classify"}.items():
        assert usage_error(run(word)).endswith(f"did you mean {meant!r}? (dvskit --help)\n")
    for word in ("connect", "render3d-all", "zzz"):
        assert "did you mean" not in usage_error(run(word))
    assert "commands: calibrate, cameras, classify" in run("connect")[2]


def test_the_camera_of_emulate_is_a_webcam(run):
    for command in ("emulate", "classify", "view"):
        assert "webcam" in run(command, "--help")[1]


def test_a_wrong_command_option_or_argument_is_a_usage_error(run):
    for words, said in (
        (("infoo",), "there is no command 'infoo'; did you mean 'info'? (dvskit --help)"),
        (("info",), "Missing argument 'file' (dvskit info --help)"),
        (("info", "a.raw", "--nope"), "No such option: --nope"),
        (("emulate", "a.mp4", "b.npz", "--threshold", "much"), "Invalid value for '--threshold'"),
        (("plot", "raet"), "(dvskit plot --help)"),
        (
            ("render", "a.raw", "-o", "b.mp4", "--stabilise", "blau"),
            "Invalid value for '--stabilise': 'blau' is not one of 'translation', 'rotation'",
        ),
    ):
        assert said in usage_error(run(*words))
    assert run()[0] == 2
    assert run("plot")[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("info", "a.npz", "--size", "64"), "--size: size '64' is not WIDTHxHEIGHT"),
        (("info", "a.npz", "--size", "0x9"), "--size: size 0x9 is outside"),
        (("info", "a.npz", "--from", "evt33"), "--from: unknown format 'evt33'; did you mean"),
        (("convert", "a.npz", "b.raw", "--to", "evt33"), "error: unknown format 'evt33'"),
        (("convert", "a.npz", "b.raw", "--to", "evt33"), "hdf5-gzip, mcap, npz, rpg\n"),
        (("convert", "a.npz", "b.rav"), "error: b.rav: no format is written as '.rav'"),
        (("convert", "a.npz", "b"), "error: b: has no suffix of a format"),
        (("convert", "a.npz", "b.npz", "--start", "2s", "--stop", "1s"), "is not after"),
        (("convert", "a.npz", "b.npz", "--stop", "5"), "--stop '5' is not a time"),
        (("emulate",), "name a video and the event file to write"),
        (("emulate", "a.mp4"), "a.mp4: name the file to write after it, or a folder"),
        (("emulate", "--camera", "0"), "name the event file to write"),
        (("emulate", "a.mp4", "b.raw", "--camera", "0"), "takes no input; name only the output"),
        (("emulate", "clip", "b.raw", "--fps", "0"), "fps = 0.0 is outside"),
        (("emulate", "clip", "b.raw", "--fps", "9", "--set", "shot=1"), "unknown parameter"),
        (("emulate", "clip", "b.raw", "--fps", "9", "--set", "shot_hz=x"), "is not a number"),
        (("emulate", "clip", "b.raw", "--fps", "9", "--threshold", "-1"), "threshold_on"),
        (("calibrate", "a.npz", "clip", "--offset", "5"), "--offset '5' is not a time"),
        (("cloud", "a.npz", "-o", "a.png", "--pixels", "9x9"), "--pixels: a picture of 9x9"),
        (("cloud", "a.npz", "-o", "a.png", "--pixels", "9"), "--pixels: size '9' is not"),
        (("cloud", "a.npz", "-o", "a.html", "--elevation", "91"), "elevation_deg=91"),
        (("cloud", "a.npz", "-o", "a.html", "--model", "x", "--every", "1"), "--every '1' is no"),
        (("render", "a.npz", "-o", "a.txt"), "a.txt"),
        (("render", "a.npz", "-o", "a.mp4", "--slow", "0"), "slow=0.0"),
        (("render", "a.npz", "-o", "a.mp4", "--window", "1"), "--window '1' is not a time"),
        (("plot", "rate", "a.npz", "-o", "a.png", "--width", "1"), "width_mm=1.0"),
        (("view", "a.npz", "--port", "70000"), "--port 70000"),
        (("train", "a.toml", "--set", "loop"), "is not key=value"),
        (("demo", "--gesture", "sleep"), "unknown gesture 'sleep'"),
    ],
)
def test_a_wrong_value_of_an_option_is_a_usage_error_of_one_line(run, tmp_path, clip, words, said):
    dvskit.save_events(make(500), tmp_path / "a.npz")
    before = left_behind(tmp_path)
    assert said in usage_error(run(*words))
    assert left_behind(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("convert", "a.npz", "there.npz", "--crop", "1"),
        ("emulate", "clip", "there.npz", "--fps", "0"),
        ("calibrate", "a.npz", "-o", "there.toml", "--offset", "1"),
        ("cloud", "a.npz", "-o", "there.png", "--elevation", "91"),
        ("cloud", "a.npz", "-o", "there.gif", "--turns", "101"),
        ("cloud", "a.npz", "-o", "there.html", "--every", "1s"),
        ("render", "a.npz", "-o", "there.gif", "--slow", "0"),
        ("plot", "rate", "a.npz", "-o", "there.png", "--width", "1"),
        ("plot", "rate", "a.npz", "-o", "there.png", "--stop", "1"),
    ],
)
def test_a_wrong_option_is_told_ahead_of_an_output_that_exists(run, tmp_path, clip, words):
    dvskit.save_events(make(500), tmp_path / "a.npz")
    for suffix in ("npz", "toml", "png", "gif", "html"):
        (tmp_path / f"there.{suffix}").write_text("mine")
    assert "exists already" not in usage_error(run(*words))
    right = [word for word in words[:-2] if word != "--fps"]
    again = run(*right, *(("--fps", "9") if words[0] == "emulate" else ()))
    assert "exists already" in one_line_error(again)


def test_info_of_a_recording_as_text_and_as_json(run, tmp_path):
    dvskit.save_events(make(500), tmp_path / "a.npz")
    code, out, err = run("info", "a.npz")
    assert (code, err) == (0, "")
    assert "500" in out
    assert "20x10" in out
    code, out, _ = run("info", "a.npz", "--json")
    facts = json.loads(out)
    assert code == 0
    assert (facts["events"], facts["width"], facts["height"]) == (500, 20, 10)
    assert facts["on"] + facts["off"] == 500
    assert facts["t_first_us"] == int(make(500).t[0])


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".raw", ".aedat4", ".npz"])
def test_emulate_info_convert_and_cloud_go_hand_in_hand(run, tmp_path, clip, suffix):
    code, out, err = run("emulate", "clip", f"bar{suffix}", "--fps", "100")
    assert (code, out) == (0, "")
    assert re.fullmatch(
        rf"bar\{suffix}: [\d,]+ events on 60x40 from 12 frames; look at them: .*\n", err
    )
    assert run("-q", "emulate", "clip", f"bar{suffix}", "--fps", 100, "--force")[2] == ""
    direct = dvskit.events.read_all(dvskit.emulate(dvskit.video.open_frames(clip, fps=100)))
    assert dvskit.load_events(tmp_path / f"bar{suffix}") == direct
    assert run("convert", f"bar{suffix}", "b.npz")[0] == 0
    assert dvskit.load_events(tmp_path / "b.npz") == direct
    assert run("cloud", f"bar{suffix}", "-o", "bar.png")[0] == 0
    assert (tmp_path / "bar.png").read_bytes().startswith(b"\x89PNG")
    assert run("cloud", f"bar{suffix}", "-o", "bar.html")[0] == 0
    assert "WebGL2" in (tmp_path / "bar.html").read_text()


def test_emulate_takes_a_threshold_and_a_preset(run, tmp_path, clip):
    counts = []
    for threshold in ("0.2", "0.6"):
        name = f"{threshold}.npz"
        assert run("emulate", "clip", name, "--fps", 100, "--threshold", threshold)[0] == 0
        counts.append(len(dvskit.load_events(tmp_path / name)))
    assert counts[0] > 2 * counts[1] > 0
    error = usage_error(run("emulate", "clip", "x.npz", "--fps", 100, "--preset", "claen"))
    assert "did you mean 'clean'" in error


def test_convert_cuts_in_time_and_space(run, tmp_path):
    events = make(500)
    dvskit.save_events(events, tmp_path / "a.npz")
    words = ("--start", "100us", "--stop", "0.5ms", "--crop", "3,2,10,5")
    assert run("convert", "a.npz", "b.npz", *words)[0] == 0
    origin = int(events.t[0])
    part = events.between(origin + 100, origin + 500)
    kept = dvskit.filters.Crop(3, 2, 10, 5).start(events.size)(part)
    assert dvskit.load_events(tmp_path / "b.npz") == kept
    assert "is not a time" in usage_error(run("convert", "a.npz", "c.npz", "--start", "5"))
    assert "not on" in usage_error(run("convert", "a.npz", "c.npz", "--crop", "0,0,99,9"))
    assert "X,Y" in usage_error(run("convert", "a.npz", "c.npz", "--crop", "0,0"))
    assert left_behind(tmp_path) == {"a.npz", "b.npz"}


def test_convert_fits_another_sensor_and_says_how(run, tmp_path):
    events = make(500)  # on 20x10
    dvskit.save_events(events, tmp_path / "a.npz")
    code, _, err = run("convert", "a.npz", "b.npz", "--fit", "10x10")
    assert code == 0
    fitted = dvskit.filters.Fit((10, 10)).start(events.size)(events)
    assert dvskit.load_events(tmp_path / "b.npz") == fitted
    assert "20x10 fitted to 10x10 (2x2 pixels to one, in the middle); 0 events at the" in err
    code, _, err = run("convert", "a.npz", "c.npz", "--crop", "3,2,9,5", "--fit", "10x10")
    assert code == 0
    assert "9x5 fitted to 10x10 (at its own scale, in the middle)" in err
    assert "--fit" in usage_error(run("convert", "a.npz", "d.npz", "--fit", "10"))


def test_a_part_without_events_is_written_and_told(run, tmp_path):
    dvskit.save_events(make(500), tmp_path / "a.npz")
    code, _, err = run("convert", "a.npz", "b.npz", "--start", "5min")
    assert code == 0
    assert err.splitlines() == [
        "dvskit: note: b.npz: holds no events; the requested part has none",
        "b.npz: 0 events on 20x10, npz",
    ]
    assert len(dvskit.load_events(tmp_path / "b.npz")) == 0


def test_triggers_are_carried_or_their_loss_is_told(run, data):
    recording = data / "recordings" / "evt3_triggers_640x480.raw"
    code, _, err = run("convert", recording, "a.npz")
    assert code == 0
    assert "4,157 triggers are left out" in err
    code, _, err = run("convert", recording, "a.raw")
    assert code == 0
    assert "trigger" not in err
    again, before = dvskit.open_events("a.raw").triggers(), dvskit.open_events(recording).triggers()
    assert len(again) == 4157
    assert np.array_equal(again.t, before.t)
    assert dvskit.load_events("a.raw") == dvskit.load_events(recording)


def test_an_existing_output_is_kept_unless_forced(run, tmp_path):
    dvskit.save_events(make(500), tmp_path / "a.npz")
    (tmp_path / "b.npz").write_text("mine")
    assert "--force" in one_line_error(run("convert", "a.npz", "b.npz"))
    assert (tmp_path / "b.npz").read_text() == "mine"
    assert run("convert", "a.npz", "b.npz", "--force")[0] == 0
    assert dvskit.load_events(tmp_path / "b.npz") == make(500)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.raw", b"just some text\n", "header"),
        ("empty.raw", b"", "empty"),
        ("empty.aedat4", b"", "empty"),
        ("text.npz", b"just some text\n", "header"),
        ("text.xyz", b"just some text\n", "matches no format"),
    ],
)
@pytest.mark.parametrize("verb", ["info", "convert", "cloud", "classify"])
def test_bad_recordings_give_one_line_and_leave_nothing(
    run, tmp_path, name, content, message, verb
):
    (tmp_path / name).write_bytes(content)
    rest = {"convert": ["out.npz"], "cloud": ["-o", "out.png"], "classify": ["--model", MODEL]}
    error = one_line_error(run(verb, name, *rest.get(verb, [])))
    assert message in error
    assert name in error
    assert left_behind(tmp_path) == {name}


def test_a_truncated_recording_is_refused_with_its_place_or_salvaged(run, tmp_path, data):
    whole = (data / "recordings" / "evt3_gen41_1280x720.raw").read_bytes()
    (tmp_path / "cut.raw").write_bytes(whole[:300_001])
    for words in (("info", "cut.raw"), ("convert", "cut.raw", "out.npz")):
        assert "at byte 300000" in one_line_error(run(*words))
    assert left_behind(tmp_path) == {"cut.raw"}
    code, _, err = run("convert", "cut.raw", "out.npz", "--salvage")
    assert code == 0
    assert "1 byte lost in 1 place," in err
    assert len(dvskit.load_events(tmp_path / "out.npz")) > 90_000
    assert "DAMAGE" in run("info", "cut.raw", "--salvage")[1]


@pytest.mark.parametrize("content", [b"", b"not a video at all\n" * 99])
def test_a_video_that_is_none_is_refused_and_leaves_nothing(run, tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    assert "not a video" in one_line_error(run("emulate", "a.mp4", "a.raw"))
    assert left_behind(tmp_path) == {"a.mp4"}


@pytest.mark.slow
def test_a_camera_that_is_not_there_is_told_in_one_line(tmp_path):
    process = command("emulate", "--camera", "99", "a.raw", cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert "camera 99: cannot be opened" in one_line_error((process.returncode, out, err))
    assert left_behind(tmp_path) == set()


def test_a_truncated_video_leaves_nothing(run, tmp_path, data):
    whole = (data / "video" / "carphone_pristine.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) // 2])
    one_line_error(run("emulate", "a.mp4", "a.raw"))
    assert left_behind(tmp_path) == {"a.mp4"}


def test_an_output_that_cannot_be_is_refused_in_one_line(run, tmp_path, clip):
    assert "does not exist" in one_line_error(run("emulate", "clip", "no/a.raw", "--fps", 9))
    assert "did you mean" in usage_error(run("emulate", "clip", "a.rav", "--fps", 9))
    assert "only read" in usage_error(run("emulate", "clip", "a.bin", "--fps", 9))
    assert ".html, .png, .svg" in usage_error(run("cloud", "a.npz", "-o", "a.jpg"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_refused(run, tmp_path, clip):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "denied" in one_line_error(run("emulate", "clip", "locked/a.raw", "--fps", 9))


def test_a_read_only_file_system_is_refused_in_one_line(run, clip):
    assert "/proc" in one_line_error(run("emulate", "clip", "/proc/a.raw", "--fps", 9))


def test_a_pipe_is_written_in_place(run, tmp_path):
    dvskit.save_events(make(500), tmp_path / "a.npz")
    assert run("convert", "a.npz", "/dev/null", "--to", "evt3")[0] == 0
    assert not Path("/dev/null").is_file()


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
def test_a_reader_that_stops_early_is_no_error(tmp_path):
    dvskit.save_events(make(500), tmp_path / "a.npz")
    process = command("info", tmp_path / "a.npz", "--json")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert "Traceback" not in err
    assert process.wait(60) in (0, 1)


def interrupt(tmp_path, *words):
    process = command(*words, cwd=tmp_path)
    begun = time.monotonic()
    while time.monotonic() - begun < 60:
        if any(file.is_file() and file.stat().st_size > 0 for file in tmp_path.iterdir()):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    return process, process.communicate(timeout=60)


@pytest.mark.slow
def test_an_interrupted_emulation_leaves_a_valid_file_of_what_was_done(tmp_path, data):
    video = data / "video" / "bikes.mp4"
    process, (out, err) = interrupt(tmp_path, "emulate", video, tmp_path / "a.raw")
    assert process.returncode == 130
    assert out == ""
    assert "stopped after frame" in err
    assert left_behind(tmp_path) == {"a.raw"}
    frames = int(err.split("stopped after frame ")[1].split(";")[0]) + 1
    whole = dvskit.events.read_all(dvskit.emulate(video))
    part = dvskit.load_events(tmp_path / "a.raw")
    assert 1 < frames < 250
    assert part == whole[: len(part)]


@pytest.mark.slow
def test_an_interrupted_conversion_ends_with_130_and_leaves_nothing(tmp_path, data):
    dvskit.save_events(dvskit.emulate(data / "video" / "bikes.mp4"), tmp_path / "a.npz")
    (tmp_path / "out").mkdir()
    words = ("convert", tmp_path / "a.npz", tmp_path / "out" / "a.csv")
    process, (out, err) = interrupt(tmp_path / "out", *words)
    assert process.returncode == 130
    advice = "no output was written; run the same command again"
    assert (out, err) == ("", f"dvskit: interrupted; {advice}\n")
    assert left_behind(tmp_path / "out") == set()


def test_debug_shows_where_an_error_came_from(run):
    from dvskit.errors import FormatError

    with pytest.raises(FormatError, match="no such file"):
        run("info", "none.raw", "--debug")
    _console.debug = False


def test_doctor_finds_everything(run):
    code, out, _ = run("doctor")
    assert code == 0, out
    assert "BAD" not in out
    checks = json.loads(run("doctor", "--json")[1])
    assert checks["kernels"]["ok"] is True


@pytest.mark.slow
def test_demo_leaves_a_folder_with_a_cloud_and_says_what_it_did(run, tmp_path):
    code, out, err = run("demo")
    assert (code, err) == (0, "")
    names = left_behind(tmp_path / "dvskit-demo")
    assert names == {"person.mp4", "person.raw", "person.html", "person.png"}
    events = dvskit.load_events(tmp_path / "dvskit-demo" / "person.raw")
    assert len(events) > 10_000
    assert f"{len(events):,} events" in out
    assert re.search(r"4. Classified it with the network dvs128-gestures: right_hand_wave \(", out)
    assert "classify --live VIDEO.mp4 --model dvs128-gestures" in out
    for word in ("none lost", "Next", "dvskit emulate"):
        assert word in out
    live = out.splitlines()[5]
    assert live.startswith("6. Decided live, after each 50 ms: right_hand_wave (")
    assert re.search(r"from \d\.\d\d s on, \d+\.\d ms after the last event$", live)
    assert run("demo")[0] == 0  # a second time: beside the first
    assert (tmp_path / "dvskit-demo-2" / "person.html").is_file()
    assert "exists already" in one_line_error(run("demo", "-o", "dvskit-demo"))


@pytest.mark.parametrize(
    ("text", "time_us"),
    [("1.5s", 1_500_000), ("200ms", 200_000), ("-30us", -30), ("2 min", 120_000_000)],
)
def test_times_have_their_unit(text, time_us):
    assert _console.parse_time_us(text) == time_us


@pytest.mark.parametrize("text", ["5", "s", "1,5s", "1.5 h", ""])
def test_times_without_a_unit_are_refused(text):
    with pytest.raises(ConfigError, match="not a time"):
        _console.parse_time_us(text)


def test_warnings_of_the_library_are_notes_and_short_parts_are_no_mistake_of_units(run, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(6):
        picture = np.full((16, 16), 4 + 2 * number, np.uint16)
        cv2.imwrite(str(frames / f"{number}.png"), picture)
    code, _, err = run("emulate", frames, "dark.npz", "--fps", "10")
    assert code == 0
    assert "reaches 4 of 65,535, which is white" in err
    long = dvskit.Events(t=[0, 400, 2_000_000], x=[1] * 3, y=[1] * 3, p=[True] * 3, size=(4, 4))
    dvskit.save_events(long, "long.npz")
    code, _, err = run("convert", "long.npz", "part.npz", "--stop", "500us")
    assert (code, err) == (0, "part.npz: 2 events on 4x4, npz\n")
