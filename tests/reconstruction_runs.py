"""A tiny training for images from events: textures as photographs, few windows, few weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dvskit.scenes.planes import noise_texture

NAMES = ("first", "second", "third", "fourth")

TEXT = """\
task = "reconstruction"
name = "tiny"
output = "{output}"

[network]
channels = [2, 2]

[sequences]
train = 4
validation = 2
judged = 1
windows = 4
side = 32
photographs = 1.0
crossings = 0.0
planes = 0.0
people = 0.0
clips = 0.0
photograph_files = {files}
validation_photographs = ["first"]
judged_photographs = ["second"]
window_ms = [10.0, 20.0]
by_count = 0.3

[loop]
epochs = 2
batch = 2
crop = 24
chunk = 2
settle = 1
warmup = 2
processes = 0
"""


def write_tiny_run(folder: Path) -> Path:
    """Write textures and a configuration that trains on them to runs/tiny; return its path."""
    rng = np.random.default_rng(1)
    files = []
    for name in NAMES:
        image = np.uint8(255 * noise_texture(rng, (60, 80), grain_px=6))
        cv2.imwrite(str(folder / f"{name}.png"), image)
        files.append(str(folder / f"{name}.png"))
    config = folder / "tiny.toml"
    listed = "[" + ", ".join(f'"{Path(file).as_posix()}"' for file in files) + "]"
    output = (folder / "run").as_posix()
    config.write_text(TEXT.format(output=output, files=listed), encoding="utf-8")
    return config
