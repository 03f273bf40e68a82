"""Images shown and moved as in N-MNIST, seen by the emulator.

The numbers of NOMINAL: `tests/benchmarks/saccades.py` maximized the mean correlation of single
N-MNIST recordings (10 ms bins) with the emulation of the same digit, on 50 recordings; both
thresholds were then raised by 4 % to match the number of events. On 300 other recordings the
correlation is 0.762 +- 0.002, and 0.949 between the means of 100 digits. There are 5 % more events
than in real recordings and 3 % more active pixels. Real saccades begin and end more abruptly, with
small motions between them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit.emulator import Emulator, EmulatorParams
from dvskit.events import Events, Size

_STOP_MS = 316
_FRAME_MS = 4  # the mean correlation with recordings is the same at 1 ms, to 0.002
_FINE = 4  # parts of a pixel: the scale at which the picture is blurred and moved
_MARGIN = 4  # pixels of background around the picture, for its blur


@dataclass(frozen=True, slots=True, kw_only=True)
class Saccades:
    """The display of an image, its motion on the sensor, and the sensor's parameters.

    The screen shows the image inverted, a dark digit on white: the arriving edge gives OFF events.
    The background is ON in 28 events of 29, like the leak of a pixel (Nozaki and Delbruck 2017).

    stations_px   (x, y) of the picture's center from the sensor's center, before, between and after
                  the three saccades, x to the right and y down
    fastest_ms    time at which each saccade is halfway and fastest
    width_ms      of each; at time t after that it has gone 1 / (1 + exp(-t / width)) of its way
    turn_rad, scale  of the picture, about its center; scale in sensor pixels per picture pixel
    blur_px       standard deviation of the lens's blur, on the sensor
    gamma         the screen's light is (1 - gray)^gamma + pedestal; a digit's stroke is gray 1
    pedestal      light of a black screen, as a fraction of the light that white adds
    threshold_on, threshold_off, leak_hz  see EmulatorParams

        saccades = dvskit.datasets.Saccades(threshold_on=0.4, threshold_off=0.4)
        image = dvskit.datasets.open_images("images").image(0)
        events = dvskit.datasets.emulate_moved(image, (34, 34), saccades)
    """

    stations_px: tuple[tuple[float, float], ...] = (
        (-3.51, -1.70), (-0.96, 4.73), (2.94, -1.67), (-2.66, -1.66),
    )  # fmt: skip
    fastest_ms: tuple[float, ...] = (48.9, 145.7, 255.8)
    width_ms: tuple[float, ...] = (12.9, 14.1, 11.8)
    turn_rad: float = 0.016
    scale: float = 1.015
    blur_px: float = 0.54
    gamma: float = 2.12
    pedestal: float = 0.018
    threshold_on: float = 0.625
    threshold_off: float = 0.55
    leak_hz: float = 0.37


NOMINAL = Saccades()


def emulate_saccades(image: NDArray[np.uint8], size: Size, seed: tuple[int, ...]) -> Events:
    """Return the events of a gray image (h, w) on a sensor of `size`, moved along three saccades.

    Position, path, turn, zoom, blur, contrast, thresholds and background are drawn from `seed`.

        image = dvskit.datasets.open_images("images").image(0)  # (28, 28) uint8
        events = dvskit.datasets.emulate_saccades(image, (34, 34), seed=(1, 0))
    """
    return emulate_varied(image, size, NOMINAL, np.random.default_rng(seed))


def emulate_varied(
    image: NDArray[np.uint8], size: Size, saccades: Saccades, rng: np.random.Generator
) -> Events:
    """Return the events of a gray image (h, w), moved with a variation of `saccades`."""
    drawn = vary(saccades, rng)
    return emulate_moved(image, size, drawn, seed=int(rng.integers(1 << 62)))


def vary(saccades: Saccades, rng: np.random.Generator) -> Saccades:
    """Return `saccades` varied like another camera, lens, screen and trial."""
    threshold, balance = _times(rng, 0.8, 1.25), _times(rng, 0.9, 1.1)
    moved = np.array(saccades.stations_px) + rng.normal(0, 0.3, (len(saccades.stations_px), 2))
    return replace(
        saccades,
        stations_px=tuple((x, y) for x, y in moved.tolist()),
        turn_rad=saccades.turn_rad + rng.uniform(-0.05, 0.05),
        scale=saccades.scale * rng.uniform(0.94, 1.06),
        blur_px=saccades.blur_px * _times(rng, 0.6, 1.5),
        pedestal=saccades.pedestal * _times(rng, 0.7, 1.4),
        threshold_on=saccades.threshold_on * threshold * balance,
        threshold_off=saccades.threshold_off * threshold / balance,
        leak_hz=rng.uniform(0.0, 0.7),
    )


def _times(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a factor from `low` to `high`, log-uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def emulate_moved(
    image: NDArray[np.uint8],
    size: Size,
    saccades: Saccades = NOMINAL,
    *,
    seed: int = 0,
    frame_ms: int = _FRAME_MS,
) -> Events:
    """Return the events of a gray image (h, w) uint8 for exactly these saccades, from time 0 on.

    `seed` determines the times of leak events, the only chance; `frame_ms` is the time between the
    frames that the emulator sees.

        image = dvskit.datasets.open_images("images").image(0)  # (28, 28) uint8
        events = dvskit.datasets.emulate_moved(image, (34, 34))  # about 0.3 s
    """
    size = Size(*size)
    params = EmulatorParams(
        threshold_on=saccades.threshold_on,
        threshold_off=saccades.threshold_off,
        leak_hz=saccades.leak_hz,
        leak_jitter=0.1,
    )
    run = Emulator(params, seed).start(size, threads=1)
    picture = _fine(image, saccades)
    ms = np.arange(0, _STOP_MS, frame_ms)
    blocks = [
        run.step(int(t) * 1000, _show(picture, size, saccades, dx, dy))
        for t, (dx, dy) in zip(ms, _path(saccades, ms), strict=True)
    ]
    return Events.concatenate(blocks)


def _path(saccades: Saccades, ms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the positions (N, 2) of the picture at each time: smooth steps between stations."""
    stations = np.array(saccades.stations_px)
    path = np.repeat(stations[:1], len(ms), axis=0)
    for k, (fastest, width) in enumerate(zip(saccades.fastest_ms, saccades.width_ms, strict=True)):
        done = 1 / (1 + np.exp(-(ms - fastest) / width))
        path += done[:, None] * (stations[k + 1] - stations[k])
    return path


