"""The pixel model of v2e, for comparable results (Hu, Liu, Delbruck 2021).

One step per frame: an Euler step of the low-pass, whole thresholds counted at the frame's time, and
times that all pixels of a frame share. Sparse frames saturate the low-pass, as in v2e.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts
from dvskit.emulator import v2e_kernels as k
from dvskit.emulator.levels import UNIT, Crossings, Ordering, code_logs, lights, parts_of
from dvskit.emulator.params import EmulatorParams
from dvskit.events import Size


class V2ePixels:
    """The state of the pixels: low-pass and reference, from frame to frame.

    Ignores parameters that v2e does not have: follower_hz, hot and dead pixels.
    """

    def __init__(self, params: EmulatorParams, size: Size, seed: int, threads: int) -> None:
        self.params, self.size, self._threads = params, size, threads
        self._sensor = k.V2eSensor(
            c_on=float(params.threshold_on),
            c_off=float(params.threshold_off),
            sigma=float(params.threshold_sigma),
            spread=float(params.leak_spread),
            cutoff_hz=float(params.cutoff_hz),
            leak_hz=float(params.leak_hz),
            jitter=float(params.leak_jitter),
            refractory_us=float(params.refractory_us),
            seed=seed,
        )

    def begin(self, codes: NDArray[Any], table: NDArray[np.int32]) -> None:
        """Take the first frame, which sets the low-pass and the references."""
        count = codes.size
        real = np.float64 if self.params.cutoff_hz else np.float32
        self._real = real
        exact = np.array(code_logs(table.size, self.params), np.float64)
        self._table = np.round(exact, 8).astype(np.float32)
        self._lights = lights(self._table, self.params)
        lp = self._levels(codes)
        self._state = k.V2eState(
            lp, lp.copy(), np.empty(count, real), np.empty(count, real), np.empty(count),
            np.full(count, -1e30), np.zeros(count, np.int32),
        )  # fmt: skip
        self._frame, self._now = 0, 0
        self._ordering = Ordering()
        self._parts = parts_of(count, self._threads, 64)
        for part in self._parts:
            k.start(part.start, self._sensor, self._state.part(part))

    def _levels(self, codes: NDArray[Any]) -> NDArray[Any]:
        if self._table.size:
            known: NDArray[Any] = self._table[codes].astype(self._real)
            return known
        levels: NDArray[Any] = (codes / UNIT).astype(self._real)
        return levels

    def advance(self, codes: NDArray[Any], start_us: int, interval_us: int) -> Crossings:
        """Return the crossings up to the next frame."""
        level = self._levels(codes)
        light = self._lights[codes] if self._table.size else lights(level, self.params)
        most = [0] * len(self._parts)
        self._frame += 1

        def seen(part: slice) -> k.Frame:
            return level[part], light[part], part.start, self._frame

        def step(number: int) -> None:
            part = self._parts[number]
            state = self._state.part(part)
            most[number] = k.step(seen(part), interval_us * 1e-6, self._sensor, state)

        run_parts(step, len(self._parts))
        shot = 0.5e-6 * self.params.shot_hz * interval_us
        within = max(most), interval_us, self._now, shot
        times: list[NDArray[np.int32]] = [np.empty(0, np.int32)] * len(self._parts)
        marks: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(self._parts)

        def emit(number: int) -> None:
            part = self._parts[number]
            state = self._state.part(part)
            shots = 2 * (part.stop - part.start) if self.params.shot_hz else 0
            room = int(np.abs(state.counts).sum(dtype=np.int64)) + shots
            t, mark = np.empty(room, np.int32), np.empty(room, np.int64)
            count = k.emit(seen(part), within, self._sensor, state, (t, mark))
            times[number], marks[number] = t[:count], mark[:count]

        run_parts(emit, len(self._parts))
        self._now += interval_us
        return Crossings(self.size, start_us, interval_us, times, marks, ordering=self._ordering)
