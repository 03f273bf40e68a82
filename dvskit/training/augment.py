"""Recordings changed at random as another camera position or speed would have changed them."""

from __future__ import annotations

import math

import numpy as np

from dvskit.events import Events
from dvskit.training.config import AugmentConfig


def augment(events: Events, config: AugmentConfig, rng: np.random.Generator) -> Events:
    """Return `events` shifted, turned, zoomed, stretched in time and thinned out at random.

    What leaves the sensor or the time before the first event is left out. Positions are rounded to
    the pixel; zoomed-in recordings have holes, zoomed-out ones higher counts. The same generator
    state gives the same events.
    """
    if not len(events):
        return events
    width, height = events.size
    dx, dy, turn, zoom, stretch, later, drop = rng.uniform(-1, 1, 7)
    angle = math.radians(config.turn_deg) * turn
    scale = 1 + config.zoom * zoom
    across, along = scale * math.cos(angle), scale * math.sin(angle)
    x = events.x - (width - 1) / 2
    y = events.y - (height - 1) / 2
    new_x = np.rint(across * x - along * y + (width - 1) / 2 + config.shift_px * dx)
    new_y = np.rint(along * x + across * y + (height - 1) / 2 + config.shift_px * dy)
    t = events.t - events.t[0]
    new_t = np.rint(t * (1 + config.stretch * stretch) + config.shift_us * later)
    kept = (new_x >= 0) & (new_x < width) & (new_y >= 0) & (new_y < height) & (new_t >= 0)
    kept &= rng.random(len(events)) >= config.drop * abs(drop)
    return Events.from_checked(  # rounding a rising line keeps the order of times
        new_t[kept].astype(np.int64),
        new_x[kept].astype(np.int16),
        new_y[kept].astype(np.int16),
        events.p[kept],
        events.size,
    )
