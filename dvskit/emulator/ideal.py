"""One pass over a clip through an ideal sensor: the brightness-threshold rule alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._threads import run_parts
from dvskit.emulator import level_kernels
from dvskit.emulator.crossings import Crossings, Ordering, Room, parts_of
from dvskit.emulator.level_kernels import References, Rule
from dvskit.emulator.levels import to_units
from dvskit.emulator.params import EmulatorParams
from dvskit.events import Size

_QUIET_PIXELS = 64  # so many quiet pixels cost what an event does
_FEW = 1 << 13  # events that are not worth a thread
_NO_TIMES, _NO_MARKS = np.empty(0, np.int32), np.empty(0, np.int64)


class IdealPixels:
    """The pixels' reference levels, in whole numbers: sums and ties are exact."""

    def __init__(self, params: EmulatorParams, size: Size, threads: int) -> None:
        self.size, self._threads = size, threads
        self._on, self._off = to_units(params.threshold_on), to_units(params.threshold_off)

    def begin(self, codes: NDArray[Any], table: NDArray[np.int32]) -> None:
        """Take the first frame, which sets the reference levels."""
        n = codes.size
        self._before = codes.copy()
        self._coded = codes.dtype == np.uint8
        up, down = np.empty((2, n if self._coded else 0), np.uint8)
        entries = (int(table[-1]) >> level_kernels.NEAR_SHIFT) + 2 if self._coded else 0
        self._rule = Rule(table, np.empty(entries, np.int16), self._on, self._off)
        if self._coded:
            level_kernels.index_codes(table, self._rule.nearest)
            level_kernels.start_codes(codes, self._rule, up, down)
        self._references = References(table[codes] if table.size else codes.copy(), up, down)
        # Parts are cut at multiples of 64 pixels: of 8 for the words of `loud`, of 64 so that two
        # threads share no cache line.
        self._parts = parts_of(n, self._threads, 64)
        self._loud = np.zeros(-(-n // 8) * 8, np.uint8)
        self._who, self._counts = np.zeros((2, self._loud.size), np.int32)
        self._rooms = [(Room(np.int32), Room(np.int64)) for _ in self._parts]
        self._ordering = Ordering()
        self._last = 0  # events in the interval before

    def advance(self, codes: NDArray[Any], start_us: int, interval_us: int) -> Crossings:
        """Return what happens up to the next frame."""
        parts = len(self._parts)
        times, marks = [_NO_TIMES] * parts, [_NO_MARKS] * parts

        def work(number: int) -> None:
            part = self._parts[number]
            times[number], marks[number] = self._fired(number, codes, interval_us)
            # The caller may fill the same buffer with the next frame, so that a copy is kept.
            np.copyto(self._before[part], codes[part])

        # Where little happens all is done before another thread would have woken up.
        busy = self._last + codes.size // _QUIET_PIXELS > _FEW
        run_parts(work, parts, self._threads if busy else 1)
        self._last = sum(map(len, times))
        return Crossings(self.size, start_us, interval_us, times, marks, ordering=self._ordering)

    def _fired(
        self, number: int, codes: NDArray[Any], interval_us: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return times and marks of a part's events, and move its references."""
        part = self._parts[number]
        padded = slice(part.start, -(-part.stop // 8) * 8)
        loud, who, counts = self._loud[padded], self._who[padded], self._counts[padded]
        here, references = codes[part], self._references.part(part)
        count = level_kernels.count_codes if self._coded else level_kernels.count_levels
        firing, total = count(here, references, self._rule, loud, who, counts)
        times, marks = (room.of(total) for room in self._rooms[number])
        if total:
            seen = self._before[part], here, part.start, interval_us
            fired = who[:firing], counts[:firing]
            level_kernels.emit(seen, references, self._rule, fired, (times, marks))
        return times, marks
