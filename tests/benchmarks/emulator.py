"""Emulation speed beside other emulators, on clips drawn from seeds and on videos.

    python -m tests.benchmarks.emulator [--only disk-720:noise,pan-26m] [--peers dvskit,v2e]
    python -m tests.benchmarks.emulator --videos VIDEO_FOLDER [--only bikes:clean]
    python -m tests.benchmarks.emulator --memory            # 720p, full noise: peak memory

Gray frames in memory, emulation alone; each emulator in a process of its own, after two frames to
warm up, for --seconds; frames/s is the median over the pieces of the clip that fit, `cpu` is by
seconds of all processors. Peak memory is without the clip. PyPI has eventify-dvs and eventcv; v2e
and openeb are checkouts in the folder that DVSKIT_PEERS names (v2e needs torch, easygui, plyer,
screeninfo and engineering-notation beside it).
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks import measured

FPS = 240
FRAMES = 240
PIECES = 8  # of a clip, for a median

# ---- clips: (frames, height, width) uint8


def disk(width: int, height: int) -> NDArray[np.uint8]:
    """A bright disk with a soft edge circles before gray."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    clip = np.empty((FRAMES, height, width), np.uint8)
    for number in range(FRAMES):
        turn = 2 * np.pi * number / FRAMES
        cx, cy = width / 2 + height / 4 * np.cos(turn), height / 2 + height / 4 * np.sin(turn)
        inside = np.clip(height / 8 - np.hypot(x - cx, y - cy) + 0.5, 0, 1)
        clip[number] = np.rint(60 + 140 * inside)
    return clip


def pan(width: int, height: int, contrast: float) -> NDArray[np.uint8]:
    """A camera pans over a pattern of `contrast` e-folds, 2.37 pixels a frame."""
    import cv2

    speed = 2.37
    noise = np.random.default_rng(20).standard_normal((height, width + int(speed * FRAMES) + 2))
    soft = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 3)
    bright = 90 * np.exp(contrast * soft / soft.std())
    clip = np.empty((FRAMES, height, width), np.uint8)
    for number in range(FRAMES):
        whole, part = divmod(number * speed, 1)
        here = bright[:, int(whole) : int(whole) + width + 1]
        frame = here[:, :-1] * (1 - part) + here[:, 1:] * part
        clip[number] = np.clip(np.rint(frame), 0, 255)
    return clip


def video(path: Path) -> NDArray[np.uint8]:
    import cv2

    opened = cv2.VideoCapture(str(path))
    frames = []
    while len(frames) < FRAMES:
        there, frame = opened.read()
        if not there:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
    return np.array(frames)


CLIPS: dict[str, Callable[[], NDArray[np.uint8]]] = {
    "disk-346": lambda: disk(346, 260),
    "disk-720": lambda: disk(1280, 720),
    "pan-26m": lambda: pan(1280, 720, 0.144),
    "pan-98m": lambda: pan(1280, 720, 0.321),
}

# ---- emulators: made for a size and a mode, they take (t_us, frame) and give the number of events

NOISE = {
    "sigma": 0.03, "cutoff": 300.0, "leak": 0.1, "shot": 5.0, "refractory_us": 500,
}  # fmt: skip
CLEAN = {"sigma": 0.0, "cutoff": 0.0, "leak": 0.0, "shot": 0.0, "refractory_us": 0}
THRESHOLD = 0.2
Step = Callable[[int, NDArray[np.uint8]], int]


def checkout(*place: str) -> None:
    """Put a folder of the checkouts first on the path."""
    folder = Path(os.environ.get("DVSKIT_PEERS", ""), *place)
    if "DVSKIT_PEERS" not in os.environ or not folder.exists():
        raise ModuleNotFoundError(f"not there: {'/'.join(place)} in the folder DVSKIT_PEERS names")
    sys.path.insert(0, str(folder))


def parameters(mode: dict[str, Any], model: str = "exact") -> Any:
    """Return the EmulatorParams of a mode: codes are taken as luma, as v2e and openeb take them."""
    from dvskit import EmulatorParams

    noisy = mode["shot"] > 0
    return EmulatorParams(
        threshold_on=THRESHOLD, threshold_off=THRESHOLD, threshold_sigma=mode["sigma"],
        cutoff_hz=mode["cutoff"], leak_hz=mode["leak"], leak_spread=0.1 * noisy,
        leak_jitter=0.1 * noisy, shot_hz=mode["shot"], refractory_us=mode["refractory_us"],
        model=model, light="luma",
    )  # fmt: skip


