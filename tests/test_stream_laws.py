"""Results of a stream of events do not depend on its blocks, on an earlier pass or on threads.

Corners, flow, motion, tracks, images, features and frames; filters have laws of their own.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from dvskit.events import Events, EventsSource, ReadableSource
from dvskit.motion import (
    DenseFlow,
    PlaneFlow,
    PooledFlow,
    Stabilized,
    corners,
    flow_blocks,
    flow_over_time,
    link_corners,
    motion_over_time,
)
from dvskit.reconstruction import (
    ComplementaryFilter,
    EventsPerPixel,
    NetworkReconstructor,
    ReconstructionModel,
    ReconstructionNetwork,
    SteadyTimes,
    reconstruct,
)
from dvskit.render import CornerTracks, FlowColors, ObjectTracks, frames
from dvskit.tensors import FeatureCounts, FeatureLayer, fit_features
from dvskit.tracking import MeanShift, Tracker, track
from tests.laws import InBlocks, on_threads, random_cuts
from tests.test_corner_filters import squares

EVENTS = squares(count=4_000)  # on 40x30, in 300 ms
FRAMES = [(t, EVENTS.t[: 40 * 30].reshape(30, 40) % 250) for t in (40_000, 110_000, 200_000)]
LAYERS = [
    FeatureLayer(n_features=5, patch=5, tau_us=4_000),
    FeatureLayer(n_features=3, patch=3, tau_us=9_000, surfaces="joined"),
]


class Pieces(ReadableSource):
    """The events in random pieces, some empty and some of one event."""

    def __init__(self, events: Events) -> None:
        self.size, self.events = events.sensor_size, events

    def __iter__(self):
        for start, stop in pairwise(random_cuts(len(self.events), 1)):
            yield self.events[start:stop]


def flow(source, method):
    found = list(flow_blocks(source, method))
    columns = [[part.vx, part.vy, part.events.t, part.events.x] for part in found]
    return [np.concatenate(column) for column in zip(*columns, strict=True)]


def columns(pairs):
    """Return times and pictures as two arrays."""
    times, pictures = zip(*((t, picture.copy()) for t, picture in pairs), strict=True)
    return [np.array(times), np.stack(pictures)]


def network():
    torch.manual_seed(1)
    chosen = ReconstructionNetwork(channels=(4, 3, 2))
    return NetworkReconstructor(ReconstructionModel("tiny", chosen, chosen.build().eval()))


def images(source, reconstructor, times):
    used = FRAMES if getattr(reconstructor, "uses_frames", False) else ()
    return columns(reconstruct(source, reconstructor, times, frames=used))


def fitted(source):
    features = fit_features(source, LAYERS, seed=2)
    kept = [each.weights for each in features.layers]
    kept += [each.thresholds for each in features.layers]
    counts = FeatureCounts(fitted=features, bins=3)
    return [*kept, features.transform(source), counts(source).numpy()]


def shown(source, style):
    return columns(frames(source, style=style, frame_us=20_000))


def stabilized(source):
    motions = motion_over_time(EVENTS, window_us=50_000)
    kept = Stabilized(source, motions).load()
    return [kept.t, kept.x, kept.y, kept.p]


READ = {
    "corner scores": lambda source: [corners(source, "e_harris")],
    "corner tracks": lambda source: [link_corners(source)],
    "plane flow": lambda source: flow(source, PlaneFlow()),
    "pooled flow": lambda source: flow(source, PooledFlow(tau_us=2_000)),
    "dense flow": lambda source: flow(source, DenseFlow(count=1_500)),
    "dense flow in windows": lambda source: columns(flow_over_time(source, duration_us=150_000)),
    "dense flow at times": lambda source: columns(
        flow_over_time(source, duration_us=60_000, at_us=[90_000, 250_000])
    ),
    "motion in time": lambda source: [
        *motion_over_time(source, window_us=40_000).columns().values()
    ],
    "motion by number": lambda source: [*motion_over_time(source, count=700).columns().values()],
    "stabilized": stabilized,
    "objects": lambda source: [track(source, Tracker(hits=2, join_px=2))],
    "mean shift": lambda source: [track(source, MeanShift((10, 10), 12))],
    "images in time": lambda source: images(source, ComplementaryFilter(), SteadyTimes(40)),
    "images by number": lambda source: images(
        source, ComplementaryFilter(uses_frames=False, carried=False), EventsPerPixel(0.3)
    ),
    "images of a network": lambda source: images(source, network(), SteadyTimes(20)),
    "features": fitted,
    "frames of flow": lambda source: shown(source, FlowColors(full_px_s=300)),
    "frames of corners": lambda source: shown(source, CornerTracks("arc_star:1ms")),
    "frames of objects": lambda source: shown(
        source, ObjectTracks(Tracker(hits=2, join_px=2), lines=(((20, 0), (20, 29)),))
    ),
}


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", READ)
def test_results_do_not_depend_on_blocks_passes_or_threads(name):
    read, whole = READ[name], EventsSource(EVENTS)
    expected = read(whole)
    assert all(np.size(part) > 1 for part in expected)
    pieces = Pieces(EVENTS)
    same(read(pieces), expected)
    same(read(pieces), expected)
    same(read(whole), expected)
    with on_threads(1):
        same(read(whole), expected)


@pytest.mark.parametrize("name", [name for name in READ if "dense" not in name])
def test_results_are_the_same_from_blocks_of_one_event(name):
    some = EVENTS[:400]
    same(READ[name](InBlocks(some, 1)), READ[name](some))
