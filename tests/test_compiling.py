"""The first compilation is reported once, and garbage collection rests during it."""

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


@pytest.mark.slow
def test_emulate_says_that_it_compiles_and_only_then(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for k in range(3):
        cv2.imwrite(str(frames / f"{k}.png"), np.full((8, 8), 40 * k + 20, np.uint8))
    lines = [
        subprocess.run(
            [sys.executable, "-m", "dvskit", "emulate", str(frames), str(tmp_path / f"{k}.npz"),
             "--fps", "30"],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")},
            cwd=Path(dvskit.__file__).parents[1], capture_output=True, text=True, timeout=200,
            check=True,
        ).stderr
        for k in range(2)
    ]  # fmt: skip
    assert [
        text.count("compiling the loops of this command; later runs find them on disk\n")
        for text in lines
    ] == [1, 0]
