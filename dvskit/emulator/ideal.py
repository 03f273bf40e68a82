"""One pass over a clip through an ideal sensor: the brightness-threshold rule alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts
from dvskit.emulator import _kernels
from dvskit.emulator.crossings import Crossings
from dvskit.emulator.levels import to_units
from dvskit.emulator.params import EmulatorParams
from dvskit.events import Size

_PART_PIXELS = 1 << 17  # fewer are not worth a thread
_NO_CODES = np.empty(0, np.uint8)


class IdealPixels:
    """The pixels' reference levels, in whole numbers: sums and ties are exact."""

    def __init__(self, params: EmulatorParams, size: Size, threads: int) -> None:
        self.size, self._threads = size, threads
        self._on = to_units(params.threshold_on)
        self._off = to_units(params.threshold_off)

    def begin(self, codes: NDArray[Any], table: NDArray[np.int32]) -> None:
        """Take the first frame, which sets the reference levels."""
        n = codes.size
        self._before = codes.copy()
        self._table = table
        self._ref = table[codes] if table.size else codes.copy()
        self._up, self._down = _NO_CODES, _NO_CODES
        self._nearest = _NO_CODES.astype(np.int16)
        if codes.dtype == np.uint8:
            self._up, self._down = np.empty(n, np.uint8), np.empty(n, np.uint8)
            entries = (int(self._table[-1]) >> _kernels.NEAR_SHIFT) + 2
            self._nearest = np.empty(entries, np.int16)
            _kernels.index_codes(self._table, self._nearest)
            _kernels.start_codes(
                codes, self._table, self._nearest, self._on, self._off, self._up, self._down
            )
        # Parts are cut at multiples of 64 pixels: of 8 for the words of `loud`, of 64 so that two
        # threads share no cache line.
        parts = max(1, min(self._threads, n // _PART_PIXELS))
        length = -(-n // (parts * 64)) * 64
        self._parts = [slice(start, min(start + length, n)) for start in range(0, n, length)]
        self._counts = np.zeros(n, np.int32)
        self._loud = np.zeros(-(-n // 8) * 8, np.uint8)

    def _loud_part(self, part: slice) -> NDArray[np.uint8]:
        return self._loud[part.start : -(-part.stop // 8) * 8]

    def advance(self, codes: NDArray[Any], start_us: int, interval_us: int) -> Crossings:
        """Return what happens up to the next frame."""
        sums = [0] * len(self._parts)

        def count(number: int) -> None:
            part = self._parts[number]
            loud = self._loud_part(part)
            if self._up.size:
                sums[number] = _kernels.count_codes(
                    codes[part], self._up[part], self._down[part], self._ref[part], self._table,
                    self._on, self._off, loud, self._counts[part],
                )  # fmt: skip
            else:
                sums[number] = _kernels.count_levels(
                    codes[part], self._ref[part], self._table, self._on, self._off, loud,
                    self._counts[part],
                )  # fmt: skip

        run_parts(count, len(self._parts))
        crossings = self._emit(codes, start_us, interval_us, sums)
        # The caller may fill the same buffer with the next frame, so that a copy is kept.
        np.copyto(self._before, codes)
        return crossings

    def _emit(
        self, codes: NDArray[Any], start_us: int, interval_us: int, sums: list[int]
    ) -> Crossings:
        times = [np.empty(count, np.int32) for count in sums]
        marks = [np.empty(count, np.int64) for count in sums]

        def emit(number: int) -> None:
            part = self._parts[number]
            coded = part if self._up.size else slice(0, 0)
            if sums[number]:
                _kernels.emit(
                    self._before[part], codes[part], part.start, self._up[coded],
                    self._down[coded], self._ref[part], self._table, self._on, self._off,
                    self._loud_part(part), self._counts[part], self._nearest, interval_us,
                    times[number], marks[number],
                )  # fmt: skip

        run_parts(emit, len(sums))
        return Crossings(self.size, start_us, interval_us, times, marks)
