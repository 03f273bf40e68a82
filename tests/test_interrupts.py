"""Ctrl-C and SIGTERM end every command, at any moment, with one line and no unfinished file."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dvskit
from tests.laws import scattered
from tests.processes import hear_signals

# Three seconds are promised; other test processes may keep the processors busy.
LIMIT_S = 5.0
COMMANDS = {
    "convert": ("convert", "long.npz", "out/a.csv"),
    "emulate": ("emulate", "clip.mp4", "out/a.raw", "--preset", "noisy"),
    "render": ("render", "long.npz", "-o", "out/a.mp4"),
    "train": ("train", "digits", "-o", "out/run"),
    "classify": ("classify", "--live", "long.npz", "--model", "nmnist-signed-lif", "--json"),
    "view": ("view", "long.npz", "--no-browser"),
    "teach": ("teach", "out/gestures", "--no-browser"),
}
# How many moments of each command, and until when they last, in seconds.
MOMENTS = {
    "convert": (8, 1.5), "emulate": (10, 2.5), "render": (8, 2.0), "train": (8, 6.0),
    "classify": (6, 4.0), "view": (6, 1.5), "teach": (6, 1.5),
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, data) -> Path:
    """A long recording, a clip, and a folder of labeled recordings."""
    folder = tmp_path_factory.mktemp("inputs")
    dvskit.save_events(scattered(2_000_000, (34, 34), span_us=60_000_000), folder / "long.npz")
    (folder / "clip.mp4").symlink_to(data / "video" / "bikes.mp4")
    for digit in "012":
        (folder / "digits" / digit).mkdir(parents=True)
        for file in sorted((data / "nmnist-700" / digit).iterdir())[:20]:
            (folder / "digits" / digit / file.name).symlink_to(file)
    return folder


def begin(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start Python in a folder."""
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=hear_signals,
    )  # fmt: skip


