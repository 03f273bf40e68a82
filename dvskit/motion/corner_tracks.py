"""Corners of events: a score for each event, and tracks of corner events."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_number, check_whole
from dvskit.errors import ConfigError
from dvskit.events import Events, Size, Source, as_source
from dvskit.filters import as_filter, filter_from
from dvskit.filters.base import CallableFilter
from dvskit.filters.corners import CornerStep

TRACK_ROW = np.dtype([("id", "<i8"), ("t", "<i8"), ("x", "<i2"), ("y", "<i2")])
METHODS = ("arc_star", "e_fast", "luv_harris", "e_harris")


def corner_filter(method: str | CallableFilter) -> CallableFilter:
    """Return a corner filter of a text such as "e_harris:threshold=6", or the filter itself.

    Raises ConfigError for anything else.
    """
    found: Any = filter_from(method) if isinstance(method, str) else as_filter(method)
    if not isinstance(found.start(Size(1, 1)), CornerStep):
        raise ConfigError(f"{method!r} finds no corners; choices: {', '.join(METHODS)}")
    chosen: CallableFilter = found
    return chosen


def corners(
    events_or_source: Events | Source, method: str | CallableFilter = "arc_star"
) -> NDArray[np.float32]:
    """Return a score for each event, (n,) float32: how much it looks like a corner.

    method  a corner filter of `dvskit.filters` by name, with parameters as in `filter_from`, or
            the filter itself

    "arc_star" and "e_fast" score 1 for a corner and 0 for other events; "e_harris" (up to about 23)
    and "luv_harris" (up to about 0.1) score the Harris response, negative on edges. Events without
    a score, near the border of the sensor or with too few events around, have -inf. The filters
    keep the events with a score above their threshold. Raises ConfigError for other methods.

        events = dvskit.load_events("davis")
        scores = dvskit.motion.corners(events)  # (150291,) float32: 1, 0 or -inf
        found = events[scores > 0]  # 17,619 events
        harris = dvskit.motion.corners(events, "e_harris:threshold=6")
    """
    source = as_source(events_or_source)
    step: Any = corner_filter(method).start(source.size)
    found = [step.scores(block) for block in source]
    return np.concatenate([np.empty(0, np.float32), *found])


class CornerLinks:
    """One pass of linking corner events to tracks: called with each block, it returns the rows.

    size                  of the sensor, a Size
    within_px, within_us  as in `link_corners`
    corners, tracks       the number of corner events and of tracks so far

    Memory is 16 bytes per pixel. Raises ConfigError for values out of range.

        source = dvskit.filters.ArcStar()(dvskit.open_events("discs.raw"))  # may be live
        links = dvskit.motion.CornerLinks(source.size)
        for block in source:
            rows = links(block)  # id, t, x, y of each corner event
        links.corners, links.tracks  # (561, 162)
    """

    def __init__(self, size: Size, *, within_px: float = 3.5, within_us: int = 25_000) -> None:
        check_number("within_px", within_px, 0, 64)
        check_whole("within_us", within_us)
        from dvskit.filters.corner_kernels import NEVER

        self.corners = self.tracks = 0
        self._within_us = within_us
        self._last = np.full((size.height, size.width, 2), NEVER)
        reach = int(within_px)
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        near = np.stack([x, y, x * x + y * y], -1).reshape(-1, 3)
        near = near[near[:, 2] <= within_px**2]
        self._near = np.ascontiguousarray(near[np.argsort(near[:, 2], kind="stable")])

    def __call__(self, corner_events: Events) -> NDArray[Any]:
        """Return a row for each corner event, (n,) of `TRACK_ROW`: id, t, x, y."""
        from dvskit.filters.base import columns
        from dvskit.filters.corner_kernels import link

        t, x, y, _ = columns(corner_events)
        rows = np.empty(len(corner_events), TRACK_ROW)
        ids = np.empty(len(rows), np.int64)
        self.corners += len(rows)
        self.tracks = link(t, x, y, self._near, self._within_us, self._last, self.tracks, ids)
        rows["id"], rows["t"], rows["x"], rows["y"] = ids, t, x, y
        return rows


def link_corners(
    corner_events: Events | Source, *, within_px: float = 3.5, within_us: int = 25_000
) -> NDArray[Any]:
    """Return the tracks of corner events: a row (id, t, x, y) for each, in order of time.

    The array is structured, (n,): id int64 from 0, t int64 in us, x and y int16. A corner event
    belongs to the track of the nearest pixel, at most `within_px` away, that had a corner event in
    the last `within_us`; without one it starts a track. Raises ConfigError for values out of range.

        events = dvskit.filters.ArcStar()(dvskit.load_events("discs.raw"))
        tracks = dvskit.motion.link_corners(events)  # (561,): a row for each corner event
        longest = np.bincount(tracks["id"]).argmax()
        path = tracks[tracks["id"] == longest][["t", "x", "y"]]  # (45,)
    """
    source = as_source(corner_events)
    links = CornerLinks(source.size, within_px=within_px, within_us=within_us)
    return np.concatenate([np.empty(0, TRACK_ROW), *(links(block) for block in source)])
