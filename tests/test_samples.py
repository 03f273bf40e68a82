"""The scripts of samples/ run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dvskit.emulator import emulate
from dvskit.formats import save_events
from dvskit.scenes.planes import KeyframePath, Patch, PlaneScene, noise_texture
from tests.test_online_rules_samples import sample
from tests.tree import SAMPLES, TOP


@pytest.mark.slow
def test_the_gallery_makes_pictures_and_lists_them(tmp_path: Path) -> None:
    script = SAMPLES / "make_gallery.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), "-o", str(tmp_path), "--only", "rate"],
        capture_output=True, text=True, cwd=TOP,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "rate.png"]
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "dvskit plot rate person.raw -o rate.png" in text
    assert "](rate.png)" in text


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
