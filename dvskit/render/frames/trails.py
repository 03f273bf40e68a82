"""The part that styles with tracks share: a palette with colours of tracks, and trails."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dvskit.render.colormap import Theme, diverging, rgb
from dvskit.render.frames.styles import LEVELS

SHADES = LEVELS + 1  # rows of the palette for events: every second of those of Decay
COLOURS = 8  # of tracks, from the row SHADES on
_EVENTS = 0.55  # strength of the colours of events
_DIM = 0.5
_ON_DARK = ("#f0e442", "#5ee07a", "#ff7ac6", "#ffffff", "#40e0d0", "#ff5a4d", "#b79bff", "#d6a15c")
_ON_LIGHT = ("#8a7a00", "#00803c", "#c2187e", "#000000", "#00706c", "#c02010", "#5b3bb5", "#7a4a10")
_ROWS = 2 * LEVELS + 1


def row_of(track: int, *, dim: bool = False) -> int:
    """Return the row of the palette for a track."""
    return SHADES + track % COLOURS + COLOURS * dim


TEXT = SHADES + 2 * COLOURS  # the row for text


def tracks_palette(theme: Theme) -> NDArray[np.uint8]:
    """Return faint colours of events, then colours of tracks, dim ones, and that of text."""
    ground = np.array(rgb(theme.ground), float)
    faint = ground + _EVENTS * (diverging(theme, LEVELS)[::2] - ground)
    tracks = np.array([rgb(each) for each in (_ON_LIGHT if ground.mean() > 127 else _ON_DARK)])
    dim = ground + _DIM * (tracks - ground)
    rows = np.concatenate([faint, tracks, dim, [rgb(theme.text)]])
    padded = np.pad(rows, ((0, _ROWS - len(rows)), (0, 0)), "edge")
    return np.asarray(np.rint(padded), np.uint8)


@dataclass(slots=True)
class Trail:
    """The latest places of a track: rows t, x, y."""

    points: list[tuple[int, float, float]] = field(default_factory=list)

    def forget(self, before_us: int) -> None:
        """Drop the places before a time."""
        self.points = [point for point in self.points if point[0] >= before_us]
