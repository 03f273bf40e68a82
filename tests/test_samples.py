"""The scripts of samples/ run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dvskit.errors import ConfigError
from dvskit.render import CloudView
from dvskit.scenes import ArmScene

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "samples" / "make_emulator_figure.py"


def test_the_emulator_figure_is_drawn_from_any_clip(tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    for number, (_, frame) in enumerate(ArmScene(size=(64, 48), fps=100, duration_us=200_000)):
        cv2.imwrite(str(clip / f"{number:04}.png"), frame)
    out = tmp_path / "figure.png"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), str(out), "--clip", str(clip), "--fps", "100"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    picture = cv2.imread(str(out))
    assert picture.shape[1] == 2880
    # The colours of ON and of OFF are there, as BGR.
    for colour in ((0, 94, 213), (178, 114, 0)):
        assert np.any(np.all(picture == colour, axis=2))


def test_the_text_of_a_cloud_has_a_size_within_bounds() -> None:
    with pytest.raises(ConfigError, match="text_scale"):
        CloudView(text_scale=9.0)
