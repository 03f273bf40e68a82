"""Dense flow beside eventcv's Lucas-Kanade flow, plane fits and their pooled flow.

    python -m tests.benchmarks.motion_dense [--seeds 1,2] [--real FOLDER] [--davis FILE]

Scenes of planes move for 100 ms, then a window of events is taken. Errors are in pixels over the
window, from the flow in its middle: their mean (AEE, over pixels with events, as MVSEC does), the
median, and the share above 3 px. Flow is judged only at pixels where it is given, which favors
peers; `known` is their share. `still` is the mean error of no flow. Medians follow the scenes.
--real takes rotations with flow.npy; --davis compares with OpenCV's DIS flow of the frames of a
recording, over --frames of them at a time. Seconds are of processor time, the best of three.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import dvskit
from dvskit.events import Events
from dvskit.motion import Flow as EventFlow
from dvskit.motion import PooledFlow, dense_flow, plane_flow
from dvskit.scenes import PlaneScene

Flow = NDArray[Any]
MOTIONS = ("free", "rotation", "translation")
WARM_UP_US = 100_000
# Thresholds give about the events of a real camera at these speeds.
PRESETS = {"clean": (0.5, 1.0), "noisy": (0.25, 0.4)}  # contrast threshold, speed of the camera


def scenes(seeds: list[int], count: int) -> Iterator[tuple[str, Events, Flow]]:
    """Yield the name, events and flow in px/s of each scene."""
    for preset, (threshold, speed) in PRESETS.items():
        for seed in seeds:
            for motion in MOTIONS:
                scene = PlaneScene.random(seed, motion, speed=speed, duration_us=400_000)
                params = replace(
                    dvskit.EmulatorParams.preset(preset),
                    threshold_on=threshold, threshold_off=threshold,
                )  # fmt: skip
                run = dvskit.Emulator(params, seed=seed).start(scene.size, transfer=scene.transfer)
                blocks, held = [], 0
                for t_us, frame in scene:
                    events = run.step(t_us, frame)
                    if t_us > WARM_UP_US:
                        blocks.append(events)
                        held += len(events)
                    if held >= count:
                        break
                window = Events.concatenate(blocks, scene.size)[:count]
                yield f"{preset} {motion} {seed}", window, scene.truth(middle_us(window)).flow


def rotations(folder: Path) -> Iterator[tuple[str, Events, Flow]]:
    """Yield the real rotations of a folder, with flow in px/s."""
    for path in sorted(folder.glob("*/flow.npy")):
        rows = np.loadtxt(path.with_name("events.txt"))
        events = Events(
            t=np.round(rows[:, 0] * 1e6).astype(np.int64), x=rows[:, 1].astype(int),
            y=rows[:, 2].astype(int), p=rows[:, 3] > 0, size=(240, 180),
        )  # fmt: skip
        yield path.parent.name, events, np.load(path)[0].transpose(1, 2, 0) / seconds(events)


def street(path: Path, frames: int) -> Iterator[tuple[str, Events, Flow]]:
    """Yield windows between frames of a recording, with the flow of the frames in px/s."""
    recording = dvskit.open_events(path)
    images, events = list(recording.frames()), recording.load()
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for n in range(0, len(images) - frames, frames):
        first, last = images[n], images[n + frames]
        start, stop = ((each.t_us + each.stop_us) // 2 for each in (first, last))
        flow = dis.calc(first.image, last.image, None) / ((stop - start) * 1e-6)
        yield f"frames {n}", events.between(start, stop), flow


def middle_us(events: Events) -> float:
    """Return the middle of a window."""
    return (int(events.t[0]) + int(events.t[-1])) / 2


def seconds(events: Events) -> float:
    """Return the duration of a window."""
    return float(events.t[-1] - events.t[0]) * 1e-6


def lucas_kanade(events: Events) -> Flow:
    """Return eventcv's flow in px/s; NaN where it gives none."""
    import eventcv

    rows = np.stack([events.x, events.y, events.t, events.p], 1).astype(np.int64)
    stream = eventcv.from_numpy(rows, sensor_size=tuple(events.sensor_size), time_unit="us")
    flow = np.moveaxis(stream.optical_flow().numpy(), 0, -1) * 1e3
    flow[(flow == 0).all(-1)] = np.nan
    return flow


