"""One object followed by mean shift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvskit._checks import check_fields, check_number, check_whole, checked
from dvskit.errors import ConfigError
from dvskit.events import Events, Size
from dvskit.tracking.tracker import OBJECT_ROW, Rows, WindowedStep

_MOST_MEANS = 100


@dataclass(frozen=True, slots=True)
class MeanShift:
    """A way to follow a single object: the mean of the events around it, found again and again.

    start_px       (x, y) of the object at the beginning; None for the place of most events in the
                   first window
    bandwidth_px   radius around the place in which events count; somewhat more than that of the
                   object
    window_us      a row at each whole multiple of this time
    least_events   of a window; the object stands still with fewer

    After Comaniciu and Meer 2002, "Mean shift", with a flat kernel. `track(events, MeanShift())`
    gives the rows, all with the id 0. `width` and `height` are twice the bandwidth; the velocity is
    that of the last two places. Raises ConfigError for values out of range.

        events = dvskit.load_events("discs.raw")
        disc = dvskit.tracking.MeanShift(start_px=(104, 26), bandwidth_px=15)
        rows = dvskit.tracking.track(events, disc)  # (150,): every 10 ms
        rows["x"][:40], rows["y"][:40]  # float64 in pixels
    """

    start_px: tuple[float, float] | None = None
    bandwidth_px: float = checked(check_number, 0.5, 10_000, default=20.0)
    window_us: int = checked(check_whole, 100, 10**9, default=10_000)
    least_events: int = checked(check_whole, 1, 10**9, default=8)

    def __post_init__(self) -> None:
        check_fields(self)
        start = self.start_px
        if start is not None and (np.shape(start) != (2,) or not np.isfinite(start).all()):
            raise ConfigError(f"MeanShift: start_px={start!r} is not (x, y) in pixels")

    def start(self, size: Size) -> MeanShiftStep:
        """Return the step of one pass; it holds the events of a window."""
        return MeanShiftStep(self, size)


class MeanShiftStep(WindowedStep):
    """One pass of a MeanShift."""

    def __init__(self, method: MeanShift, size: Size) -> None:
        super().__init__(method.window_us)
        self._method, self._size = method, size
        self._held: list[Events] = []
        self._place = method.start_px

    def _take(self, events: Events) -> None:
        self._held.append(events.copy())  # the caller may change its arrays

    def _idle(self) -> bool:
        return self._place is None

    def _complete(self, now_us: int) -> Rows:
        from dvskit.filters.base import columns
        from dvskit.tracking.object_kernels import shift_to_mean

        window = Events.concatenate(self._held, size=self._size)
        self._held = []
        enough = len(window) >= self._method.least_events
        if self._place is None:
            if not enough:
                return np.empty(0, OBJECT_ROW)
            self._place = self._densest(window)
        _, x, y, _ = columns(window)
        before = float(self._place[0]), float(self._place[1])
        radius = self._method.bandwidth_px
        at_x, at_y, count = shift_to_mean(x, y, before, radius, _MOST_MEANS)
        seen = count >= self._method.least_events
        self._place = (at_x, at_y) if seen else before
        per_s = 1e6 / self._method.window_us
        vx, vy = ((now - then) * per_s for now, then in zip(self._place, before, strict=True))
        row = (0, now_us, *self._place, 2 * radius, 2 * radius, vx, vy, count, seen)
        return np.array([row], OBJECT_ROW)

    def _densest(self, window: Events) -> tuple[float, float]:
        """Return the middle of the square with the most events."""
        import cv2

        counts = np.zeros(self._size[::-1], np.float32)
        np.add.at(counts, (window.y, window.x), 1.0)
        side = 2 * int(self._method.bandwidth_px) + 1
        around = cv2.boxFilter(
            counts, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        y, x = np.unravel_index(int(around.argmax()), around.shape)
        return float(x), float(y)
