"""Small clips for the tests of dvskit.teach: two movements that a network can tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvskit.teach import Clip, ClipFolder, ClipRecorder, TeachTraining
from dvskit.teach.server import TeachServer
from dvskit.teach.teach_training import TrainProcess

SIZE = (48, 36)
CLASSES = ("across", "up")


def movement(label: str, seed: int, count: int = 20) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Frames of a bright square that moves across or up and down, at uneven times."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    wall = rng.integers(60, 70, (SIZE[1], SIZE[0]))
    phase, t_us = rng.uniform(0, 6), int(rng.integers(0, 10**9))
    for k in range(count):
        move = np.sin(phase + k / 3) * 10
        at = (24 + move, 18) if label == "across" else (24, 18 + move)
        wall_now = np.where(np.maximum(abs(x - at[0]), abs(y - at[1])) < 5, 220, wall)
        yield t_us, wall_now.astype(np.uint8)
        t_us += int(rng.integers(20_000, 45_000))


def record(folder: ClipFolder, label: str, person: str, seed: int, count: int = 20) -> Clip:
    recorder = ClipRecorder(folder, label, person, SIZE)
    for t_us, frame in movement(label, seed, count):
        recorder.add(t_us, frame)
    return recorder.finish()


def fill(folder: ClipFolder, *people: str, each: int = 1) -> None:
    """Record clips of both classes by each person."""
    for label in CLASSES:
        if label not in folder.classes():
            folder.add_class(label)
        for number, person in enumerate(people):
            for k in range(each):
                record(folder, label, person, 100 * number + k)


@contextmanager
def serving(
    folder: ClipFolder, output: Path, kept: Path | None = None, port: int = 0
) -> Iterator[TeachServer]:
    """Serve the page of a folder; its training ends with it."""
    training = TeachTraining(folder, output)
    with TeachServer(folder, training, port=port, kept=kept) as served:
        yield served
    training.close()


def every_byte(root: Path) -> list[bytes]:
    """The bytes of all videos below a folder, wherever they are."""
    return sorted(path.read_bytes() for path in root.rglob("*.mkv") if path.is_file())


def shorten_trainings(monkeypatch, steps: int, epochs: int) -> None:
    """Trainings take a few steps, which no option of teach asks for."""
    start = TrainProcess.start
    short = ("--set", f"loop.steps={steps}", "--set", f"loop.epochs={epochs}")
    monkeypatch.setattr(TrainProcess, "start", lambda own, words: start(own, [*words, *short]))