def mean_at_pixels(flow: EventFlow) -> Flow:
    """Return the mean velocity of the events at each pixel, px/s; NaN where there is none."""
    known, size = flow.known, flow.events.sensor_size
    sums = np.zeros((size.height, size.width, 3))
    rows = np.stack([flow.vx, flow.vy, np.ones_like(flow.vx)], 1)[known]
    np.add.at(sums, (flow.events.y[known], flow.events.x[known]), rows)
    with np.errstate(invalid="ignore"):
        mean: Flow = sums[..., :2] / sums[..., 2:]
    return mean


METHODS: dict[str, Callable[[Events], Flow]] = {
    "dvskit": dense_flow,
    "eventcv": lucas_kanade,
    "planes": lambda events: mean_at_pixels(plane_flow(events)),
    "pooled": lambda events: mean_at_pixels(plane_flow(events, PooledFlow())),
}


def errors(events: Events, flow: Flow, truth: Flow) -> tuple[float, float, float, float]:
    """Return mean and median error in px over the window, the share above 3 px, and known in %."""
    seen = np.zeros(truth.shape[:2], bool)
    seen[events.y, events.x] = True
    seen &= np.isfinite(truth).all(-1)
    known = seen & np.isfinite(flow).all(-1)
    off = np.hypot(*((flow - truth)[known].T)) * seconds(events)
    return off.mean(), float(np.median(off)), 100 * (off > 3).mean(), 100 * known.sum() / seen.sum()


def table(cases: Iterator[tuple[str, Events, Flow]]) -> None:
    """Print a row a case, and the medians."""
    rows: list[NDArray[Any]] = []
    for name, events, truth in cases:
        figures = [errors(events, find(events), truth) for find in METHODS.values()]
        still = errors(events, np.zeros_like(truth), truth)[0]
        rows.append(np.array([still, *np.ravel(figures)]))
        show(f"{name}, {seconds(events) * 1e3:.0f} ms", rows[-1])
    if rows:
        show("median", np.nanmedian(rows, 0))


def show(name: str, row: NDArray[Any]) -> None:
    """Print a row."""
    cells = [f"{a:7.2f} {m:6.2f} {o:5.1f} {k:5.0f}" for a, m, o, k in row[1:].reshape(-1, 4)]
    print(f"{name:30} {row[0]:6.2f}  " + "  ".join(cells), flush=True)


def cost(events: Events) -> float:
    """Return the seconds of processor time of the dense flow, the best of three."""
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        dense_flow(events)
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--davis", type=Path)
    parser.add_argument("--frames", type=int, default=2)
    args = parser.parse_args()
    print(f"dvskit {version('dvskit')}, eventcv {version('eventcv')}, opencv {cv2.__version__}")
    print(f"{'':30} {'still':>6}  " + "  ".join(f"{m}: mean median >3px known" for m in METHODS))
    seeds = [int(seed) for seed in args.seeds.split(",") if seed]
    table(scenes(seeds, args.events))
    if args.real:
        table(rotations(args.real))
    if args.davis:
        table(street(args.davis, args.frames))
    for size in ((240, 180), (640, 480)):
        scene = replace(PlaneScene.random(1, "free", size=size, duration_us=20_000), samples=1)
        events = dvskit.emulate(scene, params=dvskit.EmulatorParams.preset("clean")).load()
        for count in (args.events, 10 * args.events):
            part = events[-count:]
            print(f"{len(part):,} events at {events.sensor_size}: {cost(part):.2f} s")


if __name__ == "__main__":
    main()
