"""Small recordings and videos, and folders of them, that tests make."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dvskit.events import Events
from dvskit.formats import save_events
from dvskit.video import write_video


def recording(path: Path, seed: int = 0, size: tuple[int, int] = (12, 10), count: int = 60) -> Path:
    """Write a recording of 5 ms; the suffix tells its format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    events = Events(
        t=np.sort(rng.integers(100, 5_000, count)),
        x=rng.integers(0, size[0], count),
        y=rng.integers(0, size[1], count),
        p=rng.integers(0, 2, count).astype(bool),
        size=size,
    )
    save_events(events, path)
    return path


def pictures(seed: int, frames: int, size: tuple[int, int]) -> list[tuple[int, np.ndarray]]:
    """A bright square that crosses a gray wall; frames 40 ms apart."""
    rng = np.random.default_rng(seed)
    width, height = size
    top = int(rng.integers(0, height // 2))
    made = []
    for number in range(frames):
        picture = np.full((height, width), 60 + seed % 40, np.uint8)
        left = (2 * number + seed) % (width - 8)
        picture[top : top + height // 3, left : left + 8] = 220
        made.append((number * 40_000, picture))
    return made


def video(path: Path, seed: int = 0, frames: int = 8, size: tuple[int, int] = (48, 32)) -> Path:
    """Write a video, 25 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(pictures(seed, frames, size), path, fps=25)
    return path


def folder(root: Path, *names: str) -> Path:
    """Write a recording or a video of each name, all of them different."""
    for seed, name in enumerate(names):
        write = video if name.endswith((".mp4", ".mkv", ".avi")) else recording
        write(root / name, seed)
    return root
