"""FEAST beside eventcv's: speed of learning and of finding features, and whether they are the same.

    python -m tests.benchmarks.features RECORDING [--rounds 5] [--million 0.3]

Both learn 100 features of each polarity (11x11 pixels, 30 ms) from the same events in one process,
alternately, then find the feature of each event. Medians of million events a second, by the clock
and by the time of all processors. `same` starts dvskit's learning with eventcv's first features:
the share of events with an equal feature, and the largest difference of a threshold.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import eventcv
import numpy as np

from dvskit import Events, open_events
from dvskit.tensors import FeatureLayer, Features, FittedLayer, fit_features
from dvskit.tensors.features import _columns, _padded, _Pass
from tests.benchmarks.filters import to_eventcv
from tests.benchmarks.measured import in_turn

LAYER = FeatureLayer()


def swapped(array: Any) -> Any:
    """Return eventcv's groups, ON and OFF, in dvskit's order."""
    groups = np.asarray(array, np.float32).reshape(2, LAYER.n_features, *np.shape(array)[1:])
    return groups[::-1].copy()


def same(events: Events, stream: Any) -> tuple[float, float]:
    """Return the share of equal features, and the largest difference of a threshold."""
    peer = eventcv.FEAST()
    shape = LAYER.shape(2)
    padded = _padded(swapped(peer.feature_images()).reshape(shape))
    thresholds = swapped(peer.thresholds)
    _Pass(LAYER, padded, thresholds, 2, events.sensor_size).learn(_columns(events))
    weights = padded[:, : shape[1], : shape[3]].reshape(shape)
    peer.fit(stream)
    found = Features((FittedLayer(LAYER, weights, thresholds, 0.0),)).transform(events)
    theirs = peer.transform(stream)
    moved = np.where(theirs < 0, -1, (theirs + LAYER.n_features) % (2 * LAYER.n_features))
    return float((found == moved).mean()), float(abs(thresholds - swapped(peer.thresholds)).max())


def main() -> None:
    """Print a line for learning and one for finding."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--million", type=float, default=0.3, help="the most events, in millions")
    args = parser.parse_args()
    print(", ".join(f"{name} {version(name)}" for name in ("dvskit", "eventcv", "numba")))
    events = open_events(args.recording).load()[: round(args.million * 1e6)]
    stream, count = to_eventcv(events), len(events) / 1e6
    features, peer = fit_features(events), eventcv.FEAST()
    peer.fit(stream)
    print(f"{args.recording.name}: {events!r}")
    ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "fit": (lambda: fit_features(events), lambda: eventcv.FEAST().fit(stream)),
        "transform": (lambda: features.transform(events), lambda: peer.transform(stream)),
    }
    for name, (ours, theirs) in ways.items():
        passes = in_turn({"ours": ours, "theirs": theirs}, args.rounds)
        for at, what in enumerate(("clock", "processors")):
            mine, other = (count / each.middle[at] for each in passes.values())
            ratio = mine / other
            print(
                f"  {name:9} {what:10} {mine:6.3f} {other:6.3f} Mev/s, {ratio:5.1f} times as fast"
            )
    equal, apart = same(events, stream)
    print(f"  same: {100 * equal:.3f} % of the features, thresholds within {apart:.2g}")


if __name__ == "__main__":
    main()
