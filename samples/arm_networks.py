"""Compare networks on arm gestures, each person left out in turn, and train the one that is kept.

    python samples/make_arm_gestures.py DEPTH_FOLDER clips/1 --seed 1
    python samples/make_arm_gestures.py DEPTH_FOLDER clips/11 --seed 11       # more looks, if any
    python samples/make_arm_gestures.py DEPTH_FOLDER moved/1 --seed 1 --moved
    python samples/arm_networks.py clips/1 clips/11 moved/1 --out runs/arm --seeds 5
    python samples/arm_networks.py clips/1 clips/11 moved/1 --out runs/arm --keep ann

Recordings of all folders are trained on, but for those of the person who is left out, drawn people
whom her skeleton moves among them; hers in the first folder judge. Each run, a network, a seed and
a person who is left out, leaves a line in OUT/results.csv and is not run again. What is kept learns
from all people and is written as a model, OUT/<network>. There is no validation part: the number of
steps is fixed. With --people 3,6 what is kept is without these, and `dvskit eval` judges by them.
Counts are summed over blocks of 8x8 pixels once, which is what the first layer of
the networks does, so that a run takes one to two minutes of a processor.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import dvskit
from dvskit.datasets import Split, open_samples
from dvskit.models import InputConfig, Model, save_model
from dvskit.models.learned import used_samples
from dvskit.networks import Layered, Network, PointNet
from dvskit.tensors import Counts, PointSet

SIZE, BLOCK, BINS, BIN_US = 128, 8, 25, 100_000
FINE_US, FINE = 25_000, 160  # counts are kept in shorter bins, so that time can be stretched
POINTS, KEPT_POINTS = 256, 4096
BATCH, RATE, DECAY = 32, 3e-3, 2e-2
GRID = SIZE // BLOCK
BURST = "burst-lif most=4 beta=0.05 threshold=0.5"
NEURONS = {"burst": BURST, "binary": "lif", "ann": "relu"}
COLUMNS = ("network", "seed", "person", "steps", "right", "total", "wrong")


def network_of(kind: str, classes: int) -> Network:
    """Return a description; all have some 250,000 weights."""
    if kind == "points":
        return PointNet(classes=classes, widths=(64, 128, 256), hidden=768)
    fire, leave = NEURONS[kind], "D0.15"
    layers = (
        *(f"S{BLOCK}", "T3", "24C5s2p2", "tdbn", fire, "48C3s2p1", "tdbn", fire),
        *(leave, "128", "ln", fire, leave, "T5", "128", "ln", fire),
        *(leave, "T5s2", "128", "ln", fire),
        *(leave, str(classes), "max"),
    )
    return Layered(layers=layers, width=SIZE, height=SIZE, classes=classes, beta=0.5, gain=1.0)


def input_of(kind: str) -> InputConfig:
    """Return how events become what a network takes."""
    if kind == "points":
        return InputConfig(bins=BINS, bin_us=BIN_US, representation="point_set", points=POINTS)
    return InputConfig(bins=BINS, bin_us=BIN_US)


def person_of(name: str) -> int:
    """Return who is in a recording, by its name: <gesture>/s<person>_t<trial>.npz."""
    return int(re.findall(r"\d+", Path(name).name)[0])


@dataclass(frozen=True)
class Clips:
    """Recordings as they are trained on.

    counts  (N, FINE + 1, 2, GRID, GRID) uint16: events up to the end of each bin
    points  (N, KEPT_POINTS, 4) float32: x, y from 0 to 1, t in microseconds, p
    """

    counts: NDArray[np.uint16]
    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    people: NDArray[np.int64]
    first: NDArray[np.bool_]
    classes: tuple[str, ...]


def read_clips(folders: list[Path]) -> Clips:
    """Read the recordings of folders <gesture>/s<person>_*.npz."""
    files = [(path, k == 0) for k, each in enumerate(folders) for path in each.glob("*/s*.npz")]
    files.sort()
    classes = tuple(sorted({path.parent.name for path, _ in files}))
    counts = np.zeros((len(files), FINE + 1, 2, GRID, GRID), np.uint16)
    points = np.empty((len(files), KEPT_POINTS, 4), np.float32)
    coarse = Counts(bins=FINE, bin_us=FINE_US, outside="ignore")
    cloud = PointSet(points=KEPT_POINTS, duration_us=FINE * FINE_US)
    for k, (path, _) in enumerate(files):
        events = dvskit.load_events(path)
        blocks = dvskit.Events(
            t=events.t, x=events.x // BLOCK, y=events.y // BLOCK, p=events.p, size=(GRID, GRID)
        )
        np.cumsum(coarse(blocks).numpy(), 0, dtype=np.uint16, out=counts[k, 1:])
        points[k] = cloud(events).numpy()
        points[k, :, 2] *= FINE * FINE_US
    labels = np.array([classes.index(path.parent.name) for path, _ in files])
    people = np.array([person_of(path.name) for path, _ in files])
    return Clips(counts, points, labels, people, np.array([first for _, first in files]), classes)


@dataclass(frozen=True)
class Change:
    """What is drawn for a sample, of time, of the picture, and of the sensor.

    speed     time runs so much faster            later_us  and starts so much later
    warp      how far it runs faster here and slower there, phase where
    matrix    (2, 3): from a place in the changed picture to one in the picture, from -1 to 1
    kept      the share of the counts             swapped   whether ON and OFF are: an arm that is
                                                  darker than what is behind it, not brighter
    """

    speed: float = 1.0
    later_us: float = 0.0
    warp: float = 0.0
    phase: float = 0.0
    matrix: tuple[tuple[float, ...], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    kept: float = 1.0
    swapped: bool = False

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Change:
        """Return a change."""
        scale, tilt = math.exp(rng.uniform(-0.12, 0.12)), math.radians(rng.uniform(-6, 6))
        along, across = scale * math.cos(tilt), scale * math.sin(tilt)
        wider, slant = math.exp(rng.uniform(-0.08, 0.08)), rng.uniform(-0.06, 0.06)
        shape = np.array([[along, -across], [across, along]]) @ [[wider, slant], [0, 1 / wider]]
        shift = rng.uniform(-0.16, 0.16, 2)
        return cls(
            speed=math.exp(rng.uniform(-0.3, 0.3)),
            later_us=rng.uniform(-200_000, 200_000),
            warp=rng.uniform(-0.3, 0.3),
            phase=rng.uniform(0, 2 * math.pi),
            matrix=tuple(map(tuple, np.column_stack([shape, shift]).tolist())),
            kept=rng.uniform(0.6, 1.0),
            swapped=rng.random() < 0.5,
        )

    def times(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return when in the recording, in microseconds, shares of the window (0 to 1) are."""
        waves = np.sin(2 * math.pi * shares + self.phase) - math.sin(self.phase)
        warped = shares + self.warp * waves / (2 * math.pi)
        return warped * (BINS * BIN_US) * self.speed + self.later_us


