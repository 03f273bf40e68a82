"""Ctrl-C and SIGTERM end every command, at any moment, with one line and no unfinished file."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dvskit
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
    """A long recording, a clip, and a folder of labelled recordings."""
    folder = tmp_path_factory.mktemp("inputs")
    rng, count = np.random.default_rng(0), 2_000_000
    events = dvskit.Events(
        t=np.sort(rng.integers(0, 60_000_000, count)), x=rng.integers(0, 34, count),
        y=rng.integers(0, 34, count), p=rng.random(count) < 0.5, size=(34, 34),
    )  # fmt: skip
    dvskit.save_events(events, folder / "long.npz")
    (folder / "clip.mp4").symlink_to(data / "video" / "bikes.mp4")
    (folder / "digits").mkdir()
    for digit in "012":
        (folder / "digits" / digit).mkdir()
        for file in sorted((data / "nmnist-700" / digit).iterdir())[:20]:
            (folder / "digits" / digit / file.name).symlink_to(file)
    return folder


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a command; return when it handles signals."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dvskit", *words],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=hear_signals,
    )  # fmt: skip
    status = Path(f"/proc/{process.pid}/status")
    while not _catches(status, signal.SIGTERM) and process.poll() is None:
        time.sleep(0.005)
    return process


def _catches(status: Path, number: int) -> bool:
    lines = dict(line.split(":\t") for line in status.read_text().splitlines() if ":\t" in line)
    return bool(int(lines["SigCgt"], 16) >> (number - 1) & 1)


def end(process: subprocess.Popen[str], number: int) -> tuple[float, str]:
    """Send a signal; return the seconds until the process ended, and its stderr."""
    begun = time.monotonic()
    process.send_signal(number)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return time.monotonic() - begun, err


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if ".partial" in path.name]


@pytest.mark.slow(seconds=20)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_ends_a_command_at_any_moment(name, inputs, tmp_path):
    for each in inputs.iterdir():
        (tmp_path / each.name).symlink_to(each)
    (tmp_path / "out").mkdir()
    count, latest_s = MOMENTS[name]
    rng = random.Random(name)
    for number in range(count):
        process = start(tmp_path, *COMMANDS[name])
        # One in each part of the time, and half of them early, while modules are loaded and
        # inputs are read.
        time.sleep(latest_s * ((number + rng.random()) / count) ** 2)
        ended = process.poll() is not None
        seconds, err = end(process, signal.SIGINT)
        # In its last moment Python no longer handles signals: the command is done by then.
        if not ended and process.returncode not in (0, -signal.SIGINT):
            assert process.returncode == 130, err
            assert seconds < LIMIT_S
            assert err.count("interrupted; ") == 1, err
        assert "Traceback" not in err
        assert "Exception ignored" not in err
        assert unfinished(tmp_path) == []
        for output in (tmp_path / "out").glob("a.*"):
            output.unlink()  # a whole file


LOST = """
import time
from dvskit import _interrupt

class Lost:
    def __del__(self):
        print("in __del__", flush=True)
        time.sleep(2)
