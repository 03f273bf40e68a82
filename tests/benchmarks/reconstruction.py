"""Images from events: speed beside dv-processing and eventcv, and scores against frames.

    python -m tests.benchmarks.reconstruction [--street davis346_street.aedat4] [--million 2]

Speed is of processor time, tools by turns, the median of the rounds: of the events alone with one
image at the end, and with an image each 0.35 events per pixel.
Neither other tool has a complementary filter: dv-processing's Accumulator adds events that decay,
eventcv's `tsurf` is the surface of decayed latest times. Scores are those of `dvskit eval` on a
recording with frames: of the filter with and without frames, of the frame before, and of mid gray.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from dvskit import Events, open_events
from dvskit.events import Size
from dvskit.reconstruction import (
    ComplementaryFilter,
    Reconstructor,
    judge,
    reconstruct,
)
from tests.benchmarks.filters import make, to_eventcv
from tests.benchmarks.motion_corners import to_dv

SIZES = (Size(240, 180), Size(640, 480))
EVERY = 0.35  # events per pixel
ROUNDS = 5


def ours(events: Events, chosen: Reconstructor, period_us: int, frames: Any = None) -> None:
    times = range(int(events.t[0]) + period_us, int(events.t[-1]) + period_us + 1, period_us)
    for _ in reconstruct(events, chosen, times, frames=frames).images():
        pass


def frames_of(events: Events) -> list[tuple[int, np.ndarray]]:
    rng = np.random.default_rng(1)
    shape = (events.sensor_size.height, events.sensor_size.width)
    first, last = int(events.t[0]), int(events.t[-1])
    return [(t, rng.integers(0, 256, shape).astype(np.uint8)) for t in range(first, last, 40_000)]


def dv_images(store: Any, size: Size, period_us: int) -> None:
    import dv_processing as dv

    accumulator = dv.Accumulator(tuple(size))
    start, stop = store.getLowestTime(), store.getHighestTime()
    for t in range(start, stop + 1, period_us):
        accumulator.accept(store.sliceTime(t, min(t + period_us, stop + 1)))
        accumulator.generateFrame()


def eventcv_images(stream: Any, events: Events, period_us: int) -> None:
    for t in range(int(events.t[0]), int(events.t[-1]) + 1, period_us):
        stream.time_window(t, t + period_us).tsurf()


def speeds(count: int) -> Iterator[str]:
    """Yield a row a tool, size and number of images: million events a second of processor time."""
    for size in SIZES:
        events = make(count, size)  # one in a microsecond
        frames, store, stream = frames_of(events), to_dv(events), to_eventcv(events)
        for period_us in (count, round(EVERY * size.width * size.height)):
            tools: dict[str, Callable[[int], None]] = {
                "filter, events alone": partial(ours, events, ComplementaryFilter()),
                "filter, 25 frames a second": partial(
                    ours, events, ComplementaryFilter(), frames=frames
                ),
                "dv Accumulator": partial(dv_images, store, size),
                "eventcv tsurf": partial(eventcv_images, stream, events),
            }
            spent: dict[str, list[float]] = {name: [] for name in tools}
            for number in range(ROUNDS + 1):  # the first round compiles
                for name, run in tools.items():
                    started = time.process_time()
                    run(period_us)
                    if number:
                        spent[name].append(time.process_time() - started)
            yield f"{size}, {count / 1e6:g} million events, images: {-(-count // period_us)}"
            for name, times in spent.items():
                yield f"  {name:30} {count / statistics.median(times) / 1e6:7.1f} Mev/s"


@dataclass(frozen=True)
class FrameBefore:
    """Repeats the latest frame."""

    uses_frames: bool = True

    def start(self, size: Size) -> Any:
        return _FramePass(size)


class _FramePass:
    def __init__(self, size: Size) -> None:
        self.seen = np.full((size.height, size.width), 0.5, np.float32)

    def add(self, events: Events) -> None:
        pass

    def see(self, t_us: int, frame: np.ndarray) -> None:
        self.seen = frame / np.float32(255)

    def image(self, t_us: int) -> np.ndarray:
        return self.seen


KINDS: dict[str, Any] = {
    "mid gray": FrameBefore(uses_frames=False),
    "filter, events alone": ComplementaryFilter(uses_frames=False),
    "the frame before": FrameBefore(),
    "published filter": ComplementaryFilter(carried=False),
    "filter, not smoothed": ComplementaryFilter(smooth_px=0.0),
    "filter": ComplementaryFilter(),
}


def scores(path: Path) -> Iterator[str]:
    """Yield a row a kind of image: means over all frames but the first."""
    yield f"{path.name:24} {'MSE':>8} {'SSIM':>6}  {'after gain and offset':>22} {'temporal':>9}"
    for name, kind in KINDS.items():
        mean = {key: value for key, (value, _) in judge(kind, open_events(path)).summary().items()}
        yield (
            f"  {name:22} {mean['mse']:8.5f} {mean['ssim']:6.4f}  {mean['mse_fitted']:14.5f} "
            f"{mean['ssim_fitted']:7.4f} {mean['temporal']:9.5f}"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--street", type=Path)
    parser.add_argument("--million", type=float, default=2.0)
    args = parser.parse_args()
    print(", ".join(f"{name} {version(name)}" for name in ("dvskit", "eventcv", "dv-processing")))
    for line in speeds(int(args.million * 1e6)):
        print(line, flush=True)
    if args.street is not None:
        for line in scores(args.street):
            print(line, flush=True)


if __name__ == "__main__":
    main()
