"""Values out of range are refused in one line that names them; wrong names are a TypeError."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import numpy as np
import pytest

import dvskit
from dvskit import (
    emulate,
    emulator,
    filters,
    motion,
    reconstruction,
    render,
    scenes,
    tracking,
    video,
)
from dvskit.errors import ConfigError, DvskitError
from dvskit.render import plots
from tests.laws import refused, scattered

EVENTS = scattered(300)
FRAMES = np.random.default_rng(0).random((5, 20, 30))
ROWS = np.zeros(0, [("id", int), ("t", int), ("x", float), ("y", float)])
PACKAGES = (
    emulator, filters, motion, reconstruction, render, plots, scenes, tracking, video,
    dvskit.events, dvskit.formats, dvskit.tensors, dvskit.encoders, dvskit.neurons, dvskit.layers,
    dvskit.learning, dvskit.networks, dvskit.datasets, dvskit.models, dvskit.training,
    dvskit.evaluation,
)  # fmt: skip
OF_DATA = (  # made of arrays or samples, or counting
    scenes.DepthClip, tracking.LineCounter, plots.Measured, dvskit.datasets.Batches,
    dvskit.datasets.ImageBatches, dvskit.encoders.ReceptiveFields,
)  # fmt: skip
UNLIMITED = (  # some of their numbers have no limits
    filters.TimeWindow, dvskit.learning.STDP, dvskit.learning.Triplet, dvskit.learning.Window,
    dvskit.learning.DecolleNeurons,
)  # fmt: skip


def public() -> Iterator[Any]:
    for package in PACKAGES:
        yield from (getattr(package, name) for name in package.__all__)


def checking_classes() -> list[type[Any]]:
    """The public frozen classes that check their fields."""
    return sorted(
        {
            each for each in public()
            if inspect.isclass(each) and is_dataclass(each) and hasattr(each, "__post_init__")
        } - set(OF_DATA),
        key=lambda kind: kind.__name__,
    )  # fmt: skip


def numbers_of(kind: type[Any]) -> list[str]:
    return [
        each.name for each in fields(kind) if each.init and each.type.startswith(("int", "float"))
    ]


@pytest.mark.parametrize("kind", checking_classes())
def test_a_field_that_is_no_number_in_range_is_refused_with_its_name_and_value(kind):
    numbers = numbers_of(kind)
    needed = {
        each.name: 1 if each.name in numbers else None
        for each in fields(kind)
        if each.default is MISSING and each.default_factory is MISSING
    }
    wrong = (math.nan, "much") if kind in UNLIMITED else (math.nan, "much", -1e30)
    for name in numbers:
        for value in wrong:
            with refused(DvskitError, name, value):
                kind(**needed | {name: value})


ARGUMENTS = [
    ("count", 0, lambda value: EVENTS.blocks(count=value)),
    ("duration_us", 0.1, lambda value: EVENTS.blocks(duration_us=value)),
    ("layout", "dvs", lambda value: EVENTS.to_array(value)),
    ("fps", 0, lambda value: emulate(FRAMES, fps=value)),
    ("fps", 0, lambda value: video.open_frames("clip.mp4", fps=value)),
    ("white", 0, lambda value: emulate(FRAMES, fps=10, white=value)),
    ("light", "dim", lambda value: video.open_frames("clip.mp4", light=value)),
    ("clock", "late", lambda value: video.open_frames("clip.mp4", clock=value)),
    ("seed", -1, lambda value: dvskit.Emulator(seed=value)),
    ("seed", 1.0, lambda value: dvskit.Emulator(seed=value)),
    ("lux", 0, lambda value: dvskit.EmulatorParams.preset("DAVIS346", lux=value)),
    ("DAVIS364", "DAVIS346", lambda _: dvskit.EmulatorParams.preset("DAVIS364")),
    ("count", 0, lambda value: scenes.DiscScene.random(1, count=value)),
    ("gesture", "nod", lambda value: scenes.PersonScene.random(value, 1)),
    ("beta", 0, lambda value: filters.cut_mix(EVENTS, EVENTS, None, beta=value)),
    ("blobs", 0, lambda value: filters.event_mix(EVENTS, EVENTS, None, blobs=value)),
    ("patch_px", 3, lambda value: motion.dense_flow(EVENTS, patch_px=value)),
    ("smoothness", 0, lambda value: motion.dense_flow(EVENTS, smoothness=value)),
    ("within_px", 65, lambda value: motion.link_corners(EVENTS, within_px=value)),
    ("within_us", -1, lambda value: motion.link_corners(EVENTS, within_us=value)),
    ("join_px", 0, lambda value: tracking.components(EVENTS, join_px=value)),
    ("least_events", 0, lambda value: tracking.components(EVENTS, least_events=value)),
    ("least_events", 0, lambda value: tracking.dbscan(EVENTS, least_events=value)),
    ("us_per_px", 0, lambda value: tracking.dbscan(EVENTS, us_per_px=value)),
    ("within_px", 0, lambda value: tracking.score_tracks(ROWS, ROWS, within_px=value)),
    ("fps", 1e7, lambda value: render.frames(EVENTS, fps=value)),
    ("max_events", 0, lambda value: render.page(EVENTS, "page.html", max_events=value)),
    ("height_px", 1, lambda value: render.page(EVENTS, height_px=value)),
    ("bin_us", 0.5, lambda value: plots.rate(EVENTS, bin_us=value)),
    ("window_us", 0, lambda value: plots.noise(EVENTS, window_us=value)),
    ("min_hz", 2000, lambda value: plots.measure_flicker(EVENTS, min_hz=value)),
    ("certainty", 0, lambda value: plots.measure_flicker(EVENTS, certainty=value)),
    ("max_hz", 0, lambda value: plots.rate_spectrum(EVENTS, max_hz=value)),
    ("step_us", 0, lambda value: plots.raster(np.zeros((3, 2)), step_us=value)),
]


@pytest.mark.parametrize(("name", "value", "call"), ARGUMENTS)
def test_an_argument_out_of_range_is_refused_with_its_name_and_value(name, value, call):
    with refused(ConfigError, name, value):
        call(value)


def test_numbers_of_numpy_are_numbers():
    params = dvskit.EmulatorParams(threshold_on=np.float32(0.5), refractory_us=np.int16(7))
    assert (params.threshold_on, params.refractory_us) == (0.5, 7)
    assert dvskit.Emulator(seed=np.uint8(3)) == dvskit.Emulator(seed=3)


@pytest.mark.parametrize("call", [*filter(inspect.isfunction, public()), *checking_classes()])
def test_a_wrong_name_is_python_s_type_error(call):
    with pytest.raises(TypeError, match=r"wrong_name|missing"):
        call(wrong_name=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: dvskit.save_events("a.npz", EVENTS), lambda: render.page("a.npz", "page.html"),
        lambda: dvskit.merge("a.npz"), lambda: plots.rate("a.npz"), lambda: motion.corners("a.npz"),
        lambda: filters.SwapPolarity()("a.npz"),
    ],
)  # fmt: skip
def test_a_path_in_place_of_events_is_answered_with_open_events(call):
    with refused(DvskitError, "open_events('a.npz')"):
        call()
