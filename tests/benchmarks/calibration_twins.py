"""How near `dvskit calibrate` comes where the frames' clock and exposure are not known.

    python -m tests.benchmarks.calibration_twins [--seed 1] [--cases 10] [--only 3,7]

Emulated twins of two kinds of real recordings, 25 frames a second of 8 bits, read noise of one
digital number: "plane", 240x180, a texture with a 1/f spectrum that slides by, its stamps the start
of an exposure that nobody tells; and "street", 346x260, a still scene of which a few things pass,
its exposures told. Exposures are up to 10 ms, and the clocks up to 8 ms apart. Each is looked at
whole (2 s) and by its first 0.2 s. SENSORS says what the sensors are.

A line a case: the offset's error and its standard error (ms), the error of each threshold and its
standard error, ! where the truth is more than two of those away, the agreement at the end of the
table, and the correlation of an emulation with the true sensor and offset (ideal).

Seed 1, ten cases: whole, the offset is within 1 ms in 10 and both thresholds within 15 % in 10; of
0.2 s, within 1 ms in 9 and within 25 % in 9; of what is claimed 58 of 60 truths lie within two
standard errors. Cases 0 to 3 were looked at while the calibration was made, the others were not.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import time
from dataclasses import dataclass

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # there is a process a core

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit import EmulatorParams, Events, emulate
from dvskit.emulator.calibration import Calibration, calibrate
from dvskit.emulator.calibration.coarse import stage
from dvskit.emulator.calibration.observed import observe, see
from dvskit.events import EventsSource
from dvskit.streams import Frame

KINDS = {"plane": (240, 180), "street": (346, 260)}
FPS = 25
WHOLE_US, PART_US = 2_000_000, 200_000
SENSORS = """\
thresholds 0.2 to 0.8, OFF 0.7 to 1.4 of ON, sigma 0.1 to 0.2 of ON; low-pass 300 to 3000 Hz;
lin-log (a third) or offset 2 to 16; leak 0.05 to 0.5 Hz; shot noise 0.1 to 2 Hz; refractory period
none (a third) or 100 to 1000 us"""


@dataclass(frozen=True)
class Twin:
    """A scene, a sensor, and how its frames are taken and stamped."""

    number: int
    seed: int
    kind: str
    params: EmulatorParams
    speed_px: float  # a frame
    exposure_us: int
    clock_us: int  # by how much the frames' clock is behind the events'

    @property
    def offset_us(self) -> float:
        """How much later frames are to be placed than calibrate takes them to be."""
        return self.clock_us + (0.5 * self.exposure_us if self.kind == "plane" else 0.0)


def draw(seed: int, number: int) -> Twin:
    """Draw a twin; see SENSORS."""
    rng = np.random.default_rng((seed, number, 7))

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(math.log(low), math.log(high))))

    on = between(0.2, 0.8)
    params = EmulatorParams(
        threshold_on=on,
        threshold_off=min(0.8, max(0.2, on * between(0.7, 1.4))),
        threshold_sigma=on * between(0.1, 0.2),
        cutoff_hz=between(300, 3000),
        leak_hz=between(0.05, 0.5),
        leak_spread=0.1,
        leak_jitter=0.1,
        shot_hz=between(0.1, 2),
        refractory_us=round(between(100, 1000)) * (rng.random() < 2 / 3),
        log_offset=between(2, 16) if rng.random() < 2 / 3 else None,
    )
    kind = tuple(KINDS)[number % 2]
    exposure = 1000 * int(rng.integers(1, 11))
    return Twin(
        number, seed, kind, params, rng.uniform(1.5, 7), exposure, int(rng.integers(-8000, 8001))
    )


# ---- scenes: pictures of 0 to 255 at any time


def pink(rng: np.random.Generator, side: int, exponent: float = 1.2) -> NDArray[np.float32]:
    """A random texture that tiles the plane, amplitude falling with frequency; 0 mean, 1 sigma."""
    y, x = np.meshgrid(*2 * [np.fft.fftfreq(side) * side], indexing="ij")
    radius = np.hypot(x, y)
    radius[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal((side, side))) / radius**exponent
    spectrum *= np.exp(-0.5 * (radius / (0.25 * side)) ** 2)  # a lens
    real = np.fft.ifft2(spectrum).real
    return np.asarray(real / real.std(), np.float32)


def as_light(level: NDArray[np.float32], middle: float, contrast: float) -> NDArray[np.float32]:
    return np.asarray(np.clip(middle * np.exp(contrast * level), 4, 250), np.float32)


def moved(
    wide: NDArray[np.float32], x: float, y: float, size: tuple[int, int]
) -> NDArray[np.float32]:
    turn = np.array([[1, 0, x], [0, 1, y]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(wide, turn, size, flags=flags, borderMode=cv2.BORDER_WRAP))


class Scene:
    """What the sensor sees at a time in microseconds."""

    def __init__(self, twin: Twin) -> None:
        rng = np.random.default_rng((twin.seed, twin.number, 8))
        self.size = KINDS[twin.kind]
        self.speed = twin.speed_px * FPS * 1e-6  # px a us
        # Twice as fine: sampling between pixels does not flatten the texture.
        self.wide = as_light(pink(rng, 512), 70, 0.7)
        self.plane = twin.kind == "plane"
        self.things = [
            (
                as_light(pink(rng, 128), rng.uniform(25, 160), 0.5),
                rng.uniform(0, self.size[0]), rng.uniform(0.4, 0.9) * self.size[1],
                rng.uniform(0.5, 1.5) * rng.choice([-1, 1]),
                int(rng.integers(30, 90)), int(rng.integers(20, 50)),
            )
            for _ in range(5)
        ]  # fmt: skip

    def __call__(self, t_us: float) -> NDArray[np.float32]:
        if self.plane:
            return moved(self.wide, self.speed * t_us + 9, 0.1 * self.speed * t_us + 5, self.size)
        view = moved(self.wide, 9, 5, self.size)
        for skin, x, y, pace, width, height in self.things:
            span = self.size[0] + width
            at = (x + pace * self.speed * t_us) % span - width
            left, top = math.floor(at), int(y)
            part = moved(skin, left - at + 20, 20, (width + 1, height))
            edge = np.ones(width + 1, np.float32)
            edge[0], edge[-1] = 1 - (at - left), at - left
            a, b = max(0, left), min(self.size[0], left + width + 1)
            rows = slice(top, min(self.size[1], top + height))
            deep = rows.stop - rows.start
            share = edge[None, a - left : b - left]
            old = view[rows, a:b]
            view[rows, a:b] = old + share * (part[:deep, a - left : b - left] - old)
        return view


@dataclass(frozen=True)
class Recorded:
    """A twin as it was recorded."""

    twin: Twin
    events: Events
    frames: tuple[Frame, ...]

    def part(self, stop_us: int) -> Recorded:
        """Return what came first."""
        frames = tuple(f for f in self.frames if f.t_us < stop_us)
        stop = frames[-1].stop_us + round(self.twin.offset_us) + 5000
        events = self.events[: int(np.searchsorted(self.events.t, stop))]
        return Recorded(self.twin, events, frames)


def record(twin: Twin, duration_us: int = WHOLE_US) -> Recorded:
    """Emulate the sensor from 1000 pictures a second, and take frames of the same scene."""
    scene = Scene(twin)
    rng = np.random.default_rng((twin.seed, twin.number, 9))
    sums: list[list[NDArray[np.float32]]] = []
    step, taken = 1_000_000 // FPS, twin.exposure_us // 1000
    lead = 30_000  # the sensor runs before the first frame

    def pictures():  # type: ignore[no-untyped-def]
        before = scene(-float(lead))
        yield -60_000_000, before / np.float32(255)
        for t in range(-lead, duration_us + 30_000, 1000):
            view = scene(float(t)) if t > -lead else before
            if t >= 0 and (t % step) // 1000 <= taken:
                if t % step == 0:
                    sums.append([])
                sums[-1].append(view)
                if len(sums) > 1 and len(sums[-2]) > 1:
                    sums[-2] = [np.mean(sums[-2], 0)]
            yield t, view / np.float32(255)

    events = Events.concatenate(list(emulate(pictures(), twin.params, twin.number)))
    events = events[int(np.searchsorted(events.t, -lead)) :]
    frames = []
    for number, those in enumerate(sums[: duration_us // step]):
        image = np.mean(those, 0)
        image = np.clip(np.rint(image + rng.normal(0, 1, image.shape)), 0, 255).astype(np.uint8)
        start = number * step - twin.clock_us
        told = twin.exposure_us if twin.kind == "street" else 0
        frames.append(Frame(start, start + told, image))
    return Recorded(twin, events, tuple(frames))


# ---- what is measured and printed


@dataclass(frozen=True)
class Outcome:
    """What a calibration of a whole twin, or of its first part, said."""

    recorded: Recorded
    part: str
    found: Calibration
    ideal: float  # correlation of an emulation with the true sensor and offset
    seconds: float

    @property
    def coarse(self) -> bool:
        return "coarse" in self.found["threshold_on"].how

    @property
    def offset_ms(self) -> float | None:
        """How far the offset is off."""
        value = self.found["offset_us"].value
        return None if value is None else 1e-3 * (value - self.recorded.twin.offset_us)

    def error(self, name: str) -> float | None:
        """How far a parameter is off, as a part of it; None where it is not known."""
        value, truth = self.found[name].value, getattr(self.recorded.twin.params, name)
        return None if value is None else value / truth - 1.0

    def within(self, name: str) -> bool:
        """Whether the truth lies within two standard errors."""
        each, twin = self.found[name], self.recorded.twin
        truth = twin.offset_us if name == "offset_us" else getattr(twin.params, name)
        return each.value is not None and abs(each.value - truth) <= 2 * (each.uncertainty or 0.0)


def run(twin: Twin) -> list[Outcome]:
    cv2.setNumThreads(1)
    whole = record(twin)
    outcomes = []
    for part, recorded in (("whole", whole), ("0.2 s", whole.part(PART_US))):
        start = time.perf_counter()
        found = calibrate(recorded.events, recorded.frames)
        seconds = time.perf_counter() - start
        observed = observe(EventsSource(recorded.events))
        true = stage(observed, see(recorded.frames, observed, twin.offset_us))
        assert true is not None
        ideal = true.correlation(true.emulated(twin.params))
        outcomes.append(Outcome(recorded, part, found, ideal, seconds))
    return outcomes


def line(outcome: Outcome) -> str:
    twin, offset = outcome.recorded.twin, outcome.found["offset_us"]
    parts = [f"{twin.number:3} {twin.kind:6} {outcome.part:5} {outcome.seconds:4.0f}s"]
    wrong = outcome.offset_ms
    mark = " " if outcome.within("offset_us") else "!"
    ms = (offset.uncertainty or 0.0) * 1e-3
    parts.append("     -        " if wrong is None else f"{wrong:+6.2f} +-{ms:5.2f}{mark}")
    for name in ("threshold_on", "threshold_off"):
        error, each = outcome.error(name), outcome.found[name]
        if error is None or each.value is None:
            parts.append("     -         ")
            continue
        doubt = (each.uncertainty or 0.0) / each.value
        parts.append(f"{error:+7.1%} {doubt:5.1%}{' ' if outcome.within(name) else '!'}")
    agreed = outcome.found.agreement
    if agreed is not None:
        parts.append(f"{agreed.counts:5.2f} {agreed.correlation:5.2f} {outcome.ideal:5.2f}")
    return " ".join(parts) + (" coarse" if outcome.coarse else "")


def report(outcomes: list[Outcome]) -> None:
    for part, most in (("whole", 0.15), ("0.2 s", 0.25)):
        those = [each for each in outcomes if each.part == part]
        near = sum(each.offset_ms is not None and abs(each.offset_ms) <= 1 for each in those)
        errors = [[each.error(n) for n in ("threshold_on", "threshold_off")] for each in those]
        good = sum(all(e is not None and abs(e) <= most for e in pair) for pair in errors)
        claims = ("offset_us", "threshold_on", "threshold_off")
        known = [(o, n) for o in those for n in claims if o.found[n].value is not None]
        true = sum(o.within(n) for o, n in known)
        print(
            f"{part}: offset within 1 ms in {near} of {len(those)}, both thresholds within "
            f"{most:.0%} in {good}; within two standard errors {true} of {len(known)}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--only", default="", help="numbers of cases, with commas between")
    asked = parser.parse_args()
    print(f"seed {asked.seed}; {SENSORS}")
    print(f"{'':23} {'offset, ms':15} {'ON':15} {'OFF':13} count  corr. ideal")
    numbers = [int(n) for n in asked.only.split(",") if n] or list(range(asked.cases))
    outcomes: list[Outcome] = []
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        for pair in pool.imap(run, [draw(asked.seed, number) for number in numbers]):
            for outcome in pair:
                print(line(outcome), flush=True)
            outcomes += pair
    report(outcomes)


if __name__ == "__main__":
    main()
