"""Frames and videos of events beside faery, in one run; or clouds (--clouds).

    python -m tests.benchmarks.render [--seconds 10] [--rate 1000000] [--fps 60] [--rounds 1]
                                      [--presets defaults,veryfast] [--scene bars|noise]
                                      [--only frames|mp4|encoders] [--crf 14]

A 1280x720 sensor; exponential decay with a time constant of 50 ms. "defaults" are those of each
(dvskit ultrafast, crf 15; faery medium, crf 17); else both have the same preset, faery crf 17 and
dvskit --crf, 14 unless told: the same quantizer. (The same crf makes faery's pictures finer by 3
steps: it tells x264 25 frames a second, dvskit how many there are, and x264 takes pictures that are
shown for a shorter time to need less.) faery writes profile baseline, x264 build 164.
dvskit's video has its footer (time code, rates) too. The candidates alternate; printed are seconds,
the median of the rounds, processor seconds, and faery's seconds over ours.

Quality is that of luma, in steps of 255, against the pictures before they were encoded, of every
seventh frame (SSIM: of every 35th). "encoders" has dvskit's pictures through each one's encoder.

--clouds draws clouds instead, 1280x960 pixels: a picture of 5 million events as an array and as
files, and 90 frames of 1 million events of a 346x260 sensor as MP4 and GIF.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np

from dvskit import render
from dvskit._threads import thread_count
from dvskit.events import Events, Size
from dvskit.render.writers import H264Writer, InThread
from tests.benchmarks.measured import Passes, in_turn, release, versions

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


def ours_frames(events: Events, fps: int, style: render.FrameStyle) -> int:
    return sum(1 for _ in render.frames(events, style=style, fps=fps).moments())


def theirs_frames(events: Events, fps: int) -> int:
    return sum(1 for _ in faery_stream(events, fps))


def chosen(preset: str, crf: float = 17.0) -> dict[str, object]:
    return {} if preset == "defaults" else {"preset": preset, "crf": crf}


def ours_video(events: Events, fps: int, preset: str, crf: float, folder: Path) -> int:
    view = render.VideoView(style=render.Decay(TAU_US), fps=fps, **chosen(preset, crf))
    return render.video(events, folder / f"mp4 {preset} ours.mp4", view=view, overwrite=True).frames


def theirs_video(events: Events, fps: int, preset: str, folder: Path) -> int:
    path = folder / f"mp4 {preset} faery.mp4"
    faery_stream(events, fps).to_file(path, frame_rate=fps, **chosen(preset))
    return 0


# -- the same pictures through each one's encoder


def ours_encoded(
    frames: render.RenderedFrames, indices: list, preset: str, crf: float, folder: Path
) -> int:
    path, palette = folder / f"encoder {preset} ours.mp4", np.zeros((256, 3), np.uint8)
    palette[: len(frames.palette)] = frames.palette
    options = {"crf": 15.0, "preset": "ultrafast"} | chosen(preset, crf)
    writer = H264Writer(path, Size(*SIZE), palette, fps=1_000_000 / frames.period_us, **options)
    with InThread(writer) as out:
        for index in indices:
            out.write(0, index)
    return len(indices)


def theirs_encoded(pictures: list, fps: int, preset: str, folder: Path) -> int:
    import faery

    options = {"preset": "medium", "crf": 17.0} | chosen(preset)
    with faery.mp4.Encoder(
        path=folder / f"encoder {preset} faery.mp4", dimensions=SIZE, frame_rate=float(fps),
        tune="none", profile="baseline", **options,
    ) as encoder:  # fmt: skip
        for picture in pictures:
            encoder.write(picture)
    return len(pictures)


# -- quality


def luma_of(rgb: np.ndarray, faery: bool) -> np.ndarray:
    """Return the luma that is meant, 0..255: faery takes BT.601's, dvskit BT.709's."""
    weights = (77 / 256, 150 / 256, 29 / 256) if faery else (0.2126, 0.7152, 0.0722)
    return rgb[..., :3].astype(np.float32) @ np.array(weights, np.float32)


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Return the structural similarity: Wang et al. 2004, windows of 11 pixels, sigma 1.5."""

    def near(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (11, 11), 1.5)

    a, b = near(one), near(other)
    both = near(one * other) - a * b
    spread = near(one * one) - a * a + near(other * other) - b * b
    index = (2 * a * b + 6.5025) * (2 * both + 58.5225)
    return float((index / ((a * a + b * b + 6.5025) * (spread + 58.5225))).mean())


def quality(path: Path, meant: Iterator[np.ndarray], faery: bool) -> tuple[float, float]:
    """Return the PSNR in dB and the structural similarity of the luma of a video."""
    errors, alike = [], []
    with av.open(str(path)) as container:
        for number, (frame, rgb) in enumerate(zip(container.decode(video=0), meant, strict=False)):
            if number % 7 != 3:
                continue
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            luma = rows[: SIZE[1], : SIZE[0]].astype(np.float32)
            luma = luma if faery else (luma - 16) * np.float32(255 / 219)
            aim = luma_of(rgb, faery)
            errors.append(float(np.mean((luma - aim) ** 2)))
            if number % 35 == 3:
                alike.append(similarity(luma, aim))
    return 10 * np.log10(255**2 / np.mean(errors)), float(np.mean(alike))


