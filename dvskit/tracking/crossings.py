"""Objects that cross a line, counted by direction."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_fields, check_number, checked
from dvskit.errors import ConfigError, ShapeError

Line = tuple[tuple[float, float], tuple[float, float]]
CROSSING_ROW = np.dtype(
    [("id", "<i8"), ("t", "<i8"), ("x", "<f8"), ("y", "<f8"), ("to_right", "?")]
)


@dataclass(slots=True)
class LineCounter:
    """Counts objects that cross a line while rows arrive.

    line       ((x0, y0), (x1, y1)) in pixels; left and right are as seen in the picture from
               (x0, y0) towards (x1, y1)
    margin_px  an object has crossed once it is this far beyond the line, so that jitter on it does
               not count
    to_left, to_right  the numbers of crossings so far

    An object may cross back, and is then counted in the other direction. Raises ConfigError for a
    line that is not two points apart and a margin below 0.

        events = dvskit.load_events("discs.raw").between(500_000, 1_000_000)
        step = dvskit.tracking.Tracker().start(events.size)
        counter = dvskit.tracking.LineCounter(((64, 0), (64, 127)))  # downwards: left is x > 64
        for block in events.blocks(duration_us=100_000):
            crossings = counter(step(block))  # id, t, x, y, to_right of each
        counter.to_left, counter.to_right  # (1, 1)
    """

    line: Line
    margin_px: float = checked(check_number, 0, default=3.0)
    to_left: int = 0
    to_right: int = 0
    _last: dict[int, tuple[float, float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ends = np.array(self.line, dtype=object)
        try:
            ends = ends.astype(float)
        except (TypeError, ValueError):
            ends = np.empty(0)
        if ends.shape != (2, 2) or not np.isfinite(ends).all() or (ends[0] == ends[1]).all():
            raise ConfigError(
                f"the line {self.line!r} is not ((x0, y0), (x1, y1)), two points apart"
            )
        check_fields(self)

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the crossings of these rows, (n,) of `CROSSING_ROW`: when, where, which way."""
        (x0, y0), (x1, y1) = self.line
        length = math.hypot(x1 - x0, y1 - y0)
        found = []
        for number, t, x, y in zip(*(rows[name].tolist() for name in ("id", "t", "x", "y")),
                                   strict=True):  # fmt: skip
            side = ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / length  # right is above 0
            if abs(side) <= self.margin_px:
                continue
            before = self._last.get(number)
            self._last[number] = (side, x, y)
            if before is None or (before[0] > 0) == (side > 0):
                continue
            share = before[0] / (before[0] - side)
            at_x, at_y = before[1] + share * (x - before[1]), before[2] + share * (y - before[2])
            along = ((x1 - x0) * (at_x - x0) + (y1 - y0) * (at_y - y0)) / length
            if 0 <= along <= length:
                found.append((number, t, at_x, at_y, side > 0))
        crossings = np.array(found, CROSSING_ROW)
        right = int(np.count_nonzero(crossings["to_right"]))
        self.to_right += right
        self.to_left += len(crossings) - right
        return crossings


def check_rows(rows: Any) -> None:
    """Raise ShapeError unless an array has the fields id, t, x and y, as those of `track`."""
    fields = getattr(getattr(rows, "dtype", None), "names", None) or ()
    if not {"id", "t", "x", "y"} <= set(fields):
        raise ShapeError(
            f"{type(rows).__name__} without the fields id, t, x and y; pass the rows of `track`"
        )


def count_crossings(rows: NDArray[Any], line: Line, *, margin_px: float = 3.0) -> LineCounter:
    """Return a LineCounter with the crossings of objects, such as `track` returns.

    rows       with the fields id, t, x and y, in order of time
    line       ((x0, y0), (x1, y1)) in pixels
    margin_px  as in `LineCounter`

    Raises ConfigError for a line that is not two points apart, ShapeError for other rows.

        events = dvskit.load_events("discs.raw").between(500_000, 1_000_000)
        rows = dvskit.tracking.track(events)
        counter = dvskit.tracking.count_crossings(rows, ((64, 0), (64, 127)))
        counter.to_left, counter.to_right  # (1, 1)
    """
    check_rows(rows)
    counter = LineCounter(line, margin_px)
    counter(rows)
    return counter
