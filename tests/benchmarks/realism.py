"""How real emulated events are: how well 20 ms of them can be told from 20 ms of a camera.

    DVSKIT_PEERS=FOLDER python -m tests.benchmarks.realism [--plane FOLDER] [--only street,hands]

Patches of 20 ms and 32x32 pixels with at least 20 events, real and emulated in equal numbers, are
told apart by a logistic regression of 17 features and by a small convolutional network (4 bins, 2
polarities). Both learn on one part of a place and are tested on another, four times. A cell is the
mean area under the curve and its standard deviation over the four; 0.5: cannot be told apart, 1.0:
always. "equal": thresholds are scaled by "factor" until there are as many events as in reality.

street  DAVIS346, its own frames, upsampled, on the clock that `calibrate` finds; patches of the
        same place and time. Parts: left and right of the median column, before and after the median
        time; a column and 220 ms between them are left out
plane   the same with a DAVIS240: --plane names a folder with events.txt and images.txt
hands   two DVS128 recordings of a waving hand, against six videos of other people's, cut to the
        hand, upsampled: the scenes differ too, so the area is that of sensor and scene. Parts: the
        recordings and the two people

"real" is the camera against itself: random halves of the patches, or one recording of the hands
against the other, parts being their times. All times are whole microseconds; no feature counts
equal ones. "fitted" is `calibrate` on the same recording, tested parts included (without frames:
noise alone). v2e (a checkout in DVSKIT_PEERS, see emulator.py) has its defaults, eventcv too but
for its noise (10 Hz a pixel: 28 times the events of the street); both get the same frames.

Beside, at equal counts: "distance" of the features (earth mover's, in standard deviations of the
real ones) and of the intervals of pixels (decades); events per second and ON share of pixels at
rest; correlation of the rates in 20 ms; the largest weights, + for more in reality.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import mannwhitneyu

from dvskit import EmulatorParams, Events, Size, emulate, open_events
from dvskit.emulator.calibration import calibrate
from dvskit.emulator.upsample import Upsampled
from dvskit.video import FrameSource, open_frames
from dvskit.video.light import coded
from tests.benchmarks.__main__ import DATA
from tests.benchmarks.emulator import checkout

SIDE, SPAN_US, LEAST, MOST = 32, 20_000, 20, 600  # MOST: patches of a place
HAND = np.s_[110:310, 110:310]  # of the videos
GRID_US = 2_000  # eventcv takes frames of one rate
WHITE = np.float32(65535)
OLD = {  # thresholds ON and OFF, their spread, leak, latency: presets before they knew of light
    "DAVIS346": (0.134, 0.203, 0.035, 0.1, 20),
    "DAVIS240": (0.104, 0.104, 0.035, 0.1, 12),
    "DVS128": (0.157, 0.157, 0.021, 0.05, 12),
}
NAMES = (
    "rate", "ON", "gap 10%", "gap 50%", "gap 90%", "active", "per pixel", "runs", "near", "agree",
    "lone", "ON~OFF", "lag x", "lag y", "fano", "lag 1 ms", "plane",
)  # fmt: skip
Array = NDArray[Any]
Patches = dict[tuple[int, ...], Events]  # by recording, window, row, column
Sample = tuple[Array, Array, Array]  # features, voxels, and (n, 4): learn 0, test 1, four times


class Clip(FrameSource):
    """Frames in memory, of a person."""

    def __init__(self, frames: Iterable[tuple[int, Array]], transfer: Any, part: int = 0) -> None:
        self.frames, self.transfer, self.part = list(frames), transfer, part
        self.size = Size(*self.frames[0][1].shape[::-1])
        self.span_us = self.frames[0][0], self.frames[-1][0]

    def __iter__(self) -> Iterator[tuple[int, Array]]:
        yield from self.frames


Sensor = Callable[[Clip, float], Events]  # the float scales its thresholds


@dataclass(frozen=True)
class Place:
    """Recordings and clips; of one scene if the pixels at rest are there."""

    camera: str
    real: list[Events]
    clips: list[Clip]
    fitted: EmulatorParams
    still: Array | None = None


def within(events: Events, span_us: tuple[int, int], start_us: int = 0) -> Events:
    t = events.t - start_us
    moved = Events.from_checked(t, events.x, events.y, events.p, events.sensor_size)
    return moved[slice(*np.searchsorted(t, span_us))]


def matched(path: Path, camera: str) -> Place:
    recording = open_events(path)
    found, frames = calibrate(recording, recording.frames()), list(recording.frames())
    own = [(each.t_us + each.stop_us) // 2 for each in frames]
    pairs = [(t - own[0], each.image) for t, each in zip(own, frames, strict=True)]
    clip = Clip(Upsampled(pairs, recording.size), "linear")
    start_us = own[0] + round(found["offset_us"].value or 0)
    logs = np.log(np.stack([image for _, image in pairs]) + 10.0)
    still = cv2.erode((np.ptp(logs, 0) < 0.2).astype(np.uint8), np.ones((9, 9))) > 0
    real = within(recording.load(), clip.span_us, start_us)
    return Place(camera, [real], [clip], found.params, still)


def hands(data: Path) -> Place:
    real, clips = [], []
    for path in sorted((data / "gestures/dvs128/right_hand_wave").glob("*.aedat4")):
        events = open_events(path).load()
        real.append(within(events, (0, 1 << 60), int(events.t[0])))
    for path in sorted((data / "gestures/videos/right_hand_wave").glob("*.avi")):
        area = ((t, cv2.resize(image[HAND], (128, 128))) for t, image in open_frames(path))
        clips.append(Clip(Upsampled(area, Size(128, 128)), "srgb", int(path.stem[1]) - 1))
    return Place("DVS128", real, clips, calibrate(real[0]).params)


# ---- sensors


def ours(params: EmulatorParams, clip: Clip, factor: float) -> Events:
    names = ("threshold_on", "threshold_off", "threshold_sigma")
    scaled = {name: factor * getattr(params, name) for name in names}
    return emulate(clip, replace(params, **scaled), seed=1, size="native").load()


def v2e(clip: Clip, factor: float) -> Events:
    checkout("v2e")
    from v2ecore.emulator import EventEmulator

    run = EventEmulator(
        pos_thres=0.2 * factor, neg_thres=0.2 * factor, sigma_thres=0.03 * factor, cutoff_hz=300,
        leak_rate_hz=0.01, shot_noise_rate_hz=0.001, refractory_period_s=5e-4, seed=1,
        output_width=clip.size.width, output_height=clip.size.height, device="cpu",
    )  # fmt: skip
    steps = (run.generate_events(image / np.float32(257), t * 1e-6) for t, image in clip)
    t, x, y, p = np.concatenate([each for each in steps if each is not None]).T
    return in_order(1e6 * t, x, y, p, clip)


def eventcv(clip: Clip, factor: float) -> Events:
    import eventcv as peer

    times, codes = [t for t, _ in clip], []
    for t in range(times[0], times[-1], GRID_US):  # a blend of the two frames around
        after = int(np.searchsorted(times, t, side="right"))
        (t0, first), (t1, last) = clip.frames[after - 1 : after + 1]
        blend = (first + (t - t0) / (t1 - t0) * (last.astype(np.float32) - first)) / WHITE
        codes.append(coded(blend) / WHITE if clip.transfer == "linear" else blend)
    found = peer.simulate(
        np.array(codes, np.float32), fps=1e6 / GRID_US, pos_thres=0.2 * factor, seed=1,
        neg_thres=0.2 * factor, sigma_thres=0.03 * factor, leak_rate_hz=0, shot_noise_rate_hz=0,
    )  # fmt: skip
    x, y, t, p = found.numpy().T
    return in_order(t + times[0], x, y, p, clip)


def in_order(t: Array, x: Array, y: Array, p: Array, clip: Clip) -> Events:
    order = np.argsort(np.rint(t), kind="stable")
    columns = (np.rint(t).astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p > 0)
    return Events.from_checked(*(each[order] for each in columns), clip.size)


def sensors(place: Place) -> dict[str, Sensor]:
    on, off, sigma, leak_hz, latency_us = OLD[place.camera]
    old = EmulatorParams(
        threshold_on=on, threshold_off=off, threshold_sigma=sigma, cutoff_hz=3000.0, light="luma",
        linear_below=20.0, leak_hz=leak_hz, leak_spread=0.1, leak_jitter=0.1, latency_us=latency_us,
    )  # fmt: skip
    own = {
        "clean": EmulatorParams(), f"old {place.camera}": old,
        place.camera: EmulatorParams.preset(place.camera), "fitted": place.fitted,
    }  # fmt: skip
    peers: dict[str, Sensor] = {"v2e": v2e, "eventcv": eventcv}
    return {name: partial(ours, each) for name, each in own.items()} | peers


def emulated(place: Place, sensor: Sensor, factor: float) -> tuple[list[Events], float]:
    """Return the events of all clips, and their rate as a part of the real one."""
    found = [within(sensor(clip, factor), clip.span_us) for clip in place.clips]
    made_us = sum(clip.span_us[1] - clip.span_us[0] for clip in place.clips)
    real_us = made_us if place.still is not None else sum(int(each.t[-1]) for each in place.real)
    return found, max(sum(map(len, found)), 1) / made_us * real_us / sum(map(len, place.real))


def equal(place: Place, sensor: Sensor, ratio: float) -> tuple[list[Events], float, float]:
    """Return the emulation with the rate nearest to the real one, its rate and its factor."""
    factor, slope, tried = 1.0, 1.2, []
    while len(tried) < 6 and abs(ratio - 1) > 0.02:
        before, factor = (factor, ratio), float(np.clip(factor * ratio ** (1 / slope), 0.1, 8))
        found, ratio = emulated(place, sensor, factor)
        tried.append((found, ratio, factor))
        if factor == before[0]:
            break
        steep = np.log(before[1] / ratio) / np.log(factor / before[0])
        slope = float(np.clip(steep, 0.4, 3))
    return min(tried or [(*emulated(place, sensor, 1.0), 1.0)], key=lambda e: abs(np.log(e[1])))


# ---- patches


def patches(recordings: list[Events]) -> Patches:
    """Return the patches of a fixed grid that have events enough."""
    found: Patches = {}
    for number, events in enumerate(recordings):
        rows, columns = events.sensor_size.height // SIDE, events.sensor_size.width // SIDE
        row, column = events.y // SIDE, events.x // SIDE
        cell = (events.t // SPAN_US * rows + row) * columns + column
        cell[(row >= rows) | (column >= columns)] = -1
        order = np.argsort(cell, kind="stable")
        cells, starts, counts = np.unique(cell[order], return_index=True, return_counts=True)
        for name, start, count in zip(cells.tolist(), starts, counts, strict=True):
            if name >= 0 and count >= LEAST:
                key = number, name // (rows * columns), name // columns % rows, name % columns
                found[key] = events[order[start : start + count]]
    return found


def correlation(a: Array, b: Array) -> float:
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    return float((a @ b) / max(np.sqrt((a @ a) * (b @ b)), 1e-9))


def features(events: Events) -> Array:
    """Return the features of a patch, in the order of NAMES."""
    t, p = (events.t % SPAN_US).astype(np.float64), events.p
    x, y = events.x.astype(np.int64) % SIDE, events.y.astype(np.int64) % SIDE
    pixel = y * SIDE + x
    on, both = (np.bincount(e, minlength=SIDE**2).reshape(SIDE, SIDE) for e in (pixel[p], pixel))
    order, active = np.argsort(pixel, kind="stable"), np.count_nonzero(both)
    again = np.diff(pixel[order]) == 0
    gaps = np.log10(np.diff(t[order])[again] + 1) if again.any() else [np.log10(SPAN_US)]
    runs = (p[order][1:] == p[order][:-1])[again]
    few = slice(None, None, 1 + len(t) // 200)  # bounds the work
    away = np.maximum(*(np.abs(axis[few, None] - axis) for axis in (x, y)))
    near = (away == 1) & (np.abs(t[few, None] - t) <= 5000)
    agree = ((p[few, None] == p) & near).sum()
    fine = np.bincount((t // 1000).astype(int), minlength=20)
    most = p == (2 * p.sum() > len(t))  # a plane in time is fitted to the more frequent polarity
    base = np.stack([x[most], y[most], np.ones(most.sum())], 1)
    rest = t[most] - base @ np.linalg.lstsq(base, t[most], rcond=None)[0]
    return np.array([
        np.log(len(t)), p.mean(), *np.quantile(gaps, (0.1, 0.5, 0.9)), active / SIDE**2,
        np.log(len(t) / active), (runs.sum() + 1) / (len(runs) + 2), near.any(1).mean(),
        (agree + 1) / (near.sum() + 2), ((away <= 2).sum(1) == 1).mean(),
        correlation(on, both - on), correlation(both[:, 1:], both[:, :-1]),
        correlation(both[1:], both[:-1]), np.log(fine.var() / fine.mean() + 0.1),
        correlation(fine[1:], fine[:-1]), 1 - rest.var() / max(t[most].var(), 1),
    ])  # fmt: skip


def voxels(events: Events) -> Array:
    """Return log counts of a patch, by bin of 5 ms and polarity: (8, SIDE, SIDE)."""
    bins = 2 * (events.t % SPAN_US // 5000) + events.p
    cells = (bins * SIDE + events.y % SIDE) * SIDE + events.x % SIDE
    counts = np.bincount(cells.astype(np.int64), minlength=8 * SIDE**2)
    return np.log1p(counts).reshape(8, SIDE, SIDE).astype(np.float32)


def sample(found: Patches, keys: list[tuple[int, ...]], times: list[Array]) -> Sample:
    events = [found[key] for key in keys]
    return np.stack([*map(features, events)]), np.stack([*map(voxels, events)]), np.stack(times, 1)


def side(values: Array, margin: int) -> Array:
    """Return 0 below and 1 above the median, -9 within the margin around it."""
    off = values - int(np.median(values))
    return np.where(np.abs(off) <= margin, -9, off > 0)


def samples(place: Place, found: list[Events] | None) -> tuple[Sample, Sample]:
    """Return as many real as emulated patches; for None, the camera twice: see "real" above."""
    rng, real = np.random.default_rng(0), patches(place.real)
    made = real if found is None else patches(found)
    if place.still is None:
        return unlike(place, real, None if found is None else made, rng)
    keys = sorted(real.keys() & made.keys())
    keys = [keys[n] for n in np.sort(rng.permutation(len(keys))[:MOST])]
    _, window, _, column = np.array(keys).T
    left, early = side(column, 0), side(window, 5)
    times = [left, 1 - left, early, 1 - early]
    first, second = sample(real, keys, times), sample(made, keys, times)
    if found is not None:
        return first, second
    half = rng.permutation(len(keys)) % 2 == 0
    return tuple(each[half] for each in first), tuple(each[~half] for each in first)


def unlike(
    place: Place, real: Patches, made: Patches | None, rng: np.random.Generator
) -> tuple[Sample, Sample]:
    """Return equal numbers of both parts of both, of a place whose scenes differ."""
    if made is None:  # one recording and the other
        pair = [{key: real[key] for key in real if key[0] == n} for n in (0, 1)]
        middles = [np.median([key[1] for key in each]) for each in pair]
        parts = [{key: int(key[1] > middles[key[0]]) for key in each} for each in pair]
    else:
        pair = [real, made]
        parts = [{k: k[0] for k in real}, {k: place.clips[k[0]].part for k in made}]
    keys = [[sorted(k for k in e if e[k] == n) for n in (0, 1)] for e in parts]
    least = min(MOST // 2, *(len(each) for both in keys for each in both))
    part, found = np.repeat([0, 1], least), []
    for patch, both, again in zip(pair, keys, (part, 1 - part), strict=True):
        few = [each[n] for each in both for n in np.sort(rng.permutation(len(each))[:least])]
        found.append(sample(patch, few, [part, again, 1 - again, 1 - part]))
    return found[0], found[1]


# ---- telling them apart


def area(real: Array, made: Array) -> float:
    return float(mannwhitneyu(real, made).statistic / (len(real) * len(made)))


def logistic(x: Array, sign: Array) -> Array:
    """Return the weights of a logistic regression, without its constant."""
    x = np.c_[x, np.ones(len(x))]

    def loss(w: Array) -> tuple[float, Array]:
        margin, pull = sign * (x @ w), np.r_[w[:-1], 0] / 100
        slope = -sign / (1 + np.exp(np.clip(margin, -50, 50)))
        return float(np.logaddexp(0, -margin).mean() + pull @ w / 2), x.T @ slope / len(x) + pull

    return np.asarray(minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x[:-1])


def network(x: Array, sign: Array) -> Callable[[Array], Array]:
    """Return a small convolutional network, trained on voxels, as a function of voxels."""
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(8, 16, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(16, 24, 3, 2),
        torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(24, 1),
    )  # fmt: skip
    images, signs = torch.from_numpy(x), torch.from_numpy(sign.astype(np.float32))
    steps = torch.optim.AdamW(net.parameters(), 5e-3, weight_decay=1e-2)
    for _ in range(15):
        for rows in torch.randperm(len(images)).split(32):
            steps.zero_grad()
            torch.nn.functional.softplus(-signs[rows] * net(images[rows])[:, 0]).mean().backward()
            steps.step()
    return lambda test: net(torch.from_numpy(test))[:, 0].detach().numpy()


def tell_apart(real: Sample, made: Sample) -> tuple[str, str]:
    """Return both areas, and the features that weigh most, as text."""
    areas, weights = [], []
    for time in range(4):
        (*learn, _), (*learn_made, _) = (kept(each, time, 0) for each in (real, made))
        sign = np.repeat([1.0, -1.0], [len(learn[0]), len(learn_made[0])])
        x, images = (np.concatenate(pair) for pair in zip(learn, learn_made, strict=True))
        spread = x.std(0) + 1e-6
        weights.append(logistic((x - x.mean(0)) / spread, sign))
        score = network(images, sign)
        test, test_made = (kept(each, time, 1) for each in (real, made))
        linear = area(*(each[0] @ (weights[-1] / spread) for each in (test, test_made)))
        areas.append((linear, area(score(test[1]), score(test_made[1]))))
    weight = np.mean(weights, 0)
    most = np.argsort(-np.abs(weight))[:3]
    cells = zip(np.mean(areas, 0), np.std(areas, 0), strict=True)
    return (
        " | ".join(f"{mean:.3f} ± {spread:.3f}" for mean, spread in cells),
        ", ".join(f"{NAMES[n]} {weight[n]:+.1f}" for n in most),
    )


def kept(each: Sample, time: int, role: int) -> Sample:
    rows = each[2][:, time] == role
    return each[0][rows], each[1][rows], each[2][rows]


# ---- the table


def moved(real: Array, made: Array) -> Array:
    """Return the earth mover's distance of numbers, or of each column."""
    shares = np.linspace(0.001, 0.999, 500)
    return np.abs(np.quantile(real, shares, axis=0) - np.quantile(made, shares, axis=0)).mean(0)


