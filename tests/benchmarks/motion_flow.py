"""Flow of events: errors against exact flow, beside eventcv's Lucas-Kanade, and speed.

    python -m tests.benchmarks.motion_flow [--seeds 3] [--street RECORDING.aedat4]

Edges are straight, of several widths and contrasts, emulated for a clean sensor after 100 ms of
motion; jitter is normally distributed. Scenes are planes and boxes before a moving camera, whose
flow is known; all methods get the same events and are compared at the pixels with events in the
last 5 ms. An outlier is off by more than half of the true speed. Speeds are of processor time on
one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dvskit
from dvskit.events import Events
from dvskit.filters import TemporalJitter
from dvskit.motion import Flow, PlaneFlow, PooledFlow, frame_flow, plane_flow
from dvskit.scenes import PlaneScene

SPEEDS, ANGLES, JITTERS_US = (50, 100, 200, 500, 1000), (0.0, 0.5, 1.9, 3.5), (0, 1000)
SIZE = (96, 72)
WARM_US = 100_000
END_US, WINDOW_US, LATEST_US = 140_000, 50_000, 5_000

Table = NDArray[np.float32]


def bars(speed: float, angle: float, seed: int = 0) -> Iterator[tuple[int, Table]]:
    """Bars of 14 to 34 pixels that move at `speed` px/s; edges are blurred by 0.6 pixels."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(rng.uniform(14, 34, 400))
    ends -= ends[-1] / 2
    fine = np.arange(ends[0], ends[-1], 1 / 16)
    kernel = np.exp(-0.5 * (np.arange(-64, 65) / 16 / 0.6) ** 2)
    shades = np.where(np.searchsorted(ends, fine) % 2, 0.2, 0.8)
    profile = np.convolve(shades, kernel / kernel.sum(), "same")
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    along = x * np.cos(angle) + y * np.sin(angle)
    rate, last_s = max(1000, 5 * speed), WARM_US * 1e-6 + min(0.5, 25 / speed + 0.05)
    for number in range(int(last_s * rate)):
        seen = np.interp(along - speed * number / rate, fine, profile)
        yield round(number / rate * 1e6), seen.astype(np.float32)


def timed(method: Callable[[Events], Flow], events: Events, repeats: int = 3) -> tuple[Flow, float]:
    """Return the flow, and the processor time of the fastest call."""
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        flow = plane_flow(events, method)
        times.append(time.process_time() - begun)
    return flow, min(times)


def edge_row(speed: int, sources: list[Events], jitter_us: int) -> str:
    """Return the errors across edges of one speed."""
    errors, known, count, seconds = [], [], 0, 0.0
    for angle, clean in zip(ANGLES, sources, strict=True):
        events = TemporalJitter(jitter_us, seed=1)(clean) if jitter_us else clean
        flow, took = timed(plane_flow, events)
        count, seconds = count + len(events), seconds + took
        x, y = events.x, events.y
        inside = (x > 2) & (y > 2) & (x < SIZE[0] - 3) & (y < SIZE[1] - 3) & (events.t > WARM_US)
        across = (flow.vx * np.cos(angle) + flow.vy * np.sin(angle))[inside & flow.known]
        errors.append(np.abs(across - speed) / speed)
        known.append(flow.known[inside].mean())
    off = np.concatenate(errors)
    return (
        f"{speed:5} px/s  jitter {jitter_us / 1000:g} ms  median {np.median(off):6.1%}  "
        f"90 % below {np.quantile(off, 0.9):6.1%}  known {np.mean(known):4.0%}  "
        f"{count / seconds / 1e6:5.1f} Mev/s"
    )


def lucas_kanade(events: Events) -> Table:
    """Return eventcv's dense flow of the last 50 ms, (H, W, 2) px/s."""
    import eventcv

    part = events.between(END_US - WINDOW_US, None)
    array = np.stack([part.x, part.y, part.t, part.p], 1).astype(np.int64)
    stream = eventcv.from_numpy(array, sensor_size=tuple(events.sensor_size), time_unit="us")
    found: Any = np.asarray(stream.optical_flow(window=3).numpy(), np.float32)
    if found.shape[0] == 2:
        found = np.moveaxis(found, 0, -1)
    return np.asarray(found * 1000)  # px/ms


