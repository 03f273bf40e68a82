"""Corner detectors beside those of eventcv and dv-processing: speed, and corners found.

    python -m tests.benchmarks.motion_corners [RECORDING ...] [--seeds 6]

Speed is of processor time, one thread, the best of three runs; recordings are those given. `same`
compares eFAST with eventcv's, event by event. Accuracy is of emulated scenes: rectangles that move
and turn, whose corners are known at each time, a straight edge without corners, and a texture that
slides. Each moves 100 ms before the events that count.

precision      share of the corner events within 3.5 px of a corner of a rectangle
recall         share of the corners found, with such an event in each 10 ms
edge           share of the events of a straight edge that are called corners
repeatability  share of the corner events on a texture for which there is one 10 to 25 ms before, at
               most 1.5 px from where the texture was; in brackets, for as many random events
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from scipy.spatial import cKDTree

from dvskit import Emulator, EmulatorParams, Events, open_events
from dvskit.events import Size
from dvskit.filters import ArcStar, EFast, EHarris, LuvHarris
from dvskit.scenes.planes import noise_texture
from tests.benchmarks.filters import to_eventcv

SIZE = Size(240, 180)
WARM_US, STOP_US, STEP_US = 100_000, 250_000, 1_000
NEAR_PX, SLOT_US = 3.5, 10_000
ANGLES = (0, 0.12, np.pi / 4, 1.1)  # of straight edges
MARGIN_PX = 8  # from the border, for corners that count
Detector = Callable[[Events], np.ndarray]  # the (n, 3) corner events: t, x, y


# ---- detectors


def rows(events: Events) -> np.ndarray:
    """Return (n, 3) float: t, x, y."""
    return np.stack([events.t, events.x, events.y], 1).astype(float)


def eventcv_rows(found: Any) -> np.ndarray:
    array = found.numpy()
    return array[:, [2, 0, 1]].astype(float)


def to_dv(events: Events) -> Any:
    import dv_processing as dv

    store = dv.EventStore()
    for row in zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True):
        store.push_back(*row)
    return store


def dv_arc(store: Any, size: Size, range_us: int = 5_000) -> Any:
    import dv_processing as dv

    detector = dv.features.ArcCornerDetector(tuple(size), range_us, False)
    whole = np.full((size.height, size.width), 255, np.uint8)
    return detector.detect(store, (0, 0, *size), whole)


def dv_rows(found: Any) -> np.ndarray:
    return np.array([(each.timestamp, *each.pt) for each in found], float).reshape(-1, 3)


class Rival(NamedTuple):
    """A detector: its events, its detection, and its corners as rows."""

    take: Callable[[Events], Any]
    detect: Callable[[Any, Size], Any]
    rows: Callable[[Any], np.ndarray]


def _ours(kind: Any) -> Rival:
    return Rival(lambda events: events, lambda events, _: kind(events), rows)


DETECTORS = {
    "e_fast": _ours(EFast()),
    "arc_star": _ours(ArcStar()),
    "luv_harris": _ours(LuvHarris()),
    "e_harris": _ours(EHarris()),
    "e_harris:9": _ours(EHarris(9.0)),
    "eventcv eFAST": Rival(to_eventcv, lambda stream, _: stream.efast(), eventcv_rows),
    "eventcv Harris": Rival(to_eventcv, lambda stream, _: stream.harris_corners(0.0), eventcv_rows),
    "eventcv Harris 0.1": Rival(
        to_eventcv, lambda stream, _: stream.harris_corners(0.1), eventcv_rows
    ),
    "dv Arc*, 5 ms": Rival(to_dv, dv_arc, dv_rows),
    "dv Arc*, 50 ms": Rival(to_dv, lambda store, size: dv_arc(store, size, 50_000), dv_rows),
}


# ---- scenes


@dataclass(frozen=True)
class Rectangle:
    """A rectangle that moves and turns; `corners(t_us)` are (..., 4, 2) pixels."""

    middle: tuple[float, float]
    sides: tuple[float, float]
    angle: float
    velocity: tuple[float, float]  # px/s
    spin: float  # rad/s
    shade: float

    def corners(self, t_us: Any) -> np.ndarray:
        s = np.asarray(t_us, float)[..., None] * 1e-6
        angle = self.angle + self.spin * s
        box = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2 * self.sides
        middle = np.array(self.middle) + np.array(self.velocity) * s
        x = np.cos(angle) * box[:, 0] - np.sin(angle) * box[:, 1] + middle[..., :1]
        y = np.sin(angle) * box[:, 0] + np.cos(angle) * box[:, 1] + middle[..., 1:]
        return np.stack([x, y], -1)


def rectangles(seed: int) -> list[Rectangle]:
    """Return three rectangles that stay apart, in three columns of the sensor."""
    rng = np.random.default_rng(seed)
    found = []
    for column in range(3):
        speed, way = rng.uniform(80, 350), rng.choice([-1, 1])
        sides = rng.uniform(22, 46, 2)
        middle_s = (WARM_US + STOP_US) / 2 * 1e-6
        velocity = np.array([rng.uniform(-40, 40), way * speed])
        middle = np.array([40 + 80 * column, 90.0]) - velocity * middle_s
        found.append(Rectangle(
            (middle[0], middle[1]), (sides[0], sides[1]), rng.uniform(0, np.pi),
            (velocity[0], velocity[1]), rng.uniform(-3, 3), rng.choice([0.1, 0.25, 0.75, 0.95]),
        ))  # fmt: skip
    return found


def drawn(shapes: list[Rectangle], t_us: float, more: int = 4) -> np.ndarray:
    """Return the picture, (H, W) float32, each pixel the mean of more x more."""
    picture = np.full((SIZE.height * more, SIZE.width * more), 0.5, np.float32)
    for each in shapes:
        # The middle of pixel 0 is at 0: its first part at -0.5 + 0.5 / more.
        points = (each.corners(t_us) + 0.5) * more - 0.5
        cv2.fillConvexPoly(
            picture, np.round(points * 256).astype(np.int32), each.shade, cv2.LINE_8, 8
        )
    return picture.reshape(SIZE.height, more, SIZE.width, more).mean((1, 3))


def edge(angle: float) -> list[Rectangle]:
    """Return a half-plane that moves at 200 px/s, at right angles to its edge."""
    way = np.array([np.cos(angle), np.sin(angle)])
    start = np.array(SIZE) / 2 - way * (300 + 35)
    return [Rectangle(tuple(start), (600, 900), angle, tuple(way * 200), 0, 0.9)]


def sliding(velocity: tuple[float, float], seed: int) -> Callable[[float], np.ndarray]:
    """Return a picture by time of a texture that slides."""
    texture = noise_texture(np.random.default_rng(seed), (500, 600), grain_px=8.0)

    def picture(t_us: float) -> np.ndarray:
        dx, dy = (each * t_us * 1e-6 for each in velocity)
        move = np.array([[1, 0, 150 - dx], [0, 1, 150 - dy]], np.float32)
        return cv2.warpAffine(
            texture, move, SIZE, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        ).clip(0, 1)

    return picture


def emulated(picture: Callable[[float], np.ndarray], preset: str, seed: int) -> Events:
    """Return the events of a scene from its start to STOP_US."""
    run = Emulator(EmulatorParams.preset(preset), seed=seed).start(SIZE)
    frames = ((t, picture(t)) for t in range(0, STOP_US + 1, STEP_US))
    return Events.concatenate([run.step(t, frame) for t, frame in frames])


# ---- measures


def near_corners(found: np.ndarray, shapes: list[Rectangle]) -> tuple[float, float]:
    """Return precision and recall of corner events, rows t, x, y."""
    found = found[found[:, 0] >= WARM_US]
    good = 0
    slots = range(WARM_US, STOP_US, SLOT_US)
    seen, total = 0, 0
    for first in slots:
        now = found[(found[:, 0] >= first) & (found[:, 0] < first + SLOT_US)]
        places = np.concatenate([each.corners(now[:, 0]) for each in shapes], 1)
        near = np.linalg.norm(places - now[:, None, 1:], axis=2) <= NEAR_PX
        good += np.count_nonzero(near.any(1))
        for number, place in enumerate(np.concatenate(
            [each.corners(first + SLOT_US / 2) for each in shapes]
        )):  # fmt: skip
            if (place >= MARGIN_PX).all() and (place <= np.array(SIZE) - 1 - MARGIN_PX).all():
                total += 1
                seen += bool(near[:, number].any())
    return good / max(len(found), 1), seen / max(total, 1)


def repeatability(found: np.ndarray, velocity: tuple[float, float]) -> float:
    """Return the share of corner events with one before, at the same place of the texture."""
    found = found[found[:, 0] >= WARM_US - 25_000]
    place = found[:, 1:] - found[:, :1] * 1e-6 * np.array(velocity)
    tree = cKDTree(place)
    late = np.flatnonzero(found[:, 0] >= WARM_US)
    late = late[:: len(late) // 5_000 + 1]
    hits = 0
    for index, others in zip(late, tree.query_ball_point(place[late], 1.5), strict=True):
        before = found[index, 0] - found[others, 0]
        hits += bool(((before >= 10_000) & (before <= 25_000)).any())
    return hits / max(len(late), 1)


def accuracy(seeds: int, presets: tuple[str, ...] = ("clean", "noisy")) -> Iterator[str]:
    """Yield a row a detector and preset."""
    yield f"{'detector':20} {'preset':6} {'precision':>9} {'recall':>7} {'edge':>8}  repeatability"
    for preset in presets:
        scenes = []
        for seed in range(seeds):
            shapes = rectangles(seed)
            scenes.append((shapes, emulated(partial(drawn, shapes), preset, seed)))
        edges = [emulated(partial(drawn, edge(angle)), preset, 1) for angle in ANGLES]
        moves = [(180.0, 60.0), (-70.0, 140.0)]
        textures = [emulated(sliding(v, 3), preset, 2) for v in moves]
        for name, rival in DETECTORS.items():

            def of(events: Events, rival: Rival = rival) -> np.ndarray:
                return rival.rows(rival.detect(rival.take(events), events.sensor_size))

            pairs = np.array([near_corners(of(events), shapes) for shapes, events in scenes])
            wrong = sum(np.count_nonzero(of(e)[:, 0] >= WARM_US) for e in edges)
            share = wrong / sum(np.count_nonzero(e.t >= WARM_US) for e in edges)
            again, chance = [], []
            for events, v in zip(textures, moves, strict=True):
                found = of(events)
                drawn_at = np.random.default_rng(0).choice(len(events), len(found), replace=False)
                again.append(repeatability(found, v))
                chance.append(repeatability(rows(events)[np.sort(drawn_at)], v))
            precision, recall = pairs.mean(0)
            yield (
                f"{name:20} {preset:6} {precision:9.3f} {recall:7.3f} {share:8.5f}  "
                f"{np.mean(again):.3f} ({np.mean(chance):.3f})"
            )


def speeds(path: Path) -> Iterator[str]:
    """Yield a row a detector: million events a second of processor time, and the share kept."""
    events = open_events(path).load()
    yield f"{path.name}: {events!r}"
    kept: dict[str, np.ndarray] = {}
    for name, rival in DETECTORS.items():
        given, best = rival.take(events), float("inf")
        for run in range(4):  # the first compiles
            started = time.process_time()
            found = rival.detect(given, events.sensor_size)
            best = min(best, time.process_time() - started if run else best)
        kept[name] = rival.rows(found)
        share = len(kept[name]) / len(events)
        yield f"  {name:20} {len(events) / best / 1e6:7.2f} Mev/s  {share:6.2%} kept"
    same = np.array_equal(kept["e_fast"], kept["eventcv eFAST"])
    yield f"  e_fast and eventcv's eFAST are {'the same' if same else 'NOT the same'}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=6)
    args = parser.parse_args()
    print(", ".join(f"{name} {version(name)}" for name in ("dvskit", "eventcv", "dv-processing")))
    for path in args.recordings:
        for line in speeds(path):
            print(line, flush=True)
    for line in accuracy(args.seeds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
