"""Training behind dvskit teach: progress, result, and a server that is killed and comes back."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from dvskit.errors import ConfigError, ModelError, OutputError
from dvskit.models import load_model
from dvskit.networks.model_folder import find_model
from dvskit.teach import (
    ClipFolder,
    ClipRecorder,
    TeachTraining,
    plain_words,
    saved_commands,
    teach_training,
)
from tests.laws import refused
from tests.printed_commands import check
from tests.sample_files import video
from tests.teach_clips import SIZE, fill, movement, record

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed")

# Stands for `dvskit train`: an epoch takes 0.15 s, and a run goes on where it was.
_STUB = """
import csv, json, os, pathlib, sys, time
given = sys.argv[1:]
out = pathlib.Path(given[given.index("-o") + 1])
seed = int(given[given.index("--seed") + 1])
people = {} if seed == 2 else {"anna": [2, 2], "bo": [1, 2]}
out.mkdir(parents=True, exist_ok=True)
notes = [{"kind": "one background", "classes": ["up"], "all": False, "text": "--option /clips/x"},
         {"kind": "start", "why": "unlike", "model": "", "text": "x"},
         {"kind": "of a later version", "text": "x"}]
if seed == 8:
    notes.append({"kind": "too little time", "minutes": 2.1, "text": "use --minutes 2.1"})
(out / "notes.json").write_text(json.dumps({"notes": notes}))
print("dvskit: note: class up: use --option /clips/x", file=sys.stderr, flush=True)
time.sleep(0.2)
if seed in (7, 8):
    print("dvskit: error: out of luck; use --minutes 9", file=sys.stderr)
    sys.exit(1)
(out / "config.toml").write_text("[loop]\\nsteps = 3\\nepochs = 4\\n")
with (out / "started").open("a") as file:
    file.write("x")
log = out / "log.csv"
rows = list(csv.DictReader(log.open())) if log.exists() else []
while len(rows) < 4:
    time.sleep(0.15 if seed < 9 else 30)
    rows.append({"epoch": len(rows), "loss": 1 / (1 + len(rows)), "seconds": 0.15})
    with (out / "new").open("w") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(out / "new", log)
(out / "model.toml").write_text("")
own = seed == 5
print(json.dumps({"accuracy": None if own else 0.75, "samples": 4, "interval_95": [0.3, 0.95],
                  "classes": ["across", "up"], "confusion": [[2, 0], [1, 1]],
                  "people": people}))
"""
_SERVER = """
import sys, time
from dvskit.teach import ClipFolder, TeachTraining, teach_training
teach_training._DVSKIT = (sys.executable, sys.argv[2])
folder = ClipFolder(sys.argv[1])
training = TeachTraining(folder, sys.argv[3])
training.start({"seed": int(sys.argv[4])})
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path):
    with ClipFolder(tmp_path / "set") as made:
        fill(made, "anna", "bo")
        yield made


@pytest.fixture
def stub(tmp_path, monkeypatch):
    path = tmp_path / "stub.py"
    path.write_text(_STUB)
    # No option names another program.
    monkeypatch.setattr(teach_training, "_DVSKIT", (sys.executable, str(path)))
    return path


def wait_for(
    training: TeachTraining, until: Callable[[dict[str, Any]], bool], limit_s: float = 60.0
) -> list[dict[str, Any]]:
    """The states up to the first that is as wanted."""
    states, end = [], time.monotonic() + limit_s
    while not states or not until(states[-1]):
        assert time.monotonic() < end, states[-1]
        states.append(training.state())
        time.sleep(0.02)
    return states


def ended(state: dict[str, Any]) -> bool:
    return not state["running"]


def arguments_of(folder: ClipFolder) -> list[str]:
    return json.loads((folder.path / ".training" / "run.json").read_text())["arguments"]


@pytest.mark.slow
def test_a_training_shows_its_progress_and_then_its_result(folder, stub, tmp_path):
    training = TeachTraining(folder, tmp_path / "runs")
    assert training.state()["stage"] == "none"
    training.start({"minutes": 1, "seed": 3})
    assert arguments_of(folder) == [
        "train", str(folder.path), "--minutes", "1.0", "--seed", "3", "--json",
    ]  # fmt: skip
    with refused(ConfigError):
        training.start()
    states = wait_for(training, ended)
    stages = list(dict.fromkeys(each["stage"] for each in states))
    assert (stages[0], stages[-1]) == ("reading", "finished")
    assert "training" in stages
    assert all(each["seconds_left"] > 0 for each in states[:-1])
    last = states[-1]
    assert (last["step"], last["steps"]) == (12, 12)
    assert [row["step"] for row in last["curve"]] == [3, 6, 9, 12]
    assert last["result"].startswith("3 of 4 clips it had not seen ")
    assert last["result"].endswith(": anna 2 of 2, bo 1 of 2")
    assert (last["held_out"], last["classes"]) == (True, ["across", "up"])
    assert last["confusion"] == [[2, 0], [1, 1]]
    assert "“up”" in last["warnings"][0]
    assert (last["error"], last["report"], last["seconds_left"]) == ("", "", None)
    assert last["model"] == str(tmp_path / "runs" / "set-1") == str(training.model)
    assert training.state() == last
    training.start({"seed": 5})
    last = wait_for(training, ended)[-1]
    assert (last["model"], last["held_out"]) == (str(tmp_path / "runs" / "set-2"), False)


