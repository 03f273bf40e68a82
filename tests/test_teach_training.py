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
from dvskit.teach import (
    ClipFolder,
    ClipRecorder,
    TeachTraining,
    plain_words,
    saved_commands,
    teach_training,
    train_process,
)
from dvskit.teach.train_process import TrainProcess
from tests.teach_clips import CLASSES, SIZE, fill, movement, record

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
from dvskit.teach import ClipFolder, TeachTraining, train_process
train_process._DVSKIT = (sys.executable, sys.argv[2])
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
    monkeypatch.setattr(train_process, "_DVSKIT", (sys.executable, str(path)))
    return path


def wait_for(
    training: TeachTraining, until: Callable[[dict[str, Any]], bool], limit_s: float = 60.0
) -> list[dict[str, Any]]:
    """The states up to the first that is as wanted."""
    states, end = [], time.monotonic() + limit_s
    while not states or not until(states[-1]):
        assert time.monotonic() < end, states[-1]
        states.append(training.state())
        json.dumps(states[-1])
        time.sleep(0.02)
    return states


def ended(state: dict[str, Any]) -> bool:
    return not state["running"]


@pytest.mark.slow(seconds=6)
def test_a_training_shows_its_progress_and_then_its_result(folder, stub, tmp_path):
    training = TeachTraining(folder, tmp_path / "runs")
    assert training.state()["stage"] == "none"
    assert (training.model, training.state()["model"]) == (None, None)
    training.start({"minutes": 1, "seed": 3})
    with pytest.raises(ConfigError, match="a training is running; stop it first"):
        training.start()
    states = wait_for(training, ended)
    stages = list(dict.fromkeys(each["stage"] for each in states))
    assert stages[0] == "reading"
    assert stages[-1] == "finished"
    assert "training" in stages
    for key in ("step", "steps"):
        values = [each[key] for each in states]
        assert values == sorted(values)
    assert (states[-1]["step"], states[-1]["steps"]) == (12, 12)
    assert all(each["seconds_left"] > 0 for each in states[:-1])
    last = states[-1]
    assert [row["step"] for row in last["curve"]] == [3, 6, 9, 12]
    assert [row["loss"] for row in last["curve"]] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert last["result"] == (
        "3 of 4 clips it had not seen were recognised. Each person, without learning from that "
        "person: anna 2 of 2, bo 1 of 2"
    )
    assert (last["held_out"], last["classes"]) == (True, ["across", "up"])
    assert last["confusion"] == [[2, 0], [1, 1]]
    assert last["warnings"][0] == (
        "All clips of “up” show the same room. It may fail elsewhere: record some in another place."
    )
    assert last["warnings"][1].startswith("Guessing may be as good: ")
    assert last["start"].startswith("It learned from your clips alone, because ")
    assert len(last["warnings"]) == 2
    assert (last["error"], last["report"], last["seconds_left"]) == ("", "", None)
    assert last["model"] == str(tmp_path / "runs" / "set-1") == str(training.model)
    assert training.state() == last
    training.start({"seed": 2})  # people are not known
    assert wait_for(training, ended)[-1]["result"] == "3 of 4 clips it had not seen were recognised"
    training.start({"seed": 5})
    last = wait_for(training, ended)[-1]
    assert last["model"] == str(tmp_path / "runs" / "set-3")
    assert last["result"].startswith("3 of 4 clips were recognised, but it learned from these: ")
    assert not last["held_out"]


def test_clips_of_few_pictures_are_named_and_trained_on(folder, stub, tmp_path):
    recorder = ClipRecorder(folder, "up", "anna", SIZE)
    for number, (_, frame) in enumerate(movement("up", 1, count=8)):
        recorder.add(number * 200_000, frame)
    recorder.finish()
    training = TeachTraining(folder, tmp_path / "runs")
    training.start()
    assert training.state()["warnings"][0] == (
        "1 clip has fewer than 12 pictures a second, too few for fast movements: use more light, "
        "or close other programs."
    )
    training.stop()


