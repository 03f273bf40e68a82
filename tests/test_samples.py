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

from dvskit.emulator import emulate
from dvskit.formats import save_events
from dvskit.scenes import PersonScene
from dvskit.scenes.planes import KeyframePath, Patch, PlaneScene, noise_texture
from dvskit.video import write_video
from tests.test_online_rules_samples import sample
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


DELAY_US, BIAS = 6_000, np.array([0.05, -0.02, 0.01])


@pytest.mark.slow
def test_the_gyroscope_sample_finds_the_delay_and_the_bias(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(2)
    wall = Patch((0, 0, 1), (3, 0, 0), (0, 2.5, 0), noise_texture(rng, (500, 600), grain_px=9))
    times = np.arange(-100_000, 700_001, 50_000)
    hertz, begin = np.array([1.5, 1.2, 1.8]), np.array([0.0, 1.0, 2.0])
    path = KeyframePath(times, 0.25 * np.sin(2 * np.pi * hertz * times[:, None] * 1e-6 + begin))
    scene = PlaneScene([wall], path, size=(120, 90), fps=250, duration_us=500_000)
    save_events(emulate(scene), tmp_path / "events.txt", format="rpg", overwrite=True)
    stamps = np.arange(-100_000, 700_000, 1_000)
    shown = [path.pose(float(t - DELAY_US)).angular_rad_s + BIAS for t in stamps]
    rows = zip((stamps * 1e-6).tolist(), np.array(shown).tolist(), strict=True)
    lines = [f"{t:.6f} 0 0 9.81 {' '.join(f'{v:.7f}' for v in w)}\n" for t, w in rows]
    (tmp_path / "imu.txt").write_text("".join(lines))
    (tmp_path / "calib.txt").write_text(" ".join(map(str, scene.lens)) + "\n")
    out = tmp_path / "both.png"
    found = sample("gyroscope", monkeypatch).main([str(tmp_path), "--out", str(out)])
    assert abs(found.delay_us - DELAY_US) < 3_000  # events come later than their change
    np.testing.assert_allclose(found.bias, BIAS, atol=0.07)
    assert (found.correlation > 0.99).all()
    assert found.windows > 15
    assert out.stat().st_size > 10_000
    assert "ms later" in capsys.readouterr().out
