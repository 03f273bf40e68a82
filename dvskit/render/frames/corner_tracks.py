"""A style of frames: corner tracks over fading events."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dvskit._checks import LONGEST_US, check_fields, check_number, check_whole, checked
from dvskit.events import Events, Size
from dvskit.filters.base import CallableFilter
from dvskit.motion.corners import CornerLinks, corner_filter
from dvskit.render.colormap import Theme
from dvskit.render.frames.styles import Decay, StyleRun
from dvskit.render.frames.trails import Trail, row_of, tracks_palette

_SMOOTH_US = 5_000  # of the places of a track


@dataclass(frozen=True, slots=True)
class CornerTracks:
    """Tracks of corners as lines, in a colour each, over faint fading events.

    corners    the filter that finds corners, or its text: see `motion.corners`
    within_px, within_us   as in `motion.link_corners`
    trail_us   how long lines stay
    least_events  tracks with fewer corner events are not drawn
    tau_us     of the events, as in `Decay`

        style = dvskit.render.CornerTracks(corners="e_harris:threshold=6", trail_us=200_000)
        events = dvskit.load_events("davis").between(0, 200_000)
        pictures = list(dvskit.render.frames(events, style=style, fps=25))  # 5 frames
    """

    corners: str | CallableFilter = "arc_star"
    within_px: float = checked(check_number, 0, 64, default=3.5)
    within_us: int = checked(check_whole, default=25_000)
    trail_us: int = checked(check_whole, 1, default=100_000)
    least_events: int = checked(check_whole, 1, 10**9, default=5)
    tau_us: float | None = checked(check_number, 1, LONGEST_US, default=None)

    def __post_init__(self) -> None:
        corner_filter(self.corners)
        check_fields(self)

    def start(self, size: Size, frame_us: float) -> TracksRun:
        """Return a run for frames `frame_us` apart."""
        links = CornerLinks(size, within_px=self.within_px, within_us=self.within_us)
        step = corner_filter(self.corners).start(size)
        return TracksRun(self, step, links, Decay(self.tau_us).start(size, frame_us))

    def palette(self, theme: Theme) -> NDArray[np.uint8]:
        """Return the colours of events, then those of tracks."""
        return tracks_palette(theme)


@dataclass(slots=True)
class _Trail(Trail):
    """A track's places in past frames; they follow its corner events smoothly."""

    count: int = 0

    def extend(self, t_us: int, x: float, y: float) -> None:
        if self.points:
            before_us, old_x, old_y = self.points[-1]
            share = -math.expm1((before_us - t_us) / _SMOOTH_US)
            x, y = old_x + share * (x - old_x), old_y + share * (y - old_y)
        self.points.append((t_us, x, y))


class TracksRun:
    """A run of a `CornerTracks`; `links` counts its corners and tracks."""

    def __init__(
        self, style: CornerTracks, step: Any, links: CornerLinks, events: StyleRun
    ) -> None:
        self._style, self._step, self.links, self._events = style, step, links, events
        self._rows: list[NDArray[Any]] = []
        self._trails: dict[int, _Trail] = {}

    def add(self, events: Events, frame_us: int) -> None:
        """Take events of a frame."""
        self._rows.append(self.links(self._step(events)))
        self._events.add(events, frame_us)

    def draw(self, frame_us: int, next_us: int, index: NDArray[np.uint8]) -> None:
        """Draw the tracks over the events."""
        self._events.draw(frame_us, next_us, index)
        index >>= 1  # to the rows of the palette for events
        self._extend()
        for track in list(self._trails):
            trail = self._trails[track]
            trail.forget(frame_us - self._style.trail_us)
            if not trail.points:
                del self._trails[track]
            elif trail.count >= self._style.least_events:
                line = np.array([point[1:] for point in trail.points])
                cv2.polylines(index, [np.rint(line).astype(np.int32)], False, row_of(track))
                x, y = np.rint(line[-1]).astype(int).tolist()
                cv2.rectangle(index, (x - 1, y - 1), (x + 1, y + 1), row_of(track))

    def _extend(self) -> None:
        """Add the mean place of each track in this frame to its trail."""
        if not self._rows:
            return
        rows = np.concatenate(self._rows)
        self._rows = []
        tracks, which, counts = np.unique(rows["id"], return_inverse=True, return_counts=True)
        means = [np.bincount(which, rows[name], len(tracks)) / counts for name in ("t", "x", "y")]
        for track, count, t, x, y in zip(
            *(each.tolist() for each in (tracks, counts, *means)), strict=True
        ):
            trail = self._trails.setdefault(track, _Trail())
            trail.count += count
            trail.extend(int(t), x, y)