def test_the_command_is_the_one_that_a_user_would_type(folder, stub, tmp_path):
    training = TeachTraining(folder, tmp_path / "runs")
    training.start({"minutes": 3})
    about = json.loads((folder.path / ".training" / "run.json").read_text())
    assert about["arguments"] == [
        "train",
        str(folder.path),
        "--minutes",
        "3.0",
        "--seed",
        "0",
        "--json",
    ]
    training.stop()
    for label in CLASSES:
        for seed in range(3):
            record(folder, label, "bo", 70 + seed)
    training.start()
    assert (
        json.loads((folder.path / ".training" / "run.json").read_text())["arguments"][-1]
        == "--json"
    )
    training.stop()


@pytest.mark.slow(seconds=4)
def test_a_stopped_training_can_be_continued_and_a_failed_one_says_why(folder, stub, tmp_path):
    training = TeachTraining(folder, tmp_path / "runs")
    training.stop()
    with pytest.raises(ConfigError, match="there is no stopped training to continue"):
        training.resume()
    training.start({"seed": 1})
    wait_for(training, lambda state: len(state["curve"]) == 2)
    training.stop()
    state = training.state()
    assert (state["stage"], state["running"], state["error"]) == ("stopped", False, "")
    time.sleep(0.4)
    assert len(training.state()["curve"]) < 4
    again = TeachTraining(folder, tmp_path / "runs")  # stopped by a person, so it stays stopped
    assert again.state()["stage"] == "stopped"
    again.resume()
    assert wait_for(again, ended)[-1]["stage"] == "finished"
    assert (tmp_path / "runs" / "set-1" / "started").read_text() == "xx"
    again.start({"seed": 7})
    state = wait_for(again, ended)[-1]
    assert (state["stage"], state["error"]) == ("failed", plain_words.UNKNOWN_ERROR)
    assert state["report"] == "dvskit: error: out of luck; use --minutes 9"
    assert state["model"] == str(tmp_path / "runs" / "set-1")
    assert TeachTraining(folder, tmp_path / "runs").state()["stage"] == "failed"
    again.start({"seed": 8})
    assert wait_for(again, ended)[-1]["error"] == (
        "The time is too short: choose 3 minutes or more, and train again."
    )


@pytest.mark.slow(seconds=15)
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
    about = json.loads((folder.path / ".training" / "run.json").read_text())
    if child_dies:
        time.sleep(0.5)
        os.kill(about["pid"], signal.SIGKILL)
        about["arguments"][about["arguments"].index("9")] = "1"  # faster from here on
        (folder.path / ".training" / "run.json").write_text(json.dumps(about))
        time.sleep(0.2)
    with ClipFolder(folder.path) as again:
        training = TeachTraining(again, tmp_path / "elsewhere")
        assert training.state()["running"]
        with pytest.raises(ConfigError, match="a training is running"):
            training.start()
        last = wait_for(training, ended)[-1]
    assert last["stage"] == "finished"
    assert last["model"] == str(tmp_path / "runs" / "set-1")
    assert (tmp_path / "runs" / "set-1" / "started").read_text() == "x" * (1 + child_dies)


def test_a_training_that_an_earlier_server_started_can_be_stopped(folder, stub, tmp_path):
    one = TeachTraining(folder, tmp_path / "runs")
    one.start({"seed": 9})
    other = TeachTraining(folder, tmp_path / "runs")  # as after a restart
    assert other.state()["running"]
    other.stop()
    assert (other.state()["stage"], other.state()["running"]) == ("stopped", False)
    assert one.state()["running"] is False


def test_a_training_whose_server_ended_is_continued_by_the_next(folder, stub, tmp_path):
    one = TeachTraining(folder, tmp_path / "runs")
    one.start({"seed": 9})
    one.close()
    other = TeachTraining(folder, tmp_path / "runs")
    assert other._process.running
    other.stop()


def test_a_training_that_cannot_be_started_is_not_taken_for_the_one_before(
    folder, stub, tmp_path, monkeypatch
):
    training = TeachTraining(folder, tmp_path / "runs")
    training.start({"seed": 1})
    assert wait_for(training, ended)[-1]["stage"] == "finished"
    monkeypatch.setattr(train_process, "_DVSKIT", (str(tmp_path / "none"),))
    with pytest.raises(OutputError, match="No such file"):
        training.start({"seed": 1})
    state = training.state()
    assert (state["stage"], state["result"]) == ("failed", "")
    assert state["error"] == plain_words.UNKNOWN_ERROR
    monkeypatch.undo()


