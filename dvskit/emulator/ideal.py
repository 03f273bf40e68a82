"""One pass over a clip through an ideal sensor: the brightness-threshold rule alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts, thread_count
from dvskit.emulator import _kernels
from dvskit.emulator.levels import to_units
from dvskit.emulator.params import EmulatorParams
from dvskit.events import Events, Size

_PART_PIXELS = 1 << 17  # fewer are not worth a thread
_NO_CODES = np.empty(0, np.uint8)


class IdealPixels:
    """The pixels' reference levels, in whole numbers: sums and ties are exact."""

    def __init__(self, params: EmulatorParams, size: Size) -> None:
        self.size = size
        self._on = to_units(params.threshold_on)
        self._off = to_units(params.threshold_off)

    def begin(self, codes: NDArray[Any], table: NDArray[np.int32]) -> None:
        """Take the first frame, which sets the reference levels."""
        n = codes.size
        self._before = codes.copy()
        self._table = table
        self._ref = table[codes] if table.size else codes.copy()
        self._up, self._down = _NO_CODES, _NO_CODES
        if codes.dtype == np.uint8:
            self._up, self._down = np.empty(n, np.uint8), np.empty(n, np.uint8)
            _kernels.start_codes(codes, self._table, self._on, self._off, self._up, self._down)
        # Parts are cut at multiples of 64 pixels: of 8 for the words of `loud`, of 64 so that two
        # threads share no cache line.
        parts = max(1, min(thread_count(), n // _PART_PIXELS))
        length = -(-n // (parts * 64)) * 64
        self._parts = [slice(start, min(start + length, n)) for start in range(0, n, length)]
        self._counts = np.zeros(n, np.int32)
        self._loud = np.zeros(-(-n // 8) * 8, np.uint8)

    def _loud_part(self, part: slice) -> NDArray[np.uint8]:
        return self._loud[part.start : -(-part.stop // 8) * 8]

    def advance(
        self, codes: NDArray[Any], start_us: int, interval_us: int
    ) -> tuple[Events, NDArray[np.bool_]]:
        """Return the events up to the next frame, and which are noise: none."""
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
        if sum(sums):
            events = self._emit(codes, start_us, interval_us, sums)
        else:
            events = Events.empty(self.size)
        # The caller may fill the same buffer with the next frame, so that a copy is kept.
        np.copyto(self._before, codes)
        return events, np.zeros(len(events), np.bool_)

    def _emit(self, codes: NDArray[Any], start_us: int, interval: int, sums: list[int]) -> Events:
        total = sum(sums)
        times, marks = np.empty(total, np.int32), np.empty(total, np.int64)
        ends = np.cumsum(sums)
        spans = [slice(int(end) - n, int(end)) for end, n in zip(ends, sums, strict=True)]
        # Counting needs a place for each microsecond: a long interval with few events is sorted.
        counting = interval + 1 <= 4 * total + (1 << 16)
        histograms = np.zeros((len(sums), interval + 1 if counting else 0), np.int32)

        def emit(number: int) -> None:
            part, span = self._parts[number], spans[number]
            coded = part if self._up.size else slice(0, 0)
            _kernels.emit(
                self._before[part], codes[part], part.start, self._up[coded], self._down[coded],
                self._ref[part], self._table, self._on, self._off, self._loud_part(part),
                self._counts[part], interval, times[span], marks[span], histograms[number],
            )  # fmt: skip

        run_parts(emit, len(sums))
        if not counting:
            return self._sorted(start_us, times, marks)
        _kernels.places(histograms)
        t, x = np.empty(total, np.int64), np.empty(total, np.int16)
        y, p = np.empty(total, np.int16), np.empty(total, np.bool_)

        def scatter(number: int) -> None:
            span = spans[number]
            _kernels.scatter(
                times[span], marks[span], histograms[number], start_us, self.size.width,
                t, x, y, p,
            )  # fmt: skip

        run_parts(scatter, len(sums))
        return Events.from_checked(t, x, y, p, self.size)

    def _sorted(self, start_us: int, times: NDArray[np.int32], marks: NDArray[np.int64]) -> Events:
        order = np.argsort(times, kind="stable")
        rows, columns = np.divmod(marks[order] >> 1, self.size.width)
        return Events.from_checked(
            times[order] + np.int64(start_us),
            columns.astype(np.int16),
            rows.astype(np.int16),
            (marks[order] & 1).astype(np.bool_),
            self.size,
        )