def tensors_of(clips: Clips, rows: NDArray[np.int64], changes: list[Change]) -> Tensor:
    """Return counts (BINS, B, 2, GRID, GRID) of some clips."""
    made = np.empty((len(rows), BINS, 2, GRID, GRID), np.float32)
    for k, (row, change) in enumerate(zip(rows, changes, strict=True)):
        ends = change.times(np.arange(BINS + 1) / BINS) / FINE_US
        at = np.clip(np.round(ends), 0, FINE).astype(int)
        counts = np.diff(clips.counts[row][at].astype(np.float32), axis=0) * change.kept
        made[k] = counts[:, ::-1] if change.swapped else counts
    tensors = torch.from_numpy(made)
    if any(change != Change() for change in changes):
        matrices = torch.tensor([change.matrix for change in changes])
        places = functional.affine_grid(matrices, [len(rows), 1, GRID, GRID], align_corners=False)
        tensors = functional.grid_sample(tensors.flatten(1, 2), places, align_corners=False)
    return tensors.reshape(made.shape).transpose(0, 1)


def clouds_of(
    clips: Clips, rows: NDArray[np.int64], changes: list[Change], rng: np.random.Generator
) -> Tensor:
    """Return points (POINTS, B, 4) of some clips."""
    made = np.empty((POINTS, len(rows), 4), np.float32)
    for k, (row, change) in enumerate(zip(rows, changes, strict=True)):
        cloud = clips.points[row].astype(np.float64)
        shares = np.linspace(0, 1, 8 * BINS + 1)
        cloud[:, 2] = np.interp(cloud[:, 2], change.times(shares), shares, left=-1, right=1)
        cloud = cloud[(cloud[:, 2] >= 0) & (cloud[:, 2] < 1)]
        back = np.linalg.inv(np.vstack([change.matrix, [0, 0, 1]]))
        cloud[:, :2] = ((2 * cloud[:, :2] - 1) @ back[:2, :2].T + back[:2, 2] + 1) / 2
        cloud[:, 3] *= -1 if change.swapped else 1
        made[:, k] = cloud[np.sort(rng.choice(len(cloud), POINTS, replace=len(cloud) < POINTS))]
    return torch.from_numpy(made)


