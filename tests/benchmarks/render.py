"""Frames and videos of events beside faery, in one run; or clouds (--clouds).

    python tests/benchmarks/render.py [--seconds 10] [--rate 1000000] [--fps 60] [--rounds 1]
                                      [--presets defaults,veryfast] [--scene bars|noise]

A 1280x720 sensor; exponential decay with a time constant of 50 ms. "defaults" are those of each
(dvskit ultrafast, crf 20; faery medium, crf 17); else both have the same preset and crf 17.
dvskit's video has its footer (time code, rates) too. The candidates alternate; printed are seconds,
the median of the rounds, and faery's over ours.

--clouds draws clouds instead, 1280x960 pixels: a picture of 5 million events as an array and as
files, and 90 frames of 1 million events of a 346x260 sensor as MP4 and GIF.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import numpy as np

from dvskit import render
from dvskit._threads import thread_count
from dvskit.events import Events

SIZE = (1280, 720)
TAU_US = 50_000


def noise(count: int, seconds: float, size: tuple[int, int] = SIZE) -> Events:
    """Events anywhere: the hardest to encode."""
    rng = np.random.default_rng(0)
    return Events(
        t=np.sort(rng.integers(0, round(seconds * 1e6), count)),
        x=rng.integers(0, size[0], count),
        y=rng.integers(0, size[1], count),
        p=rng.random(count) < 0.5,
        size=size,
    )


def bars(count: int, seconds: float, size: tuple[int, int] = SIZE) -> Events:
    """Six edges that cross the sensor once in two seconds, and a tenth of noise."""
    rng = np.random.default_rng(0)
    blank = noise(count, seconds, size)
    edge = rng.integers(0, 6, count)
    place = edge * size[0] / 6 + blank.t * (size[0] / 2e6) + rng.normal(0, 1, count)
    still = rng.random(count) < 0.1
    x = np.where(still, blank.x, np.floor(place) % size[0]).astype(np.int16)
    p = np.where(still, blank.p, edge % 2 == 0)
    return Events(t=blank.t, x=x, y=blank.y, p=p, size=size)


SCENES = {"bars": bars, "noise": noise}


def faery_stream(events: Events, fps: int):
    import faery

    return (
        faery.events_stream_from_array(events.to_array("faery"), dimensions=SIZE)
        .regularize(frequency_hz=fps)
        .render(decay="exponential", tau=TAU_US * faery.us, colormap=faery.colormaps.managua)
    )


def ours_frames(events: Events, fps: int, style: render.Style) -> int:
    return sum(1 for _ in render.frames(events, style=style, fps=fps).moments())


def theirs_frames(events: Events, fps: int) -> int:
    return sum(1 for _ in faery_stream(events, fps))


def ours_video(events: Events, fps: int, preset: str, folder: Path) -> int:
    chosen = {} if preset == "defaults" else {"preset": preset, "crf": 17.0}
    view = render.VideoView(style=render.Decay(TAU_US), fps=fps, **chosen)
    return render.video(events, folder / f"ours_{preset}.mp4", view=view, overwrite=True).frames


def theirs_video(events: Events, fps: int, preset: str, folder: Path) -> int:
    chosen = {} if preset == "defaults" else {"preset": preset, "crf": 17.0}
    faery_stream(events, fps).to_file(folder / f"faery_{preset}.mp4", frame_rate=fps, **chosen)
    return 0


def clouds(rounds: int) -> None:
    """Print the milliseconds that clouds take, the least and the median."""
    many, some = bars(5_000_000, 2), bars(1_000_000, 2, (346, 260))
    runs: dict[str, Callable[[Path], object]] = {
        "array, 5 M, time": lambda folder: render.cloud_image(many),
        "array, 5 M, count": lambda folder: render.cloud_image(
            many, view=render.CloudView(colour=render.by_count)
        ),
    }
    for name in ("png", "svg", "pdf"):
        runs[f"{name}, 5 M"] = lambda folder, name=name: render.cloud(many, folder / f"c.{name}")
    for name in ("mp4", "gif"):
        turn = render.Turn(seconds=3, fps=30, width_px=1280, height_px=960)
        runs[f"{name}, 1 M, 90 frames"] = lambda folder, name=name, turn=turn: render.turntable(
            some, folder / f"t.{name}", turn=turn
        )
    for name, run in runs.items():
        times = []
        for _ in range(rounds + 1):
            with tempfile.TemporaryDirectory() as folder:
                begin = time.perf_counter()
                run(Path(folder))
                times.append(1e3 * (time.perf_counter() - begin))
                sizes = [file.stat().st_size / 1e6 for file in Path(folder).iterdir()]
        held = f"  {sizes[0]:6.2f} MB" if sizes else ""
        print(f"{name:20} {min(times[1:]):7.0f} ms, median {median(times[1:]):7.0f}{held}")


def timed(runs: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: median(times) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=1e6)
    parser.add_argument("--fps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--presets", default="defaults,ultrafast,veryfast")
    parser.add_argument("--scene", choices=sorted(SCENES), default="bars")
    parser.add_argument("--only-frames", action="store_true")
    parser.add_argument("--clouds", action="store_true")
    asked = parser.parse_args()
    if asked.clouds:
        clouds(asked.rounds)
        return
    events = SCENES[asked.scene](round(asked.rate * asked.seconds), asked.seconds)
    fps = asked.fps
    try:
        faery = version("faery")
    except PackageNotFoundError:
        faery = None
    print(
        f"dvskit {version('dvskit')}, av {version('av')}, faery {faery}; {thread_count()} threads"
    )
    print(f"{events}, {asked.scene}, {fps} fps")
    short = events[: min(len(events), 20_000)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs: dict[str, Callable[[], int]] = {}
        for style in render.styles.values():
            ours_frames(short, fps, style())  # compiled
            runs[f"frames {style.__name__.lower()} ours"] = lambda style=style: ours_frames(
                events, fps, style()
            )
        if faery:
            runs["frames decay faery"] = lambda: theirs_frames(events, fps)
        if not asked.only_frames:
            ours_video(short, fps, "ultrafast", folder)
            for preset in asked.presets.split(","):
                runs[f"mp4 {preset} ours"] = lambda preset=preset: ours_video(
                    events, fps, preset, folder
                )
                if faery:
                    runs[f"mp4 {preset} faery"] = lambda preset=preset: theirs_video(
                        events, fps, preset, folder
                    )
        report(timed(runs, asked.rounds), fps * asked.seconds, folder)


def report(seconds: dict[str, float], count: float, folder: Path) -> None:
    for name, spent in seconds.items():
        ours = seconds.get(name.replace("faery", "ours"), spent)
        ratio = f"  {spent / ours:5.2f} x ours" if name.endswith("faery") else ""
        print(f"{name:28} {spent:7.2f} s  {count / spent:7.0f} frames/s{ratio}")
    for file in sorted(folder.iterdir()):
        print(f"{file.name:28} {file.stat().st_size / 1e6:7.2f} MB")


if __name__ == "__main__":
    main()
