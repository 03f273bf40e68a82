"""Loops of v2e's pixel. Arrays are flat and of a frame slice's length unless stated otherwise.

Log intensity is in e-folds, time in seconds. Levels, low-pass, references and thresholds are of one
type: float32, as in v2e, or float64 with a low-pass, as in v2e too.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit._random_kernels import normal, uniform
from dvskit.emulator.level_kernels import MARK_NOISE, MARK_ON, MARK_PIXEL, Marked

Array = NDArray[Any]


class V2eSensor(NamedTuple):
    """Parameters of the sensor, see EmulatorParams; all float but the seed."""

    c_on: float
    c_off: float
    sigma: float
    spread: float
    cutoff_hz: float
    leak_hz: float
    jitter: float
    refractory_us: float
    seed: int


class V2eState(NamedTuple):
    """The pixels, (n,): low-pass, reference, thresholds, factor of the leak, time of the last event
    in us, and the number of events of the current frame, negative for OFF.
    """

    lp: Array
    base: Array
    on: Array
    off: Array
    factor: Array
    latest_us: Array
    counts: Array

    def part(self, at: slice) -> V2eState:
        """Return a slice of the pixels, as views."""
        return V2eState(*(each[at] for each in self))


# Plain tuples: a named tuple takes 2 us more per call.
Frame = tuple[Array, Array, int, int]
"""Levels and light, (I + 20) / 275, of a slice of pixels, its first pixel, the frame's number."""
Steps = tuple[int, int, int, float]
"""Number of steps in an interval, its length and start in us, and rate * dt / 2 of shots."""


R_ON, R_OFF, R_LEAK, R_JITTER, R_SHOT = range(11, 16)


@njit(cache=True, nogil=True)
def start(first: int, sensor: V2eSensor, state: V2eState) -> None:
    """Draw the thresholds and leak factors of a slice of pixels."""
    seed, on, off, factor = sensor.seed, state.on, state.off, state.factor
    for i in range(on.size):
        k = first + i
        on[i] = max(0.01, sensor.c_on + sensor.sigma * normal(seed, R_ON, k, 0))
        off[i] = max(0.01, sensor.c_off + sensor.sigma * normal(seed, R_OFF, k, 0))
        factor[i] = 10.0 ** (sensor.spread * normal(seed, R_LEAK, k, 0))


@njit(cache=True, nogil=True)
def step(seen: Frame, dt: float, sensor: V2eSensor, state: V2eState) -> int:
    """Move a slice of pixels to the next frame. Fills the counts; returns the largest."""
    level, light, first, frame = seen
    lp, base, on, off, factor, _, counts = state
    cutoff_hz, leak_hz, jitter = sensor.cutoff_hz, sensor.leak_hz, sensor.jitter
    most = 0
    for i in range(level.size):
        if cutoff_hz > 0.0:
            share = min(1.0, light[i] * dt * 2.0 * math.pi * cutoff_hz)
            lp[i] = (1.0 - share) * lp[i] + share * level[i]
        else:
            lp[i] = level[i]
        if leak_hz > 0.0:
            rate = leak_hz * factor[i]
            if jitter > 0.0:
                rate *= 1.0 - jitter * normal(sensor.seed, R_JITTER, first + i, frame)
            base[i] -= dt * rate * on[i]
        difference = lp[i] - base[i]
        # Ties are common, as in repeated scenes: v2e's arithmetic decides them.
        count = 0
        if difference > 0:
            count = int(difference // on[i])
        elif difference < 0:
            count = -int(-difference // off[i])
        counts[i] = count
        most = max(most, abs(count))
    return most


@njit(cache=True, nogil=True)
def emit(seen: Frame, within: Steps, sensor: V2eSensor, state: V2eState, events: Marked) -> int:
    """Write the events of a slice of pixels; return their number, limited by the room.

    The i-th event of each pixel is at the end of step i of the interval.
    """
    _, light, first, frame = seen
    (steps, interval_us, now_us, shot), (times, marks) = within, events
    lp, base, on, off, _, latest_us, counts = state
    n = 0
    step_us = interval_us / max(1, steps)
    held = sensor.refractory_us > step_us
    for i in range(counts.size):
        count = counts[i]
        rise = count > 0
        kept = 0
        for j in range(abs(count)):
            at = step_us * (j + 1)
            if held:
                if now_us + at - latest_us[i] <= sensor.refractory_us:
                    continue
                latest_us[i] = now_us + at
            times[n] = np.int32(math.floor(at + 0.5))
            marks[n] = (np.int64(first + i) << MARK_PIXEL) | (MARK_ON if rise else 0)
            n += 1
            kept += 1
        # Numbers of thresholds are float32 in v2e, for any type of reference.
        if rise:
            base[i] += np.float32(kept) * np.float32(on[i])
        else:
            base[i] -= np.float32(kept) * np.float32(off[i])
        if shot > 0.0:
            # One number decides both: v2e's noise is ON or OFF in a frame, hardly ever both.
            drawn = uniform(sensor.seed, R_SHOT, first + i, frame)
            chance = shot * (1.0 - 0.75 * light[i])
            for polarity in range(2):
                if polarity == 1:
                    strikes = drawn > 1.0 - chance * sensor.c_on / on[i]
                else:
                    strikes = drawn < chance * sensor.c_off / off[i]
                if strikes:
                    times[n] = interval_us
                    marks[n] = (np.int64(first + i) << MARK_PIXEL) | MARK_NOISE | polarity
                    n += 1
                    base[i] = lp[i]
    return n
