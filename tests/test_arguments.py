"""Wrong calls are refused in one line that names the argument, and what is expected."""

from __future__ import annotations

import importlib
import sys
from itertools import product
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import EmulatorParams, emulate, encoders, evaluation, filters, learning, render, tensors
from dvskit._arguments import check_arguments
from dvskit.errors import ArgumentError, DvskitError
from tests.laws import refused, scattered

EVENTS = scattered(300)
FRAMES = np.random.default_rng(0).random((5, 20, 30))
CALLED = """
open_events load_events save_events Events Emulator EmulatorParams emulate formats.open_sink
video.open_frames video.write_video render.cloud render.page render.video render.frames
render.CloudView render.plots.rate render.plots.noise filters.Crop filters.Fit filters.Vary
tensors.bin_events tensors.VoxelGrid tensors.Counts encoders.poisson encoders.latency
encoders.decode_hsa neurons.LIF learning.STDP learning.SpikeProp evaluation.evaluate
evaluation.classify training.load_model training.save_model training.load_config training.sweep
datasets.Batches datasets.Cache datasets.TonicSamples datasets.open_samples datasets.split_samples
training.Config training.DataConfig training.LoopConfig training.Model
"""


@pytest.mark.parametrize("name", CALLED.split())
def test_a_name_that_there_is_not_is_refused_by_every_call(name):
    with refused(ArgumentError, "'nothing_like_it'"):
        attrgetter(name)(dvskit)(nothing_like_it=1)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: EmulatorParams(treshold_on=1), ["treshold_on", "threshold_on"]),
        (lambda: EmulatorParams(threshold_on="0.1"), ["threshold_on", "'0.1'"]),
        (lambda: EmulatorParams(threshold_on=None), ["threshold_on", "None"]),
        (lambda: EmulatorParams(0.1), ["threshold_on=0.1"]),
        (lambda: EmulatorParams.preset("DAVIS364"), ["DAVIS346"]),
        (lambda: emulate(FRAMES, fps=9, seed="a"), ["seed", "'a'"]),
        (lambda: emulate(FRAMES, None, 0, 240), ["fps=240"]),
        (lambda: dvskit.Emulator(seed=1.5), ["seed", "1.5"]),
        (lambda: dvskit.open_events(EVENTS), ["path", "Events"]),
        (lambda: dvskit.open_events("a.raw", "evt3"), ["format='evt3'"]),
        (lambda: dvskit.open_events("a.raw", size="64"), ["size", "'64'"]),
        (lambda: dvskit.load_events(5), ["path", "5"]),
        (lambda: dvskit.save_events(EVENTS), ["path"]),
        (lambda: dvskit.save_events("a.npz", EVENTS), ["events_or_source", "path", "swapped"]),
        (lambda: dvskit.save_events(EVENTS, "a.npz", True), ["overwrite=True"]),
        (lambda: render.page("a.raw", "c.html"), ["a.raw"]),
        (lambda: render.cloud(EVENTS, "c.png", view="front"), ["view", "CloudView"]),
        (lambda: render.plots.save("a.png", render.plots.rate(EVENTS)), ["figure", "path"]),
        (lambda: tensors.bin_events(EVENTS, 20), ["bins=20"]),
        (lambda: tensors.bin_events(EVENTS, bins="20"), ["bins", "20"]),
        (lambda: filters.Crop((0, 0, 4, 4)), ["y", "Crop("]),
        (lambda: filters.Crop(0, 0, 4, 4, 5), ["5", "Crop("]),
        (lambda: filters.Crop(0, 0, 1.5, 4), ["width", "1.5"]),
        (lambda: filters.chain("a"), ["'a'"]),
        (lambda: EVENTS.between("1s"), ["start_us", "'1s'"]),
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


def test_arguments_are_bound_as_python_binds_them():
    def call(a, b=1, *more, c, d=2):
        return a, b, more, c, d

    checked = check_arguments(call)
    for args, names in product(((), (5,), (5, 6), (5, 6, 7)), product("acde", "abcd", "cde")):
        kwargs = dict.fromkeys(names, 8)
        try:
            expected = call(*args, **kwargs)
        except TypeError:
            with pytest.raises(TypeError):
                checked(*args, **kwargs)
        else:
            assert checked(*args, **kwargs) == expected


SIGNATURE = "count: int, *, path: {} = '', events: {} = None, share: float | None = None"
WAYS = {
    "a function": "import os\nimport dvskit as kit\ndef f("
    + SIGNATURE.format("str | os.PathLike[str]", "kit.Events | None")
    + "): return count\n",
    "for type checkers": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\n"
    "    from dvskit.events import Events as Stream\n    Path = os.PathLike[str]\ndef f("
    + SIGNATURE.format("'str | Path'", "'Stream | None'")
    + "): return count\n",
    "a class": "from dvskit import Events\nfrom os import PathLike\nclass f:\n"
    "    def __init__(self, "
    + SIGNATURE.format("str | PathLike[str]", "Events | None")
    + "): ...\n",
}


@pytest.mark.parametrize("way", WAYS)
def test_errors_do_not_depend_on_how_a_module_is_written(way, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "written.py").write_text(WAYS[way])
    monkeypatch.delitem(sys.modules, "written", raising=False)
    f = check_arguments(importlib.import_module("written").f)
    f(1, path="a", events=None, share=0.5)
    f(1, path=Path("a"), events=EVENTS, share=None)
    for call, *named in [
        (lambda: f("a"), "count", "'a'"),
        (lambda: f(1, path=3), "path", "3"),
        (lambda: f(1, events=2), "events", "Events"),
        (lambda: f(1, share="b"), "share", "'b'"),
    ]:
        with refused(ArgumentError, *named):
            call()