def scene_rows(seed: int, params: str) -> Iterator[str]:
    """Yield the errors of each method on a scene."""
    scene = PlaneScene.random(seed, duration_us=END_US + 2_000, fps=1000, speed=0.3)
    events = dvskit.emulate(scene, params).load().between(None, END_US)
    late = events.t >= END_US - LATEST_US
    x, y = events.x[late], events.y[late]
    exact = scene.truth(END_US - LATEST_US / 2).flow[y, x]
    speed = np.hypot(*exact.T)
    found: dict[str, Table] = {}
    words = {}
    for name, method in (("plane", PlaneFlow()), ("pooled", PooledFlow())):
        flow, took = timed(lambda given, way=method: plane_flow(given, way), events, 2)
        found[name] = np.stack([flow.vx, flow.vy], 1)[late]
        words[name] = f"{len(events) / took / 1e6:5.1f} Mev/s"
    begun = time.process_time()
    dense = lucas_kanade(events)
    words["eventcv"] = f"{(time.process_time() - begun) * 1e3:5.1f} ms a call"
    found["eventcv"] = dense[y, x]
    for name, each in found.items():
        known = np.isfinite(each).all(1) & np.isfinite(speed) & (np.abs(each).sum(1) > 0)
        off = np.hypot(*(each - exact)[known].T)
        true = speed[known]
        across = np.hypot(*each[known].T)
        along = (each[known] * exact[known]).sum(1) / across
        aside = np.median(np.abs(across - along) / true)
        yield (
            f"scene {seed} {params:5} {name:8} {np.median(true):4.0f} px/s  end-point error median "
            f"{np.median(off):6.1f} mean {off.mean():7.1f} px/s  outliers "
            f"{(off > 0.5 * true).mean():4.0%}  across {aside:5.1%}  "
            f"known {known.mean():4.0%}  {words[name]}"
        )


def street_row(path: str) -> Iterator[str]:
    """Yield the distance of each method to the flow between the recording's frames."""
    recording = dvskit.open_events(path)
    events = recording.load()
    delay_us = 7_000  # of the events after the frames' stamps, as the data's page says
    for name, method in (("plane", PlaneFlow()), ("pooled", PooledFlow())):
        flow = plane_flow(events, method)
        own, other = [], []
        for pair in frame_flow(recording.frames()):
            span = (pair.start_us + delay_us, pair.stop_us + delay_us)
            part = (events.t >= span[0]) & (events.t < span[1]) & flow.known
            own.append(np.stack([flow.vx[part], flow.vy[part]], 1))
            other.append(pair.flow[events.y[part] - pair.y, events.x[part] - pair.x])
        ours, frames = np.concatenate(own), np.concatenate(other)
        moving = np.hypot(*frames.T) > 10
        off = np.hypot(*(ours - frames)[moving].T)
        speed = np.hypot(*frames[moving].T)
        cosine = (ours * frames)[moving].sum(1) / (np.hypot(*ours[moving].T) * speed)
        yield (
            f"street {name:7} {moving.sum():,} events where frames move, "
            f"{np.median(speed):.0f} px/s: "
            f"distance median {np.median(off):.1f} px/s ({np.median(off / speed):.0%}), "
            f"direction {np.degrees(np.arccos(np.clip(np.median(cosine), -1, 1))):.0f} degrees"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--street", help="a recording with frames, such as davis346_street.aedat4")
    args = parser.parse_args()
    print(f"dvskit {dvskit.__version__}, eventcv {version('eventcv')}")
    for speed in SPEEDS:
        sources = [dvskit.emulate(bars(speed, angle)).load() for angle in ANGLES]
        for jitter_us in JITTERS_US:
            print(edge_row(speed, sources, jitter_us), flush=True)
    if args.street:
        for row in street_row(args.street):
            print(row, flush=True)
    for seed in range(args.seeds):
        for params in ("clean", "noisy"):
            for row in scene_rows(seed, params):
                print(row, flush=True)


if __name__ == "__main__":
    main()
