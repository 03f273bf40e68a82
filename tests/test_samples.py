"""The scripts of samples/ run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dvskit.scenes import PersonScene
from dvskit.video import write_video
from tests.tree import SAMPLES, TOP

SCRIPT = SAMPLES / "make_emulator_figure.py"


@pytest.mark.campaign
def test_the_emulator_figure_is_drawn_from_any_clip(tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    for number, (_, frame) in enumerate(PersonScene(size=(64, 48), fps=100, duration_us=200_000)):
        cv2.imwrite(str(clip / f"{number:04}.png"), frame)
    out = tmp_path / "figure.png"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), str(out), "--clip", str(clip), "--fps", "100"],
        capture_output=True, text=True, cwd=TOP,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    picture = cv2.imread(str(out))
    assert picture.shape[1] == 2880
    # The colors of ON and of OFF are there, as BGR.
    for color in ((0, 94, 213), (178, 114, 0)):
        assert np.any(np.all(picture == color, axis=2))


def gallery(*words: str | Path) -> subprocess.CompletedProcess[str]:
    script = SAMPLES / "make_gallery.py"
    return subprocess.run(
        [sys.executable, "-W", "error", str(script), *map(str, words)],
        capture_output=True, text=True, cwd=TOP,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


@pytest.mark.slow
def test_the_gallery_makes_pictures_and_lists_them(tmp_path: Path) -> None:
    done = gallery("-o", tmp_path, "--only", "rate")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "rate.png"]
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "dvskit plot rate person.raw -o rate.png" in text
    assert "](rate.png)" in text


@pytest.mark.campaign
def test_the_gallery_pictures_each_video_of_a_folder(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    scene = PersonScene(size=(64, 48), fps=100, duration_us=300_000)
    frames = [(t_us, (frame >> 8).astype(np.uint8)) for t_us, frame in scene]
    write_video(frames, videos / "my clip.mp4", fps=100)
    done = gallery(videos, "-o", tmp_path / "out", "--only", "rate")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "out" / "videos" / "my_clip"
    names = {"cloud.png", "events.gif", "rate.png", "map.png", "camera-beside.png"}
    assert {path.name for path in folder.iterdir()} == names
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for name in names:
        assert f"](videos/my_clip/{name})" in text
    assert "no such folder" in gallery(tmp_path / "none").stderr


def test_the_stored_gallery_is_whole_and_small() -> None:
    folder = SAMPLES / "gallery"
    files = [path for path in folder.iterdir() if path.is_file()]
    text = (folder / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(([^)]+)\)", text))
    assert named == {path.name for path in files} - {"README.md"}
    assert len(named) == 21
    assert sum(path.stat().st_size for path in files) < 2_500_000
