"""Wrong calls are told in one line: what is wrong, in which call, and the fix."""

from __future__ import annotations

import importlib
import inspect
import sys
from itertools import product
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

import dvskit
from dvskit import (
    EmulatorParams,
    emulate,
    encoders,
    evaluation,
    filters,
    learning,
    render,
    tensors,
    training,
)
from dvskit._arguments import _Check, check_arguments
from dvskit.errors import ArgumentError, DvskitError
from tests.test_events import make

EVENTS = make(300)
FRAMES = np.random.default_rng(0).random((5, 20, 30))

REPRESENTATIONS = [
    "AveragedTimeSurface", "Binary", "Counts", "DecayedCounts", "EventFrames", "FeatureCounts",
    "LastTimes", "PointSet", "Signed", "TimeSurface", "Tore", "VoxelGrid",
]  # fmt: skip

CALLED = [
    "open_events", "load_events", "save_events", "progress", "Events", "Emulator",
    "EmulatorParams", "emulate", "formats.open_sink", "emulator.emulate_batch",
    "video.open_frames", "video.write_video", "video.ArrayFrames", "render.cloud",
    "render.cloud_image", "render.turntable", "render.page", "render.video", "render.frames",
    "render.CloudView", "render.VideoView", "render.Turn", "render.ShownEvents",
    "render.LatestPolarity", "render.LinearFade", "render.Decay", "render.Surface", "render.Count",
    "render.plots.rate", "render.plots.balance", "render.plots.intervals", "render.plots.pixel_map",
    "render.plots.spectrum", "render.plots.flicker", "render.plots.noise", "render.plots.raster",
    "render.plots.event_raster",
    "render.plots.membrane", "render.plots.weights", "render.plots.confusion",
    "render.plots.curves", "render.plots.save", "render.plots.Style", "filters.Crop",
    "filters.TimeWindow", "filters.Fit", "tensors.bin_events", "tensors.bin_clips",
    "encoders.poisson", "encoders.signed_poisson", "encoders.latency", "encoders.rank_order",
    "encoders.population", "encoders.population_latency", "encoders.ReceptiveFields",
    "encoders.delta", "encoders.run_delta", "encoders.temporal_contrast",
    "encoders.contrast_threshold", "encoders.step_forward", "encoders.run_step_forward",
    "encoders.moving_window", "encoders.hsa", "encoders.bsa", "encoders.low_pass",
    "encoders.decode_poisson", "encoders.decode_latency", "encoders.decode_rank_order",
    "encoders.decode_population", "encoders.decode_delta", "encoders.decode_temporal_contrast",
    "encoders.decode_step_forward", "encoders.decode_moving_window", "encoders.decode_hsa",
    "encoders.decode_bsa", "encoders.reconstruction_error", "neurons.LIF", "neurons.SignedLIF",
    "neurons.ATan",
    "learning.STDP", "learning.Window", "learning.Triplet", "learning.Convolution",
    "learning.Synapses", "learning.SpikeProp", "learning.SpikePropLayer", "learning.first_spikes",
    "learning.spikeprop_gradients", "learning.time_error",
    "evaluation.evaluate", "evaluation.classify", "evaluation.classify_windows",
    "evaluation.classify_image",
    "evaluation.classify_spans", "training.load_model", "training.save_model",
    "training.load_config", "evaluation.observe", "training.sweep",
    *[f"tensors.{name}" for name in REPRESENTATIONS],
    *[f"filters.{kind.__name__}" for kind in filters.filter_names().values()],
    "filters.Vary", "filters.NDA", "datasets.Batches", "datasets.BatchShare", "datasets.Cache",
    "datasets.Encode", "datasets.ImageBatches", "datasets.Saccades", "datasets.Emulation",
    "datasets.TonicSamples", "datasets.from_tonic", "datasets.open_samples",
    "datasets.open_public", "datasets.open_images", "datasets.split_samples",
    "training.Config", "training.DataConfig", "training.InputConfig", "training.LoopConfig",
    "training.Model",
]  # fmt: skip


