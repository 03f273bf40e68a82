"""The surfaces of a scene, painted from a seed: cloth with folds and patterns, and the wall.

What is drawn does not depend on the picture's size: waves and boxes are placed in picture heights.
"""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

from dvskit.scenes.person.look import Look

Image = NDArray[np.float32]

_TEXTURE = 128  # texels of a cloth, each way; a power of 2, 160 texels a metre


def smooth_noise(rng: np.random.Generator, grain: tuple[float, float]) -> Image:
    """Return (128, 128) smooth noise that repeats, of deviation 1; grain in texels down, across."""
    side = _TEXTURE
    noise = np.fft.rfft2(rng.standard_normal((side, side)))
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    noise *= np.exp(-0.5 * (2 * pi) ** 2 * ((down * grain[0]) ** 2 + (across * grain[1]) ** 2))
    noise[0, 0] = 0
    field = np.fft.irfft2(noise, (side, side))
    return np.asarray(field / (field.std() + 1e-12), np.float32)


def cloths(look: Look) -> Image:
    """Return the textures (3, 128, 128) of the shirt's body, its sleeves and the trousers."""
    rng = np.random.default_rng((look.seed, 3))
    folds = [
        0.7 * smooth_noise(rng, grain) + 0.5 * smooth_noise(rng, (2.0, 2.0))
        for grain in ((9.0, 4.0), (4.0, 7.0), (9.0, 4.0))
    ]
    pattern = _pattern(look, rng)
    sleeve = np.zeros_like(pattern) if look.pattern == "print" else pattern
    made = [look.folds * folds[0] + pattern, look.folds * folds[1] + sleeve, look.folds * folds[2]]
    return np.clip(np.stack(made), -0.85, 2.0).astype(np.float32)


def _pattern(look: Look, rng: np.random.Generator) -> Image:
    across, down = np.meshgrid(np.arange(_TEXTURE), np.arange(_TEXTURE))
    count = int(rng.integers(5, 18))
    duty = rng.uniform(-0.6, 0.6)

    def edge(wave: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(3 * (wave - duty), -1, 1)

    rows = edge(np.sin(2 * pi * count * down / _TEXTURE))
    columns = edge(np.sin(2 * pi * count * across / _TEXTURE))
    if look.pattern == "stripes":
        drawn = columns
    elif look.pattern == "bands":
        drawn = rows
    elif look.pattern == "checks":
        drawn = 0.5 * (rows + columns)
    elif look.pattern == "dots":
        drawn = np.clip(4 * (rows + columns) - 5, -1, 1)
    elif look.pattern == "print":
        drawn = _print(rng, across, down)
    else:
        drawn = np.zeros((_TEXTURE, _TEXTURE))
    return np.asarray(look.pattern_contrast * drawn, np.float32)


def _print(
    rng: np.random.Generator, across: NDArray[np.int64], down: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return a picture printed on the chest: blobs and lines of letters within a rectangle."""
    x = (across + _TEXTURE // 2) % _TEXTURE - _TEXTURE / 2  # texel 0 lies on the breastbone
    wide, high, top = rng.uniform(8, 18), rng.uniform(5, 16), rng.uniform(18, 34)
    inside = np.clip(wide - abs(x), 0, 1) * np.clip(high - abs(down - top - high), 0, 1)
    marks = np.sign(smooth_noise(rng, (1.5, 2.0)) + rng.uniform(-0.5, 0.5))
    return np.asarray(inside * marks * rng.choice([-1.0, 1.0]))


def backdrop(look: Look, height: int, width: int) -> Image:
    """Return the wall (height, width) as bright as it is; the same for a seed at every size."""
    rng = np.random.default_rng((look.seed, 4))
    x = (np.arange(width) + 0.5 - width / 2)[None, :] / height
    y = (np.arange(height) + 0.5)[:, None] / height
    tone = np.ones((height, width))
    for _ in range(14):
        cycles = rng.uniform(0.5, 3) ** 2
        turn, phase = rng.uniform(0, 2 * pi), rng.uniform(0, 2 * pi)
        wave = np.cos(2 * pi * cycles * (x * cos(turn) + y * sin(turn)) + phase)
        tone += 0.35 * look.wall_contrast * wave / cycles**0.3
    tone *= _wall_pattern(look, rng, x, y)
    slope = rng.normal(0, 0.18, 2)
    tone *= np.exp(slope[0] * x + slope[1] * (y - 0.5))
    return np.clip(look.bright * look.wall * tone, 0.004, 1.0).astype(np.float32)


def _box(
    x: NDArray[np.float64], y: NDArray[np.float64], box: tuple[float, float, float, float]
) -> NDArray[np.float64]:
    """Return 1 inside a box (left, top, right, bottom), 0 outside, with edges a pixel wide."""
    step = y[1, 0] - y[0, 0] if len(y) > 1 else 1.0
    across = np.clip(np.minimum(x - box[0], box[2] - x) / step + 0.5, 0, 1)
    return np.asarray(across * np.clip(np.minimum(y - box[1], box[3] - y) / step + 0.5, 0, 1))


def _wall_pattern(
    look: Look, rng: np.random.Generator, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    u, depth = rng.uniform, 2.5 * look.wall_contrast + 0.05
    drawn = np.ones(np.broadcast_shapes(x.shape, y.shape))
    if look.walls == "panels":
        for edge in np.arange(-1.5 + u(0, 0.4), 1.5, u(0.25, 0.6)):
            drawn -= depth * _box(x, y, (edge, -1, edge + u(0.006, 0.02), 2))
    elif look.walls == "bricks":
        step = u(0.05, 0.12)
        for row in range(int(1 / step) + 1):
            drawn -= depth * _box(x, y, (-9, row * step, 9, row * step + 0.008))
            for edge in np.arange(-1.5 + (row % 2) * step, 1.5, 2 * step):
                drawn -= depth * _box(x, y, (edge, row * step, edge + 0.008, (row + 1) * step))
    elif look.walls == "curtain":
        drawn += depth * np.sin(2 * pi * (u(4, 14) * x + 0.3 * np.sin(u(2, 6) * x + u(0, 6))))
    elif look.walls == "room":
        for _ in range(int(rng.integers(1, 6))):
            left, top, wide, high = u(-0.7, 0.5), u(-0.2, 0.9), u(0.05, 0.6), u(0.05, 0.7)
            box = (left, top, left + wide, top + high)
            rim = tuple(np.add(box, np.multiply(0.015, (1, 1, -1, -1))))
            tone, frame = np.exp(rng.normal(0, 0.5, 2))
            drawn += (drawn * frame - drawn) * _box(x, y, box)
            drawn += (drawn * tone / frame - drawn) * _box(x, y, rim)
    return np.maximum(drawn, 0.05)
