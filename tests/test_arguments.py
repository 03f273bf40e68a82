"""Wrong calls are refused in one line that names the argument, and what is expected."""

from __future__ import annotations

import numpy as np
import pytest

import dvskit
from dvskit import EmulatorParams, emulate, encoders, evaluation, filters, learning, render, tensors
from dvskit.errors import DvskitError
from tests.laws import refused, scattered

EVENTS = scattered(300)
FRAMES = np.random.default_rng(0).random((5, 20, 30))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: EmulatorParams(treshold_on=1), ["treshold_on", "threshold_on"]),
        (lambda: EmulatorParams(threshold_on="0.1"), ["threshold_on", "'0.1'"]),
        (lambda: EmulatorParams(0.1), ["threshold_on=0.1"]),
        (lambda: EmulatorParams.preset("DAVIS364"), ["DAVIS346"]),
        (lambda: emulate(FRAMES, None, 0, 240), ["fps=240"]),
        (lambda: dvskit.open_events(EVENTS), ["path", "Events"]),
        (lambda: dvskit.open_events("a.raw", "evt3"), ["format='evt3'"]),
        (lambda: dvskit.save_events("a.npz", EVENTS), ["events_or_source", "path", "swapped"]),
        (lambda: dvskit.save_events(EVENTS, "a.npz", True), ["overwrite=True"]),
        (lambda: render.page("a.raw", "c.html"), ["a.raw"]),
        (lambda: render.plots.save("a.png", render.plots.rate(EVENTS)), ["figure", "path"]),
        (lambda: tensors.bin_events(EVENTS, 20), ["bins=20"]),
        (lambda: filters.Crop((0, 0, 4, 4)), ["y", "Crop("]),
        (lambda: filters.chain("a"), ["'a'"]),
        (lambda: encoders.latency(np.ones((2, 2)), 5), ["image", "torch.from_numpy"]),
        (lambda: learning.STDP(learning.Window), ["window", "Window"]),
        (lambda: evaluation.evaluate("nmnist-signed-lif", EVENTS), ["classify"]),
    ],
)
def test_a_wrong_call_is_refused_with_its_argument(call, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(DvskitError, *named):
        call()
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_call_is_python_s_type_error_too():
    with pytest.raises(TypeError, match="sized"):
        dvskit.open_events("a.raw", sized=1)
    with pytest.raises(ValueError, match="threshold_on"):
        EmulatorParams(threshold_on="much")


def test_numbers_of_numpy_and_whole_floats_are_numbers():
    params = EmulatorParams(threshold_on=np.float32(0.5), refractory_us=np.int16(7), leak_hz=1)
    assert (params.threshold_on, params.refractory_us) == (0.5, 7)
    assert dvskit.Emulator(seed=np.uint8(3)) == dvskit.Emulator(seed=3.0)
    assert tensors.bin_events(EVENTS, bins=np.int64(3)).shape[0] == 3