def dvskit(width: int, height: int, mode: dict[str, Any], model: str = "exact") -> Step:
    from dvskit import Emulator

    run = Emulator(parameters(mode, model)).start((width, height))
    return lambda t_us, frame: len(run.step(t_us, frame))


def dvskit_as_v2e(width: int, height: int, mode: dict[str, Any]) -> Step:
    return dvskit(width, height, mode, model="v2e")


def v2e(width: int, height: int, mode: dict[str, Any]) -> Step:
    checkout("v2e")
    from v2ecore.emulator import EventEmulator

    run = EventEmulator(
        pos_thres=THRESHOLD, neg_thres=THRESHOLD, sigma_thres=mode["sigma"],
        cutoff_hz=mode["cutoff"], leak_rate_hz=mode["leak"], shot_noise_rate_hz=mode["shot"],
        refractory_period_s=mode["refractory_us"] * 1e-6, seed=1, output_width=width,
        output_height=height, device="cpu",
    )  # fmt: skip

    def step(t_us: int, frame: NDArray[np.uint8]) -> int:
        events = run.generate_events(frame, t_us * 1e-6)
        return 0 if events is None else len(events)

    return step


def openeb(width: int, height: int, mode: dict[str, Any]) -> Step:
    python = ("openeb", "sdk", "modules", "core_ml", "python", "pypkg")
    checkout(*python)
    # The packages' own __init__ import compiled modules that the simulator does not need.
    base = types.ModuleType("metavision_sdk_base")
    fields = {"x": "<u2", "y": "<u2", "p": "<i2", "t": "<i8"}
    base.EventCD = np.dtype(list(fields.items()))  # type: ignore[attr-defined]
    sys.modules["metavision_sdk_base"] = base
    folder = Path(os.environ["DVSKIT_PEERS"], *python, "metavision_core_ml")
    for name in ("", "/video_to_event"):
        package = types.ModuleType("metavision_core_ml" + name.replace("/", "."))
        package.__path__ = [str(folder) + name]
        sys.modules[package.__name__] = package
    module = importlib.import_module("metavision_core_ml.video_to_event.simulator")
    run = module.EventSimulator(
        height, width, THRESHOLD, THRESHOLD, mode["refractory_us"], mode["sigma"],
        mode["cutoff"], mode["leak"], mode["shot"],
    )  # fmt: skip

    def step(t_us: int, frame: NDArray[np.uint8]) -> int:
        run.image_callback(frame, t_us)
        count = len(run.get_events())
        run.event_maker.num = 0  # flush_events() would clear 1.6 GB a frame
        return count

    return step


def eventify(width: int, height: int, mode: dict[str, Any]) -> Step:
    from eventify.dvs import frame_to_event_tuples

    last: list[Any] = []

    def step(t_us: int, frame: NDArray[np.uint8]) -> int:
        count = 0
        if last:
            count = len(frame_to_event_tuples(last[1], frame, last[0], t_us, c_thresh=THRESHOLD))
        last[:] = [t_us, frame.copy()]
        return count

    return step


STEPPED: dict[str, Callable[[int, int, dict[str, Any]], Step]] = {
    "dvskit": dvskit,
    "dvskit, v2e's model": dvskit_as_v2e,
    "v2e": v2e,
    "openeb": openeb,
    "eventify": eventify,
}

# ---- emulators of whole clips: (clip, mode, option) -> number of events


def eventcv(clip: NDArray[np.uint8], mode: dict[str, Any], option: dict[str, Any]) -> int:
    import eventcv as peer

    threshold = option["threshold"]
    return len(
        peer.simulate(
            clip, fps=FPS, pos_thres=threshold, neg_thres=threshold,
            sigma_thres=mode["sigma"] * threshold / THRESHOLD, refractory_us=mode["refractory_us"],
            cutoff_hz=mode["cutoff"], leak_rate_hz=mode["leak"], shot_noise_rate_hz=mode["shot"],
            upsample=option["upsample"],
        )
    )  # fmt: skip