def test_clips_of_few_pictures_are_counted_and_trained_on(folder, stub, tmp_path):
    recorder = ClipRecorder(folder, "up", "anna", SIZE)
    for number, (_, frame) in enumerate(movement("up", 1, count=8)):
        recorder.add(number * 200_000, frame)
    recorder.finish()
    training = TeachTraining(folder, tmp_path / "runs")
    training.start()
    assert training.state()["warnings"][0].startswith("1 clip has fewer than 12 pictures")
    training.stop()


@pytest.mark.slow
def test_a_stopped_training_can_be_continued_and_a_failed_one_says_why(folder, stub, tmp_path):
    training = TeachTraining(folder, tmp_path / "runs")
    training.stop()
    with refused(ConfigError):
        training.resume()
    training.start({"seed": 1})
    wait_for(training, lambda state: len(state["curve"]) == 2)
    training.stop()
    state = training.state()
    assert (state["stage"], state["running"], state["error"]) == ("stopped", False, "")
    again = TeachTraining(folder, tmp_path / "runs")  # stopped by a person, so it stays stopped
    assert again.state()["stage"] == "stopped"
    assert len(again.state()["curve"]) < 4
    again.resume()
    assert wait_for(again, ended)[-1]["stage"] == "finished"
    assert (tmp_path / "runs" / "set-1" / "started").read_text() == "xx"
    again.start({"seed": 7})
    state = wait_for(again, ended)[-1]
    assert (state["stage"], state["error"]) == ("failed", plain_words.UNKNOWN_ERROR)
    assert "out of luck" in state["report"]
    assert state["model"] == str(tmp_path / "runs" / "set-1")
    assert TeachTraining(folder, tmp_path / "runs").state()["stage"] == "failed"
    again.start({"seed": 8})
    assert "3 minutes" in wait_for(again, ended)[-1]["error"]


@pytest.mark.slow
@pytest.mark.parametrize("child_dies", [False, True])
def test_a_training_of_a_killed_server_goes_on(folder, stub, tmp_path, child_dies):
    folder.close()
    given = [folder.path, stub, tmp_path / "runs", 9 if child_dies else 1]
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, *map(str, given)], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    if child_dies:
        kept = folder.path / ".training" / "run.json"
        time.sleep(0.5)
        about = json.loads(kept.read_text())
        os.kill(about["pid"], signal.SIGKILL)
        about["arguments"][about["arguments"].index("9")] = "1"  # faster from here on
        kept.write_text(json.dumps(about))
        time.sleep(0.2)
    with ClipFolder(folder.path) as again:
        training = TeachTraining(again, tmp_path / "elsewhere")
        assert training.state()["running"]
        with refused(ConfigError):
            training.start()
        last = wait_for(training, ended)[-1]
    assert last["stage"] == "finished"
    assert last["model"] == str(tmp_path / "runs" / "set-1")
    assert (tmp_path / "runs" / "set-1" / "started").read_text() == "x" * (1 + child_dies)


@pytest.mark.parametrize("closed", [False, True])
def test_a_training_that_an_earlier_server_started_goes_on_and_can_be_stopped(
    folder, stub, tmp_path, closed
):
    one = TeachTraining(folder, tmp_path / "runs")
    one.start({"seed": 9})
    if closed:
        one.close()
    other = TeachTraining(folder, tmp_path / "runs")  # as after a restart
    assert other.state()["running"]
    other.stop()
    assert (other.state()["stage"], other.state()["running"]) == ("stopped", False)
    assert one.state()["running"] is False


