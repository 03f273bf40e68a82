"""A folder in the very layout of the event-camera dataset (Mueggler et al. 2017), drawn.

The data set's zip files hold events.txt (`0.003811000 96 133 0`, or `1468941032.229165635 128 154
1`), images.txt (`1468941032.255472635 images/frame_00000000.png`), images/, imu.txt (t ax ay az gx
gy gz), calib.txt (fx fy cx cy k1 k2 p1 p2 k3) and groundtruth.txt (t px py pz qx qy qz qw).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

import dvskit
from dvskit import Events

WIDTH, HEIGHT = 120, 90
CALIBRATION = (
    "199.092366542 198.82882047 132.192071378 110.712660011 "
    "-0.368436311798 0.150947243557 -0.000296130534385 -0.000759431726241 0.0\n"
)
FRAMES_EVERY_NS = 44_065_000  # about 22.7 a second, as a DAVIS240C gives them
EVENTS_EVERY_US = 5_000
SPAN_US = 600_000


def view(t_us: int) -> np.ndarray:
    """What is seen at a time: (90, 120) uint8, a texture that moves."""
    x, y = 60e-6 * t_us, 25e-6 * t_us
    turn = np.array([[1, 0, x], [0, 1, y]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(_texture(), turn, (WIDTH, HEIGHT), flags=flags)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


@lru_cache
def _texture() -> np.ndarray:
    noise = np.random.default_rng(4).standard_normal((150, 180)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return 5 + 245 * (smooth - smooth.min()) / np.ptp(smooth)


@lru_cache
def events() -> Events:
    """What a sensor makes of `view`, from 0 on."""
    clip = [(t_us, view(t_us)) for t_us in range(0, SPAN_US + 1, EVENTS_EVERY_US)]
    source = dvskit.emulate(clip, dvskit.EmulatorParams(threshold_on=0.2, threshold_off=0.2))
    return Events.concatenate(list(source))


def image_times_us(origin_us: int = 0) -> list[int]:
    """When the images are taken: to the nearest microsecond of what images.txt says."""
    return [
        origin_us + (ns + 500) // 1000 for ns in range(3_811_400, SPAN_US * 1000, FRAMES_EVERY_NS)
    ]


def seconds(ns: int) -> str:
    """Nanoseconds as the data set writes them."""
    return f"{ns // 10**9}.{ns % 10**9:09}"


def write_folder(folder: Path, origin_us: int = 0) -> Path:
    """Write all files; times begin at `origin_us`."""
    (folder / "images").mkdir(parents=True)
    origin = 1000 * origin_us
    seen = events()
    rows = zip(seen.t.tolist(), seen.x.tolist(), seen.y.tolist(), seen.p.tolist(), strict=True)
    with (folder / "events.txt").open("w") as file:
        file.writelines(f"{seconds(origin + 1000 * t)} {x} {y} {p:d}\n" for t, x, y, p in rows)
    lines = []
    for number, ns in enumerate(range(3_811_400, SPAN_US * 1000, FRAMES_EVERY_NS)):
        name = f"images/frame_{number:08}.png"
        cv2.imwrite(str(folder / name), view(round(ns / 1000)))
        lines.append(f"{seconds(origin + ns)} {name}\n")
    (folder / "images.txt").write_text("".join(lines))
    (folder / "imu.txt").write_text(
        "".join(
            f"{seconds(origin + ns)} 0.980665 -9.80665 0.0 3.141592653589793 0.0 -1.5\n"
            for ns in range(1_000_500, SPAN_US * 1000, 1_000_000)
        )
    )
    (folder / "calib.txt").write_text(CALIBRATION)
    (folder / "groundtruth.txt").write_text(
        "".join(
            f"{seconds(origin + ns)} 0.1 -0.2 0.3 0.0 0.0 0.0 1.0\n"
            for ns in range(0, SPAN_US * 1000, 5_000_000)
        )
    )
    return folder
