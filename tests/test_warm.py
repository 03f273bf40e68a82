"""After `dvskit doctor --warm`, reading a recording compiles nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


def python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=280
    )
    return done.stdout


@pytest.mark.slow
def test_reading_real_recordings_compiles_nothing_more(data):
    done = subprocess.run(
        [sys.executable, "-m", "dvskit", "doctor", "--warm"],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "compiled for" in done.stderr
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
    *counts, (made,) = [line.split() for line in python(code).splitlines()]
    assert len(counts) == len(RECORDINGS)
    assert all(int(loaded) == int(streamed) > 0 for loaded, streamed in counts)
    assert made == "0"
