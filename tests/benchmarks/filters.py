"""Filters beside those of eventcv, faery and tonic: million events a second, and equal results.

    python -m tests.benchmarks.filters [--million 10] [--size 640x480] [--only crop] [--cpu]

Half of the events are of edges that move, half are noise all over the sensor, in memory in each
library's own form. The best of --times, each time one library behind the other. `same` says that
the events are compared, all of them, where the order of equal times does not count. Where chance
draws them they are not, and the conditions are named in the last column. With --cpu it is processor
time that counts, on one thread: for machines with other work.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np

from dvskit.events import Events, Filter, Size, parse_size
from dvskit.filters import (
    Affine,
    BackgroundActivity,
    CallableFilter,
    Crop,
    DropArea,
    DropEvents,
    DropPixels,
    DropTime,
    EvenRateLimit,
    EventRateLimit,
    Fit,
    Flip,
    HotPixel,
    Mask,
    Noise,
    Polarity,
    QuarterTurn,
    Refractory,
    Rotate,
    SpatialJitter,
    SwapPolarity,
    TemporalJitter,
    TimeReversal,
    TimeScale,
    TimeShift,
    TimeWindow,
    Transpose,
    Undistort,
    Zoom,
)
from tests.benchmarks.measured import in_turn

PYTHON_LOOP = 100_000  # events given to a peer that loops over them in Python


def make(count: int, size: Size, seed: int = 0) -> Events:
    """Return events, half of them of 20 edges that move, half noise, at a million a second."""
    rng = np.random.default_rng(seed)
    # Not from 0, near which tonic's filters act as if something had happened before.
    t = np.sort(rng.integers(0, max(count, 2), count)) + 1_000_000
    edge, moved = rng.integers(0, 20, count), t * 1e-6 * 120
    x = (edge * size.width / 20 + moved + rng.normal(0, 0.7, count)) % size.width
    noise = rng.random(count) < 0.5
    x = np.where(noise, rng.integers(0, size.width, count), x.astype(np.int64))
    return Events(t=t, x=x, y=rng.integers(0, size.height, count), p=rng.random(count) < 0.5,
                  size=size)  # fmt: skip


def rows_of(columns: tuple[Any, ...]) -> np.ndarray:
    """Return t, x, y, p as (N, 4), in one order whatever the order of equal times."""
    t, x, y, p = (np.asarray(each).astype(np.int64) for each in columns)
    order = np.lexsort((p, y, x, t))
    return np.stack([t, x, y, p], 1)[order]


# ---- peers: how events are given, and what comes back as columns


def to_eventcv(events: Events) -> Any:
    import eventcv

    array = np.stack([events.x, events.y, events.t, events.p], 1).astype(np.int64)
    return eventcv.from_numpy(array, sensor_size=tuple(events.sensor_size), time_unit="us")


def to_faery(events: Events) -> Any:
    import faery

    array = events.to_array("faery")
    return faery.events_stream_from_array(
        np.array(array, faery.EVENTS_DTYPE), dimensions=tuple(events.sensor_size)
    )


def to_tonic(events: Events) -> Any:
    return events.to_array("tonic")


def of_eventcv(found: Any) -> tuple[Any, ...]:
    array = found.numpy()
    return array[:, 2], array[:, 0], array[:, 1], array[:, 3] > 0


def of_fields(found: Any) -> tuple[Any, ...]:
    on = "on" if "on" in found.dtype.names else "p"
    return found["t"], found["x"], found["y"], found[on]


PEERS: dict[str, tuple[Callable[[Events], Any], Callable[[Any], tuple[Any, ...]]]] = {
    "eventcv": (to_eventcv, of_eventcv),
    "faery": (to_faery, of_fields),
    "tonic": (to_tonic, of_fields),
}


@dataclass(frozen=True)
class Row:
    """A filter, what peers do in its place, and whether the events are the same."""

    name: str
    ours: Callable[[Events], Filter]
    peers: dict[str, Callable[[Any, Events], Any]] = field(default_factory=dict)
    same: bool = True
    loops: tuple[str, ...] = ()  # peers that loop in Python: fewer events
    remark: str = ""


def _mask(size: Size) -> np.ndarray:
    y, x = np.mgrid[: size.height, : size.width]
    return (x - size.width / 2) ** 2 + (y - size.height / 2) ** 2 < (size.height / 3) ** 2


def _affine(filter_: Rotate | Zoom, size: Size) -> np.ndarray:
    """Return the matrix from the upper left pixel for one about the middle."""
    xx, xy, yx, yy, _, _ = filter_.matrix
    about = np.array([(size.width - 1) / 2, (size.height - 1) / 2])
    turn = np.array([[xx, xy], [yx, yy]])
    return np.column_stack([turn, about - turn @ about])


def _lens(size: Size) -> tuple[float, ...]:
    return 0.8 * size.width, 0.8 * size.width, size.width / 2, size.height / 2, -0.2, 0.05


def _eventcv_camera(size: Size) -> Any:
    import eventcv

    fx, fy, cx, cy, k1, k2 = _lens(size)
    return eventcv.Camera(fx, fy, cx, cy, k1=k1, k2=k2)


@dataclass(frozen=True)
class HotByDeviation(CallableFilter):
    """eventcv's rule: pixels above the mean and three standard deviations of those that fire."""

    def start(self, size: Size) -> Any:
        raise NotImplementedError

    def of_events(self, events: Events) -> Events:
        from dvskit.filters.denoising import add_per_pixel

        counts = np.zeros((events.sensor_size.height, events.sensor_size.width), np.int64)
        add_per_pixel(events, counts)
        fired = np.count_nonzero(counts)
        mean = counts.sum() / fired
        deviation = np.sqrt((counts**2).sum() / fired - mean**2)
        return Mask(counts <= mean + 3 * deviation)(events)


