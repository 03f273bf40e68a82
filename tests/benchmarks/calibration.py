"""How near `dvskit calibrate` comes, on emulated recordings whose sensor is known.

    python -m tests.benchmarks.calibration [--seed 1] [--cases 24] [--rest 5] [--only 3,7]

Draws sensors, over the range of published ones and of how their users set them (SENSORS says it),
and scenes of 64x48 pixels: a texture that wanders, a disk before such a texture, a person who
waves. Each moves for 2 s and then rests for --rest; the sensor is on for a minute before it is
recorded, as its noise has to forget how it began. It is emulated from 1,000 pictures a second, and
calibrated from the events and 25 or 40 frames a second of 8 bits, of half of which each is averaged
over an exposure of 8 ms.

A line a case: for each estimate its error, the uncertainty claimed, and ! where the truth is more
than two of those away; "told" where the leak is said to need a longer rest, "noted" where frames
are said to explain the events badly, or no single ones. Then, of each estimate, in how many cases
it is known, the median and the greatest relative error, and in how many the truth lies within two
uncertainties.
The limit of the leak is one standard error by the number of leak events of a sensor without other
noise while it rests, by Poisson's law: what counting could tell at best.

Clocks that are apart, and short recordings: see calibration_twins.py.

Look at one seed while you change the calibration, and at another once, when you are done.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import time
from dataclasses import dataclass
from functools import partial
from statistics import median

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # there is a process a core

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit import EmulatorParams, Events, emulate
from dvskit.emulator.calibration import Calibration, Estimate, calibrate
from dvskit.scenes import PersonScene
from dvskit.streams import Frame
from tests.benchmarks.measured import machine

SIZE = (64, 48)
MOVING = 2000  # pictures, 1000 a second
REST_STEP_US = 40_000
BEFORE_US = 60_000_000
EXPOSURE_US = 8000
SENSORS = """\
thresholds 0.1 to 0.4, OFF 0.7 to 1.4 of ON, sigma 0.02 to 0.05; low-pass none (a quarter) or 30 to
3000 Hz; leak 0.05 to 1 Hz, spread and jitter 0.1; shot noise 0.1 to 5 Hz; refractory period none (a
third) or 100 to 2000 us; lin-log (two thirds) or offset 2 to 16"""
NAMES = (
    "threshold_on", "threshold_off", "threshold_sigma", "log_offset", "cutoff_hz", "shot_hz",
    "leak_hz", "refractory_us",
)  # fmt: skip

Picture = NDArray[np.floating]


@dataclass(frozen=True)
class Case:
    """A sensor, a scene, and the frames it is calibrated with."""

    number: int
    seed: int
    params: EmulatorParams
    scene: str
    fps: int
    exposure_us: int


@dataclass(frozen=True)
class Outcome:
    """What a calibration said: estimates by name; how long it took; leak events at rest."""

    case: Case
    found: dict[str, Estimate]
    seconds: float
    events: int
    leaks: float
    notes: tuple[str, ...]


def draw(seed: int, number: int) -> Case:
    """Draw a case; see SENSORS."""
    rng = np.random.default_rng((seed, number))

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(math.log(low), math.log(high))))

    on = between(0.1, 0.4)
    params = EmulatorParams(
        threshold_on=on,
        threshold_off=min(0.4, on * between(0.7, 1.4)),
        threshold_sigma=min(between(0.02, 0.05), 0.25 * on),
        cutoff_hz=between(30, 3000) * (rng.random() < 0.75),
        leak_hz=between(0.05, 1),
        leak_spread=0.1,
        leak_jitter=0.1,
        shot_hz=between(0.1, 5),
        refractory_us=round(between(100, 2000)) * (rng.random() < 2 / 3),
        log_offset=between(2, 16) if rng.random() < 1 / 3 else None,
    )
    scene = ("texture", "disk", "person")[number % 3]
    fps, exposure = (25, 40)[number // 3 % 2], EXPOSURE_US * (number // 6 % 2)
    return Case(number, seed, params, scene, fps, exposure)


# ---- scenes: pictures of 0 to 1


def texture(rng: np.random.Generator, side: int = 192) -> NDArray[np.float32]:
    """A random texture of several scales, 5 to 250 of 255, that tiles the plane."""
    total = np.zeros((side, side), np.float32)
    for scale in (1.5, 3.0, 6.0):
        plain = np.tile(rng.standard_normal((side, side)).astype(np.float32), (3, 3))
        smooth = cv2.GaussianBlur(plain, (0, 0), scale)[side : 2 * side, side : 2 * side]
        total += smooth / smooth.std()
    wide = 5 + 245 * ((total - total.min()) / np.ptp(total)) ** 1.5
    return np.asarray(wide, np.float32)


def moved(wide: Picture, x: float, y: float) -> Picture:
    turn = np.array([[1, 0, x], [0, 1, y]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(wide, turn, SIZE, flags=flags, borderMode=cv2.BORDER_WRAP)


def wandering(rng: np.random.Generator, disk: bool) -> list[Picture]:
    """A texture that wanders, or one that hardly does and a disk of another before it."""
    wide, other = texture(rng), texture(rng)
    speed, turn, pace = rng.uniform(30, 110), rng.uniform(0, 2 * np.pi), rng.uniform(4, 9)
    speed *= 0.3 if disk else 1.0
    y, x = np.mgrid[: SIZE[1], : SIZE[0]].astype(np.float32)
    pictures = []
    for number in range(MOVING):
        t = number / 1000
        bow = 6 * np.sin(pace * t)
        view = moved(wide, speed * np.cos(turn) * t, speed * np.sin(turn) * t + bow)
        if disk:
            at = 32 + 24 * np.sin(4 * t), 24 + 12 * np.cos(3 * t)
            share = np.clip(12.5 - np.hypot(x - at[0], y - at[1]), 0, 1)
            view = view + share * (moved(other, -at[0], -at[1]) - view)
        pictures.append(np.clip(view, 0.5, 255) / 255)
    return pictures


def person(seed: int) -> list[Picture]:
    """A person who waves before a wall that rests; small pictures are means of larger ones."""
    large = (4 * SIZE[0], 4 * SIZE[1])
    scene = PersonScene.random(
        "right_hand_wave", seed, size=large, fps=1000, duration_us=MOVING * 1000
    )
    return [
        cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA).astype(np.float32).clip(128) / 65535
        for _, frame in scene
    ]


def pictures_of(case: Case, rest_s: float) -> list[tuple[int, Picture]]:
    rng = np.random.default_rng((case.seed, case.number, 1))
    drawn_seed = int(rng.integers(1 << 30))
    if case.scene == "person":
        pictures = person(drawn_seed)
    else:
        pictures = wandering(rng, case.scene == "disk")
    shown = [(1000 * n, picture) for n, picture in enumerate(pictures)]
    t_us, last = shown[-1]
    rests = range(1, 1 + round(rest_s * 1e6 / REST_STEP_US))
    return shown + [(t_us + n * REST_STEP_US, last) for n in rests]


def frames_of(case: Case, shown: list[tuple[int, Picture]]) -> list[Frame]:
    """The frames of a camera: few a second, each the mean over its exposure, 8 bits."""
    step, half = round(1000 / case.fps), case.exposure_us // 2000
    frames = []
    for number in range(step // 2, MOVING - half, step):
        those = shown[number - half : number + half + 1]
        mean = np.rint(255 * np.mean([picture for _, picture in those], 0)).astype(np.uint8)
        frames.append(Frame(those[0][0], those[-1][0], mean))
    for t, picture in shown[MOVING:]:
        last = np.rint(255 * picture).astype(np.uint8)
        frames.append(Frame(t, t + case.exposure_us, last))
    return frames


def recorded(case: Case, shown: list[tuple[int, Picture]]) -> Events:
    before = (shown[0][0] - BEFORE_US, shown[0][1])
    blocks = emulate([before, *shown], case.params, case.number)
    events = Events.concatenate(list(blocks))
    return events[int(np.searchsorted(events.t, shown[0][0])) :]


def run(case: Case, rest_s: float) -> Outcome:
    cv2.setNumThreads(1)
    shown = pictures_of(case, rest_s)
    events = recorded(case, shown)
    start = time.perf_counter()
    found: Calibration = calibrate(events, frames_of(case, shown))
    seconds = time.perf_counter() - start
    leaks = case.params.leak_hz * rest_s * SIZE[0] * SIZE[1]
    by_name = {each.name: each for each in found.table}
    return Outcome(case, by_name, seconds, len(events), leaks, found.notes)


# ---- what is printed


def error_of(outcome: Outcome, name: str) -> float | None:
    """Return the relative error; None where the truth is nothing or nothing was found."""
    truth, value = getattr(outcome.case.params, name), outcome.found[name].value
    return None if not truth or value is None else value / truth - 1


def within(outcome: Outcome, name: str) -> bool:
    each, truth = outcome.found[name], getattr(outcome.case.params, name)
    assert each.value is not None
    return abs(each.value - truth) <= 2 * (each.uncertainty or 0.0)


def claimed(outcome: Outcome) -> float:
    """Return the uncertainty that is claimed of the leak, as a part of it."""
    leak = outcome.found["leak_hz"]
    return (leak.uncertainty or 0.0) / (leak.value or 1.0)


def told(outcome: Outcome) -> bool:
    return "longer recording at rest" in outcome.found["leak_hz"].how


def noted(outcome: Outcome) -> bool:
    return any("explain" in note for note in outcome.notes)


def line(outcome: Outcome) -> str:
    parts = []
    for name in NAMES:
        error, each = error_of(outcome, name), outcome.found[name]
        if error is None:
            parts.append("     -      " if each.value is None else "  (none)    ")
            continue
        doubt = (each.uncertainty or 0.0) / (each.value or 1.0)
        mark = " " if within(outcome, name) else "!"
        parts.append(f"{error:+6.1%}{doubt:5.1%}{mark}".ljust(12))
    case = outcome.case
    return (
        f"{case.number:3} {case.scene:8}{case.fps:3} {outcome.events / 1e3:5.0f}k "
        f"{outcome.seconds:4.0f}s  {' '.join(parts)}{' told' if told(outcome) else ''}"
        f"{' noted' if noted(outcome) else ''}"
    )


def truth(case: Case) -> str:
    values = " ".join(f"{getattr(case.params, name) or 0:<12.4g}" for name in NAMES)
    return f"{'':26}  {values}"


def report(outcomes: list[Outcome]) -> None:
    head = f"\n{'':16} {'truths':>6} {'known':>6} {'median':>7} {'worst':>7} {'within 2 sigma':>15}"
    print(head)
    for name in NAMES:
        real = [each for each in outcomes if getattr(each.case.params, name)]
        known = [each for each in real if error_of(each, name) is not None]
        errors = [abs(error_of(each, name) or 0.0) for each in known]
        if not errors:
            print(f"{name:16} {len(real):6} {0:6}")
            continue
        good = sum(within(each, name) for each in known)
        print(
            f"{name:16} {len(real):6} {len(known):6} {median(errors):7.1%} {max(errors):7.1%} "
            f"{good:6} of {len(known)}"
        )
    leaks = [each for each in outcomes if error_of(each, "leak_hz") is not None]
    errors = [abs(error_of(each, "leak_hz") or 0.0) for each in leaks if claimed(each) <= 0.1]
    if errors:
        print(
            f"leak_hz, claimed within 10 %: {len(errors)} known, median {median(errors):.1%}, "
            f"worst {max(errors):.1%}"
        )
    calm = [each for each in outcomes if not noted(each)]
    for name in ("threshold_on", "threshold_off"):
        errors = [abs(e) for each in calm if (e := error_of(each, name)) is not None]
        print(f"{name}, not noted: {len(errors)} known, worst {max(errors, default=0):.1%}")
    limits = [1 / math.sqrt(each.leaks) for each in outcomes]
    print(f"limit of the leak: median {median(limits):.1%}, worst {max(limits):.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--rest", type=float, default=5.0, help="seconds")
    parser.add_argument("--only", default="", help="numbers of cases, with commas between")
    parser.add_argument("--truth", action="store_true", help="print each case's own values too")
    asked = parser.parse_args()
    print(machine())
    print(f"seed {asked.seed}, rest {asked.rest:g} s; {SENSORS}")
    numbers = [int(n) for n in asked.only.split(",") if n] or list(range(asked.cases))
    cases = [draw(asked.seed, number) for number in numbers]
    print(" " * 28 + " ".join(f"{name:12}" for name in NAMES))
    outcomes = []
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        for outcome in pool.imap(partial(run, rest_s=asked.rest), cases):
            print(line(outcome), flush=True)
            if asked.truth:
                print(truth(outcome.case))
            outcomes.append(outcome)
    report(outcomes)


if __name__ == "__main__":
    main()