def handles_signals(process: subprocess.Popen[str]) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    lines = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    return bool(int(lines["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)


def end(process: subprocess.Popen[str], number: int) -> tuple[float, str, str]:
    """Send a signal; return the seconds until the process ended, and its stdout and stderr."""
    begun = time.monotonic()
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return time.monotonic() - begun, out, err


def interrupt(name: str, folder: Path, after_s: float) -> None:
    """Interrupt a command some time after it handles signals."""
    process = begin(folder, "-m", "dvskit", *COMMANDS[name])
    while not handles_signals(process) and process.poll() is None:
        time.sleep(0.005)
    time.sleep(after_s)
    ended = process.poll() is not None
    seconds, _, err = end(process, signal.SIGINT)
    # In its last moment Python no longer handles signals: the command is done by then.
    if not ended and process.returncode not in (0, -signal.SIGINT):
        assert process.returncode == 130, err
        assert seconds < LIMIT_S
        assert err.count("interrupted; ") == 1, err
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert [path for path in folder.rglob(".*") if ".partial" in path.name] == []


@pytest.mark.slow(seconds=10)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "moments"),
    [
        ("convert", 2),
        ("render", 1),
        *(
            pytest.param(name, count, marks=pytest.mark.campaign)
            for name, (count, _) in MOMENTS.items()
        ),
    ],
)
def test_ctrl_c_ends_a_command_at_any_moment(name, moments, inputs, tmp_path):
    for each in inputs.iterdir():
        (tmp_path / each.name).symlink_to(each)
    (tmp_path / "out").mkdir()
    rng = random.Random(name)
    for number in range(moments):
        # One in each part of the time, and half of them early, while modules are loaded and
        # inputs are read.
        interrupt(name, tmp_path, MOMENTS[name][1] * ((number + rng.random()) / moments) ** 2)
        for output in (tmp_path / "out").glob("a.*"):
            output.unlink()  # a whole file


# What a command does when the signal comes. It prints a line when it is there; only the modules of
# the command line itself can stop at such places.
HEAD = """
import sqlite3, sys, tempfile, time
from pathlib import Path
from dvskit import _files, _interrupt
from dvskit.cli import _binding
from dvskit.errors import VideoError

sys.path.insert(0, "fake")
tempfile.tempdir = "."

class Lost:
    def __del__(self):
        print("in __del__", flush=True)
        time.sleep(2)

class Slow:
    def __set_name__(self, owner, name):
        print("in __set_name__", flush=True)
        time.sleep(60)

def half():
    _files.begin(Path("a.raw")).write_bytes(b"half")

def work():
    WORK

with _interrupt.interruptible():
    with _binding.errors_in_one_line():
        work()
"""
NATIVE = """
    half()
    kept = _files.temporary_folder()
    Path(kept.name, "b").touch()
    print("begun", flush=True)
    endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select max(x) from c"
    sqlite3.connect(":memory:").execute(endless).fetchone()
"""
WRITTEN = """
    for name in ("kept.npz", "a.csv"):
        _files.write_whole(name, "t,x,y,p")
    _files.forget(Path("kept.npz"))
    Path("kept.npz").unlink()
    print("written", flush=True)
    time.sleep(60)
"""
MOMENTS_OF_WORK = {
    "a finalizer swallows it": "Lost(); time.sleep(60)",
    "an error follows a swallowed one": "Lost(); raise RuntimeError('no compiled object yet')",
    "an OSError follows a swallowed one": "Lost(); raise OSError('no compiled object yet')",
    "our error follows a swallowed one": "Lost(); raise VideoError('no compiled object yet')",
    "behind the creation of a file": "half(); print('begun', flush=True); time.sleep(60)",
    "while a class is made": "type('Owner', (), {'slow': Slow()})",
    "while torch is imported": "half(); import torch",
    "while LLVM compiles": "half(); from llvmlite.binding import run; run(time.sleep, 60)",
    "in native code": NATIVE,
    "behind the last output": WRITTEN,
}
TORCH = """
import time
print("loading", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:  # its C++ code aborts
    print("aborted", flush=True)
    raise
"""
LLVM = """
def run(callback, *given):
    print("compiling", flush=True)
    try:
        callback(*given)
    except KeyboardInterrupt:  # LLVM goes on with what it has
        print("crashed", flush=True)
        raise
"""


def at_work(moment: str, folder: Path) -> subprocess.Popen[str]:
    """Start a command that waits at a moment of its work."""
    (folder / "fake" / "llvmlite").mkdir(parents=True)
    (folder / "fake" / "torch.py").write_text(TORCH)
    (folder / "fake" / "llvmlite" / "__init__.py").touch()
    (folder / "fake" / "llvmlite" / "binding.py").write_text(LLVM)
    code = HEAD.replace("WORK", MOMENTS_OF_WORK[moment].strip())
    process = begin(folder, "-B", "-c", code)
    assert process.stdout is not None
    assert process.stdout.readline()
    time.sleep(0.3)  # until it is in the code that the test is about
    return process


@pytest.mark.slow(seconds=5)
@pytest.mark.parametrize("moment", MOMENTS_OF_WORK)
def test_an_interrupt_ends_the_command_wherever_it_comes(tmp_path, moment):
    process = at_work(moment, tmp_path)
    written = ["a.csv"] if moment == "behind the last output" else []
    seconds, out, err = end(process, signal.SIGINT)
    assert (process.returncode, out) == (130, "")
    assert seconds < LIMIT_S
    assert err.startswith("dvskit: interrupted; ")
    assert err.count("\n") == 1
    assert ("a.csv" in err) == bool(written)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*written, "fake"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "how"),
    [(signal.SIGTERM, 143, "ended by SIGTERM"), (signal.SIGHUP, 129, "ended by SIGHUP")],
)
def test_other_signals_end_native_code_with_their_own_code(tmp_path, number, code, how):
    process = at_work("in native code", tmp_path)
    assert len(list(tmp_path.iterdir())) > 1
    seconds, _, err = end(process, number)
    assert process.returncode == code
    assert seconds < LIMIT_S
    assert err.startswith(f"dvskit: {how}; ")
    assert [path.name for path in tmp_path.iterdir()] == ["fake"]


@pytest.mark.slow
def test_asking_twice_does_not_wait(tmp_path):
    process = at_work("in native code", tmp_path)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    seconds, _, _ = end(process, signal.SIGINT)
    assert process.returncode == 130
    assert seconds < 1.5
    assert [path.name for path in tmp_path.iterdir()] == ["fake"]