def _tonic(name: str, *args: Any, **keywords: Any) -> Callable[[Any, Events], Any]:
    def call(array: Any, events: Events) -> Any:
        import tonic.transforms

        return getattr(tonic.transforms, name)(*args, **keywords)(array)

    return call


def _tonic_of_size(name: str, *args: Any) -> Callable[[Any, Events], Any]:
    def call(array: Any, events: Events) -> Any:
        import tonic.transforms

        return getattr(tonic.transforms, name)((*events.sensor_size, 2), *args)(array)

    return call


def _times(events: Events) -> tuple[int, int]:
    first, tenth = int(events.t[0]), events.duration_us // 10
    return first + tenth, first + 9 * tenth


ROWS = [
    Row("background activity, 8", lambda _: BackgroundActivity(1_000),
        {"eventcv": lambda s, _: s.background_activity_filter(1_000)}),
    Row("background activity, 4", lambda _: BackgroundActivity(999, neighbors=4),
        {"eventcv": lambda s, _: s.background_activity_filter(999, neighbourhood="cross"),
         "tonic": _tonic("Denoise", filter_time=1_000)}, loops=("tonic",)),
    Row("refractory", lambda _: Refractory(100_000),
        {"eventcv": lambda s, _: s.refractory_filter(100_000)}),
    Row("refractory, restart", lambda _: Refractory(100_001, restart=True),
        {"eventcv": lambda s, _: s.refractory_filter(100_001, refresh="all"),
         "tonic": _tonic("RefractoryPeriod", 100_000)}, loops=("tonic",)),
    Row("hot pixel, eventcv's rule", lambda _: HotByDeviation(),
        {"eventcv": lambda s, _: s.hot_pixel_filter(3.0)}),
    Row("hot pixel", lambda _: HotPixel(),
        {"eventcv": lambda s, _: s.hot_pixel_filter(3.0),
         "faery": lambda s, _: s.filter_hot_pixels(3.0).to_array()}, same=False,
        remark="another rule each"),
    Row("crop", lambda e: Crop(10, 10, e.sensor_size.width // 2, e.sensor_size.height // 2),
        {"eventcv": lambda s, e: s.crop(
             10, 10, e.sensor_size.width // 2, e.sensor_size.height // 2),
         "faery": lambda s, e: s.crop(
             10, 10 + e.sensor_size.width // 2, 10, 10 + e.sensor_size.height // 2).to_array()}),
    Row("mask", lambda e: Mask(_mask(e.sensor_size)),
        {"eventcv": lambda s, e: s.mask(_mask(e.sensor_size)),
         "faery": lambda s, e: s.mask(_mask(e.sensor_size)).to_array()}),
    Row("fit to half the size",
        lambda e: Fit((e.sensor_size.width // 2, e.sensor_size.height // 2)),
        {"eventcv": lambda s, e: s.resize(e.sensor_size.width // 2, e.sensor_size.height // 2)}),
    Row("flip", lambda _: Flip("x"),
        {"eventcv": lambda s, _: s.flip_x(),
         "faery": lambda s, _: s.transpose("flip_left_right").to_array()}),
    Row("transpose", lambda _: Transpose(),
        {"eventcv": lambda s, _: s.transpose(),
         "faery": lambda s, _: s.transpose("flip_up_diagonal").to_array()}),
    Row("quarter turn", lambda _: QuarterTurn(1), {"eventcv": lambda s, _: s.rotate90(1)}),
    Row("rotate", lambda _: Rotate(8),
        {"eventcv": lambda s, e: s.warp_affine(_affine(Rotate(8), e.sensor_size))}),
    Row("zoom", lambda _: Zoom(1.1),
        {"eventcv": lambda s, e: s.warp_affine(_affine(Zoom(1.1), e.sensor_size))}),
    Row("undistort", lambda e: Undistort(*_lens(e.sensor_size)),
        {"eventcv": lambda s, e: s.undistort(_eventcv_camera(e.sensor_size))}),
    Row("polarity", lambda _: Polarity("on"),
        {"eventcv": lambda s, _: s.filter_polarity(True),
         "faery": lambda s, _: s.remove_off_events().to_array()}),
    Row("swap polarity", lambda _: SwapPolarity(),
        {"eventcv": lambda s, _: s.invert_polarity()}, remark="times and pixels are shared"),
    Row("time window", lambda e: TimeWindow(*_times(e)),
        {"eventcv": lambda s, e: s.time_window(*_times(e))}, remark="ours is a view"),
    Row("drop by time", lambda e: DropTime(*_times(e)),
        {"tonic": _tonic("DropEventByTime", 0.8)}, same=False, remark="another span"),
    Row("drop by area", lambda _: DropArea(0.2, 0.2, 0.3, 0.3),
        {"tonic": _tonic_of_size("DropEventByArea", 0.3)}, same=False, remark="another place"),
    Row("drop events", lambda _: DropEvents(0.1),
        {"eventcv": lambda s, _: s.event_drop(0.1), "tonic": _tonic("DropEvent", 0.1)}, same=False,
        remark="drawn otherwise"),
    Row("drop pixels", lambda _: DropPixels(0.1),
        {"eventcv": lambda s, _: s.pixel_dropout(0.1)}, same=False, remark="drawn otherwise"),
    Row("spatial jitter", lambda _: SpatialJitter(1.0),
        {"eventcv": lambda s, _: s.spatial_jitter(1.0)}, same=False, remark="drawn otherwise"),
    Row("temporal jitter", lambda _: TemporalJitter(100.0),
        {"eventcv": lambda s, _: s.time_jitter(sigma_us=100)}, same=False,
        remark="drawn otherwise"),
    Row("time scale", lambda _: TimeScale(1.1, 0), {"eventcv": lambda s, _: s.time_scale(1.1)}),
    Row("time shift", lambda _: TimeShift(5_000), {"eventcv": lambda s, _: s.time_shift(5_000)}),
    Row("time reversal", lambda _: TimeReversal(),
        {"eventcv": lambda s, _: s.time_reversal(1.0)}),
    Row("noise, a tenth more", lambda e: Noise(1e5 / (e.sensor_size.width * e.sensor_size.height)),
        {"tonic": lambda s, e: _tonic_of_size("UniformNoise", len(e) // 10)(s, e)}, same=False,
        remark="drawn otherwise"),
    Row("event rate limit", lambda _: EventRateLimit(5e5)),
    Row("even rate limit", lambda _: EvenRateLimit(5e5)),
    Row("affine", lambda _: Affine(0.9, 0.1, -0.1, 0.9)),
]  # fmt: skip


def main() -> None:
    """Print a row a filter."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--million", type=float, default=10)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()
    if args.cpu:
        os.environ["DVSKIT_THREADS"] = "1"
    size = parse_size(args.size)
    events = make(int(args.million * 1e6), size)
    few = events[:PYTHON_LOOP]
    given = {name: take(events) for name, (take, _) in PEERS.items()}
    given_few = {name: take(few) for name, (take, _) in PEERS.items()}
    print(f"{events!r}; " + ", ".join(f"{name} {version(name)}" for name in PEERS))
    print(f"{'filter':26} {'dvskit':>7} " + " ".join(f"{name:>8}" for name in PEERS) + "  ratio")
    for row in ROWS:
        if args.only and not any(word in row.name for word in args.only.split(",")):
            continue
        chosen = row.ours(events)
        calls: dict[str, Callable[[], Any]] = {"dvskit": lambda: chosen(events)}  # noqa: B023
        for name, call in row.peers.items():
            loops = name in row.loops
            fed, of = (given_few[name], few) if loops else (given[name], events)
            calls[name] = lambda call=call, fed=fed, of=of: call(fed, of)
        speed = {
            name: len(few if name in row.loops else events) / passes.least[int(args.cpu)] / 1e6
            for name, passes in in_turn(calls, args.times).items()
        }
        fastest = max((speed[name] for name in row.peers), default=0.0)
        words = [f"{speed['dvskit']:7.0f}"]
        words += [f"{speed[name]:8.2f}" if name in speed else " " * 8 for name in PEERS]
        ratio = f"{speed['dvskit'] / fastest:6.1f}" if fastest else " " * 6
        kind = _compared(row, calls) if row.peers else "no peer"
        print(f"{row.name:26} {' '.join(words)} {ratio}  {kind}  {row.remark}", flush=True)


def _compared(row: Row, calls: dict[str, Callable[[], Any]]) -> str:
    if not row.same:
        return "unlike"
    ours = calls["dvskit"]()
    own = rows_of((ours.t, ours.x, ours.y, ours.p))
    unlike = [
        name for name in row.peers
        if name not in row.loops and not np.array_equal(own, rows_of(PEERS[name][1](calls[name]())))
    ]  # fmt: skip
    return "same" if not unlike else "NOT the same as " + ", ".join(unlike)


if __name__ == "__main__":
    main()