def intervals(recordings: list[Events]) -> Array:
    """Return the intervals of pixels, as log10 of microseconds."""
    found = []
    for events in recordings:
        pixel = events.y.astype(np.int64) * events.sensor_size.width + events.x
        order = np.argsort(pixel, kind="stable")
        found.append(np.diff(events.t[order])[np.diff(pixel[order]) == 0])
    return np.log10(np.concatenate(found) + 1)


def at_rest(place: Place, events: Events) -> str:
    """Return events per second and ON share of the pixels at rest, and the rates' correlation."""
    if place.still is None:
        return "- | -"
    span_us, on = place.clips[0].span_us[1], events.p[place.still[events.y, events.x]]
    bins = np.arange(0, span_us, SPAN_US)
    rates = np.corrcoef(*(np.histogram(each.t, bins)[0] for each in (place.real[0], events)))[0, 1]
    share = f", {on.mean():.0%} ON" if len(on) else ""
    return f"{len(on) / place.still.sum() / span_us * 1e6:.3f}{share} | {rates:.2f}"


def report(name: str, place: Place) -> None:
    print(f"\n| {name} | events | linear | network | factor | equal | linear | network | distance"
          " | intervals | at rest | rates | features |\n" + "|---" * 13 + "|")  # fmt: skip
    real, other = samples(place, None)
    areas, told = tell_apart(real, other)
    rest = at_rest(place, place.real[0])
    print(f"| real | 1.00 | {areas} | - | - | - | - | - | - | {rest} | {told} |", flush=True)
    for row, sensor in sensors(place).items():
        try:
            found, ratio = emulated(place, sensor, 1.0)
        except ImportError as error:
            print(f"| {row} | {error} |" + " |" * 11, flush=True)
            continue
        areas, _ = tell_apart(*samples(place, found))
        found, same, factor = equal(place, sensor, ratio)
        real, made = samples(place, found)
        level, told = tell_apart(real, made)
        far = np.mean(moved(real[0], made[0]) / (real[0].std(0) + 1e-6))
        gaps = moved(intervals(place.real), intervals(found))
        print(f"| {row} | {ratio:.2f} | {areas} | {factor:.2f} | {same:.2f} | {level} | {far:.2f} |"
              f" {gaps:.2f} | {at_rest(place, found[0])} | {told} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--plane", type=Path)
    parser.add_argument("--only", default="street,plane,hands")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    places: dict[str, Callable[[], Place]] = {
        "street": lambda: matched(DATA / "davis/davis346_street.aedat4", "DAVIS346"),
        "hands": lambda: hands(DATA),
    }
    if asked.plane:
        places["plane"] = lambda: matched(asked.plane / "events.txt", "DAVIS240")
    for name in asked.only.split(","):
        if name in places:
            report(name, places[name]())
        else:
            print(f"\n{name}: no recording; --plane FOLDER names one")


if __name__ == "__main__":
    main()