@pytest.mark.slow
def test_a_training_that_cannot_be_started_is_not_taken_for_the_one_before(
    folder, stub, tmp_path, monkeypatch
):
    training = TeachTraining(folder, tmp_path / "runs")
    training.start({"seed": 1})
    wait_for(training, ended)
    monkeypatch.setattr(teach_training, "_DVSKIT", (str(tmp_path / "none"),))
    with refused(OutputError, ".training"):
        training.start({"seed": 1})
    state = training.state()
    assert (state["stage"], state["result"]) == ("failed", "")
    assert state["error"] == plain_words.UNKNOWN_ERROR


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"minutes": 0}, ["minutes = 0", 0.2, 600]),
        ({"minutes": float("nan")}, ["minutes = nan"]),
        ({"minutes": True}, ["minutes = True"]),
        ({"seed": 0.5}, ["seed = 0.5"]),
        ({"seed": -1}, ["seed = -1"]),
        ({"minuts": 2}, ["minuts", "'minutes'"]),
    ],
)
def test_wrong_options_are_errors_of_one_line(folder, stub, tmp_path, options, named):
    training = TeachTraining(folder, tmp_path / "runs")
    with refused(ConfigError, *named):
        training.start(options)
    assert training.state()["stage"] == "none"


def test_a_folder_that_cannot_be_trained_on_is_an_error_of_one_line(tmp_path, stub):
    with ClipFolder(tmp_path / "set") as folder:
        training = TeachTraining(folder, tmp_path / "runs")
        with refused(ConfigError, "two classes"):
            training.start()
        folder.add_class("up")
        record(folder, "up", "anna", 1)
        with refused(ConfigError, "two classes"):
            training.start()
        folder.add_class("down")
        with refused(ConfigError, "“down”"):
            training.start()
        clip = record(folder, "down", "anna", 2)
        data = (folder.path / clip.file).read_bytes()
        (folder.path / clip.file).write_bytes(data[:-2000])
        with refused(ConfigError, "“down/anna_t1.mkv”"):
            training.start()
        assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_process_that_ignores_an_interrupt_is_killed(folder, stub, tmp_path, monkeypatch):
    monkeypatch.setattr(teach_training, "_PATIENCE_S", 0.3)  # else it takes ten seconds
    stub.write_text("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                    "print('deaf', flush=True)\ntime.sleep(60)\n")  # fmt: skip
    training = TeachTraining(folder, tmp_path / "runs")
    training.start()
    while (folder.path / ".training" / "result.json").read_text() != "deaf\n":
        time.sleep(0.01)
    training.stop()
    assert training.state()["stage"] == "stopped"


def test_models_do_not_lie_among_the_clips(folder):
    for output in (folder.path, folder.path / "runs", folder.path / "up" / ".." / "a" / "b"):
        with refused(ConfigError, output.name):
            TeachTraining(folder, output)


def test_a_training_is_not_continued_with_other_clips(folder, stub, tmp_path):
    training = TeachTraining(folder, tmp_path / "runs")
    training.start({"seed": 9})
    training.stop()
    moved = folder.move_clip("up/bo_t1.mkv", "across").file
    with refused(ConfigError, "clips have changed"):
        training.resume()
    folder.undo_move(moved)
    training.resume()
    training.close()  # as if it was killed
    record(folder, "up", "cy", 5)
    state = TeachTraining(folder, tmp_path / "runs").state()
    assert (state["stage"], state["error"]) == ("failed", plain_words.OTHER_CLIPS)


# A note of a training, and what the sentence of it for the page has.
NOTES = [
    ({"kind": "few clips", "classes": ["a", "b"], "all": False, "wanted": 5}, ["“a” and “b”", "5"]),
    ({"kind": "one background", "classes": ["a", "b", "c", "d"], "all": False}, ["“c”", "1 other"]),
    ({"kind": "short of time", "used": 1200, "total": 1300, "minutes": 3.2},
     ["1,200 of 1,300", "4 minutes"]),
    ({"kind": "not judged", "people": ["bo", "cy"], "samples": 8}, ["“bo” and “cy”"]),
]  # fmt: skip


@pytest.mark.parametrize(("note", "named"), NOTES)
def test_a_note_is_said_once_in_sentences_without_paths_and_options(note, named):
    note = note | {"text": "/clips/x: --minutes 2"}
    (said,) = plain_words.warning_words([note, note, {"kind": "new", "text": "x"}])
    for each in named:
        assert each in said
    assert "--" not in said
    assert "/clips" not in said


@pytest.mark.slow
def test_the_command_of_a_training_and_those_that_its_model_is_shown_with_run(
    folder, stub, tmp_path, run
):
    training = TeachTraining(folder, tmp_path / "runs")
    training.start({"seed": 9})
    training.stop()
    check(["dvskit", *arguments_of(folder)])
    others = tmp_path / "others"
    for label in load_model("dvs128-gestures").classes[:2]:
        video(others / label / "cy_t1.mp4", frames=20)
    clip = f"{folder.path}/up/anna_t1.mkv"
    commands = saved_commands(find_model("dvs128-gestures"), video=clip, clips=str(others))
    assert len(commands) == 3
    for each in commands:
        code, out, err = run(*shlex.split(each.command.replace("--camera 0", clip))[1:])
        assert (code, bool(out)) == (0, True), err
    with refused(ModelError, "model.toml"):
        saved_commands(tmp_path)
