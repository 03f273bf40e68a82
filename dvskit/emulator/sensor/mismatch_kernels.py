# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops that draw what differs from pixel to pixel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.emulator.random_kernels import normal, uniform
from dvskit.emulator.sensor.compiled import greater, inner, kernel, spans
from dvskit.emulator.sensor.firing_kernels import jittered
from dvskit.emulator.sensor.noise_kernels import shot_rate
from dvskit.emulator.sensor.pixels import BLOCK, NEVER, Model, Pixels
from dvskit.emulator.sensor.signal_kernels import (
    UNIT,
    relative_light,
)

Array = NDArray[Any]

R_ON, R_OFF, R_LEAK, R_PHASE = (np.int64(k) for k in range(1, 5))  # streams of random numbers
_ONCE = np.int64(0)
_LEAST = 0.01 * UNIT  # threshold
_WORST_JITTER = math.sqrt(3.0)  # of a uniform random number, in standard deviations


@kernel
def start_pixels(
    levels: Array, first: int, model: Model, sigma: float, spread: float, pixels: Pixels
) -> None:
    """Set up a slice of pixels, of which `first` is the first, that see `levels` for all time.

    Thresholds and leaks are drawn. A pixel that leaks begins anywhere on its way to a leak event;
    shot noise has reset many of those that would be far on it.
    """
    levels, pixels = spans(levels), spans(pixels)
    seed = model.seed
    for i in range(levels.size):
        k = first + i
        on, off = model.on, model.off
        if sigma > 0.0:
            on = greater(_LEAST, math.floor(on + sigma * normal(seed, R_ON, k, _ONCE) + 0.5))
            off = greater(_LEAST, math.floor(off + sigma * normal(seed, R_OFF, k, _ONCE) + 0.5))
        rate = model.leak * on
        if spread > 0.0:
            rate *= 10.0 ** (spread * normal(seed, R_LEAK, k, _ONCE))
        pixels.on[i], pixels.off[i], pixels.factor[i] = on, off, rate
        pixels.leak[i] = jittered(rate, model, k, 0.0)
        pixels.ref[i] = levels[i]
        if rate > 0.0:
            period = pixels.on[i] / pixels.leak[i]
            struck = period * shot_rate(relative_light(levels[i], model), on, off, model)
            pixels.begun[i] = -period * _age(uniform(seed, R_PHASE, k, _ONCE), struck)


@inner
def _age(luck: float, struck: float) -> float:
    """Return how long ago, in periods, a pixel was reset that is reset once a period and by noise.

    struck  resets by noise a period. That the last reset was so long ago is as likely as that there
    was no noise since: the age of a renewal process that is stopped at 1.
    """
    if struck < 1e-9:
        return luck
    return -math.log1p(luck * math.expm1(-struck)) / struck


def fill_soonest(jitter: float, pixels: Pixels) -> None:
    """Fill the times that leaks take at least, of each block."""
    # NumPy does it once a pass, as in `weigh_noise`.
    most = pixels.factor * np.float64(1.0 + _WORST_JITTER * jitter)
    takes = np.divide(pixels.on, most, out=np.full(most.size, NEVER), where=most > 0.0)
    pixels.soonest[:] = np.minimum.reduceat(takes, np.arange(0, takes.size, BLOCK))