"""
LOST_AT_WORK = """
with _interrupt.interruptible():
    try:
        Lost()
        print("went on", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        _interrupt.report()
        raise SystemExit(_interrupt.exit_code())
"""
NATIVE = """
import sqlite3, tempfile
from dvskit import _files, _interrupt
from pathlib import Path

tempfile.tempdir = "."
with _interrupt.interruptible():
    _files.begin(Path("a.raw")).write_bytes(b"half")
    kept = _files.temporary_folder()
    Path(kept.name, "b").touch()
    print("begun", flush=True)
    endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select max(x) from c"
    sqlite3.connect(":memory:").execute(endless).fetchone()
"""


def run_code(code: str, folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=hear_signals,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline()
    time.sleep(0.5)  # until it is in the code that the test is about
    return process


def test_an_interrupt_that_a_finaliser_swallows_is_repeated(tmp_path):
    process = run_code(LOST + LOST_AT_WORK, tmp_path)
    seconds, err = end(process, signal.SIGINT)
    assert process.returncode == 130
    assert seconds < LIMIT_S
    assert err == "dvskit: interrupted; no output was written; run the same command again\n"


def test_an_interrupt_behind_the_creation_of_a_file_removes_it(tmp_path):
    process = run_code(CREATED, tmp_path)
    _, err = end(process, signal.SIGINT)
    assert process.returncode == 130
    assert err == "dvskit: interrupted; no output was written; run the same command again\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", ["RuntimeError", "OSError", "VideoError"])
def test_an_error_after_a_swallowed_interrupt_counts_as_interrupted(tmp_path, error):
    process = run_code(LOST + LOST_BEFORE_AN_ERROR.format(error=error), tmp_path)
    _, err = end(process, signal.SIGINT)
    assert process.returncode == 130
    assert err == "dvskit: interrupted; no output was written; run the same command again\n"


LOST_BEFORE_AN_ERROR = """
from dvskit.cli import _console
from dvskit.errors import VideoError

@_console.command
def work():
    Lost()
    raise {error}("no compiled object yet")

with _interrupt.interruptible():
    work()
"""


def test_an_interrupt_behind_the_last_output_names_it(tmp_path):
    process = run_code(WRITTEN, tmp_path)
    _, err = end(process, signal.SIGINT)
    assert process.returncode == 130
    assert err == "dvskit: interrupted; a.csv was already written\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


WRITTEN = """
import time
from dvskit import _files, _interrupt
from dvskit.cli import _console

@_console.command
def work():
    for name in ("kept.npz", "a.csv"):
        _files.write_whole(name, "t,x,y,p")
        if name == "kept.npz":
            _files.forget(_files.Path(name))
            _files.Path(name).unlink()
    print("written", flush=True)
    time.sleep(60)

with _interrupt.interruptible():
    work()
"""
CREATED = """
import time
from pathlib import Path
from dvskit import _files, _interrupt
from dvskit.cli import _console

@_console.command
def work():
    _files.begin(Path("a.raw")).write_bytes(b"half")
    print("begun", flush=True)
    time.sleep(60)

with _interrupt.interruptible():
    work()
"""
CLASS = """
import time
from dvskit import _interrupt

class Slow:
    def __set_name__(self, owner, name):
        print("in __set_name__", flush=True)
        time.sleep(60)

with _interrupt.interruptible():
    class Owner:
        slow = Slow()
"""


def test_an_interrupt_while_a_class_is_made_ends_the_command(tmp_path):
    process = run_code(CLASS, tmp_path)
    seconds, err = end(process, signal.SIGINT)
    assert process.returncode == 130
    assert seconds < LIMIT_S
    assert err == "dvskit: interrupted; no output was written; run the same command again\n"


LOADING = """
import sys, time
from pathlib import Path
from dvskit import _files, _interrupt

sys.path.insert(0, "fake")
with _interrupt.interruptible():
    _files.begin(Path("a.raw")).write_bytes(b"half")
    import torch
"""
TORCH = """
import time
print("loading", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:  # its C++ code aborts
    print("aborted", flush=True)
    raise
"""


def test_an_interrupt_while_torch_is_imported_ends_the_process_at_once(tmp_path):
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "torch.py").write_text(TORCH)
    process = run_code(LOADING, tmp_path)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out) == (130, "")
    assert err == "dvskit: interrupted; no output was written; run the same command again\n"
    assert [path.name for path in tmp_path.iterdir()] == ["fake"]


def test_an_interrupt_while_llvm_compiles_ends_the_process_at_once(tmp_path):
    (tmp_path / "fake" / "llvmlite").mkdir(parents=True)
    (tmp_path / "fake" / "llvmlite" / "__init__.py").touch()
    (tmp_path / "fake" / "llvmlite" / "binding.py").write_text(LLVM)
    code = LOADING.replace("import torch", "from llvmlite.binding import run; run(time.sleep, 60)")
    process = run_code(code, tmp_path)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out) == (130, "")
    assert err == "dvskit: interrupted; no output was written; run the same command again\n"
    assert [path.name for path in tmp_path.iterdir()] == ["fake"]


LLVM = """
def run(callback, *given):
    print("compiling", flush=True)
    try:
        callback(*given)
    except KeyboardInterrupt:  # LLVM goes on with what it has
        print("crashed", flush=True)
        raise
"""


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize(
    ("number", "code", "how"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM"),
     (signal.SIGHUP, 129, "ended by SIGHUP")],
)  # fmt: skip
def test_native_code_that_does_not_return_is_ended_and_its_output_removed(
    tmp_path, number, code, how
):
    process = run_code(NATIVE, tmp_path)
    assert list(tmp_path.iterdir()) != []
    seconds, err = end(process, number)
    assert process.returncode == code
    assert seconds < LIMIT_S
    assert err == f"dvskit: {how}; no output was written; run the same command again\n"
    assert list(tmp_path.iterdir()) == []


def test_asking_twice_does_not_wait(tmp_path):
    process = run_code(NATIVE, tmp_path)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    seconds, _ = end(process, signal.SIGINT)
    assert process.returncode == 130
    assert seconds < 1.5
    assert list(tmp_path.iterdir()) == []
