"""Loops that draw what differs from pixel to pixel."""

from __future__ import annotations

import math
from typing import Any

from numba import njit
from numpy.typing import NDArray

from dvskit.emulator.random._kernels import normal, uniform
from dvskit.emulator.sensor.firing._kernels import jittered
from dvskit.emulator.sensor.pixels import BLOCK, NEVER, Pixels
from dvskit.emulator.sensor.signal._kernels import M_JITTER, M_LEAK, M_OFF, M_ON, UNIT

Array = NDArray[Any]

R_ON, R_OFF, R_LEAK, R_PHASE = range(1, 5)  # streams of random numbers
_LEAST = 0.01 * UNIT  # threshold
_WORST_JITTER = math.sqrt(3.0)  # of a uniform random number, in standard deviations


@njit(cache=True, nogil=True)
def start_pixels(
    levels: Array, first: int, model: Array, sigma: float, spread: float, seed: int,
    pixels: Pixels,
) -> None:  # fmt: skip
    """Set up a slice of pixels, of which `first` is the first, that see `levels` for all time.

    Thresholds and leaks are drawn; a pixel that leaks begins anywhere on its way to a leak event.
    """
    for i in range(levels.size):
        k = first + i
        on, off = model[M_ON], model[M_OFF]
        if sigma > 0.0:
            on = max(_LEAST, math.floor(on + sigma * normal(seed, R_ON, k, 0) + 0.5))
            off = max(_LEAST, math.floor(off + sigma * normal(seed, R_OFF, k, 0) + 0.5))
        rate = model[M_LEAK] * on
        if spread > 0.0:
            rate *= 10.0 ** (spread * normal(seed, R_LEAK, k, 0))
        pixels.on[i], pixels.off[i], pixels.factor[i] = on, off, rate
        pixels.leak[i] = jittered(rate, model[M_JITTER], seed, k, 0.0)
        pixels.ref[i] = levels[i]
        if rate > 0.0:
            gone = uniform(seed, R_PHASE, k, 0) * pixels.on[i]
            pixels.begun[i] = -gone / pixels.leak[i]


@njit(cache=True, nogil=True)
def fill_soonest(jitter: float, pixels: Pixels) -> None:
    """Fill the times that leaks take at least, of each block."""
    for block in range(pixels.soonest.size):
        least = NEVER
        for i in range(block * BLOCK, min(pixels.on.size, (block + 1) * BLOCK)):
            if pixels.factor[i] > 0.0:
                most = pixels.factor[i] * (1.0 + _WORST_JITTER * jitter)
                least = min(least, pixels.on[i] / most)
        pixels.soonest[block] = least
