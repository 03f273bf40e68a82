"""Images moved as N-MNIST's camera moved, seen by the emulator."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.emulator import Emulator, EmulatorParams
from dvskit.events import Events, Size

# Where a digit stands (px from the centre) before, between and after the three saccades, and when
# each is fastest: from a least-squares fit of image gradients to N-MNIST recordings.
_STATIONS = np.array([(-3.0, -2.0), (-1.0, 3.5), (3.0, -2.0), (-2.5, -2.0)])
_FASTEST_MS = (43.0, 145.0, 258.0)
_WIDTH_MS = (12.0, 14.0, 14.0)
_FRAME_MS = 4
_FRAMES = 79
_PEDESTAL = 0.15  # black on a screen is not dark: the log of intensity needs a floor


def emulate_saccades(image: NDArray[np.uint8], size: Size, seed: tuple[int, ...]) -> Events:
    """Return the events of a gray image (h, w) on a sensor of `size`, moved along three saccades.

    Position, path, turn, zoom, contrast thresholds and background noise vary with `seed`.
    """
    rng = np.random.default_rng(seed)
    threshold = rng.uniform(0.22, 0.42)
    balance = rng.uniform(0.9, 1.1)
    params = EmulatorParams(
        threshold_on=threshold * balance, threshold_off=threshold / balance, linear_below=1.5
    )
    run = Emulator(params).start(size)
    angle, scale = rng.normal(0, 0.06), rng.uniform(0.92, 1.06)
    picture = image.astype(np.float32) / 255
    blocks = []
    for number, (dx, dy) in enumerate(_path(rng)):
        frame = _place(picture, size, angle, scale, dx, dy)
        blocks.append(run.step(number * _FRAME_MS * 1000, frame))
    return _with_noise(Events.concatenate(blocks), rng)


def _path(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the offset (dx, dy) of each frame: smooth steps from station to station."""
    ms = np.arange(_FRAMES) * _FRAME_MS
    stations = _STATIONS + rng.normal(0, 0.35, _STATIONS.shape)
    path = np.repeat(stations[:1], _FRAMES, axis=0)
    for k, (fastest, width) in enumerate(zip(_FASTEST_MS, _WIDTH_MS, strict=True)):
        done = 1 / (1 + np.exp(-(ms - fastest) / width))
        path += done[:, None] * (stations[k + 1] - stations[k])
    return path


def _place(
    picture: NDArray[Any], size: Size, angle: float, scale: float, dx: float, dy: float
) -> NDArray[Any]:
    """Return the picture turned, zoomed and put at (dx, dy) from the sensor's centre."""
    across, along = scale * np.cos(angle), scale * np.sin(angle)
    rows, columns = picture.shape
    cx, cy = (columns - 1) / 2, (rows - 1) / 2
    to_x = (size.width - 1) / 2 + dx - across * cx + along * cy
    to_y = (size.height - 1) / 2 + dy - along * cx - across * cy
    matrix = np.array([(across, -along, to_x), (along, across, to_y)])
    moved = cv2.GaussianBlur(cv2.warpAffine(picture, matrix, tuple(size)), (0, 0), 0.7)
    frame = (np.clip(moved, 0, 1) + _PEDESTAL) / (1 + _PEDESTAL)
    return frame.astype(np.float32)


def _with_noise(events: Events, rng: np.random.Generator) -> Events:
    """Return the events and up to 250 more at random places and times, as a real pixel gives."""
    count = int(rng.integers(30, 250))
    stop = _FRAMES * _FRAME_MS * 1000
    t = np.concatenate([events.t, rng.integers(0, stop, count)])
    order = np.argsort(t, kind="stable")
    width, height = events.size
    return Events(
        t=t[order],
        x=np.concatenate([events.x, rng.integers(0, width, count)])[order],
        y=np.concatenate([events.y, rng.integers(0, height, count)])[order],
        p=np.concatenate([events.p, rng.integers(0, 2, count).astype(bool)])[order],
        size=events.size,
    )
