"""Compiling is reported once, garbage collection rests, and nothing compiles behind --warm."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numba import njit
from numba.core import event

import dvskit
from dvskit import _compiling


@pytest.fixture
def unwatched(monkeypatch):
    """A process in which nothing watches numba yet; what other tests have begun goes on after."""
    before = list(_compiling._watches)
    for watch in before:
        event.unregister(_compiling._COMPILE, watch)
    monkeypatch.setattr(_compiling, "_watches", [])
    yield
    for watch in _compiling._watches:
        event.unregister(_compiling._COMPILE, watch)
    for watch in before:
        event.register(_compiling._COMPILE, watch)


def test_compiling_is_said_once_and_leaves_garbage_alone(unwatched, monkeypatch):
    said = []
    _compiling.watch_compiling(lambda: said.append(gc.isenabled()))
    _compiling.watch_compiling(lambda: said.append("twice"))
    collected = []
    monkeypatch.setattr(_compiling.gc, "disable", lambda: collected.append("off"))
    monkeypatch.setattr(_compiling.gc, "enable", lambda: collected.append("on"))

    @njit
    def within(x):
        return x + 1

    @njit
    def outer(x):
        return within(x)

    assert (outer(1), outer(2.0), outer(3)) == (2, 3.0, 4)
    assert said == [True]
    assert collected == ["off", "on"] * 2  # for each type, and not for the loop within


def run_python(*words, **environment):
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, *words],
        env=os.environ | environment,
        cwd=Path(dvskit.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )


@pytest.mark.slow(seconds=4)
def test_emulate_says_that_it_compiles_and_only_then(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for k in range(3):
        cv2.imwrite(str(frames / f"{k}.png"), np.full((8, 8), 40 * k + 20, np.uint8))
    words = ("-m", "dvskit", "emulate", str(frames), "--fps", "30", "-o")
    errors = [
        run_python(*words, str(tmp_path / f"{k}.npz"), NUMBA_CACHE_DIR=str(tmp_path)).stderr
        for k in range(2)
    ]
    assert [text.count("compiling the loops") for text in errors] == [1, 0]


RECORDINGS = [
    "evt2_gen3_640x480.raw",
    "evt3_gen41_1280x720.raw",
    "evt3_triggers_640x480.raw",
    "evt21_synthetic_1280x720.raw",
    "evt4_synthetic_1280x720.raw",
    "ncars_type0.dat",
    "dvs_320x240.es",
    "dvxplorer_320x240_lz4.aedat4",
]


@pytest.mark.slow(seconds=8)
def test_reading_real_recordings_compiles_nothing_behind_doctor_warm(data):
    """Each of two processes is new: loops that one has compiled are not loaded in the other."""
    words = ("-m", "dvskit", "doctor", "--warm")
    assert "compiled for" in run_python(*words).stderr
    paths = [str(data / "recordings" / name) for name in RECORDINGS]
    code = (
        "import dvskit\n"
        "from numba.core import event\n"
        "with event.install_recorder('numba:compile') as made:\n"
        f"    for path in {paths!r}:\n"
        "        recording = dvskit.open_events(path)\n"
        "        streamed = sum(len(block) for block in recording.blocks(reuse=True))\n"
        "        print(len(recording.load()), streamed)\n"
        "print(len(made.buffer))\n"
    )
    *counts, (made,) = [line.split() for line in run_python("-c", code).stdout.splitlines()]
    assert len(counts) == len(RECORDINGS)
    assert all(int(loaded) == int(streamed) > 0 for loaded, streamed in counts)
    assert made == "0"