def equal_threshold(clip: NDArray[np.uint8]) -> float:
    """Return the threshold at which eventcv gives as many events as dvskit, without noise."""
    few = clip[: max(2, len(clip) // 10)]
    step = dvskit(few.shape[2], few.shape[1], CLEAN)
    aim = sum(step(time_of(number), frame) for number, frame in enumerate(few))
    low, high = 0.05, 1.5
    for _ in range(7):
        middle = (low * high) ** 0.5
        found = eventcv(few, CLEAN, {"threshold": middle, "upsample": "off"})
        low, high = (middle, high) if found > aim else (low, middle)
    return float((low * high) ** 0.5)


def esim(clip: NDArray[np.uint8], mode: dict[str, Any], option: dict[str, Any]) -> int:
    import cv2
    import esim_py

    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number:05}.bmp" for number in range(len(clip))]
        for path, frame in zip(paths, clip, strict=True):
            cv2.imwrite(path, frame)
        run = esim_py.EventSimulator(THRESHOLD, THRESHOLD, mode["refractory_us"] * 1e-6, 1e-3, True)
        times = [time_of(number) * 1e-6 for number in range(len(clip))]
        start = time.perf_counter()
        count = len(run.generateFromStampedImageSequence(paths, times))
        option["seconds"] = time.perf_counter() - start
    return count


WHOLE = {
    "eventcv, upsample off": (eventcv, {"upsample": "off"}),
    "eventcv, adaptive": (eventcv, {"upsample": "adaptive"}),
    "esim_py": (esim, {}),
}
EMULATORS = (*STEPPED, *WHOLE)
DISTRIBUTIONS = {"eventify": "eventify-dvs"}
NOT_ALIKE = {
    "dvskit": "each event has its own time of crossing, in order, int64 us",
    "dvskit, v2e's model": "events step as v2e's do; times are v2e's",
    "v2e": "times are steps that the whole frame shares, the busiest pixel sets them; not in order "
    "within a step; float32 seconds",
    "openeb": "natural log with 1e-7, not lin-log; a second low-pass; a pixel does not fire again "
    "behind a leak event, so that noise gives fewer events; shot noise at frame times",
    "eventify": "no noise: its noise row is the clean one; forgets change below the threshold; no "
    "times of crossing",
    "eventcv, upsample off": "linear light (threshold set for equal counts); holds all events of a "
    "piece; all pixels leak in step",
    "eventcv, adaptive": "as above, with its default subdivision of intervals",
    "esim_py": "log with 1e-3; reads files; threshold spread and refractory period alone",
}

# ---- one emulator on one clip, in its own process


def time_of(number: int) -> int:
    return round(number * 1e6 / FPS)


@dataclass
class Pieces:
    """What a run measured: frames, seconds, processor seconds and events of each piece."""

    rows: list[tuple[int, float, float, int]]

    def add(self, frames: int, wall: float, cpu: float, events: int) -> None:
        self.rows.append((frames, wall, cpu, events))

    def told(self) -> dict[str, Any]:
        frames = sum(row[0] for row in self.rows)
        return {
            "fps": statistics.median(row[0] / row[1] for row in self.rows),
            "cpu_fps": statistics.median(row[0] / row[2] for row in self.rows),
            "mev": statistics.median(row[3] / row[1] for row in self.rows) / 1e6,
            "frames": frames,
            "events": sum(row[3] for row in self.rows),
            "pieces": len(self.rows),
        }


def cut(frames: int) -> Iterator[slice]:
    length = -(-frames // PIECES)
    return (slice(start, min(start + length, frames)) for start in range(0, frames, length))


def step_through(name: str, clip: NDArray[np.uint8], mode: dict[str, Any], limit: float) -> Pieces:
    height, width = clip.shape[1:]
    warm = STEPPED[name](width, height, mode)
    for number in range(3):
        warm(time_of(number), clip[number])
    # openeb's is 1.6 GB: do not keep two.
    del warm
    step = STEPPED[name](width, height, mode)
    step(0, clip[0])
    pieces, spent = Pieces([]), 0.0
    for part in cut(len(clip) - 1):
        start, cpu, events = time.perf_counter(), time.process_time(), 0
        done = 0
        for number in range(part.start + 1, part.stop + 1):
            events += step(time_of(number), clip[number])
            done += 1
            if spent + time.perf_counter() - start > limit:
                break
        wall = time.perf_counter() - start
        pieces.add(done, wall, time.process_time() - cpu, events)
        spent += wall
        if spent > limit:
            break
    return pieces


def run_pieces(name: str, clip: NDArray[np.uint8], mode: dict[str, Any], limit: float) -> Pieces:
    simulate, option = WHOLE[name]
    option = dict(option)
    if simulate is eventcv:
        option["threshold"] = equal_threshold(clip)
    simulate(clip[:3], mode, option)
    pieces, spent = Pieces([]), 0.0
    for part in cut(len(clip) - 1):
        piece = clip[part.start : part.stop + 1]
        start, cpu = time.perf_counter(), time.process_time()
        events = simulate(piece, mode, option)
        wall = time.perf_counter() - start
        wall = option.pop("seconds", wall)  # those without the writing of files
        pieces.add(len(piece) - 1, wall, time.process_time() - cpu, events)
        spent += wall
        if spent > limit:
            break
    return pieces


def one(name: str, clip_path: Path, mode: str, limit: float) -> None:
    """Print what `Pieces` tells and the peak memory, as JSON."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    clip = np.load(clip_path)
    pieces = (step_through if name in STEPPED else run_pieces)(
        name, clip, NOISE if mode == "noise" else CLEAN, limit
    )
    peak = measured.memory_mb("VmHWM") - clip.nbytes / 2**20
    print(json.dumps({**pieces.told(), "peak_mb": round(peak)}))


def release_of(name: str) -> str:
    package = name.split(",")[0]
    if found := measured.release(DISTRIBUTIONS.get(package, package)):
        return found.split()[1]
    folder = Path(os.environ.get("DVSKIT_PEERS", "-"), package)
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "not there"


def measure(name: str, path: Path, mode: str, limit: float) -> dict[str, Any] | str:
    """Run `one` in a process; return what it told, or why it told nothing."""
    found = measured.in_process(
        "emulator", "--one", name, path, mode, "--seconds", limit, limit_s=20 + 10 * limit
    )
    return found if isinstance(found, str) else {**found, "version": release_of(name)}


# ---- the table


def report(clip_name: str, path: Path, mode: str, names: list[str], limit: float) -> dict[str, str]:
    """Print the rows of the emulators that run; return why others do not."""
    shape = np.load(path, mmap_mode="r").shape
    print(f"\n{clip_name}, {mode}: {shape[0]} frames of {shape[2]}x{shape[1]}")
    print(f"  {'':21} {'version':9} {'frames/s':>8} {'cpu':>7} {'Mev/s':>6} ", end="")
    print(f"{'ev/frame':>9} {'MB':>6} {'frames':>6}  ratio (cpu)")
    ours: dict[str, Any] = {}
    reasons = {}
    for name in names:
        found = measure(name, path, mode, limit)
        if isinstance(found, str):
            reasons[name] = found
            continue
        ours = ours or (found if name == "dvskit" else {})
        ratio = "-"
        if ours:
            ratio = f"{ours['fps'] / found['fps']:6.2f} ({ours['cpu_fps'] / found['cpu_fps']:.2f})"
        print(
            f"  {name:21} {found['version']:9} {found['fps']:8.1f} {found['cpu_fps']:7.1f} "
            f"{found['mev']:6.2f} {found['events'] / found['frames']:9.0f} {found['peak_mb']:6} "
            f"{found['frames']:6}  {ratio}",
            flush=True,
        )
    return reasons


def encode(clip: NDArray[np.uint8], path: Path) -> None:
    """Write a clip as H.264, as x264 does without options."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = clip.shape[1:]
        stream.pix_fmt = "yuv420p"
        for gray in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray, "gray")))
        container.mux(stream.encode(None))