@pytest.mark.parametrize("name", CALLED)
def test_a_name_that_there_is_not_is_told_of_every_call(name):
    with pytest.raises(ArgumentError, match="there is no 'nothing_like_it'; choices: "):
        attrgetter(name)(dvskit)(nothing_like_it=1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: EmulatorParams(treshold_on=1), "no 'treshold_on'; did you mean 'threshold_on'?"),
        (
            lambda: EmulatorParams(threshold_on="0.1"),
            "EmulatorParams: threshold_on is '0.1'; a number is expected: threshold_on=0.1",
        ),
        (lambda: EmulatorParams(threshold_on=None), "threshold_on is None; a number is expected"),
        (lambda: EmulatorParams(0.1), "0.1 needs a name, such as threshold_on=0.1"),
        (lambda: emulate(FRAMES, fps="x"), "emulate: fps is 'x'; a number is expected"),
        (
            lambda: emulate(FRAMES, fps=9, seed="a"),
            "emulate: seed is 'a'; a whole number is expected",
        ),
        (lambda: dvskit.Emulator(seed=1.5), "Emulator: seed is 1.5; a whole number is expected"),
        (lambda: emulate(FRAMES, None, 0, 240), "emulate: 240 needs a name, such as fps=240"),
        (lambda: dvskit.open_events(None), "open_events: path is None; the path of a file"),
        (lambda: dvskit.open_events(EVENTS), "open_events: path is Events; the path of a file"),
        (lambda: dvskit.open_events("a.raw", "evt3"), "'evt3' needs a name, such as format='evt3'"),
        (lambda: dvskit.load_events(5), "load_events: path is 5; the path of a file"),
        (lambda: dvskit.save_events(EVENTS), "path is missing; pass save_events(events_or_source,"),
        (
            lambda: dvskit.save_events("a.npz", EVENTS),
            "events_or_source and path are swapped; pass save_events(events_or_source, path, ...)",
        ),
        (lambda: dvskit.save_events(EVENTS, "a.npz", True), "such as overwrite=True"),
        (
            lambda: render.page("c.html", EVENTS),
            "page: shown and path are swapped; pass page(",
        ),
        (lambda: render.page(["a.raw"], "c.html"), "a.raw: is a path; open the recording with"),
        (lambda: render.page("a.raw", "c.html"), "a.raw: is a path; open the recording with"),
        (lambda: render.cloud("c.png", EVENTS), "cloud: events_or_source and path are swapped"),
        (
            lambda: render.cloud(EVENTS, "c.png", view="front"),
            "cloud: view is 'front'; CloudView is expected: view=CloudView(...)",
        ),
        (lambda: render.video("c.mp4", EVENTS), "video: events_or_source and path are swapped"),
        (lambda: render.plots.rate(EVENTS, style="dark"), "style is 'dark'; Style is expected"),
        (
            lambda: render.plots.save("a.png", render.plots.rate(EVENTS)),
            "save: figure and path are swapped; pass save(figure, path, ...)",
        ),
        (lambda: tensors.bin_events(EVENTS, 20), "bin_events: 20 needs a name, such as bins=20"),
        (lambda: tensors.bin_events(EVENTS, bins="20"), "a whole number is expected: bins=20"),
        (
            lambda: filters.Crop("1", "2", "3", "4"),
            "Crop: x is '1'; a whole number is expected: x=1",
        ),
        (lambda: filters.Crop((0, 0, 4, 4)), "y is missing; pass Crop(x, y, width, height)"),
        (lambda: filters.Crop(0, 0, 4, 4, 5), "5 is one argument too many; pass Crop(x, y,"),
        (lambda: filters.Crop(0, 0, 1.5, 4), "Crop: width is 1.5; a whole number is expected"),
        (lambda: filters.chain("a"), "'a' is not a filter"),
        (lambda: tensors.VoxelGrid(5), "VoxelGrid: 5 needs a name, such as bins=5"),
        (lambda: EmulatorParams.preset("DAVIS364"), "did you mean 'DAVIS346'?"),
        (lambda: EmulatorParams.preset(None), "EmulatorParams.preset: name is None; a name or"),
        (lambda: dvskit.Emulator("nosy"), "unknown preset 'nosy'; did you mean 'noisy'?"),
        (lambda: EVENTS.blocks(100), "Events.blocks: 100 needs a name, such as count=100"),
        (lambda: EVENTS.between("1s"), "start_us is '1s'; a time in microseconds is expected"),
        (lambda: dvskit.open_events("a.raw", size="64"), "size '64' is not (width, height)"),
        (lambda: dvskit.Events(EVENTS.t), "Events: ndarray needs a name, such as t=..."),
        (lambda: encoders.latency(np.ones((2, 2)), 5), "is expected: image=torch.from_numpy(...)"),
        (lambda: learning.STDP(learning.Window), "window is the class Window; Window is expected"),
        (
            lambda: dvskit.networks.ModuleNetwork(module="a", width=1, height=1, classes=2),
            "ModuleNetwork: module is str; pass a torch.nn.Module, or a class or function",
        ),
        (lambda: evaluation.classify(EVENTS, "nmnist-signed-lif"), "Events is no model; pass"),
        (
            lambda: evaluation.evaluate("nmnist-signed-lif", EVENTS),
            "use classify for one recording",
        ),
        (lambda: training.train("none.toml"), "none.toml: no such file"),
        (lambda: training.load_model(None), "load_model: name_or_path is None; a name or the path"),
    ],
)
def test_a_wrong_call_is_told_in_one_line_with_the_fix(call, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DvskitError) as raised:
        call()
    text = str(raised.value)
    assert said in text
    assert "\n" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_call_is_python_s_type_error_too():
    with pytest.raises(TypeError, match="no 'sized'"):
        dvskit.open_events("a.raw", sized=1)
    with pytest.raises(ValueError, match="number"):
        EmulatorParams(threshold_on="much")


