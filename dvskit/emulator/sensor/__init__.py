"""One pass over a clip through a sensor that is not ideal.

The pixel model has low-pass, mismatch, leak, noise, refractory period and latency.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._random_kernels import uniforms
from dvskit._threads import run_parts
from dvskit.emulator.levels import UNIT, Crossings, Ordering, lights, log_map, parts_of, to_units
from dvskit.emulator.params import EmulatorParams
from dvskit.emulator.sensor.firing_kernels import Lanes
from dvskit.emulator.sensor.noise_kernels import fill_soonest, start_pixels, weigh_noise
from dvskit.emulator.sensor.pixels import (
    RESUME,
    TILE,
    TOGETHER,
    Hits,
    Pixels,
    Scratch,
    SensorModel,
    Tables,
    Weights,
)
from dvskit.emulator.sensor.signal_kernels import fill_poles
from dvskit.emulator.sensor.tile_kernels import advance_tiles
from dvskit.events import Size

_ROOM = 1 << 14  # initial room for events per thread
_ROOM_HITS = 1 << 12  # initial room for noise events of a tile
_HOT, _DEAD = 101, 102  # streams of random numbers
_DEAD_THRESHOLD = 1e30
_SHOT_SLOPE = 0.75  # decrease of v2e's shot noise from the dark to white


class _Part:
    """Pixels that one thread moves at a time, and its outputs."""

    def __init__(self, pixels: Pixels, weights: Weights, part: slice) -> None:
        self.slice = part
        self.pixels = pixels.part(part.start, part.stop)
        self.weights = weights.part(part.start, part.stop)
        self.tiles = -(-(part.stop - part.start) // TILE)
        self.times = np.empty(_ROOM, np.int32)
        self.marks = np.empty(_ROOM, np.int64)
        self.count = 0
        self.hits = Hits.of(_ROOM_HITS)
        self.scratch = Scratch.of()
        self.lanes = Lanes.of()

    def grow(self) -> None:
        """Double the room for events."""
        self.times = np.concatenate([self.times, np.empty_like(self.times)])
        self.marks = np.concatenate([self.marks, np.empty_like(self.marks)])


class SensorPixels:
    """The pixels of a sensor, from frame to frame.

    The events of a run depend on the parameters, the seed and the frames, but not on the number of
    threads or the start time of the clip.
    """

    def __init__(self, params: EmulatorParams, size: Size, seed: int, threads: int) -> None:
        self.params, self.size, self.seed, self._threads = params, size, seed, threads
        self._model = model_of(params, seed)
        self._follower = True if params.follower_hz > 0 else None

    def begin(self, codes: NDArray[Any], table: NDArray[np.int32]) -> None:
        """Take the first frame: every pixel has seen it forever."""
        size = codes.size
        light = lights(table / UNIT, self.params)
        self._tables = Tables(table.astype(np.float64), light, *np.zeros((3, table.size)))
        self._interval_us = 0  # of the tables
        self._before = codes.copy()
        self._now = 0.0
        self._frame = 0
        self._ordering = Ordering()
        self.pixels = Pixels.of(size, follower=self.params.follower_hz > 0)
        weights = Weights.of(size if self._model.shot else 0)
        levels = self._tables.level[codes] if table.size else codes.astype(np.float64)
        parts = parts_of(size, self._threads, TOGETHER * TILE)
        self._parts = [_Part(self.pixels, weights, part) for part in parts]

        def start(number: int) -> None:
            part = self._parts[number]
            start_pixels(
                levels[part.slice], part.slice.start, self._model,
                to_units(self.params.threshold_sigma), self.params.leak_spread, part.pixels,
            )  # fmt: skip

        run_parts(start, len(self._parts))
        self._hot = self._choose(_HOT, self.params.hot_fraction)
        dead = self._choose(_DEAD, self.params.dead_fraction)
        self.pixels.on[dead] = self.pixels.off[dead] = _DEAD_THRESHOLD
        self.pixels.leak[dead] = self.pixels.factor[dead] = 0.0
        self._hot = np.setdiff1d(self._hot, dead)
        for part in self._parts:
            fill_soonest(self.params.leak_jitter, part.pixels)
        if self._model.shot:
            run_parts(self._weigh, len(self._parts))

    def _weigh(self, number: int) -> None:
        part = self._parts[number]
        weigh_noise(part.pixels.on, part.pixels.off, self._model, *part.weights)

    def _choose(self, stream: int, fraction: float) -> NDArray[np.int64]:
        """Return pixels drawn at random, each with probability `fraction`, sorted."""
        if fraction <= 0:
            return np.empty(0, np.int64)
        drawn = np.empty(self.size.width * self.size.height)
        uniforms(self.seed, stream, 0, drawn)
        return np.flatnonzero(drawn < fraction)

    def advance(self, codes: NDArray[Any], start_us: int, interval_us: int) -> Crossings:
        """Return the crossings up to the next frame."""
        if not codes.flags.writeable:
            codes = codes.copy()  # the loops are compiled for arrays that may be written
        start, stop = self._now, self._now + interval_us
        tables = self._tables
        if interval_us != self._interval_us and self.params.cutoff_hz:
            fill_poles(
                tables.light, self._model, float(interval_us), tables.tau, tables.lag, tables.kept
            )
            self._interval_us = interval_us
        run_parts(
            lambda number: self._advance(self._parts[number], codes, start, stop),
            len(self._parts), self._threads,
        )  # fmt: skip
        self._now = stop
        self._frame += 1
        return Crossings(
            self.size,
            start_us,
            interval_us,
            [part.times[: part.count] for part in self._parts],
            [part.marks[: part.count] for part in self._parts],
            by_pixel=False,
            ordering=self._ordering,
        )

    def _advance(self, part: _Part, codes: NDArray[Any], start: float, stop: float) -> None:
        resume = np.zeros(RESUME, np.int64)
        part.count = 0
        while resume[0] < part.tiles:
            room = part.times[part.count :], part.marks[part.count :]
            part.count += advance_tiles(
                (part.slice.start, self._frame, start, stop),
                (self._before[part.slice], codes[part.slice]),
                (self._tables, self._model, part.pixels),
                (self._hot, part.weights),
                (part.hits, part.scratch, part.lanes, resume, room),
                self._follower,
            )
            if resume[1] < 0:
                part.hits = part.hits.grown()
            elif resume[0] < part.tiles:
                part.grow()
        # A copy, because the caller may reuse the buffer for the next frame.
        np.copyto(self._before[part.slice], codes[part.slice])


def shot_law(params: EmulatorParams) -> tuple[float, tuple[float, float, float]]:
    """Return the most shot events per second of a pixel, and their share s by its light l.

    v2e's shot_hz falls with the light: s = scale (1 - fall l), as rise = -1 says. The noise of the
    photoreceptor reaches a threshold at the rate of a Gaussian signal (Rice 1944) of its bandwidth
    f, about 2 f exp(-threshold^2 / (4 sigma^2)), as a pixel differs from its noise at the last
    event. In the dark f grows with the light, and sigma is constant; once the follower limits f,
    sigma^2 falls as 1 / l (Graca and Delbruck 2021): s = scale l / (l + rise) exp(-fall l).
    """
    if params.shot_hz or not params.noise_sigma:
        most = 1.0 - _SHOT_SLOPE * params.dark / (255.0 + params.dark)
        return params.shot_hz * most, (-1.0, _SHOT_SLOPE, 1.0 / most)
    rise = params.follower_hz / params.cutoff_hz
    needed = 0.5 * (params.threshold_on + params.threshold_off) / (2 * params.noise_sigma)
    fall = needed * needed / rise
    peak = 0.5 * rise * (math.sqrt(1.0 + 4.0 / (rise * fall)) - 1.0)
    share = peak / (peak + rise) * math.exp(-fall * peak)
    most = 2.0 * params.follower_hz * math.exp(-needed * needed) * share
    return most, (rise, fall, 1.0 / share)


def model_of(params: EmulatorParams, seed: int) -> SensorModel:
    """Return the sensor's parameters as kernel arguments."""
    shot, law = shot_law(params)
    return SensorModel(
        pole=1e6 / (2 * math.pi * params.cutoff_hz) if params.cutoff_hz > 0 else 0.0,
        tau2=1e6 / (2 * math.pi * params.follower_hz) if params.follower_hz > 0 else 0.0,
        refractory=float(params.refractory_us),
        jitter=float(params.leak_jitter),
        shot=shot * 1e-6,
        law=law,
        dark=float(params.dark),
        leak=params.leak_hz * 1e-6,
        on=float(to_units(params.threshold_on)),
        off=float(to_units(params.threshold_off)),
        hot=params.hot_hz * 1e-6,
        log_map=log_map(params),
        seed=seed,
    )
