"""Type checkers see what users call: a script without errors passes, wrong calls are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dvskit
from tests.tree import TOP

PACKAGE = Path(dvskit.__file__).parent
RIGHT = Path(__file__).parent / "typed_script.py"
WRONG = """
import dvskit
from dvskit import datasets, encoders, evaluation, filters, neurons, render, tensors

recording = dvskit.open_events("events.raw")
events = recording.load()
dvskit.open_event("events.raw")  # Module has no attribute "open_event"
tensors.bin_clip()  # Module has no attribute "bin_clip"
dvskit.open_events("events.raw", "evt3")  # Too many positional arguments
tensors.bin_events(events, bin_us="5ms")  # "bin_us"
tensors.VoxelGrid(5)  # Too many positional arguments
events.t = events.t + 1  # read-only
render.plots.rates(events)  # "rates"
render.plots.rate(events, bin_us="1ms")  # "bin_us"
recording.t  # "t"
recording.between("1s")  # "between"
filters.Crop(0, 0, 64)  # "height"
filters.Chain("crop")  # "Chain"
dvskit.emulate("video.mp4", 240)  # "emulate"
dvskit.EmulatorParams(treshold_on=0.1)  # "treshold_on"
neurons.LIF(0.9, reset="softly")  # "reset"
encoders.poisson(events, 20)  # "poisson"
number: int = datasets.open_samples("gestures")[0][1]  # "str"
evaluation.classify("dvs128-gestures", "digit.bin").lower()  # "lower"
"""


@pytest.mark.campaign
@pytest.mark.slow(seconds=20)
def test_mypy_finds_the_errors_of_a_users_script_and_no_others(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG)
    # Beside the sources `mypy dvskit` uses the same cache.
    folder = TOP if (TOP / "dvskit").is_dir() else tmp_path
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--hide-error-context", RIGHT, wrong],
        cwd=folder, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [line for line in found if "wrong.py" not in line] == []
    expected = [
        (number, line.partition("  # ")[2])
        for number, line in enumerate(WRONG.splitlines(), 1)
        if "  # " in line
    ]
    unseen = [
        (number, words)
        for number, words in expected
        if not any(f"wrong.py:{number}: " in line and words in line for line in found)
    ]
    assert unseen == [], done.stdout + done.stderr
    assert len(found) == len(expected), done.stdout


def test_the_package_says_that_it_has_types():
    assert (PACKAGE / "py.typed").is_file()