def test_numbers_of_numpy_and_whole_floats_are_numbers():
    params = EmulatorParams(threshold_on=np.float32(0.5), refractory_us=np.int16(7), leak_hz=1)
    assert (params.threshold_on, params.refractory_us) == (0.5, 7)
    assert dvskit.Emulator(seed=np.uint8(3)) == dvskit.Emulator(seed=3.0)
    assert tensors.bin_events(EVENTS, bins=np.int64(3)).shape[0] == 3


def test_the_checked_function_is_called_with_what_was_given():
    @check_arguments
    def told(count: int, /, name: str = "a", *more: str, scale: float | None = None, **rest: int):
        """Say what came."""
        return count, name, more, scale, rest

    assert told(1) == (1, "a", (), None, {})
    assert told(1, "b", "c", scale=2, other=3) == (1, "b", ("c",), 2, {"other": 3})
    assert told.__doc__ == "Say what came."
    assert str(inspect.signature(told)).startswith("(count: 'int', /")
    for wrong in (lambda: told(), lambda: told("1"), lambda: told(1, 2), lambda: told(1, scale="")):
        with pytest.raises(ArgumentError):
            wrong()


def test_arguments_are_bound_as_python_binds_them():
    def call(a, b=1, *, c, d=2): ...

    check = _Check(call, call)
    for args, names in product(((), (5,), (5, 6), (5, 6, 7)), product("acde", "abcd", "cde")):
        kwargs = dict.fromkeys(names, 8)
        try:
            expected = inspect.signature(call).bind(*args, **kwargs).arguments
        except TypeError:
            with pytest.raises(TypeError):
                check._bind(args, kwargs)
        else:
            assert check._bind(args, kwargs) == expected