def report_ceiling(path: Path) -> None:
    """Print how fast a video is decoded, by whom, and how fast it is emulated."""
    from dvskit import Emulator, emulate
    from dvskit.video import open_frames

    def by_cv2() -> int:
        import cv2

        opened, count = cv2.VideoCapture(str(path)), 0
        while opened.read()[0]:
            count += 1
        return count

    def by_av() -> int:
        import av

        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            return sum(1 for _ in container.decode(video=0))

    held: list[tuple[int, NDArray[np.uint8]]] = []
    for t_us, frame in open_frames(path):
        held.append((t_us, frame.copy()))
        if len(held) == FRAMES:
            break

    def emulator_of(mode: dict[str, Any]) -> Callable[[], int]:
        run = Emulator(parameters(mode)).start(held[0][1].shape[::-1])
        run.step(*held[0])  # thresholds are drawn: not emulation yet

        def emulation() -> int:
            for t_us, frame in held[1:]:
                run.step(t_us, frame)
            return len(held) - 1

        return emulation

    def from_file(mode: dict[str, Any]) -> int:
        source = emulate(path, parameters(mode))
        for _ in source:
            pass
        return source.frames_done

    print(f"\n{path.name}, {path.stat().st_size >> 10} kB: frames/s, median of 5")
    # What is made for each run, ahead of its time, returns what is timed.
    ways: dict[str, Callable[[], Callable[[], int]]] = {
        "decode, cv2": lambda: by_cv2,
        "decode, PyAV": lambda: by_av,
        "decode, dvskit": lambda: lambda: sum(1 for _ in open_frames(path)),
        "emulate, clean": lambda: emulator_of(CLEAN),
        "emulate, noise": lambda: emulator_of(NOISE),
        "decode and emulate, clean": lambda: lambda: from_file(CLEAN),
        "decode and emulate, noise": lambda: lambda: from_file(NOISE),
    }
    for name, way in ways.items():
        speeds = []
        for _ in range(5):
            timed = way()
            start = time.perf_counter()
            count = timed()
            speeds.append(count / (time.perf_counter() - start))
        print(f"  {name:25} {statistics.median(speeds):8.1f}", flush=True)