def clouds(rounds: int) -> None:
    """Print the milliseconds that clouds take, the least and the median."""
    many, some = bars(5_000_000, 2), bars(1_000_000, 2, (346, 260))
    runs: dict[str, Callable[[Path], object]] = {
        "array, 5 M, time": lambda folder: render.cloud_image(many),
        "array, 5 M, count": lambda folder: render.cloud_image(
            many, view=render.CloudView(color=render.by_count)
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
        passes = Passes()
        for _ in range(rounds + 1):
            with tempfile.TemporaryDirectory() as folder:
                passes.run(lambda run=run, folder=folder: run(Path(folder)))
                sizes = [file.stat().st_size / 1e6 for file in Path(folder).iterdir()]
        times = [1e3 * seconds for seconds in passes.wall[1:]]
        held = f"  {sizes[0]:6.2f} MB" if sizes else ""
        print(f"{name:20} {min(times):7.0f} ms, median {median(times):7.0f}{held}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=1e6)
    parser.add_argument("--fps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--presets", default="defaults,ultrafast,veryfast")
    parser.add_argument("--crf", type=float, default=14)
    parser.add_argument("--scene", choices=sorted(SCENES), default="bars")
    parser.add_argument("--only", choices=["frames", "mp4", "encoders"])
    parser.add_argument("--clouds", action="store_true")
    asked = parser.parse_args()
    if asked.clouds:
        clouds(asked.rounds)
        return
    events = SCENES[asked.scene](round(asked.rate * asked.seconds), asked.seconds)
    fps = asked.fps
    faery = release("faery")
    print(f"{versions(('dvskit', 'av', 'faery'))}; {thread_count()} threads")
    print(f"{events}, {asked.scene}, {fps} fps")
    short = events[: min(len(events), 20_000)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs: dict[str, Callable[[], int]] = {}
        presets = asked.presets.split(",")
        if asked.only in (None, "frames"):
            runs |= frame_runs(events, short, fps, bool(faery))
        if asked.only in (None, "mp4"):
            ours_video(short, fps, "ultrafast", asked.crf, folder)
            runs |= video_runs(events, fps, presets, asked.crf, folder, bool(faery))
        if asked.only == "encoders":
            runs |= encoder_runs(events, fps, presets, asked.crf, folder, bool(faery))
        report(in_turn(runs, asked.rounds), events, fps, folder)


def frame_runs(events: Events, short: Events, fps: int, faery: bool) -> dict:
    runs = {}
    for style in render.styles.values():
        ours_frames(short, fps, style())  # compiled
        runs[f"frames {style.__name__.lower()} ours"] = partial(ours_frames, events, fps, style())
    return runs | ({"frames decay faery": partial(theirs_frames, events, fps)} if faery else {})


def video_runs(
    events: Events, fps: int, presets: list, crf: float, folder: Path, faery: bool
) -> dict:
    runs = {}
    for preset in presets:
        runs[f"mp4 {preset} ours"] = partial(ours_video, events, fps, preset, crf, folder)
        if faery:
            runs[f"mp4 {preset} faery"] = partial(theirs_video, events, fps, preset, folder)
    return runs


def encoder_runs(
    events: Events, fps: int, presets: list, crf: float, folder: Path, faery: bool
) -> dict:
    frames = render.frames(events, style=render.Decay(TAU_US), fps=fps)
    indices = [moment.index.copy() for moment in frames.moments()]
    pictures = [frames.palette[index] for index in indices] if faery else []
    ours_encoded(frames, indices[:4], presets[0], crf, folder)  # compiled
    runs = {}
    for preset in presets:
        runs[f"encoder {preset} ours"] = partial(ours_encoded, frames, indices, preset, crf, folder)
        if faery:
            runs[f"encoder {preset} faery"] = partial(theirs_encoded, pictures, fps, preset, folder)
    return runs


def meant_by(name: str, events: Events, fps: int) -> Iterator[np.ndarray]:
    if name.startswith("mp4") and name.endswith("faery"):
        return (frame.pixels for frame in faery_stream(events, fps))
    return (rgb for _, rgb in render.frames(events, style=render.Decay(TAU_US), fps=fps))


def report(spent: dict[str, Passes], events: Events, fps: int, folder: Path) -> None:
    for name, passes in spent.items():
        seconds, used = passes.middle
        ours, theirs = spent.get(name.replace("faery", "ours")), name.endswith("faery")
        ratio = f"  {seconds / ours.middle[0]:5.2f} x ours" if theirs and ours else ""
        path, seen = folder / f"{name}.mp4", ""
        if path.exists():
            psnr, alike = quality(path, meant_by(name, events, fps), theirs)
            seen = f"  {path.stat().st_size / 1e6:6.2f} MB  {psnr:5.2f} dB  SSIM {alike:.4f}"
        print(f"{name:28} {seconds:6.2f} s  {used:6.2f} s CPU{seen}{ratio}")


if __name__ == "__main__":
    main()
