"""Every command of the README runs as it is written; `tests/printed_commands.py` finds them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.event_camera_folder import write_folder
from tests.printed_commands import span_texts

TOP = Path(__file__).resolve().parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, re.DOTALL)
SETUP = [text.strip() for kind, text in BLOCKS if kind == "bash" and "venv" in text]
COMMANDS = [text for kind, text in BLOCKS if kind == "bash" and "venv" not in text]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
# Commands in sentences that are parsed (test_printed_commands.py) and not run here.
NOT_RUN = {
    "dvskit calibrate RECORDING FRAMES -o mine.toml": "takes long; of a FOLDER it is run",
    "dvskit view events.raw": "serves until Ctrl-C",
    "dvskit teach gestures": "serves until Ctrl-C",
    "dvskit view events.raw --objects": "serves until Ctrl-C",
    "dvskit track": "is no whole command",
    "dvskit cloud": "is no whole command",
    "dvskit view --model": "is no whole command",
    "dvskit info": "is no whole command",
    "dvskit motion": "is no whole command",
    "dvskit flow": "is no whole command",
    "dvskit train samples/nmnist-emulated.toml --set data.saccades.path=mnist": "emulates MNIST",
    "dvskit train samples/article-mnist.toml": "learns from MNIST",
    "dvskit convert udp://0.0.0.0:3333 out.raw --from udp:spif --size 640x480": "waits for events",
    "dvskit convert events.raw ws://127.0.0.1:5000 --to csv": "waits for a receiver",
    "dvskit cameras": "needs the driver of cameras",
    "dvskit convert --camera evk4 out.raw": "needs a camera",
    "dvskit convert --camera evk4:00050423 out.raw --bias diff_on=20 --bias diff_off=20": "same",
    "dvskit view --camera evk4 -o out.raw": "the same",
    "dvskit classify --live --camera evk4 --model dvs128-gestures": "the same",
    "dvskit render --camera evk4 -o x.mp4": "the same",
    "dvskit ros listen /event_camera/events out.mcap": "needs ROS 2",
    "dvskit ros play events.raw /event_camera/events": "needs ROS 2",
    "dvskit convert --sort": "is no whole command",
    "dvskit doctor --warm": "compiles everything",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data):
    """A folder with what the README supposes: a video, labelled recordings, the samples."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copy(data / "video" / "carphone_pristine.mp4", folder / "video.mp4")
    shutil.copy(data / "davis" / "davis346_street.aedat4", folder / "a.aedat4")
    shutil.copytree(TOP / "samples", folder / "samples")
    shutil.copytree(data / "gestures" / "videos", folder / "gestures")
    for digit in "0123456789":
        (folder / "nmnist" / digit).mkdir(parents=True)
        recordings = sorted((data / "nmnist-700" / digit).glob("*.bin"))
        for number, recording in enumerate(recordings[:6]):
            name = "00011.bin" if (digit, number) == ("3", 0) else recording.name
            shutil.copy(recording, folder / "nmnist" / digit / name)
    return folder


@pytest.fixture
def perform(run, folder, monkeypatch):
    """Run a command as it is written; gives its stdout.

    It runs in this process, unless it is a pipe, or has a time limit: that counts the start, too.
    """

    def perform(line: str) -> str:
        words = shlex.split(short(line), comments=True)
        if "|" in words or "--minutes" in words:
            return shell(short(line), folder)
        monkeypatch.chdir(folder)
        code, out, err = run(*words[1:])
        assert code == 0, f"{line}\n{out}{err}"
        return out

    return perform


def shell(line: str, folder: Path) -> str:
    done = subprocess.run(
        re.sub(r"\bdvskit ", f"{sys.executable} -m dvskit ", line),
        shell=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_set_up_commands_are_those_that_continuous_integration_runs():
    assert len(SETUP) == 2
    script = (TOP / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in script
    assert SETUP[0] == ("python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/dvskit demo")
    assert SETUP[1].startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert SETUP[1].endswith("-m pytest -n auto --dist loadfile")


@pytest.mark.slow(seconds=34)
def test_the_commands_and_the_python_run_one_after_the_other(folder, perform):
    assert len(COMMANDS) == 7
    ran = 0
    for line in "".join(COMMANDS).strip().splitlines():
        out = perform(line)
        ran += 1
        if "info" in line:
            assert "events" in out
        if "eval" in line:
            assert "accuracy" in out
    assert ran == 43
    for text in PYTHON:
        exec(text + text, {"__name__": "__main__"})  # cells of notebooks are run again
    for name in (
        "events.raw",
        "events.html",
        "figure.pdf",
        "turning.gif",
        "rate.pdf",
        "rate.png",
        "turn.html",
        "again.raw",
        "membrane.pdf",
        "events.aedat4",
        "cloud.html",
        "davis.aedat4",
        "events.csv",
        "flow.html",
        "arrows.mp4",
        "arrows.png",
        "objects.html",
        "objects.mp4",
    ):
        assert (folder / name).stat().st_size > 1000
    assert (folder / "runs" / "digits" / "weights.safetensors").is_file()


@pytest.mark.slow(seconds=15)
def test_the_commands_in_sentences_run(folder, perform):
    for line in ("dvskit emulate video.mp4 events.raw", "dvskit convert events.raw events.aedat4"):
        if not (folder / line.split()[-1]).exists():
            perform(line)
    if not (folder / "runs" / "mine").exists():
        perform("dvskit train nmnist -o runs/mine --minutes 1")
    for name in ("videos", "recordings"):
        (folder / name).mkdir()
    shutil.copy(folder / "video.mp4", folder / "videos")
    shutil.copy(folder / "events.raw", folder / "recordings")
    shutil.copy(folder / "events.aedat4", folder / "real.aedat4")
    shutil.copy(folder / "events.raw", folder / "emulated.raw")
    write_folder(folder / "FOLDER")
    spans = list(span_texts(README))
    assert NOT_RUN.keys() <= set(spans)
    for line in spans:
        if line not in NOT_RUN:
            for name in ("x.mp4", "out.raw"):  # several commands write them
                if line.endswith(f" {name}"):
                    (folder / name).unlink(missing_ok=True)
            perform(line)
    for name in ("events/video.raw", "out/events.aedat4", "both.html", "out.raw", "x.mp4"):
        assert (folder / name).stat().st_size > 1000


def short(line: str) -> str:
    """Return a command as it is written, but short: learning for real takes many minutes."""
    return line + " --set loop.epochs=1 --set loop.steps=2" * line.startswith("dvskit train")


def test_pictures_and_files_that_the_readme_names_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (TOP / target).exists(), target
