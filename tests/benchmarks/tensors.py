"""Events to tensors, beside the peers in one run.

    python -m tests.benchmarks.tensors [--million 10] [--size 640x480] [--rounds 5] [--only TEXT]

For each representation prints million events a second of the median pass [of the fastest], how
many times ours that of a peer is, by the clock and by the processor time of all threads (which
other work on the machine disturbs less), and whether its tensor is ours. Each tool has the events
in its own layout beforehand; passes alternate, so that other work falls on all alike. Peers that
are not installed are left out: tonic, eventcv, frames2py, evlib (with polars), spikingjelly (with
loguru, torchvision and torchaudio).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from dvskit import Events, tensors
from dvskit._threads import thread_count
from tests.benchmarks.filters import to_eventcv
from tests.benchmarks.measured import in_turn, release

SPAN_US = 10_000_000
BIN_US = SPAN_US // 20
TAU_US = 50_000
PEERS = ("tonic", "eventcv", "frames2py", "evlib", "spikingjelly")
Run = Callable[[], Any]


def random_events(count: int, size: tuple[int, int], seed: int = 0) -> Events:
    """Events anywhere at any time, the first at 0 and the last at SPAN_US."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, SPAN_US, count))
    t[0], t[-1] = 0, SPAN_US
    return Events(
        t=t,
        x=rng.integers(0, size[0], count).astype(np.int16),
        y=rng.integers(0, size[1], count).astype(np.int16),
        p=rng.integers(0, 2, count).astype(bool),
        size=size,
    )


@dataclass
class Layouts:
    """The same events as each tool takes them."""

    events: Events

    @cached_property
    def tonic(self) -> NDArray[Any]:
        return self.events.to_array("tonic")

    @cached_property
    def tonic_signed(self) -> NDArray[Any]:
        return self.tonic.astype([("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i8")])

    @cached_property
    def spikingjelly(self) -> dict[str, NDArray[Any]]:
        return {name: np.array(getattr(self.events, name)) for name in "txyp"}

    @cached_property
    def frames2py(self) -> NDArray[Any]:
        import frames2py

        found = np.empty(len(self.events), frames2py.EVENT_DTYPE)
        for name in "txyp":
            found[name] = getattr(self.events, name)
        return found

    @cached_property
    def eventcv(self) -> Any:
        return to_eventcv(self.events)

    @cached_property
    def polars(self) -> Any:
        import polars as pl

        e = self.events
        t = pl.Series(e.t).cast(pl.Duration("us"))
        return pl.DataFrame({"t": t, "x": e.x, "y": e.y, "polarity": e.p.astype(np.int8)})

    @cached_property
    def wide(self) -> tuple[NDArray[np.int64], ...]:
        return tuple(getattr(self.events, name).astype(np.int64) for name in "txyp")


@dataclass
class Case:
    """One kind of tensor: our run, what peers run, and what ours must become to be a peer's."""

    name: str
    ours: Run
    peers: dict[str, Run] = field(default_factory=dict)
    same: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = field(default_factory=dict)
    others: dict[str, Run] = field(default_factory=dict)  # of ours, timed only
    events: int = 0


def frames2py_run(layouts: Layouts, kernel: Callable[[], Any]) -> Run:
    """A frames2py pass: made, filled, read."""
    import frames2py

    def run() -> Any:
        accumulator = frames2py.Accumulator(tuple(layouts.events.sensor_size), kernel())
        accumulator.accumulate(layouts.frames2py)
        return accumulator.read()

    return run


def binning(e: Events, at: Layouts) -> Case:
    width, height = e.sensor_size
    window = {"bins": 20, "bin_us": BIN_US, "start_us": 0, "outside": "ignore"}
    out = torch.empty(20, 4, 2, height, width, dtype=torch.int32)
    bytes_ = tensors.Counts(bins=20, bin_us=BIN_US, outside="ignore", dtype=torch.uint8)
    counts = tensors.Counts(bins=20, bin_us=BIN_US, outside="ignore")
    case = Case("counts, 20 bins of 2 polarities", lambda: tensors.bin_events(e, **window))
    case.others = {
        "in a given batch": lambda: counts(e, start_us=0, out=out[:, 1]),
        "as uint8": lambda: bytes_(e, start_us=0),
    }
    if has("tonic"):
        from tonic.transforms import ToFrame

        frame = ToFrame((width, height, 2), n_time_bins=20)
        case.peers["tonic"] = lambda: frame(at.tonic)
    if has("spikingjelly"):
        integrate = integration()
        case.peers["spikingjelly"] = lambda: integrate(at.spikingjelly, "time", 20, height, width)
    if has("frames2py"):
        from frames2py import StackedHistogram

        run = frames2py_run(at, lambda: StackedHistogram(bins=20, bin_us=BIN_US))
        case.peers["frames2py"] = run
        case.same["frames2py"] = lambda ours: ours.swapaxes(0, 1)
    if has("evlib"):
        from evlib import representations, representations_rs

        def dense() -> Any:
            found = representations.create_event_frame(at.polars, height, width, 20)
            return representations.densify_event_frame(found, 20, 2, height, width)

        rows, columns, end = np.arange(height), np.arange(width), np.array([SPAN_US])
        case.peers["evlib, polars"] = dense
        case.peers["evlib, rvt, uint8"] = lambda: representations_rs.stacked_histogram_dense(
            *at.wide, end, SPAN_US, 20, 255, rows, columns, height, width
        ).reshape(2, 20, height, width)
        case.same["evlib, rvt, uint8"] = lambda ours: ours.swapaxes(0, 1)
    return case


