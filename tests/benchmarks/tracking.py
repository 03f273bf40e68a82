"""Objects with identities beside eventcv's, on emulated scenes; components and tracks: speed.

    python -m tests.benchmarks.tracking [--scenes 20] [--first 0] [--only scenes] [RECORDING ...]

A scene is `DiscScene.random` of its number: discs that meet, one that stops, a bar; 3 s on 240x180,
emulated clean and noisy. Truth is every 10 ms. A place counts if half of the disc is seen; the
error is that of whole discs (0.9 and more seen). Rows on hidden discs are neither right nor wrong.
dvskit runs with its defaults; on the noisy sensor, slow by 30 Hz, with delay_us=11_000. eventcv's
tracker takes frames of the last 20 ms every 10 ms, and its places count for their middle. Scenes
0 to 6019 were seen while the tracker was made: judge it with `--first 7000`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from dvskit import EmulatorParams, Events, emulate, load_events
from dvskit.scenes import DiscScene
from dvskit.tracking import OBJECT_ROW, Tracker, TrackScores, components, score_tracks, track
from dvskit.tracking.clusters import label_mask
from tests.benchmarks.filters import to_eventcv

STEP_US = 10_000
TRUTH = np.dtype([*OBJECT_ROW.descr[:4], ("shown", "<f8")])


def truth_of(scene: DiscScene) -> np.ndarray:
    rows = []
    for t_us in range(STEP_US, scene.duration_us, STEP_US):
        truth = scene.truth(t_us)
        rows += [
            (n, t_us, *place, shown)
            for n, (place, shown) in enumerate(zip(truth.place, truth.shown, strict=True))
        ]
    return np.array(rows, TRUTH)


def scores_of(rows: np.ndarray, truth: np.ndarray) -> TrackScores:
    found = {}
    for least in (0.5, 0.9):
        seen = truth["shown"] >= least
        found[least] = score_tracks(rows, truth[seen], hidden=truth[~seen])
    return replace(found[0.5], rmse_px=found[0.9].rmse_px)


def of_eventcv(events: Events) -> np.ndarray:
    import eventcv

    tracker, rows = eventcv.Tracker(), []
    for stop_us in range(2 * STEP_US, int(events.t[-1]), STEP_US):
        window = events.between(stop_us - 2 * STEP_US, stop_us)
        if not len(window):
            continue
        for each in tracker.update(eventcv.count(to_eventcv(window))):
            if not each["missed"]:
                rows.append((each["id"], stop_us - STEP_US, *each["centroid"]))
    table = np.zeros(len(rows), OBJECT_ROW)
    for n, name in enumerate(("id", "t", "x", "y")):
        table[name] = [row[n] for row in rows]
    return table


def compare(scenes: int, count: int, first: int) -> None:
    """Print the scores of both in each scene, and their summary."""
    for sensor in ("clean", "noisy"):
        params = EmulatorParams.preset(sensor)
        tracker = Tracker(delay_us=11_000) if sensor == "noisy" else Tracker()
        found: dict[str, list[TrackScores]] = {"dvskit": [], "eventcv": []}
        for number in range(first, first + scenes):
            scene = DiscScene.random(number, count=count)
            events, truth = emulate(scene, params=params, seed=number).load(), truth_of(scene)
            found["dvskit"].append(scores_of(track(events, tracker), truth))
            found["eventcv"].append(scores_of(of_eventcv(events), truth))
            for name, each in found.items():
                print(f"{sensor} {number:2} {name:7} {described(each[-1])}", flush=True)
        for name, each in found.items():
            errors = [one.rmse_px for one in each]
            print(
                f"{sensor}, {scenes} scenes, {name}: RMSE median {np.nanmedian(errors):.2f} px, "
                f"under 1 px in {sum(error < 1 for error in errors)}, worst "
                f"{np.nanmax(errors):.2f}; no swap in {sum(one.swaps == 0 for one in each)}; IDF1 "
                f"mean {np.mean([one.idf1 for one in each]):.3f}, least "
                f"{min(one.idf1 for one in each):.3f}",
                flush=True,
            )


def described(one: TrackScores) -> str:
    return (
        f"RMSE {one.rmse_px:5.2f} px, IDF1 {one.idf1:.3f}, swaps {one.swaps:3}, missed "
        f"{one.misses:4} of {one.true_places}, false {one.false_places:4}, ids {one.false_ids}"
    )


def least_ms(*each: Callable[[], Any], runs: int = 30) -> list[float]:
    """The least ms of the clock of some functions, run alternately."""
    least = [np.inf] * len(each)
    for _ in range(runs):
        for n, run in enumerate(each):
            begin = time.perf_counter()
            run()
            least[n] = min(least[n], time.perf_counter() - begin)
    return [1e3 * one for one in least]


def compare_components() -> None:
    """Print the ms of the labels of pixels, and of clusters from events.

    eventcv: the labels of a frame of counts; then the same with counting the events into a frame.
    dvskit: the labels of a mask; then `components`, which also returns the rows of clusters.
    """
    import eventcv

    rng = np.random.default_rng(0)
    scene = emulate(DiscScene.random(0)).load().between(1_000_000, 1_030_000)
    cases = {f"240x180, 30 ms of a scene, {len(scene)} events": scene}
    for size, count in (
        ((240, 180), 2_000), ((240, 180), 20_000), ((1280, 720), 20_000), ((1280, 720), 600_000)
    ):  # fmt: skip
        x, y = rng.integers(0, size[0], count), rng.integers(0, size[1], count)
        events = Events(t=np.arange(count), x=x, y=y, p=x % 2 == 0, size=size)
        cases[f"{size[0]}x{size[1]}, {count} random events"] = events
    for name, events in cases.items():
        stream = to_eventcv(events)
        frame = eventcv.count(stream)
        mask = np.zeros(events.sensor_size[::-1], np.uint8)
        mask[events.y, events.x] = 1
        labels, theirs, clusters, counted = least_ms(
            lambda mask=mask: label_mask(mask),
            lambda frame=frame: frame.connected_components(),
            lambda events=events: components(events),
            lambda stream=stream: eventcv.count(stream).connected_components(),
        )
        print(
            f"components {name}: labels: dvskit {labels:.3f} ms, eventcv {theirs:.3f}: "
            f"{theirs / labels:.1f}; from events: dvskit {clusters:.3f} ms, eventcv {counted:.3f}: "
            f"{counted / clusters:.1f}"
        )


def compare_speed(path: Path) -> None:
    """Print the speed of tracks of a recording."""
    events = load_events(path)
    ours, theirs = least_ms(lambda: track(events), lambda: of_eventcv(events), runs=3)
    speeds = [len(events) / ms / 1e3 for ms in (ours, theirs)]
    print(
        f"tracks of {path.name}, {len(events):,} events in {events.duration_us / 1e6:.1f} s: "
        f"dvskit {ours:.0f} ms, {speeds[0]:.2f} Mev/s; eventcv {theirs:.0f} ms, {speeds[1]:.2f}"
    )


def main() -> None:
    """Print versions, scores and speeds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", choices=("scenes", "speed"))
    given = parser.parse_args()
    print(f"dvskit {version('dvskit')}, eventcv {version('eventcv')}, numpy {np.__version__}")
    if given.only != "scenes":
        compare_components()
        for path in given.recordings:
            compare_speed(path)
    if given.only != "speed":
        compare(given.scenes, given.count, given.first)


if __name__ == "__main__":
    main()
