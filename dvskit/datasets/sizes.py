"""Sizes of sensors that recordings do not say."""

from __future__ import annotations

from operator import le

from dvskit.events import Events, Size, Source


def likely_size(source: Source, size: Size) -> Size:
    """Return the size of a recording: `size` where it is only inferred from events that fit it."""
    inferred = getattr(getattr(source, "recording", source), "size_origin", None) == "data"
    return size if inferred and all(map(le, source.size, size)) else source.size


def on_sensor(events: Events, size: Size) -> Events:
    """Return events on a sensor that holds them, each where it is."""
    return Events.from_checked(events.t, events.x, events.y, events.p, size)