WRITTEN = {
    "plain": "from dvskit import Events\nfrom os import PathLike\n"
    "def f(count: int, *, path: str | PathLike[str] = '', events: Events | None = None,\n"
    "      share: float | None = None, more=None): return count\n",
    "other names": "import dvskit as kit, os\nfrom dvskit import Events as Stream\n"
    "def f(count: int, *, path: str | os.PathLike[str] = '', events: kit.Events | None = None,\n"
    "      share: None | float = None, more: Stream | bool | None = None): return count\n",
    "typing": "from typing import Annotated, Optional, Union\nimport pathlib, dvskit\n"
    "def f(count: Annotated[int, 'how many'], *, path: Union[str, pathlib.Path] = '',\n"
    "      events: Optional['dvskit.Events'] = None, share: Optional[float] = None,\n"
    "      more: Optional['Unknown'] = None): return count\n",
    "aliases": "from dvskit import Events\nfrom os import PathLike\n"
    "Count, Path, Stream = int, PathLike[str] | str, Events | None\n"
    "def f(count: Count, *, path: Path = '', events: Stream = None,\n"
    "      share: float | None = None, more: list[int] | str | None = None): return count\n",
    "for type checkers": "from typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n    import os\n    from dvskit.events import Events as Stream\n"
    "    Path = os.PathLike[str]\n    import unknown\n"
    "def f(count: int, *, path: 'str | Path' = '', events: 'Stream | None' = None,\n"
    "      share: float | None = None, more: 'unknown.More | None' = None): return count\n",
    "decorated": "from dvskit import Events\nfrom contextlib import contextmanager\n"
    "from pathlib import Path\n@contextmanager\n"
    "def f(count: int, *, path: Path = '', events: Events = None, share: float = None,\n"
    "      more=None): yield count\n",
    "a class": "from dvskit import Events\nfrom os import PathLike\nclass f:\n"
    "    def __init__(self, count: int, *, path: str | PathLike[str] = '',\n"
    "        events: Events | None = None, share: float | None = None, more=None): ...\n",
    "a dataclass": "from dvskit import Events as Stream\nfrom os import PathLike\n"
    "from dataclasses import dataclass\n@dataclass(kw_only=True, slots=True)\nclass Base:\n"
    "    path: str | PathLike[str] = ''\n    events: Stream | None = None\n"
    "    share: float | None = None\n    more: object = None\n"
    "@dataclass(slots=True)\nclass f(Base):\n    count: int\n",
}
BASE = WRITTEN["a dataclass"].partition("@dataclass(slots=True)")


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
@pytest.mark.parametrize("way", [*WRITTEN, "a dataclass of another module"])
def test_errors_do_not_depend_on_how_a_module_is_written(way, future, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    text = WRITTEN.get(way, f"from base import Base, dataclass\n{BASE[1]}{BASE[2]}")
    for name, source in (("base", BASE[0]), ("written", text)):
        (tmp_path / f"{name}.py").write_text(future + source)
        monkeypatch.delitem(sys.modules, name, raising=False)
    f = check_arguments(importlib.import_module("written").f)
    before = set(vars(sys.modules["written"]))
    f(1, path="a", events=None, share=0.5, more="x")
    f(1, path=Path("a"), events=EVENTS, share=None)
    for call, words in [
        (lambda: f("a"), "f: count is 'a'; a whole number is expected"),
        (lambda: f(1, path=3), "f: path is 3; the path of a file or a folder is expected"),
        (lambda: f(1, events=2), "f: events is 2; Events is expected: events=Events(...)"),
        (lambda: f(1, share="b"), "f: share is 'b'; a number is expected"),
        (lambda: f(1, 2), "f: 2 needs a name, such as share=2"),
    ]:
        with pytest.raises(ArgumentError) as raised:
            call()
        assert str(raised.value) == words
    assert set(vars(sys.modules["written"])) == before
