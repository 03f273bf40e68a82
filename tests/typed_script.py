"""A user's script: mypy --strict finds no error in it. It is type-checked, not run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import assert_type

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import dvskit
from dvskit import (
    datasets,
    encoders,
    evaluation,
    filters,
    layers,
    models,
    networks,
    neurons,
    render,
    tensors,
    training,
)
from dvskit.events import Events, ReadableSource
from dvskit.render.plots import Plot

# Events and files.
recording = dvskit.open_events("events.raw", strict=False)
events = dvskit.load_events("events.raw", size=(640, 480))
assert_type(events.t, NDArray[np.int64])
assert_type(events[100:200], Events)
assert_type(events[events.p], Events)
assert_type(recording.between(0, 5_000).load(), Events)
assert_type(render.plots.rate(recording, bin_us=1_000), Plot)
assert_type(render.plots.pixel_map(events, style=render.plots.Style(width_mm=88)), Plot)
assert_type(render.page(events, height_px=500), render.PageReport)
made = Events(t=[1, 2], x=[0, 1], y=[0, 1], p=[True, False], size=(2, 2))
dvskit.save_events(dvskit.progress(dvskit.merge(events, recording)), "both.raw")

# Filters.
steady = filters.Chain(filters.Crop(0, 0, 64, 48), lambda some: some[::2])
assert_type(filters.Crop(0, 0, 64, 48)(events), Events)
assert_type(steady(recording).load(), Events)

# Frames.
frames = np.zeros((24, 48, 64), np.uint8)
clip = dvskit.emulate(frames, "DAVIS346", fps=240)
run = dvskit.Emulator("noisy", seed=1).start((64, 48))
dvskit.Emulator(dvskit.EmulatorParams(threshold_on=0.15))
render.video(clip, "decay.mp4", overwrite=True)
for picture in render.frames(clip):
    print(picture)

# Tensors and networks.
binned = tensors.bin_events(events, bin_us=5_000)
assert_type(binned, Tensor)
assert_type(tensors.VoxelGrid(bins=5)(events), Tensor)
assert_type(encoders.poisson(torch.rand(8, 8), 20, generator=torch.Generator()), Tensor)
sequence = layers.Sequence(
    layers.Conv2d(2, 12, 5), layers.AvgPool2d(2), neurons.LIF(0.9, reset="hard"),
    layers.Flatten(), layers.Linear(12, 10), layers.MeanMembrane(),
)  # fmt: skip
output, states = sequence.step(binned[0])
assert_type(output, Tensor)
built = networks.ConvLIF(classes=10, neurons="plif").build()


# Samples, training and decisions.
samples = datasets.open_samples("gestures", params="noisy", size=(34, 34))
assert_type(samples[0], tuple[Events, str])
split = datasets.split_by_share(samples[:100], validation=0.1, test=0.2)
first, label = split.train[0]
batches = datasets.Batches(samples, tensors.Counts(bins=10, bin_us=31_000), size=(34, 34))
for inputs, labels in batches.epoch(0):
    assert_type((inputs, labels), tuple[Tensor, Tensor])
given = models.InputConfig(bins=10, bin_us=31_000)
trained = training.train(built, samples, output="runs/my-net", input=given, note=print)
model = models.load_model("runs/my-net")
assert_type(evaluation.evaluate(model, samples).accuracy, float)
assert_type(evaluation.classify(model, events), dict[str, float])
for decision in evaluation.decide(model, recording):
    print(decision)


@dataclass(frozen=True)
class EveryOther(filters.CallableFilter):
    """A filter of one's own."""

    first: int = 0

    def start(self, size: dvskit.Size) -> Callable[[Events], Events]:
        """Return the step of one pass."""
        return lambda some: some[self.first :: 2]


class Still(ReadableSource):
    """A source of one's own."""

    size = dvskit.Size(2, 2)

    def __iter__(self) -> Iterator[Events]:
        """Yield the blocks in time order."""
        yield made


assert_type(EveryOther()(Still()).load(), Events)