def _fine(image: NDArray[np.uint8], saccades: Saccades) -> NDArray[np.float32]:
    """Return the gray picture, 0..1, enlarged by _FINE with a margin, and blurred."""
    gray = np.pad(image.astype(np.float32) / 255, _MARGIN)
    fine = cv2.resize(gray, None, fx=_FINE, fy=_FINE, interpolation=cv2.INTER_LINEAR)
    sigma = saccades.blur_px / saccades.scale * _FINE
    return np.asarray(cv2.GaussianBlur(fine, (0, 0), sigma), np.float32)


def _show(
    picture: NDArray[np.float32], size: Size, saccades: Saccades, dx: float, dy: float
) -> NDArray[np.float32]:
    """Return the light (H, W), at most 1, of the fine picture with its center at (dx, dy)."""
    across = saccades.scale / _FINE * np.cos(saccades.turn_rad)
    along = saccades.scale / _FINE * np.sin(saccades.turn_rad)
    rows, columns = picture.shape
    cx, cy = (columns - 1) / 2, (rows - 1) / 2
    to_x = (size.width - 1) / 2 + dx - across * cx + along * cy
    to_y = (size.height - 1) / 2 + dy - along * cx - across * cy
    matrix = np.array([(across, -along, to_x), (along, across, to_y)])
    gray = np.clip(cv2.warpAffine(picture, matrix, tuple(size)), 0, 1)
    light = (1 - gray) ** saccades.gamma + saccades.pedestal
    return np.asarray(light / (1 + saccades.pedestal), np.float32)