def inputs_of(
    kind: str, clips: Clips, rows: NDArray[np.int64], rng: np.random.Generator | None
) -> Tensor:
    """Return what a network takes of some clips, changed by chance where there is a generator."""
    changes = [Change() if rng is None else Change.draw(rng) for _ in rows]
    if kind == "points":
        return clouds_of(clips, rows, changes, rng or np.random.default_rng(0))
    return tensors_of(clips, rows, changes)


def learn(kind: str, clips: Clips, rows: NDArray[np.int64], seed: int, steps: int) -> nn.Module:
    """Return a network that has learned from some clips."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    module = network_of(kind, len(clips.classes)).build()
    seen = module if kind == "points" else module[1:]  # blocks are summed already
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=DECAY)
    labels = torch.from_numpy(clips.labels)
    waiting: list[int] = []
    module.train()
    for step in range(steps):
        if len(waiting) < BATCH:
            waiting += rng.permutation(rows).tolist()
        batch, waiting = np.array(waiting[:BATCH]), waiting[BATCH:]
        rate = RATE * min(1, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=kind != "points"):
            logits = seen(inputs_of(kind, clips, batch, rng))
        loss = functional.cross_entropy(logits.float(), labels[batch], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    return module.eval()


def judge(kind: str, module: nn.Module, clips: Clips, rows: NDArray[np.int64]) -> list[str]:
    """Return what went wrong: "class as class" of each clip that was taken for another."""
    seen = module if kind == "points" else module[1:]  # type: ignore[index]
    with torch.inference_mode():
        answers = np.concatenate(
            [seen(inputs_of(kind, clips, part, None)).argmax(1).numpy()
             for part in np.array_split(rows, max(1, len(rows) // 28))]
        )  # fmt: skip
    names = clips.classes
    pairs = zip(clips.labels[rows], answers, strict=True)
    return [f"{names[true]} as {names[given]}" for true, given in pairs if true != given]


def compare(
    clips: Clips, out: Path, kinds: list[str], people: list[int], seeds: range, steps: int
) -> None:
    """Run all that results.csv has no line of, the first seeds of all networks first."""
    path = out / "results.csv"
    out.mkdir(parents=True, exist_ok=True)
    done = set()
    if path.exists():
        with path.open(newline="") as file:
            done = {tuple(row[key] for key in COLUMNS[:4]) for row in csv.DictReader(file)}
    else:
        path.write_text(",".join(COLUMNS) + "\n")
    for seed, kind, person in ((s, k, p) for s in seeds for k in kinds for p in people):
        run = (kind, str(seed), str(person), str(steps))
        if run in done:
            continue
        began = time.process_time()
        module = learn(kind, clips, np.flatnonzero(clips.people != person), seed, steps)
        rows = np.flatnonzero((clips.people == person) & clips.first)
        wrong = judge(kind, module, clips, rows)
        with path.open("a", newline="") as file:
            right = len(rows) - len(wrong)
            csv.writer(file).writerow([*run, right, len(rows), "; ".join(sorted(wrong))])
        print(*run, f"{100 * right / len(rows):.1f} %", f"{time.process_time() - began:.0f} s")


def keep(
    kind: str, clips: Clips, folders: list[Path], out: Path, run: tuple[list[int], int, int]
) -> None:
    """Train on all people but some, with a seed and so many steps, and write the model."""
    without, seed, steps = run
    module = learn(kind, clips, np.flatnonzero(~np.isin(clips.people, without)), seed, steps)
    network = network_of(kind, len(clips.classes))
    every = [row for folder in folders for row in open_samples(folder).rows]
    judged = [row for row in every if person_of(row.name) in without]
    learned = [row for row in every if person_of(row.name) not in without]
    model = Model(
        name="arm-gestures",
        network=network,
        module=module,
        input=input_of(kind),
        classes=clips.classes,
        about={"seed": seed, "steps": steps},
        used=used_samples(Split(learned, [], judged)),
    )
    save_model(out / kind, model, overwrite=True)


def main() -> None:
    """Compare, or train the one that is kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="of recordings")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", default="burst,binary,ann,points")
    parser.add_argument("--seeds", type=int, default=1, help="how many; of --keep, which one")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument(
        "--people", default="", help="to be left out, 1,2,...: each unless given; of --keep: nobody"
    )
    parser.add_argument("--keep", default="", help="a network to train on all people, and keep")
    args = parser.parse_args()
    torch.set_num_threads(1)
    clips = read_clips(args.folders)
    people = [int(each) for each in args.people.split(",") if each]
    if args.keep:
        keep(args.keep, clips, args.folders, args.out, (people, args.seeds, args.steps))
        return
    kinds, every = args.networks.split(","), sorted(set(clips.people))
    compare(clips, args.out, kinds, people or every, range(1, args.seeds + 1), args.steps)


if __name__ == "__main__":
    main()
