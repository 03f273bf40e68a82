"""Motion of windows of events beside eventcv: error and speed, on emulated scenes of known motion.

    python -m tests.benchmarks.motion [--cases 40] [--only translation] [--folder KEPT]

Cases are drawn from their number: a plane of blotches or polygons, clean or noisy sensor of
240x180, a velocity of 20 to 400 px/s or 0.2 to 5 rad/s, a window of 5 to 50 ms (translation) or 10
to 50 ms (rotation), all equally likely, after 100 ms of the same motion: at rest, all pixels have
the same phase and filters are empty. Errors are the length of the difference to the exact velocity.
Both estimate the same events of the window; for the speed, the same 20,000 of its middle. Seconds
are those of the clock, and of the processor for all threads. With --folder events are kept for the
next run.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dvskit.emulator import EmulatorParams, emulate
from dvskit.events import Events
from dvskit.formats import load_events, save_events
from dvskit.motion import maximize_contrast
from dvskit.scenes.planes import (
    Patch,
    PlaneScene,
    SteadyPath,
    noise_texture,
    polygon_texture,
)
from tests.benchmarks.filters import to_eventcv
from tests.benchmarks.measured import in_turn

SPEED_EVENTS = 20_000
BEFORE_US = 100_000
LENS = PlaneScene([Patch((0, 0, 2), (1, 0, 0), (0, 1, 0), np.zeros((2, 2)))]).lens


class Case(NamedTuple):
    """A window of events and its exact motion, px/s or rad/s; its displacement in pixels."""

    name: str
    events: Events
    motion: np.ndarray
    pixels: float


def draw(model: str, number: int, folder: Path | None) -> Case:
    """Return a case from its number."""
    rng = np.random.default_rng((number, len(model)))
    duration_us = round(rng.uniform(5_000 if model == "translation" else 10_000, 50_000))
    blotches, noisy = number % 2 == 0, number // 2 % 2 == 1
    texture = noise_texture(rng, (960, 1280), grain_px=rng.uniform(6, 12))
    texture = texture if blotches else polygon_texture(rng, (960, 1280))
    if model == "translation":
        speed, angle = rng.uniform(20, 400), rng.uniform(0, 2 * np.pi)
        motion = speed * np.array([np.cos(angle), np.sin(angle)])
        path = SteadyPath(linear_m_s=(*(-motion * 2 / LENS.fx), 0.0))
        far = np.linalg.norm(motion) * duration_us * 1e-6
    else:
        motion = rng.standard_normal(3)
        motion *= rng.uniform(0.2, 5) / np.linalg.norm(motion)
        path = SteadyPath(tuple(motion))
        far = np.linalg.norm(motion) * duration_us * 1e-6 * LENS.fx
    name = f"{model} {number:2} {'blotches' if blotches else 'polygons'} "
    name += "noisy" if noisy else "clean"
    kept = None if folder is None else folder / f"{model}-{number}.npz"
    if kept is not None and kept.exists():
        return Case(name, load_events(kept), motion, float(far))
    scene = PlaneScene([Patch((0, 0, 2), (5, 0, 0), (0, 4, 0), texture)], path)
    times = [*range(0, BEFORE_US, 2_500), *range(BEFORE_US, BEFORE_US + duration_us + 1_500, 1_000)]
    params = EmulatorParams.preset("noisy" if noisy else "clean")
    light = ((t_us, scene.frame(t_us) / np.float32(65535)) for t_us in times)
    source = emulate(light, params=params, seed=number)
    events = source.load().between(BEFORE_US, BEFORE_US + duration_us)
    if kept is not None:
        save_events(events, kept)
    return Case(name, events, motion, float(far))


def of_dvskit(events: Events, model: str) -> np.ndarray:
    """The motion that dvskit finds."""
    camera = LENS if model == "rotation" else None
    return maximize_contrast(events, model, camera=camera).parameters  # type: ignore[arg-type]


def of_eventcv(stream: Any, model: str) -> np.ndarray:
    """The motion that eventcv finds."""
    import eventcv

    camera = eventcv.Camera(*LENS[:4]) if model == "rotation" else None
    return np.array(stream.contrast_maximise(model=model, camera=camera)["params"])


def timed(find: Any, events: Any, model: str) -> tuple[float, float]:
    """The least seconds of the clock and of the processor, of two runs."""
    return in_turn({"": lambda: find(events, model)}, 2)[""].least


def middle(events: Events) -> Events:
    """The events of the middle of a window, for the speed."""
    first = max(len(events) - SPEED_EVENTS, 0) // 2
    return events[first : first + SPEED_EVENTS]


def compare(model: str, cases: int, folder: Path | None) -> None:
    """Print the errors and seconds of all cases, and their medians."""
    unit, scale = ("%", 100.0) if model == "translation" else ("deg/s", np.degrees(1))
    errors, seconds, far = [], [], []
    for number in range(cases):
        case = draw(model, number, folder)
        right = np.linalg.norm(case.motion) if model == "translation" else 1.0
        found = of_dvskit(case.events, model), of_eventcv(to_eventcv(case.events), model)
        errors.append([scale * np.linalg.norm(each - case.motion) / right for each in found])
        far.append(case.pixels)
        part = middle(case.events)
        spent = timed(of_dvskit, part, model), timed(of_eventcv, to_eventcv(part), model)
        seconds.append(spent)
        print(
            f"{case.name:32}{len(case.events):8,} events {case.pixels:5.1f} px  dvskit "
            f"{errors[-1][0]:6.2f} {unit}, eventcv {errors[-1][1]:6.2f} {unit}",
            file=sys.stderr,
        )
    table, spent = np.array(errors), np.array(seconds)
    for least in (0.0, 2.0):
        some = np.array(far) >= least
        for n, name in enumerate(("dvskit", "eventcv")):
            of = table[some, n]
            print(
                f"{model}, {some.sum()} windows of {least:g} px and more, {name:7}: median "
                f"{np.median(of):.2f} {unit}, 90 % {np.quantile(of, 0.9):.2f}, worst {of.max():.2f}"
            )
    for n, name in enumerate(("dvskit", "eventcv")):
        clock, processor = 1e3 * np.median(spent[:, n], 0)
        print(
            f"{model}, {SPEED_EVENTS:,} events, {name:7}: {clock:.1f} ms, processor {processor:.1f}"
        )
    ratios = np.median(spent[:, 1] / spent[:, 0], 0)
    print(
        f"{model}: dvskit is {ratios[0]:.1f} times as fast by the clock, {ratios[1]:.1f} by the "
        "processor (medians of ratios)"
    )


def main() -> None:
    """Print the versions and both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--only", choices=("translation", "rotation"))
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    print(f"dvskit {version('dvskit')}, eventcv {version('eventcv')}, numpy {np.__version__}")
    for model in ("translation", "rotation"):
        if given.only in (None, model):
            compare(model, given.cases, given.folder)


if __name__ == "__main__":
    main()
