"""Emulate depth clips of arm gestures as 128x128 recordings: OUT/<gesture>/s<person>_t<trial>.npz.

    python samples/make_arm_gestures.py DEPTH_FOLDER OUT --seed 1
    python samples/make_arm_gestures.py DEPTH_FOLDER MORE --seed 1 --moved

DEPTH_FOLDER holds <gesture>/s<person>_t<trial>.npz, or the depth clips of UTD-MHAD as they come
(a<action>_s<subject>_t<trial>_depth.mat, skeletons beside them; of its 27 actions the 14 made with
the arms are taken). Each clip gets another person, wall, light and sensor, drawn from the seed and
its name. With --moved the clips' own bodies are not seen: their skeletons move people that dvskit
draws, who stand turned by up to 25 degrees and reach further or less, which is more people and
more places of the camera to learn from. Recordings that are there already are passed over; a run
that is stopped leaves whole files only.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

# A process a core: threads inside each would only wait for one another.
os.environ.setdefault("DVSKIT_THREADS", "1")

import cv2
import numpy as np
from numpy.typing import NDArray

import dvskit
from dvskit._progress import Bar
from dvskit.errors import DvskitError, FormatError
from dvskit.scenes import DepthScene, PersonScene, read_depth_clip

ACTIONS = {
    1: "swipe_left", 2: "swipe_right", 3: "wave", 4: "clap", 6: "cross_arms", 8: "draw_x",
    9: "circle_clockwise", 10: "circle_counter_clockwise", 11: "draw_triangle", 13: "box",
    16: "curl_arms", 18: "push", 19: "knock", 20: "catch",
}  # fmt: skip
SIZE = (128, 128)
SEEDS = 2**62  # of drawn people
HIP, SHOULDERS = 3, (4, 8)  # of a skeleton's 20 joints; elbow, wrist and hand follow the shoulder
MOVED_FPS, MOVED_US = 60, 4_000_000  # frames are close enough, longer clips only stand still


class Task(NamedTuple):
    """A recording to make: of which clip, where to, drawn from what, and of which body.

    moved  whether the clip's skeleton moves a drawn person; else its own body is seen
    """

    clip: Path
    out: Path
    seed: int
    moved: bool = False


def find_tasks(folder: Path, out: Path, seed: int, renders: int, suffix: str) -> Iterator[Task]:
    """Yield a task for each clip and render."""
    for clip in sorted(folder.rglob("*.npz")) + sorted(folder.rglob("a*_s*_t*_depth.mat")):
        gesture, name = clip.parent.name, clip.stem
        if clip.suffix == ".mat":
            number, person, trial = re.findall(r"\d+", clip.name)[:3]
            if int(number) not in ACTIONS:
                continue
            gesture, name = ACTIONS[int(number)], f"s{person}_t{trial}"
        for render in range(renders):
            again = f"_r{render + 1}" if render else ""
            words = [seed, crc32(f"{gesture}/{name}{again}".encode())]
            drawn = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
            yield Task(clip, out / gesture / f"{name}{again}{suffix}", drawn)


def draw_sensor(seed: int) -> dvskit.EmulatorParams:
    """Return a sensor such as a DVS128, set as its users set it: from a seed."""
    draw = np.random.default_rng((seed, 0x5E)).uniform
    threshold = draw(0.18, 0.38)
    return dvskit.EmulatorParams(
        threshold_on=threshold,
        threshold_off=threshold * np.exp(draw(-0.25, 0.25)),
        threshold_sigma=draw(0.02, 0.05),
        cutoff_hz=draw(100, 400),
        leak_hz=draw(0.05, 0.3),
        leak_spread=0.1,
        leak_jitter=0.1,
        shot_hz=draw(0.1, 2.0),
        refractory_us=int(draw(100, 1500)),
        latency_us=12,
    )


def turned(joints_m: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    """Return a skeleton (T, 20, 3) that stands turned and whose arms reach further or less."""
    draw = np.random.default_rng((seed, 0x70)).uniform
    joints = joints_m.astype(np.float64)
    for shoulder in SHOULDERS:
        arm = joints[:, shoulder + 1 : shoulder + 4]
        start = joints[:, shoulder : shoulder + 1]
        joints[:, shoulder + 1 : shoulder + 4] = start + (arm - start) * draw(0.85, 1.2, 3)
    yaw, roll = np.radians(draw(-25, 25)), np.radians(draw(-5, 5))
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array(
        [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    )
    middle = joints[:, HIP].mean(0)
    return (joints - middle) @ (about_y @ about_z).T + middle


def scene_of(task: Task) -> DepthScene | PersonScene:
    """Return what the sensor sees."""
    clip = read_depth_clip(task.clip)
    if not task.moved:
        return DepthScene.random(clip, task.seed, size=SIZE, flip=False)
    if clip.joints_m is None:
        raise FormatError(f"{task.clip}: has no skeleton to move a person by; leave out --moved")
    joints, whole = turned(clip.joints_m, task.seed), int(clip.t_us[-1] - clip.t_us[0])
    longest = min(MOVED_US, whole)
    return PersonScene.from_joints(
        joints, clip.t_us, task.seed % SEEDS, size=SIZE, fps=MOVED_FPS, duration_us=longest
    )


def make(task: Task) -> int:
    """Draw, emulate and save one recording; return how many events it has."""
    cv2.setNumThreads(1)
    scene = scene_of(task)
    events = dvskit.emulate(scene, params=draw_sensor(task.seed), seed=task.seed).load()
    task.out.parent.mkdir(parents=True, exist_ok=True)
    dvskit.save_events(events, task.out, overwrite=True)
    return len(events)


def outcomes(tasks: list[Task], jobs: int) -> Iterator[int | DvskitError]:
    """Make all recordings; yield how many events each has, or why there is none."""
    if jobs == 1:
        for task in tasks:
            try:
                yield make(task)
            except DvskitError as error:
                yield error
        return
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        for future in as_completed([pool.submit(make, task) for task in tasks]):
            error = future.exception()
            if error is not None and not isinstance(error, DvskitError):
                raise error
            yield future.result() if error is None else error
    finally:
        pool.shutdown(cancel_futures=True)


def make_all(tasks: list[Task], jobs: int) -> list[str]:
    """Make all recordings, with a bar on a terminal; return what failed, a line each."""
    failed, events = [], 0
    with Bar("arm gestures", len(tasks), "recordings") as bar:
        for done, outcome in enumerate(outcomes(tasks, jobs), 1):
            if isinstance(outcome, DvskitError):
                failed.append(str(outcome))
            else:
                events += outcome
            bar(done, f"{events:,} events")
    return failed


def main() -> None:
    """Write a recording of each clip."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of depth clips")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--renders", type=int, default=1, help="of each clip, each drawn anew")
    parser.add_argument("--moved", action="store_true", help="draw people whom skeletons move")
    parser.add_argument("--to", default="npz", help="suffix of the recordings: npz, raw, aedat4...")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    tasks = list(find_tasks(args.folder, args.out, args.seed, args.renders, f".{args.to}"))
    if not tasks:
        sys.exit(f"{args.folder}: no depth clips (<gesture>/*.npz or a*_s*_t*_depth.mat)")
    tasks = [task._replace(moved=args.moved) for task in tasks]
    missing = [task for task in tasks if not task.out.exists()]
    failed = make_all(missing, args.jobs)
    there = len(tasks) - len(missing)
    sys.stderr.write(f"{len(missing) - len(failed)} recordings made, {there} were there\n")
    if failed:
        sys.exit("\n".join([f"{len(failed)} clips failed:", *sorted(failed)]))


if __name__ == "__main__":
    main()