def memory(frames: int) -> None:
    """Print the peak memory along a long clip; raise if it grows."""
    clip = disk(1280, 720)
    step = dvskit(1280, 720, NOISE)
    early = 0.0
    for number in range(frames):
        step(time_of(number), clip[number % len(clip)])
        if number + 1 in (frames // 4, frames // 2, frames):
            peak = measured.memory_mb("VmHWM")
            print(
                f"  {number + 1} frames: peak {peak:.0f} MB, of which the clip {clip.nbytes >> 20}"
            )
            early = early or peak
    if peak > 1.02 * early:
        raise SystemExit("peak memory grows with the clip")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="clip or clip:mode, with commas between")
    parser.add_argument("--peers", default="", help=", ".join(EMULATORS))
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--memory", type=int, nargs="?", const=2000)
    parser.add_argument("--one", nargs=3)
    asked = parser.parse_args()
    if asked.one:
        one(asked.one[0], Path(asked.one[1]), asked.one[2], asked.seconds)
        return
    print(measured.machine())
    if asked.memory:
        memory(asked.memory)
        return
    only = set(filter(None, asked.only.split(",")))
    peers = set(filter(None, asked.peers.split(",")))
    names = [
        name for name in EMULATORS if not peers or name in peers or name.split(",")[0] in peers
    ]
    clips = dict(CLIPS)
    reasons: dict[str, str] = {}
    if asked.videos:
        found = sorted(asked.videos.glob("*.mp4"))
        clips = {path.stem: (lambda path=path: video(path)) for path in found}
    with tempfile.TemporaryDirectory() as folder:
        for clip_name, make in clips.items():
            modes = [
                mode
                for mode in ("clean", "noise")
                if not only or clip_name in only or f"{clip_name}:{mode}" in only
            ]
            if not modes:
                continue
            path = Path(folder) / "clip.npy"
            np.save(path, make())
            for mode in modes:
                reasons |= report(clip_name, path, mode, names, asked.seconds)
            if asked.videos:
                report_ceiling(asked.videos / f"{clip_name}.mp4")
            else:
                encoded = Path(folder) / f"{clip_name}.mp4"
                encode(np.load(path), encoded)
                report_ceiling(encoded)
    for name, why in reasons.items():
        print(f"\nnot in all rows: {name} ({why})")
    shown = [name for name in names if name not in reasons]
    print("\nNot alike:", *(f"  {name}: {NOT_ALIKE[name]}" for name in shown), sep="\n")


if __name__ == "__main__":
    main()