def test_steps_within_an_epoch_are_estimated_but_never_beyond_it(tmp_path):
    assert teach_training._Log(tmp_path, True).step == 0
    (tmp_path / "config.toml").write_text("[loop]\nsteps = 30\nepochs = 4\n")
    (tmp_path / "log.csv").write_text("epoch,loss,seconds\n0,0.7,10\n")
    now = time.time()
    os.utime(tmp_path / "config.toml", (now - 100, now - 100))
    for gone, step in ((0, 30), (5, 45), (9.9, 59), (50, 59), (-50, 30)):
        os.utime(tmp_path / "log.csv", (now - gone, now - gone))
        assert abs(teach_training._Log(tmp_path, True).step - step) <= 1
        assert teach_training._Log(tmp_path, True).step < 60
    assert teach_training._Log(tmp_path, False).step == 30


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"minutes": 0}, r"minutes = 0 is not a number of 0\.2 to 600"),
        ({"minutes": "2"}, r"minutes = '2' is not a number"),
        ({"minutes": float("nan")}, "minutes = nan is not a number"),
        ({"minutes": True}, "minutes = True is not a number"),
        ({"seed": 0.5}, r"seed = 0\.5 is not a number"),
        ({"seed": -1}, "seed = -1 is not a number"),
        ({"minuts": 2}, "unknown option 'minuts'; did you mean 'minutes'"),
    ],
)
def test_options_out_of_range_are_said_in_a_line(folder, stub, tmp_path, options, problem):
    training = TeachTraining(folder, tmp_path / "runs")
    with pytest.raises(ConfigError, match=problem):
        training.start(options)
    assert training.state()["stage"] == "none"


def test_a_folder_that_cannot_be_trained_on_is_said_in_a_line(tmp_path, stub):
    with ClipFolder(tmp_path / "set") as folder:
        training = TeachTraining(folder, tmp_path / "runs")
        with pytest.raises(ConfigError, match="fewer than two classes"):
            training.start()
        folder.add_class("up")
        record(folder, "up", "anna", 1)
        with pytest.raises(ConfigError, match="fewer than two classes with clips; add another"):
            training.start()
        folder.add_class("down")
        with pytest.raises(ConfigError, match="class “down” has no clips; record some"):
            training.start()
        clip = record(folder, "down", "anna", 2)
        data = (folder.path / clip.file).read_bytes()
        (folder.path / clip.file).write_bytes(data[:-2000])
        with pytest.raises(ConfigError, match=r"clip “down/anna_t1\.mkv” is damaged; delete it"):
            training.start()
        assert not (tmp_path / "runs").exists()


def test_a_process_that_ignores_an_interrupt_is_killed(folder, stub, tmp_path, monkeypatch):
    monkeypatch.setattr(train_process, "_PATIENCE_S", 0.3)
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
        with pytest.raises(ConfigError, match="lies in the folder of clips; name another output"):
            TeachTraining(folder, output)


def test_a_training_is_not_continued_with_other_clips(folder, stub, tmp_path):
    training = TeachTraining(folder, tmp_path / "runs")
    training.start({"seed": 9})
    training.stop()
    moved = folder.move_clip("up/bo_t1.mkv", "across").file
    with pytest.raises(ConfigError, match="clips have changed since this training began"):
        training.resume()
    folder.undo_move(moved)
    training.resume()
    training.close()  # as if it was killed
    record(folder, "up", "cy", 5)
    state = TeachTraining(folder, tmp_path / "runs").state()
    assert (state["stage"], state["error"]) == ("failed", plain_words.OTHER_CLIPS)


