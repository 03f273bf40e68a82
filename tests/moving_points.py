"""Events of points that move by a known motion."""

from __future__ import annotations

import numpy as np

from dvskit.events import Events
from dvskit.scenes.planes import rotation_of
from dvskit.streams import Intrinsics

SIZE = (120, 90)
LENS = Intrinsics(100, 100, 59.5, 44.5, 0, 0, 0, 0, 0)
BARREL = LENS._replace(k1=-0.3, k2=0.1)
MOTIONS = {
    "translation": (400.0, -300.0),
    "rotation": (2.0, -3.0, 4.0),
    "similarity": (200.0, 100.0, 3.0, -4.0),
}


def moving_points(
    model: str,
    motion: tuple[float, ...],
    *,
    duration_us: int = 20_000,
    count: int = 6_000,
    seed: int = 0,
    camera: Intrinsics = LENS,
    start_us: int = 0,
) -> Events:
    """Return events of 150 points, ON or OFF, around the sensor, that are at their places halfway.

    model   "translation" (px/s), "rotation" (rad/s) or "similarity" (px/s, rad/s, 1/s)
    """
    rng = np.random.default_rng(seed)
    width, height = SIZE
    which = rng.integers(0, 150, count)
    x, y = (rng.uniform(-0.3 * side, 1.3 * side, 150)[which] for side in SIZE)
    t = np.sort(rng.integers(0, duration_us, count))
    s = (t - duration_us / 2) * 1e-6
    if model == "translation":
        x, y = x + s * motion[0], y + s * motion[1]
    elif model == "similarity":
        turned = ((x - 59.5) + 1j * (y - 44.5)) * np.exp((motion[3] + 1j * motion[2]) * s)
        moved = turned + s * (motion[0] + 1j * motion[1])
        x, y = moved.real + 59.5, moved.imag + 44.5
    else:
        rays = np.stack([*camera.directions(x, y)[:2], np.ones(count)], 1)
        turns = np.array([rotation_of(-each * np.array(motion)) for each in s])
        seen = np.einsum("nij,nj->ni", turns, rays)
        x, y = camera.pixels(seen[:, 0] / seen[:, 2], seen[:, 1] / seen[:, 2])
    x, y = np.round(x), np.round(y)
    keep = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return Events(t=t[keep] + start_us, x=x[keep].astype(int), y=y[keep].astype(int),
                  p=(which % 2 == 0)[keep], size=SIZE)  # fmt: skip
