"""One pass over a clip through a sensor that is not ideal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts
from dvskit.emulator.crossings import Crossings
from dvskit.emulator.levels import UNIT, lights, map_numbers, to_units
from dvskit.emulator.params import EmulatorParams
from dvskit.emulator.random._kernels import uniforms
from dvskit.emulator.sensor import _kernels as k
from dvskit.events import Size

_NOTHING = np.empty(0, np.float64)
_ROOM = 1 << 14  # events that a thread has room for at first
_HOT, _DEAD = 101, 102  # streams of random numbers
_DEAD_THRESHOLD = 1e30


class _Part:
    """What one thread writes to."""

    def __init__(self, pixels: slice) -> None:
        self.pixels = pixels
        self.times = np.empty(_ROOM, np.int32)
        self.marks = np.empty(_ROOM, np.int64)
        self.count = 0
        self.head = np.full(k.TILE, -1, np.int32)
        self.noisy = np.zeros(k.BLOCKS, np.uint8)
        self.grow_noise(1 << 12)

    def grow_noise(self, room: int) -> None:
        self.link = np.empty(room, np.int32)
        self.noise_t = np.empty(room, np.float64)
        self.noise_on = np.empty(room, np.bool_)


class SensorPixels:
    """The pixels of a sensor, from frame to frame.

    The events of a run depend on the parameters, the seed and the frames: not on the number of
    threads, nor on the time at which the clip begins.
    """

    def __init__(self, params: EmulatorParams, size: Size, seed: int, threads: int) -> None:
        self.params, self.size, self.seed, self._threads = params, size, seed, threads
        self._model = _model(params)

    def begin(self, codes: NDArray[Any], table: NDArray[np.int32]) -> None:
        """Take the first frame: every pixel has seen it for all time."""
        size = codes.size
        self._table = table
        self._lights = lights(table / UNIT, self.params)
        self._poles = np.zeros((3, table.size), np.float64)
        self._before = codes.copy()
        self._now = 0.0
        self._frame = 0
        follower = self.params.follower_hz > 0
        held = self.params.refractory_us > 0
        self._v, self._ref = np.zeros(size), np.zeros(size)
        self._u = np.zeros(size if follower else 0)
        self._on, self._off = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self._leak, self._factor = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self._reset_at = np.zeros(size)
        self._free = np.full(size if held else 0, -k.NEVER)
        self._counts = np.zeros(size if self.params.leak_jitter else 0, np.uint32)
        self._since = np.zeros(-(-size // k.BLOCK))
        self._quiet = np.zeros(-(-size // k.BLOCK))
        self._weights = np.zeros(-(-size // k.TILE))
        levels = (table[codes] if table.size else codes).astype(np.float64)
        tiles = -(-size // k.TILE)
        length = -(-tiles // max(1, min(self._threads, tiles))) * k.TILE
        self._parts = [
            _Part(slice(start, min(start + length, size))) for start in range(0, size, length)
        ]

        def start(number: int) -> None:
            part = self._parts[number].pixels
            k.start_pixels(
                levels[part], part.start, self._model, to_units(self.params.threshold_sigma),
                self.params.leak_spread, self.seed, self._v[part], self._u[part], self._ref[part],
                self._on[part], self._off[part], self._leak[part], self._factor[part],
                self._reset_at[part],
            )  # fmt: skip

        run_parts(start, len(self._parts))
        self._hot = self._choose(_HOT, self.params.hot_fraction)
        dead = self._choose(_DEAD, self.params.dead_fraction)
        self._on[dead] = self._off[dead] = _DEAD_THRESHOLD
        self._leak[dead] = self._factor[dead] = 0.0
        self._hot = np.setdiff1d(self._hot, dead)
        choices = 2 * size if self.params.shot_hz else 0
        self._share, self._alias = np.zeros(choices, np.float32), np.zeros(choices, np.uint16)
        if choices:
            run_parts(self._weigh, len(self._parts))

    def _weigh(self, number: int) -> None:
        part = self._parts[number].pixels
        tiles = slice(part.start // k.TILE, -(-part.stop // k.TILE))
        choices = slice(2 * part.start, 2 * part.stop)
        k.weigh_noise(
            self._on[part], self._off[part], self._model, self._weights[tiles],
            self._share[choices], self._alias[choices],
        )  # fmt: skip

    def _choose(self, stream: int, fraction: float) -> NDArray[np.int64]:
        """Return pixels drawn at random, each with probability `fraction`, in order."""
        count = self._on.size
        if fraction <= 0:
            return np.empty(0, np.int64)
        drawn = np.empty(count)
        uniforms(self.seed, stream, 0, drawn)
        return np.flatnonzero(drawn < fraction)

    def advance(self, codes: NDArray[Any], start_us: int, interval_us: int) -> Crossings:
        """Return what happens up to the next frame."""
        start, stop = self._now, self._now + interval_us
        if self._table.size and self.params.cutoff_hz:
            k.fill_poles(
                self._lights,
                self._model,
                float(interval_us),
                self._poles[0],
                self._poles[1],
                self._poles[2],
            )
        run_parts(lambda i: self._advance(self._parts[i], codes, start, stop), len(self._parts))
        np.copyto(self._before, codes)
        self._now = stop
        self._frame += 1
        return Crossings(
            self.size,
            start_us,
            interval_us,
            [part.times[: part.count] for part in self._parts],
            [part.marks[: part.count] for part in self._parts],
        )

    def _advance(self, part: _Part, codes: NDArray[Any], start: float, stop: float) -> None:
        pixels = part.pixels
        tiles = slice(pixels.start // k.TILE, -(-pixels.stop // k.TILE))
        blocks = slice(pixels.start // k.BLOCK, -(-pixels.stop // k.BLOCK))
        choices = slice(2 * pixels.start, 2 * pixels.stop)
        tau, lag, kept = self._poles
        resume = np.zeros(4, np.int64)
        part.count = 0
        while resume[0] < tiles.stop - tiles.start:
            got = k.advance_tiles(
                self._before[pixels], codes[pixels], pixels.start, self._frame, start, stop,
                self._table, self._lights, tau, lag, kept, self._model, self.seed,
                self._weights[tiles],
                self._share[choices], self._alias[choices], self._hot, self.params.hot_hz * 1e-6,
                self._v[pixels], self._u[pixels], self._ref[pixels], self._on[pixels],
                self._off[pixels], self._leak[pixels], self._factor[pixels],
                self._reset_at[pixels], self._free[pixels], self._counts[pixels],
                self._since[blocks], self._quiet[blocks], part.head, part.link, part.noise_t,
                part.noise_on, part.noisy, resume, part.times[part.count :],
                part.marks[part.count :],
            )  # fmt: skip
            part.count += got
            if resume[2] < 0:
                part.grow_noise(2 * len(part.link))
                resume[2] = 0
            elif resume[0] < tiles.stop - tiles.start:
                part.times = np.concatenate([part.times, np.empty_like(part.times)])
                part.marks = np.concatenate([part.marks, np.empty_like(part.marks)])


def _model(params: EmulatorParams) -> NDArray[np.float64]:
    """Return the kernels' numbers: units of 2^-24 e-fold, and microseconds."""
    model = np.zeros(k.MODEL_FIELDS, np.float64)
    if params.cutoff_hz > 0:
        model[k.M_POLE] = 1e6 / (2 * math.pi * params.cutoff_hz)
    if params.follower_hz > 0:
        model[k.M_TAU2] = 1e6 / (2 * math.pi * params.follower_hz)
    model[k.M_REFRACTORY] = params.refractory_us
    model[k.M_JITTER] = params.leak_jitter
    model[k.M_SHOT] = params.shot_hz * 1e-6
    model[k.M_ON] = to_units(params.threshold_on)
    model[k.M_OFF] = to_units(params.threshold_off)
    model[k.M_LEAK] = params.leak_hz * 1e-6
    model[[k.M_OFFSET, k.M_KNEE, k.M_SLOPE]] = map_numbers(params)
    return model