NOTES = {
    "few clips": {"classes": ["a", "b"], "all": False, "wanted": 5},
    "one background": {"classes": ["a", "b", "c", "d"], "all": False},
    "skipped files": {"count": 2},
    "short of time": {"used": 1200, "total": 1300, "minutes": 3.2},
    "slow machine": {"epochs": 3, "planned": 10},
    "not judged": {"people": ["bo", "cy"], "samples": 8},
    "long clips": {"window_s": 4.0},
}
SAID = [
    "There are few clips of “a” and “b”: record at least 5, and let other people record some if "
    "it is to recognise them, too.",
    "All clips of “a”, “b”, “c” and 1 other class each show the same room. It may fail elsewhere: "
    "record some in another place.",
    "2 files in the folders of the classes are no videos: nothing was learned from such files.",
    "There was time for 1,200 of 1,300 clips only: choose 4 minutes or more to use all.",
    "This computer was busy, so it learned for less time than planned: close other programs, or "
    "choose a longer time.",
    "There was no time to test it with “bo” and “cy”: choose a longer time.",
    "Some clips are too long: only their first 4 seconds are used, so begin the movement at once.",
]


def test_notes_are_sentences_without_paths_and_options():
    notes = [{"kind": kind, "text": f"/clips/x: --minutes {kind}", **values}
             for kind, values in NOTES.items()]  # fmt: skip
    assert plain_words.warning_words([*notes, *notes, {"kind": "new", "text": "x"}]) == SAID
    every = [{"kind": kind, "classes": ["a", "b"], "all": True, "wanted": 5}
             for kind in ("few clips", "one background")]  # fmt: skip
    first, second = plain_words.warning_words(every)
    assert first.startswith("There are few clips of each class: record at least 5, ")
    assert second.startswith("All clips of each class show the same room. ")
    assert plain_words.start_words([]) == ""
    for why in ("like", "unlike", "short", "known", "unread"):
        assert plain_words.start_words([{"kind": "start", "why": why}]).endswith(".")
    assert plain_words.clip_words({"slow": 2, "cut": 1}) == [
        "2 clips have fewer than 12 pictures a second, too few for fast movements: use more light, "
        "or close other programs.",
        "1 clip lacks its last picture: nothing needs to be done, as its other pictures are used.",
    ]


@pytest.mark.slow(seconds=90)
def test_clips_become_a_model_that_the_three_commands_use(folder, tmp_path, monkeypatch, run):
    """The real command, killed once on its way."""
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    start = TrainProcess.start

    def quick(process: TrainProcess, arguments: list[str]) -> None:
        start(process, [*arguments, "--set", "loop.steps=2", "--set", "loop.epochs=3"])

    monkeypatch.setattr(TrainProcess, "start", quick)
    training = TeachTraining(folder, tmp_path / "runs")
    training.start({"minutes": 30})
    wait_for(training, lambda state: len(state["curve"]) > 0, 400)
    os.kill(training._process.about["pid"], signal.SIGKILL)
    state = wait_for(training, ended)[-1]
    assert state["stage"] == "failed"
    assert "Continue" in state["error"]
    training.resume()
    state = wait_for(training, ended, 400)[-1]
    assert state["stage"] == "finished", state
    assert " of 4 clips it had not seen " in state["result"]
    assert "without learning from that person: anna " in state["result"]
    assert any("There are few clips of each class" in each for each in state["warnings"])
    assert state["start"].startswith("It ")
    assert sum(map(sum, state["confusion"])) == 4
    assert (state["step"], state["steps"], len(state["curve"])) == (18, 18, 3)  # and two parts
    assert training.model is not None
    with ClipFolder(tmp_path / "others") as others:
        fill(others, "cy")
    commands = saved_commands(
        training.model, video=f"{folder.path}/up/bo_t1.mkv", clips=str(others.path)
    )
    assert [each.purpose for each in commands] == [
        "classify a video", "answer live", "score it on other clips",
    ]  # fmt: skip
    for each in commands:
        line = each.command.replace("--camera 0", f"{folder.path}/up/bo_t1.mkv")
        code, out, err = run(*shlex.split(line)[1:])
        assert code == 0, err
        assert out
    with pytest.raises(ModelError, match=r"holds no model\.toml; give a folder"):
        saved_commands(tmp_path)