def count_image(e: Events, at: Layouts) -> Case:
    image = tensors.Counts(bins=1, channels=1)
    case = Case("count image, one bin of both polarities", lambda: image(e))
    if has("eventcv"):
        case.peers["eventcv"] = lambda: at.eventcv.count().numpy()
    if has("frames2py"):
        from frames2py import EventCount

        case.peers["frames2py"] = frames2py_run(at, EventCount)
    return case


def voxels(e: Events, at: Layouts) -> Case:
    width, height = e.sensor_size
    grid = tensors.VoxelGrid(bins=5)
    case = Case("voxel grid, 5 bins", lambda: grid(e))
    if has("tonic"):
        from tonic.functional import to_voxel_grid_numpy as to_grid

        # It writes -1 for 0 into the events, once; its grid is that of one bin more, cut off.
        case.peers["tonic"] = lambda: to_grid(at.tonic_signed, (width, height, 2), 4)
        case.same["tonic"] = lambda ours: ours[:4]
    if has("eventcv"):
        case.peers["eventcv"] = lambda: at.eventcv.voxel(bins=5, window_us=SPAN_US).numpy()
    if has("frames2py"):
        from frames2py import VoxelGrid

        case.peers["frames2py"] = frames2py_run(at, lambda: VoxelGrid(bins=5, bin_us=SPAN_US // 4))
    if has("evlib"):
        from evlib import representations

        def dense() -> Any:
            found = representations.create_voxel_grid(at.polars, height, width, 4)
            return representations.densify_voxel_grid(found, 4, height, width)

        case.peers["evlib, polars"] = dense
        case.same["evlib, polars"] = lambda ours: ours[:4]
    return case


def last_times(e: Events, at: Layouts) -> Case:
    chosen = tensors.LastTimes(channels=1)
    case = Case("times of the latest events", lambda: chosen(e))
    if has("frames2py"):
        from frames2py import TimeSurface

        case.peers["frames2py"] = frames2py_run(at, TimeSurface)
        case.same["frames2py"] = lambda ours: np.maximum(ours, 0)
    return case


def surface(e: Events, at: Layouts) -> Case:
    chosen = tensors.TimeSurface(tau_us=TAU_US)
    case = Case("time surface, one", lambda: chosen(e))
    if has("eventcv"):
        case.peers["eventcv"] = lambda: at.eventcv.tsurf(tau_us=TAU_US).numpy()
        case.same["eventcv"] = lambda ours: ours[0, ::-1] * math.exp(1 / TAU_US)
    return case


def surfaces(e: Events, at: Layouts) -> Case:
    width, height = e.sensor_size
    chosen = tensors.TimeSurface(tau_us=TAU_US, bins=20, bin_us=BIN_US, outside="ignore")
    case = Case("time surfaces, 20", lambda: chosen(e))
    if has("tonic"):
        from tonic.functional import to_timesurface_numpy as to_surface

        case.peers["tonic"] = lambda: to_surface(at.tonic, (width, height, 2), BIN_US, TAU_US)
    if has("evlib"):
        from evlib import representations

        def dense() -> Any:
            found = representations.create_time_surface(at.polars, height, width, BIN_US, TAU_US)
            return representations.densify_time_surface(
                found, 20, 2, height, width, BIN_US, TAU_US, 0
            )

        case.peers["evlib, polars"] = dense
    return case


def decayed(e: Events, at: Layouts) -> Case:
    chosen = tensors.DecayedCounts(tau_us=TAU_US, channels=1)
    case = Case("decayed counts", lambda: chosen(e))
    if has("frames2py"):
        from frames2py import TimestampDecay

        case.peers["frames2py"] = frames2py_run(at, lambda: TimestampDecay(TAU_US))
        case.same["frames2py"] = lambda ours: ours * math.exp(1 / TAU_US)
    return case


def frames(e: Events, at: Layouts) -> Case:
    width, height = e.sensor_size
    chosen = tensors.EventFrames(frames=20)
    case = Case("frames of equal numbers of events, 20", lambda: chosen(e))
    if has("tonic"):
        from tonic.transforms import ToFrame

        frame = ToFrame((width, height, 2), n_event_bins=20)
        case.peers["tonic"] = lambda: frame(at.tonic)
    if has("spikingjelly"):
        integrate = integration()
        case.peers["spikingjelly"] = lambda: integrate(at.spikingjelly, "number", 20, height, width)
    return case


def points(e: Events, at: Layouts) -> Case:
    chosen = tensors.PointSet()
    case = Case("point set of all events", lambda: chosen(e))
    if has("eventcv"):
        case.peers["eventcv"] = lambda: at.eventcv.pset().numpy()
    return case


def averaged(e: Events, at: Layouts) -> Case:
    width, height = e.sensor_size
    few = e[:3_000]
    chosen = tensors.AveragedTimeSurface(tau_us=TAU_US, window_us=BIN_US)
    case = Case("averaged time surfaces, 3,000 events", lambda: chosen(few), events=len(few))
    if has("tonic"):
        from tonic.functional import to_averaged_timesurface_numpy as to_average

        array = at.tonic[:3_000]
        case.peers["tonic"] = lambda: to_average(
            array, (width, height, 2), 10, 7, BIN_US, TAU_US, "exp"
        )

        def with_itself(ours: NDArray[Any]) -> NDArray[Any]:
            cells = few.y // 10 * -(-width // 10) + few.x // 10
            ours = ours.copy()
            ours[cells, few.p.astype(int), 3, 3] += 1 - (ours[cells, few.p.astype(int), 3, 3] >= 1)
            return ours

        case.same["tonic"] = with_itself
    return case


def tore(e: Events, at: Layouts) -> Case:
    chosen = tensors.Tore()
    return Case("TORE volume, 4 latest", lambda: chosen(e))


CASES = [
    binning, count_image, voxels, last_times, surface, surfaces, decayed, frames, points, averaged,
    tore,
]  # fmt: skip


def integration() -> Callable[..., Any]:
    """Return spikingjelly's function of frames; its data sets of speech need torchaudio to load."""
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError):  # a build for CUDA beside torch for processors
        sys.modules["torchaudio"] = mock.MagicMock()
    from spikingjelly.datasets.utils import integrate_events_by_fixed_frames_number

    return integrate_events_by_fixed_frames_number


def has(package: str) -> bool:
    try:
        __import__(package)
    except ImportError:
        return False
    return release(package) is not None


def judge(ours: NDArray[Any], theirs: NDArray[Any]) -> str:
    """Say whether two tensors are the same, and if not, how many of their values differ."""
    theirs = np.asarray(theirs)
    if ours.size != theirs.size:
        return f"shape {theirs.shape}"
    ours, theirs = ours.astype(np.float64).reshape(-1), theirs.astype(np.float64).reshape(-1)
    differ = ~np.isclose(ours, theirs, rtol=1e-4, atol=1e-4)
    if not differ.any():
        return "the same"
    return f"{differ.sum():,} of {len(differ):,} differ; sums {ours.sum():.7g}, {theirs.sum():.7g}"


def measure(case: Case, events: int, rounds: int) -> None:
    passes = in_turn({"dvskit": case.ours} | case.others | case.peers, rounds)
    ours = passes["dvskit"]
    print(f"\n{case.name}")
    for name, each in passes.items():
        (clock, processor), least = each.middle, each.least[0]
        text = f"  {name:20s} {events / clock / 1e6:9.2f} Mev/s [{events / least / 1e6:9.2f}]"
        if name in case.peers:
            turned = case.same.get(name, lambda each: each)(ours.first.numpy())
            clock, processor = clock / ours.middle[0], processor / ours.middle[1]
            text += f"  ours {clock:7.1f}x, by processor {processor:7.1f}x"
            text += f"  {judge(turned, each.first)}"
        print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--million", type=float, default=10)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name has this text in it")
    asked = parser.parse_args()
    width, height = (int(each) for each in asked.size.split("x"))
    events = random_events(int(asked.million * 1e6), (width, height))
    found = [f"{name} {version(name)}" for name in PEERS if has(name)]
    print(f"{len(events):,} events, {asked.size}, {thread_count()} threads; {', '.join(found)}")
    layouts = Layouts(events)
    for make in CASES:
        case = make(events, layouts)
        if asked.only in case.name:
            measure(case, case.events or len(events), asked.rounds)


if __name__ == "__main__":
    main()
